"""A streaming generator: a task yields its results one by one, and they are used while it still runs.

A call of a generator function returns a generator of references. Each can be gotten, or given to
another task, as soon as its item was yielded. A generator without an end is cancelled by whoever
has read enough; it does not run ahead by more than its option says.

    RAYMQ_ADDRESS=head:10001 python examples/streaming_generator.py
"""

import raymq as ray


@ray.remote
def read_in_chunks(text, size):
    """Stands for a file that is too large to be held at once."""
    for start in range(0, len(text), size):
        yield text[start : start + size]


@ray.remote
def count_vowels(chunk):
    return sum(chunk.count(vowel) for vowel in "aeiou")


@ray.remote(_generator_backpressure_num_objects=2)
def fibonacci():
    a, b = 0, 1
    while True:
        yield a
        a, b = b, a + b


def main():
    for chunk in read_in_chunks.remote("streams of items", 6):
        print("chunk:", repr(ray.get(chunk)))

    # References go on to other tasks; the chunks never come here.
    counts = [count_vowels.remote(chunk) for chunk in read_in_chunks.remote("the quick brown fox " * 100, 500)]
    print("vowels by chunk:", ray.get(counts))

    numbers = fibonacci.remote()
    print("fibonacci:", *[ray.get(next(numbers)) for _ in range(12)])
    ray.cancel(numbers)


if __name__ == "__main__":
    ray.init()
    main()
