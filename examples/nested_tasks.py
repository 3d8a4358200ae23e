"""Tasks that call tasks: a merge sort that splits in the cluster, and a sum over a tree.

A task may call others, and wait for them; while it waits, its processor is free for them. Where
nothing has to be decided on the way, the tree can be made of references from the outside: no task
waits then, and none has more than two arguments.

    RAYMQ_ADDRESS=head:10001 python examples/nested_tasks.py
"""

import heapq
import random

import raymq as ray

SMALL = 2_500


@ray.remote
def merge_sort(numbers):
    if len(numbers) <= SMALL:  # not worth a task
        return sorted(numbers)
    middle = len(numbers) // 2
    halves = [merge_sort.remote(half) for half in (numbers[:middle], numbers[middle:])]
    return list(heapq.merge(*ray.get(halves)))


@ray.remote
def add(a, b):
    return a + b


def tree_sum(refs):
    """Add up pairs, then pairs of their sums, and so on; returns the reference of the last sum."""
    while len(refs) > 1:
        pairs = zip(refs[::2], refs[1::2], strict=False)
        odd_one = refs[-1:] if len(refs) % 2 else []
        refs = [add.remote(a, b) for a, b in pairs] + odd_one
    return refs[0]


def main():
    numbers = list(range(10_000))
    random.Random(1).shuffle(numbers)
    print("sorted:", ray.get(merge_sort.remote(numbers)) == list(range(10_000)))

    leaves = [ray.put(number) for number in range(1, 102)]
    print("sum of 1 to 101:", ray.get(tree_sum(leaves)))


if __name__ == "__main__":
    ray.init()
    main()
