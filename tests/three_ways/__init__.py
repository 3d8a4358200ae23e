"""One suite against the public API, run three ways with the same expectations; see ``ways.py``."""
