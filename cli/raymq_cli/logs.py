"""The supervisor's own log lines, on stderr, in the form that broker and bridges use too."""

from __future__ import annotations

import sys
from typing import Any

import structlog


def configure(log_format: str) -> Any:
    """Set structlog up; returns the supervisor's logger.

    Args:
        log_format: ``console`` for people, ``json`` for machines.
    """
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    return structlog.get_logger(component="supervisor")
