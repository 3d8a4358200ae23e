"""The package's version and the versions of the protocol it speaks: two numbers with lives of their own."""

__version__ = "0.1.0"

PROTOCOL_OLDEST = 1
"""The oldest protocol version that this package still understands."""

PROTOCOL_NEWEST = 1
"""The newest protocol version that this package speaks; the first lines of protocol.md name it too."""
