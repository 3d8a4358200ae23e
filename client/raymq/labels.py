"""The syntax of labels, which is that of Kubernetes, and what is wrong with one: Ray's own sentences.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
"""

from __future__ import annotations

import re
from typing import Any

_NAME = r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_PREFIX = rf"({_NAME})?(\.({_NAME})?)*"
_SELECTOR = rf"!?(in)?\({_NAME}(, ?{_NAME})*\)|!?{_NAME}"

_FORM = (
    "63 chars or less beginning and ending with an alphanumeric character ([a-z0-9A-Z]) with dashes (-), "
    "underscores (_),dots (.), and alphanumerics between."
)


def wrong_key(key: str) -> str | None:
    """What is wrong with a label's key; None if nothing is."""
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not re.fullmatch(_PREFIX, prefix)):
        return (
            f"Invalid label key prefix `{prefix}`. Prefix must be a series of DNS labels "
            "separated by dots (.), not longer than 253 characters in total."
        )
    if not re.fullmatch(_NAME, name):
        return f"Invalid label key name `{name}`. Name must be {_FORM}"
    return None


def wrong_selector(selector: dict[str, str | None] | None) -> str | None:
    """What is wrong with a ``label_selector``; None if nothing is."""
    for key, value in (selector or {}).items():
        told = wrong_key(key) or (_wrong_value(value) if value is not None else None)
        if told:
            return told
    return None


def _wrong_value(value: str) -> str | None:
    if value == "" or re.fullmatch(_SELECTOR, value):
        return None
    return (
        f"Invalid label selector value `{value}`. The label selector value should contain optional operators and a "
        f"label value. Supported operators are: ! and {{'in'}}. Value must be {_FORM}"
    )


def wrong_fallbacks(strategies: list[dict[str, Any]] | None) -> str | None:
    """What is wrong with a ``fallback_strategy``; None if nothing is."""
    for strategy in strategies or ():
        if not isinstance(strategy, dict):
            return "Each element in fallback_strategy must be a dictionary."
        if not strategy:
            return "Empty dictionary found in `fallback_strategy`."
        for option in strategy:
            if option != "label_selector":
                return f"Unsupported option found: '{option}'. Only ['label_selector'] is currently supported."
        selector = strategy["label_selector"]
        if selector and not isinstance(selector, dict):
            return 'The value of "label_selector" must be a dictionary.'
        told = wrong_selector(selector)
        if told:
            return told
    return None
