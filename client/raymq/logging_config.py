"""``LoggingConfig``: how the workers of a session write their logs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

ENCODINGS = ("TEXT", "JSON")


@dataclass
class LoggingConfig:
    """How Python's logging writes in a session's tasks and actors. Given to ``init`` or ``connect``.

    Logging on this machine stays as it is. In tasks and actors this class is Ray's own.

    Attributes:
        encoding: ``"TEXT"`` or ``"JSON"``.
        log_level: the level from which records are written.
        additional_log_standard_attrs: further attributes of a record that are written, such as ``"name"``.

    Raises:
        ValueError: there is no such encoding.
    """

    encoding: str = "TEXT"
    log_level: str = "INFO"
    additional_log_standard_attrs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise ValueError(f"an encoding of logs is one of {', '.join(ENCODINGS)}, not {self.encoding!r}")

    def to_dict(self) -> dict[str, Any]:
        """A plain dict of it."""
        return asdict(self)
