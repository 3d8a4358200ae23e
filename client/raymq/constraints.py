"""What the value of an option may be, and what is wrong with another one: Ray's own sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

NONE = type(None)

Types = type | tuple[type, ...]


def _nothing(value: Any) -> None:
    """Nothing is wrong with any value of the right type."""


class Constraint(NamedTuple):
    """Which values an option takes.

    Attributes:
        types: those that a value may have, or a function that gives them, for types that are imported when needed.
        wrong: says what is wrong with a value of the right type; None if nothing is.
    """

    types: Types | Callable[[], Types]
    wrong: Callable[[Any], str | None] = _nothing

    def check(self, name: str, value: Any) -> None:
        """Refuse a value that the option does not take.

        Raises:
            TypeError: it is of another type.
            ValueError: it is of the right type, and wrong.
        """
        types: Types = self.types if isinstance(self.types, type | tuple) else self.types()
        if not isinstance(value, types):
            raise TypeError(f"The type of keyword '{name}' must be {types}, but received type {type(value)}")
        told = self.wrong(value)
        if told:
            raise ValueError(told)


def count(name: str, *, infinite: bool = False) -> Constraint:
    """A number of things; -1 stands for any number of them, where that is possible."""
    least, words = (-1, "0, -1 or a positive integer, where -1 represents infinity") if infinite else (0, "")
    told = f"The keyword '{name}' only accepts None, {words or '0 or a positive integer'}."
    return Constraint((int, NONE), lambda value: told if value is not None and value < least else None)


def quantity(name: str) -> Constraint:
    """An amount of a resource."""
    return Constraint((float, int, NONE), lambda value: None if value is None else wrong_quantity(name, value))


FINEST = 10_000
"""Parts into which one unit of a resource can be divided."""

CHIPS = (1, 2, 4, 8)
"""TPUs that can be had together."""

_WHOLE = {
    **dict.fromkeys(
        ("neuron_cores", "HPU", "RBLN"),
        "{name} resource quantity must be whole numbers. The specified quantity {amount} is invalid.",
    ),
    "FURIOSA": (
        "{name} resource quantity must be a whole number. Furiosa NPUs do not support fractional resource sharing. "
        "The specified quantity {amount} is invalid."
    ),
    "MBLT": (
        "{name} resource quantity must be a whole number. Mobilint NPUs do not support fractional resource sharing. "
        "The specified quantity {amount} is invalid."
    ),
    "TTNPU": "TTNPU resource quantity ({amount}) must be an integer.",
}
"""Accelerators that cannot be shared, and what is said of a part of one."""


def wrong_quantity(name: str, amount: float) -> str | None:
    """What is wrong with an amount of a resource; None if nothing is."""
    if amount < 0:
        return f"The quantity of resource {name} cannot be negative"
    if isinstance(amount, float) and amount and int(amount * FINEST) == 0:
        return f"The precision of the fractional quantity of resource {name} cannot go beyond 0.0001"
    if name == "TPU" and amount not in CHIPS:
        return (
            f"The number of requested 'TPU' was set to {amount} which is not a supported chip configuration. "
            f"Supported configs: {CHIPS}"
        )
    if name in _WHOLE and isinstance(amount, float) and not amount.is_integer():
        return _WHOLE[name].format(name=name, amount=amount)
    return None


def wrong_resources(resources: dict[str, float] | None) -> str | None:
    """What is wrong with ``resources``; None if nothing is."""
    if resources is None:
        return None
    if "CPU" in resources or "GPU" in resources:
        return "Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU' in 'resources' keyword"
    return next(filter(None, (wrong_quantity(name, amount) for name, amount in resources.items())), None)
