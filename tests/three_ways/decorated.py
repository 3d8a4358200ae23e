"""A library that decorates its functions and classes when it is imported, before anything is connected."""

from __future__ import annotations

from tests.three_ways.ways import ray


@ray.remote
def double(x):
    return 2 * x


@ray.remote(num_returns=2)
def both(x):
    return x, -x


@ray.remote(num_cpus=0)
class Counter:
    def __init__(self, start=0):
        self.value = start

    def add(self, n=1):
        self.value += n
        return self.value

    @ray.method(num_returns=2)
    def pair(self):
        return self.value, -self.value

    def up_to(self, n):
        for number in range(n):
            yield number

    def fail(self):
        raise KeyError("no such thing")
