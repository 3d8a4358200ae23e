"""A tree of actors: the program has supervisors, and each supervisor has workers of its own.

The program asks its supervisors for results and knows nothing of their workers. Here each
supervisor looks for the lowest point of one function; its workers walk downhill from several
starting points, and it compares where they got to.

    RAYMQ_ADDRESS=head:10001 python examples/tree_of_actors.py
"""

import raymq as ray


def two_valleys(x):
    """Has two lowest points, one deeper than the other."""
    return (x * x - 4) ** 2 + x


def bowl(x):
    return (x - 3) ** 2 + 1


@ray.remote
class Worker:
    """Walks downhill with ever smaller steps."""

    def __init__(self, function):
        self.function = function

    def descend(self, x):
        step = 1.0
        while step > 1e-6:
            here, left, right = self.function(x), self.function(x - step), self.function(x + step)
            if min(left, right) >= here:
                step /= 2
            else:
                x += step if right < left else -step
        return self.function(x), x


@ray.remote
class Supervisor:
    """Shares the starting points out among its workers."""

    def __init__(self, function, workers):
        self.workers = [Worker.remote(function) for _ in range(workers)]

    def search(self, starts):
        team = self.workers
        found = [team[number % len(team)].descend.remote(start) for number, start in enumerate(starts)]
        return min(ray.get(found))


def main():
    supervisors = {function.__name__: Supervisor.remote(function, workers=2) for function in (two_valleys, bowl)}
    searches = {name: supervisor.search.remote([-5, -1, 1, 5]) for name, supervisor in supervisors.items()}
    for name, search in searches.items():
        lowest, x = ray.get(search)
        print(f"{name}: {lowest:.3f} at x = {x:.3f}")


if __name__ == "__main__":
    ray.init()
    main()
