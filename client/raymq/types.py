"""``ray.types`` for programs that have no Ray: the type of references, ``ObjectRef[int]``, for annotations."""

from __future__ import annotations

from raymq.refs import ObjectRef

__all__ = ["ObjectRef"]
