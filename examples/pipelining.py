"""Pipelining: a worker asks for its next piece of work before it begins with this one.

A queue is an actor, so each piece of work takes a while to arrive. A worker that asks ahead has
that time pass while it computes. It holds two pieces at most: the one at which it works, and the
one that is under way.

    RAYMQ_ADDRESS=head:10001 python examples/pipelining.py
"""

import raymq as ray


@ray.remote
class WorkQueue:
    def __init__(self, items):
        self.items = list(items)
        self.taken = 0

    def take(self):
        """The next piece of work; None when there is no more."""
        if self.taken == len(self.items):
            return None
        self.taken += 1
        return self.items[self.taken - 1]


def steps_to_one(number):
    """Halve what is even, take three times and one what is odd: how long until it is 1?"""
    steps = 0
    while number != 1:
        number = 3 * number + 1 if number % 2 else number // 2
        steps += 1
    return steps


@ray.remote
class Worker:
    def __init__(self, queue):
        self.queue = queue

    def run(self):
        """Work until there is no more; returns the results by item."""
        results = {}
        under_way = self.queue.take.remote()
        while (item := ray.get(under_way)) is not None:
            under_way = self.queue.take.remote()  # arrives while we work
            results[item] = steps_to_one(item)
        return results


def main():
    queue = WorkQueue.remote(range(1, 101))
    workers = [Worker.remote(queue) for _ in range(2)]
    shares = ray.get([worker.run.remote() for worker in workers])
    results = {number: steps for share in shares for number, steps in share.items()}
    longest = max(results, key=results.get)
    print(f"{sum(map(len, shares))} pieces of work done, {len(results)} different ones")
    print(f"the longest way is that of {longest}: {results[longest]} steps")


if __name__ == "__main__":
    ray.init()
    main()
