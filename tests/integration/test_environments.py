"""``RuntimeEnv``, ``LoggingConfig``, and where objects are."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import pytest

import raymq as ray
from raymq.experimental import get_local_object_locations, get_object_locations
from raymq.runtime_env import RuntimeEnv, RuntimeEnvConfig
from tests.integration.conftest import Head, wait_until

pytestmark = pytest.mark.cluster


@ray.remote(num_cpus=0)
def variable(name: str) -> str | None:
    return os.environ.get(name)


def test_a_runtime_env_of_a_task(session: ray.Session) -> None:
    env = RuntimeEnv(env_vars={"OF_A_TEST": "task"}, config=RuntimeEnvConfig(setup_timeout_seconds=60))
    assert ray.get(variable.options(runtime_env=env).remote("OF_A_TEST")) == "task"

    @ray.remote(num_cpus=0)
    def takes(env: Any) -> Any:
        return type(env).__module__, RuntimeEnv(env_vars={"A": "B"}), env

    module, made, back = ray.get(takes.remote(env))
    assert module == "ray.runtime_env.runtime_env"
    assert type(made) is type(back) is RuntimeEnv
    assert made == {"env_vars": {"A": "B"}}
    assert back["env_vars"] == env["env_vars"]


def test_a_runtime_env_of_a_session(cluster: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymq.api._default", None)
    with cluster.connect(runtime_env=RuntimeEnv(env_vars={"OF_A_TEST": "session"}, pip=None)):
        assert ray.get(variable.remote("OF_A_TEST")) == "session"


def test_a_runtime_env_as_such() -> None:
    env = RuntimeEnv(env_vars={"A": "B"}, pip=None)
    env.set("working_dir", "s3://bucket/it.zip")
    assert env == env.to_dict() == {"env_vars": {"A": "B"}, "working_dir": "s3://bucket/it.zip"}
    assert RuntimeEnv.deserialize(env.serialize()) == env
    with pytest.raises(ValueError, match="one of pip, uv and conda"):
        RuntimeEnv(pip=["a"], conda="b")
    assert RuntimeEnvConfig().to_dict() == {"setup_timeout_seconds": 600, "eager_install": True, "log_files": []}
    for wrong in ({"setup_timeout_seconds": 0}, {"setup_timeout_seconds": "1"}, {"log_files": [1]}):
        with pytest.raises((TypeError, ValueError)):
            RuntimeEnvConfig(**wrong)


def test_logs_of_tasks(cluster: Head, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("raymq.api._default", None)
    config = ray.LoggingConfig(encoding="JSON", log_level="DEBUG", additional_log_standard_attrs=["name"])

    @ray.remote(num_cpus=0)
    def log() -> None:
        logging.getLogger("of a test").debug("a record of a task")

    with cluster.connect(logging_config=config) as session:
        ray.get(log.remote())
        said: list[str] = []

        def written() -> Any:
            out, err = capfd.readouterr()
            said.extend((out + err).splitlines())
            return next((line for line in said if "a record of a task" in line), None)

        line = wait_until(written, "the record comes here")
        record = json.loads(line[line.index("{") : line.rindex("}") + 1])
        assert record["message"] == "a record of a task"
        assert record["levelname"] == "DEBUG"
        assert record["name"] == "of a test"
        assert record["job_id"] == session.info.job_id
    with pytest.raises(ValueError, match="TEXT, JSON"):
        ray.LoggingConfig(encoding="XML")


def test_where_objects_are(session: ray.Session) -> None:
    large, small = ray.put(b"x" * 2_000_000), ray.put(1)
    ray.wait([large])
    told = get_object_locations([large, small])
    assert told[large]["object_size"] >= 2_000_000
    assert told[large]["node_ids"] == [session.info.node_id]
    assert get_local_object_locations([large])[large]["object_size"] >= 2_000_000
