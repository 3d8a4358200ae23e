"""Actors: objects that live in the cluster, and keep their state from call to call.

Calls of one caller are carried out one after the other, in the order in which they were made. A
handle can be given to tasks, and an actor with a name can be found by it.

    RAYMQ_ADDRESS=head:10001 python examples/counter.py
"""

import raymq as ray


@ray.remote
class Counter:
    def __init__(self, start=0):
        self.count = start

    def add(self, number=1):
        self.count += number
        return self.count

    def count_for_ever(self):
        while True:
            self.count += 1

    def read(self):
        return self.count


@ray.remote
def count_letters(counter, text):
    ray.get([counter.add.remote() for letter in text if letter.isalpha()])


def main():
    counter = Counter.remote()
    print("counting:", ray.get([counter.add.remote() for _ in range(5)]))

    # Two actors of a class have nothing in common.
    other = Counter.remote(start=100)
    print("the other one:", ray.get(other.add.remote(11)))

    # Tasks use the actor whose handle they are given.
    letters = Counter.options(name="letters").remote()
    lines = ["one line here,", "and another one."]
    ray.get([count_letters.remote(letters, line) for line in lines])

    # Whoever knows its name finds it, in this namespace.
    print("letters:", ray.get(ray.get_actor("letters").read.remote()))

    # An actor ends with its last handle, when it has done its work; kill() does not wait for that.
    endless = other.count_for_ever.remote()
    ray.kill(other)
    try:
        ray.get(endless)
    except ray.exceptions.RayActorError:
        print("the other one has ended")


if __name__ == "__main__":
    ray.init()
    main()
