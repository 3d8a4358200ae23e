"""References in a program with asyncio: they can be awaited, gathered, and iterated over with ``async for``.

While a coroutine waits for the cluster, the others go on. Actors can have coroutines, too: their
calls run side by side, which the two sides of the rendezvous here need.

    RAYMQ_ADDRESS=head:10001 python examples/await_references.py
"""

import asyncio

import raymq as ray


@ray.remote
def cube(x):
    return x**3


@ray.remote
def count_down(start):
    while start > 0:
        yield start
        start -= 1


@ray.remote
class Rendezvous:
    """Two guests; each is told the name of the other."""

    def __init__(self):
        self.guests = []
        self.complete = asyncio.Event()

    async def meet(self, name):
        self.guests.append(name)
        if len(self.guests) == 2:
            self.complete.set()
        await self.complete.wait()
        [other] = [guest for guest in self.guests if guest != name]
        return other


async def main():
    print("awaited:", await cube.remote(3))
    print("gathered:", await asyncio.gather(*[cube.remote(x) for x in range(5)]))

    # In the order in which they are ready, which may be any.
    values = [await ref for ref in asyncio.as_completed([cube.remote(x) for x in range(5)])]
    print("as completed:", sorted(values))

    print("counted down:", [await item async for item in count_down.remote(4)])

    place = Rendezvous.remote()
    others = await asyncio.gather(place.meet.remote("Ada"), place.meet.remote("Blaise"))
    print("they met:", *others)


if __name__ == "__main__":
    ray.init()
    asyncio.run(main())
