"""Backpressure with ``wait``: no more than so many tasks are pending at a time.

A program makes calls faster than the cluster can carry them out. What is pending takes memory, with
all its arguments. So before each further call this one waits until one of those before has ended.

    RAYMQ_ADDRESS=head:10001 python examples/backpressure.py
"""

import raymq as ray

TASKS = 60
MAX_PENDING = 8


@ray.remote
def digit_sum(number):
    return sum(map(int, str(number)))


def main():
    pending, most, total = [], 0, 0
    for exponent in range(TASKS):
        if len(pending) == MAX_PENDING:
            done, pending = ray.wait(pending, num_returns=1)
            total += sum(ray.get(done))
        pending.append(digit_sum.remote(2**exponent))
        most = max(most, len(pending))
    total += sum(ray.get(pending))
    print(f"{TASKS} tasks, at most {most} pending")
    print("all digits of 2**0 to 2**59:", total)


if __name__ == "__main__":
    ray.init()
    main()
