"""``ray.util.multiprocessing``: a ``Pool`` as in Python's ``multiprocessing``, whose processes are actors."""

from multiprocessing import JoinableQueue, TimeoutError  # noqa: A004 - its name

from raymq.util.multiprocessing.pool import Pool

__all__ = ["JoinableQueue", "Pool", "TimeoutError"]
