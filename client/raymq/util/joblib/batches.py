"""How a batch of joblib's is called. What stands here travels to the cluster as it is, where raymq is Ray."""

from __future__ import annotations

from typing import Any

import raymq


def call(batch: Any) -> Any:
    """Call a batch; the references among the arguments in it stand for their values."""
    batch.items = [
        (function, [_value(arg) for arg in args], {key: _value(arg) for key, arg in kwargs.items()})
        for function, args, kwargs in batch.items
    ]
    return batch()


def _value(arg: Any) -> Any:
    return raymq.get(arg) if isinstance(arg, raymq.ObjectRef) else arg
