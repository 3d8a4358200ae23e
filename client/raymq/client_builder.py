"""``ray.client_builder`` for programs that have no Ray: the original form of Ray Client, for sessions of raymq."""

from __future__ import annotations

from raymq.api import ClientBuilder, client

__all__ = ["ClientBuilder", "client"]
