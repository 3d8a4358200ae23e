"""``ray.remote_function`` for programs that have no Ray. In tasks and actors it is Ray's own module."""

from __future__ import annotations

from raymq.functions import RemoteFunction

__all__ = ["RemoteFunction"]
