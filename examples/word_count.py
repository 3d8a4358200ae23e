"""Map and reduce: count the words of many texts.

Each map task counts the words of one text, and returns a part for each reduce task: a word always
goes to the same one. Each reduce task adds up its part of all texts. The parts go from task to
task; only the totals come here.

    RAYMQ_ADDRESS=head:10001 python examples/word_count.py
"""

import re
from collections import Counter

import raymq as ray

REDUCERS = 3

TEXTS = [
    "The program holds references, and the cluster holds the objects.",
    "A task takes references, and the cluster gives it the objects.",
    "The task returns an object, and the program holds a reference to it.",
    "An actor is an object that the cluster holds for the program.",
]


@ray.remote(num_returns=REDUCERS)
def count_words(text):
    """The counts of a text, in as many parts as there are reduce tasks."""
    parts = [Counter() for _ in range(REDUCERS)]
    for word in re.findall(r"\w+", text.lower()):
        parts[ord(word[0]) % REDUCERS][word] += 1
    return parts


@ray.remote
def add_up(*parts):
    return sum(parts, Counter())


def main():
    mapped = [count_words.remote(text) for text in TEXTS]
    reduced = [add_up.remote(*parts) for parts in zip(*mapped, strict=True)]
    counts = sum(ray.get(reduced), Counter())
    for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if count > 1:
            print(f"{count:3} {word}")
    print(f"{counts.total()} words, {len(counts)} different ones")


if __name__ == "__main__":
    ray.init()
    main()
