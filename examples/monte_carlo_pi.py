"""Estimate pi from random points, and watch how far the tasks are.

Tasks cannot report to the program while they run, but they can report to an actor, and the program
asks that one. How far they are goes to standard error, the result to standard output.

    RAYMQ_ADDRESS=head:10001 python examples/monte_carlo_pi.py
"""

import random
import sys

import raymq as ray

TASKS, SAMPLES, REPORTS = 4, 200_000, 10


@ray.remote
class Progress:
    def __init__(self, total):
        self.total = total
        self.done = 0

    def report(self, number):
        self.done += number

    def fraction(self):
        return self.done / self.total


@ray.remote
def count_inside(seed, progress):
    """How many of the points in a square are in the circle; the same for the same seed."""
    draw = random.Random(seed).random
    inside = 0
    for _ in range(REPORTS):
        inside += sum(draw() ** 2 + draw() ** 2 < 1 for _ in range(SAMPLES // REPORTS))
        reported = progress.report.remote(SAMPLES // REPORTS)
    ray.get(reported)  # they arrive in order: with the last one, all have
    return inside


def main():
    progress = Progress.remote(TASKS * SAMPLES)
    tasks = [count_inside.remote(seed, progress) for seed in range(TASKS)]
    pending = tasks
    while pending:
        print(f"{ray.get(progress.fraction.remote()):4.0%}", file=sys.stderr)
        _, pending = ray.wait(pending, num_returns=len(pending), timeout=0.2)
    pi = 4 * sum(ray.get(tasks)) / (TASKS * SAMPLES)
    done = ray.get(progress.fraction.remote())
    print(f"{done:.0%} of {TASKS * SAMPLES:,} points: pi is about {pi:.4f}")


if __name__ == "__main__":
    ray.init()
    main()
