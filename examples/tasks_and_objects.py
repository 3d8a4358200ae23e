"""Tasks and objects: functions that run in the cluster, and values that stay there.

A call of a remote function returns at once, with a reference to what it is going to return. A
reference can be an argument of the next task: the value goes from one to the other, and not through
this program. Only ``get`` waits.

    RAYMQ_ADDRESS=head:10001 python examples/tasks_and_objects.py
"""

import raymq as ray


@ray.remote
def square(x):
    return x * x


@ray.remote
def part_of_sum(numbers, start, stop):
    return sum(numbers[start:stop])


@ray.remote
def add(*numbers):
    return sum(numbers)


@ray.remote(num_returns=2)
def divide(a, b):
    return a // b, a % b


def main():
    # Many tasks, one get: they run at the same time, as far as the cluster has processors for them.
    print("squares:", ray.get([square.remote(x) for x in range(6)]))

    # Tasks that take what other tasks return.
    print("3 to the power of 8:", ray.get(square.remote(square.remote(square.remote(3)))))

    # A large value is put once; each task gets a reference to it.
    numbers = ray.put(list(range(100_001)))
    parts = [part_of_sum.remote(numbers, start, start + 25_000) for start in range(0, 100_001, 25_000)]
    print("sum of 0 to 100,000:", ray.get(add.remote(*parts)))

    # A task with two results has a reference for each.
    quotient, remainder = divide.remote(47, 5)
    print("47 / 5:", ray.get(quotient), "remainder", ray.get(remainder))

    # What a task raises is raised where its result is gotten.
    quotient, _ = divide.remote(1, 0)
    try:
        ray.get(quotient)
    except ZeroDivisionError:
        print("1 / 0: ZeroDivisionError")


if __name__ == "__main__":
    ray.init()
    main()
