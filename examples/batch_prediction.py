"""Batch prediction: a model is put once, and a few actors hold it and work through all batches.

The model here is a toy that names colours. A real one is large and slow to load; so it travels to
each actor once, and not with each batch. Batches go to whichever actor is free.

    RAYMQ_ADDRESS=head:10001 python examples/batch_prediction.py
"""

from collections import Counter
from itertools import permutations

import raymq as ray

ACTORS, BATCH = 2, 50


class Model:
    """Gives a colour the name of the pure colour that it is most like."""

    def __init__(self, pure_colours):
        self.pure_colours = pure_colours

    def predict(self, colour):
        def likeness(name):
            return sum(a * b for a, b in zip(colour, self.pure_colours[name], strict=True))

        return max(self.pure_colours, key=likeness)


@ray.remote
class Predictor:
    def __init__(self, model):
        self.model = model

    def predict(self, batch):
        return [self.model.predict(colour) for colour in batch]


def main():
    model = ray.put(Model({"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}))
    colours = list(permutations(range(8), 3))
    batches = [colours[start : start + BATCH] for start in range(0, len(colours), BATCH)]

    idle = [Predictor.remote(model) for _ in range(ACTORS)]
    busy, names = {}, Counter()
    while batches or busy:
        while batches and idle:
            actor = idle.pop()
            busy[actor.predict.remote(batches.pop())] = actor
        [done], _ = ray.wait(list(busy))
        names.update(ray.get(done))
        idle.append(busy.pop(done))
    for name, count in sorted(names.items()):
        print(f"{name}: {count} of {len(colours)}")


if __name__ == "__main__":
    ray.init()
    main()
