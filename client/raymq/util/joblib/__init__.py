"""``ray.util.joblib``: joblib's ``Parallel``, and what uses it, scikit-learn say, on the cluster."""

from importlib import import_module

__all__ = ["register_ray"]


def register_ray() -> None:
    """Make ``"ray"`` one of joblib's backends, as in ``with joblib.parallel_config(backend="ray"): ...``.

    Raises:
        ImportError: joblib is not installed here. The cluster needs it, too.
    """
    try:
        joblib = import_module("joblib.parallel")
    except ModuleNotFoundError as error:
        text = 'register_ray() needs joblib, here and on the cluster: pip install "raymq[joblib]"'
        raise ImportError(text) from error
    backend = import_module("raymq.util.joblib.ray_backend").RayBackend
    joblib.register_parallel_backend("ray", backend)
