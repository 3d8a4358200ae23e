"""``ray.runtime_context`` for programs that have no Ray. In tasks and actors it is Ray's own module."""

from __future__ import annotations

from raymq.api import get_runtime_context
from raymq.context import RuntimeContext

__all__ = ["RuntimeContext", "get_runtime_context"]
