"""Metrics of one's own, which the cluster exports for Prometheus beside Ray's.

In tasks and actors these are Ray's own, also where they were made here: each process counts for itself. What is
recorded on a client is recorded by the session's driver, the bridge.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

from raymq.api import current_session
from raymq.packing import type_name

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
Kind = TypeVar("Kind", bound="Metric")


class Metric:
    """What all metrics have in common.

    Args:
        name: letters, digits and underscores; one that cannot be a name makes a metric that is never seen.
        description: what it tells.
        tag_keys: the names of its tags; each record has a value for each of them.

    Raises:
        ValueError: the name is empty.
        TypeError: ``tag_keys`` is no tuple of strings.
    """

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None) -> None:
        if not name:
            raise ValueError("a metric has a name that is not empty")
        self._discarded = _NAME.fullmatch(name) is None
        if self._discarded:
            text = f"{name!r} cannot be a metric's name, which has letters, digits and _ only: it will not be seen"
            warnings.warn(text, UserWarning, stacklevel=3)
        if tag_keys is not None and not isinstance(tag_keys, tuple):
            raise TypeError(f"tag_keys is a tuple, not {type_name(tag_keys)}")
        for key in tag_keys or ():
            if not isinstance(key, str):
                raise TypeError(f"the keys of tags are strings, not {type_name(key)}")
        self._name, self._description, self._tag_keys = name, description, tag_keys or ()
        self._default_tags: dict[str, str] = {}

    @property
    def info(self) -> dict[str, Any]:
        """Its name, description, tag keys and default tags."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": self._default_tags,
        }

    def set_default_tags(self: Kind, default_tags: dict[str, str]) -> Kind:  # noqa: PYI019 - Python 3.10 has no Self
        """Set the values of tags that a record does not give. As in Ray, they do not travel with the metric.

        Raises:
            ValueError: it has no such tag.
            TypeError: a value is no string.
        """
        for key, value in default_tags.items():
            if key not in self._tag_keys:
                raise ValueError(f"{self._name} has no tag {key!r}")
            if not isinstance(value, str):
                raise TypeError(f"the values of tags are strings, not {type_name(value)}")
        self._default_tags = default_tags
        return self

    def _fields(self) -> tuple[Any, ...]:
        return self._name, self._description, self._tag_keys

    def _record(self, value: float, tags: dict[str, str] | None) -> None:
        """Have the bridge record a figure; it is Ray who says what is wrong with it."""
        if not self._discarded:
            merged = {**self._default_tags, **(tags or {})}
            current_session().request("metric", type(self).__name__, self._fields(), value, merged)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._fields()


class Counter(Metric):
    """A number that only grows. Prometheus sees it as ``ray_NAME_total``."""

    def inc(self, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        """Add to it.

        Args:
            value: how much; above 0.
            tags: go before the default ones.

        Raises:
            ValueError: the value is not above 0, or a tag has no value.
            TypeError: the value is no number.
            NotConnected: this is a client, and there is no session.
        """
        self._record(value, tags)


class Gauge(Metric):
    """A number that goes up and down; the last one counts."""

    def set(self, value: float | None, tags: dict[str, str] | None = None) -> None:
        """Set it; None changes nothing.

        Raises:
            ValueError: a tag has no value.
            TypeError: the value is no number.
            NotConnected: this is a client, and there is no session.
        """
        if value is not None:
            self._record(value, tags)


class Histogram(Metric):
    """How often figures of which size occurred.

    Args:
        name: as of any metric.
        description: the same.
        boundaries: the upper ends of the buckets, all above 0.
        tag_keys: as of any metric.

    Raises:
        ValueError: there are no boundaries, or one is not above 0.
    """

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: Sequence[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(name, description, tag_keys)
        if not boundaries or min(boundaries) <= 0:
            raise ValueError(f"a histogram has boundaries, all above 0, as in [1.0, 10.0], not {boundaries}")
        self.boundaries = boundaries

    @property
    def info(self) -> dict[str, Any]:
        """Its name, description, tag keys, default tags and boundaries."""
        return {**super().info, "boundaries": self.boundaries}

    def observe(self, value: float, tags: dict[str, str] | None = None) -> None:
        """Count a figure in.

        Raises:
            ValueError: a tag has no value.
            TypeError: the value is no number.
            NotConnected: this is a client, and there is no session.
        """
        self._record(value, tags)

    def _fields(self) -> tuple[Any, ...]:
        return self._name, self._description, list(self.boundaries), self._tag_keys


__all__ = ["Counter", "Gauge", "Histogram"]
