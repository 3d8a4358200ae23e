"""A pool of actors sieves for primes, a segment at a time.

The primes up to the root of the limit are enough to sieve all the rest. They are put once, and each
actor of the pool holds them. The pool gives each actor its next segment when its last one is done,
and has the results in order.

    RAYMQ_ADDRESS=head:10001 python examples/prime_sieve.py
"""

import math

import raymq as ray

LIMIT, SEGMENT, ACTORS = 200_000, 20_000, 2


def small_primes(limit):
    """The primes up to a small limit, by trial division."""
    primes = []
    for number in range(2, limit + 1):
        if all(number % prime for prime in primes):
            primes.append(number)
    return primes


@ray.remote
class Sieve:
    def __init__(self, primes):
        self.primes = primes

    def segment(self, start, stop):
        """The primes from ``start`` to before ``stop``."""
        is_prime = bytearray([1]) * (stop - start)
        for prime in self.primes:
            first = max(prime * prime, -(-start // prime) * prime)
            for multiple in range(first, stop, prime):
                is_prime[multiple - start] = 0
        return [number for number in range(start, stop) if is_prime[number - start]]


def main():
    primes = ray.put(small_primes(math.isqrt(LIMIT)))
    pool = ray.util.ActorPool([Sieve.remote(primes) for _ in range(ACTORS)])
    starts = [2, *range(SEGMENT, LIMIT, SEGMENT)]
    segments = pool.map(lambda sieve, start: sieve.segment.remote(start, start - start % SEGMENT + SEGMENT), starts)
    found = [prime for segment in segments for prime in segment]
    print(f"{len(found):,} primes below {LIMIT:,}")
    print("the first:", *found[:10])
    print("the last:", *found[-3:])


if __name__ == "__main__":
    ray.init()
    main()
