"""joblib on the cluster: ``ray.util.joblib.register_ray``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import cloudpickle
import joblib
import pytest

import raymq as ray
from raymq.util.joblib import register_ray

pytestmark = pytest.mark.cluster


def add(x: int, y: int = 0) -> int:
    return x + y


def pid() -> int:
    return os.getpid()


def fails(x: int) -> int:
    if x == 3:
        raise LookupError(f"no {x}")
    return x


@pytest.fixture(scope="module", autouse=True)
def _travels_by_value() -> Iterator[None]:
    """The cluster does not have this module, which the functions above are from."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_joblib(session: ray.Session) -> None:
    register_ray()
    with joblib.parallel_config(backend="ray", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(add)(x, y=1) for x in range(30)) == list(range(1, 31))
        assert os.getpid() not in joblib.Parallel()(joblib.delayed(pid)() for _ in range(4))
        with pytest.raises(LookupError, match="no 3"):
            joblib.Parallel()(joblib.delayed(fails)(x) for x in range(6))
        results = joblib.Parallel(return_as="generator")(joblib.delayed(add)(x, x) for x in range(4))
        assert list(results) == [0, 2, 4, 6]
        assert joblib.effective_n_jobs(-1) == int(ray.cluster_resources()["CPU"])
    with joblib.parallel_config(backend="ray", n_jobs=2, ray_remote_args={"num_cpus": 0.1}):
        assert joblib.Parallel()(joblib.delayed(add)(x, x) for x in range(3)) == [0, 2, 4]
    with joblib.parallel_config(backend="ray", n_jobs=1):
        assert joblib.Parallel()(joblib.delayed(pid)() for _ in range(2)) == [os.getpid()] * 2


def test_joblib_sends_a_large_argument_once(session: ray.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    register_ray()
    large, puts = b"x" * 200_000, []
    original = ray.Session.put
    monkeypatch.setattr(ray.Session, "put", lambda self, value: puts.append(value) or original(self, value))
    with joblib.parallel_config(backend="ray", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(len)(large) for _ in range(20)) == [200_000] * 20
    assert len([value for value in puts if value is large]) == 1


def test_without_joblib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "joblib.parallel", None)
    with pytest.raises(ImportError, match=r"raymq\[joblib\]"):
        register_ray()
