"""The backend: joblib's batches are calls of a ``Pool``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from joblib.parallel import AutoBatchingMixin, FallbackToBackend, ParallelBackendBase, SequentialBackend

from raymq.api import current_session
from raymq.pickling import travels_by_value
from raymq.refs import ObjectRef
from raymq.util.joblib import batches
from raymq.util.multiprocessing.pool import Pool
from raymq.util.multiprocessing.results import AsyncResult

SHARED_MIN = 100_000
"""Bytes from which an argument is put into the cluster, once, however many calls have it."""

travels_by_value(batches.__name__)


class RayBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs joblib's calls on the cluster. What is said in ``Parallel(...)`` goes before what is said here.

    Args:
        nesting_level: joblib's.
        inner_max_num_threads: joblib's.
        ray_remote_args: options of the pool's actors, such as ``{"num_cpus": 1}``.
        kwargs: joblib's.
    """

    supports_retrieve_callback = True

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads, **kwargs)
        self._remote_args = ray_remote_args
        self._shared: dict[int, tuple[Any, ObjectRef[Any]]] = {}

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many processes ``n_jobs`` stands for: -1 for as many as the cluster has CPUs, -2 for one less.

        Raises:
            ValueError: it is 0.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or n_jobs > 0:
            return n_jobs or 1
        cpus = int(current_session().cluster_resources().get("CPU", 0))
        return max(1, cpus + 1 + n_jobs)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> int:
        """Make the pool; returns how many processes it has. One job runs here, as with joblib's own backends."""
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._remote_args = ray_remote_args or self._remote_args
        self._pool = Pool(n_jobs, ray_remote_args=self._remote_args)
        return n_jobs

    def submit(self, func: Any, callback: Callable[[Any], object] | None = None) -> AsyncResult:
        """Have a batch called."""
        func.items = [
            (function, [self._share(arg) for arg in args], {key: self._share(arg) for key, arg in kwargs.items()})
            for function, args, kwargs in func.items
        ]
        return self._pool.apply_async(batches.call, (func,), callback=callback, error_callback=callback)

    apply_async = submit  # its name before joblib 1.5

    def retrieve_result_callback(self, out: Any) -> Any:
        """What a batch has returned, a list, or raise what it has raised."""
        if isinstance(out, BaseException):
            raise out
        return out

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End all calls, since one of them has failed."""
        self.terminate()
        if ensure_ready:
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)

    def terminate(self) -> None:
        """End the pool."""
        self._pool.terminate()
        self._shared.clear()
        self.reset_batch_stats()

    def _share(self, arg: Any) -> Any:
        """A reference to a large argument, the same each time."""
        if isinstance(arg, ObjectRef) or sys.getsizeof(arg, 0) < SHARED_MIN:
            return arg
        if id(arg) not in self._shared:
            self._shared[id(arg)] = arg, current_session().put(arg)
        return self._shared[id(arg)][1]
