"""A parameter server: an actor holds the parameters of a model, and tasks tell it how to change them.

Fits a line to points. In lockstep, all tasks compute with the same parameters, and their gradients
are applied together. Without, each gradient is applied as soon as it is there, and its task goes on
with what the parameters are by then. Gradients go from the tasks to the server; this program passes
references only.

    RAYMQ_ADDRESS=head:10001 python examples/parameter_server.py
"""

import random

import raymq as ray

SLOPE, INTERCEPT = 3.0, -1.5
SHARDS, POINTS, STEPS = 2, 200, 50


def make_points(seed):
    """Points of the line that is to be found."""
    xs = random.Random(seed).choices(range(-100, 101), k=POINTS)
    return [(x / 100, SLOPE * x / 100 + INTERCEPT) for x in xs]


@ray.remote
class ParameterServer:
    def __init__(self, rate):
        self.rate = rate
        self.parameters = (0.0, 0.0)

    def apply(self, *gradients):
        """Take a step against the mean of some gradients; returns the parameters after it."""
        slope, intercept = (sum(values) / len(gradients) for values in zip(*gradients, strict=True))
        self.parameters = (self.parameters[0] - self.rate * slope, self.parameters[1] - self.rate * intercept)
        return self.parameters

    def read(self):
        return self.parameters


@ray.remote
def gradient(parameters, points):
    """The derivatives of half the mean squared error."""
    slope, intercept = parameters
    errors = [(slope * x + intercept - y, x) for x, y in points]
    return sum(error * x for error, x in errors) / len(errors), sum(error for error, _ in errors) / len(errors)


def in_lockstep(shards, steps):
    server = ParameterServer.remote(rate=0.8)
    parameters = server.read.remote()
    for _ in range(steps):
        parameters = server.apply.remote(*[gradient.remote(parameters, shard) for shard in shards])
    return ray.get(parameters)


def as_they_come(shards, steps):
    server = ParameterServer.remote(rate=0.5)
    parameters = server.read.remote()
    computing = {gradient.remote(parameters, shard): (shard, steps - 1) for shard in shards}
    while computing:
        [done], _ = ray.wait(list(computing))
        shard, left = computing.pop(done)
        parameters = server.apply.remote(done)
        if left:
            computing[gradient.remote(parameters, shard)] = (shard, left - 1)
    return ray.get(parameters)


def main():
    shards = [ray.put(make_points(seed)) for seed in range(SHARDS)]
    for fit in (in_lockstep, as_they_come):
        slope, intercept = fit(shards, STEPS)
        print(f"{fit.__name__}, {STEPS} steps: y = {slope:.2f} x + {intercept:.2f}")


if __name__ == "__main__":
    ray.init()
    main()
