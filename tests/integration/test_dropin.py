"""``import ray`` with ``ray.init("raymq://...")``: connections. What goes over them is in ``test_three_ways.py``.

Ray's client mode is a matter of a whole process, so each test has one of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.integration.conftest import Head

pytest.importorskip("ray")
pytestmark = pytest.mark.cluster

PRELUDE = """
import os, sys, warnings
import pytest
import ray
HEAD = "raymq://" + os.environ["HEAD"]

@ray.remote(num_cpus=0)
def where():
    context = ray.get_runtime_context()
    return context.get_job_id(), context.namespace, os.environ.get("WORD")

@ray.remote(num_cpus=0)
class Counter:
    def __init__(self):
        self.value = 0
    def add(self):
        self.value += 1
        return self.value
"""


def run(cluster: Head, body: str, **environ: str) -> None:
    """Run a program of its own, which fails by itself if it fails."""
    program = PRELUDE + textwrap.dedent(body)
    # The bridge's modules, which other tests import, switch Ray's own connecting off.
    ours = {name: value for name, value in os.environ.items() if name != "RAY_ENABLE_AUTO_CONNECT"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**ours, "HEAD": cluster.address, **environ},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_context_is_ray_s_own(cluster: Head) -> None:
    run(
        cluster,
        """
        context = ray.init(HEAD, timeout=60)
        assert type(context) is ray.client_builder.ClientContext
        assert context.ray_version == ray.__version__
        assert context.ray_commit == ray.__commit__
        assert context.python_version.split(".")[:2] == [str(part) for part in sys.version_info[:2]]
        assert isinstance(context.dashboard_url, str)
        assert ray.is_initialized()
        assert ray.util.client.ray.is_connected()
        ray.get(where.remote())
        context.disconnect()
        assert not ray.is_initialized()
        assert ray.util.client.num_connected_contexts() == 0
        with ray.init(HEAD, timeout=60):
            assert ray.get(where.remote())
        assert not ray.is_initialized()
        ray.init(HEAD, timeout=60)
        ray.shutdown()
        ray.shutdown()
        assert not ray.is_initialized()
        assert not ray._private.client_mode_hook.is_client_mode_enabled
        """,
    )


def test_functions_and_actor_classes_outlive_a_connection(cluster: Head) -> None:
    run(
        cluster,
        """
        jobs = set()
        for _ in range(2):
            with ray.init(HEAD, timeout=60):
                jobs.add(ray.get(where.remote())[0])
                old = Counter.remote()
                assert ray.get(old.add.remote()) == 1
        assert len(jobs) == 2
        with ray.init(HEAD, timeout=60):
            with pytest.raises(Exception, match="closed"):
                ray.get(old.add.remote())
        """,
    )


def test_connecting_twice(cluster: Head) -> None:
    run(
        cluster,
        """
        first = ray.init(HEAD, timeout=60)
        job = ray.get_runtime_context().get_job_id()
        with pytest.raises(RuntimeError, match="Ray Client is already connected"):
            ray.init(HEAD, timeout=60)
        with pytest.raises(RuntimeError, match="twice by accident"):
            ray.init()
        with pytest.raises(RuntimeError, match="RAY_ADDRESS"):
            ray.init(ignore_reinit_error=True)
        again = ray.init(HEAD, timeout=60, ignore_reinit_error=True)
        assert again.ray_version == first.ray_version
        assert ray.get_runtime_context().get_job_id() == job
        """,
    )


def test_several_contexts(cluster: Head) -> None:
    run(
        cluster,
        """
        one = ray.init(HEAD, timeout=60, allow_multiple=True, namespace="one")
        two = ray.init(HEAD, timeout=60, allow_multiple=True, namespace="two")
        with pytest.raises(ValueError, match="allow_multiple=True"):
            ray.init(HEAD, timeout=60)
        told = []
        for context in (one, two, one):
            with context:
                ref = ray.put(1)
                told.append(ray.get(where.remote()))
        assert [namespace for _, namespace, _ in told] == ["one", "two", "one"]
        assert told[0][0] == told[2][0] != told[1][0]
        with two, pytest.raises(ValueError, match="belongs to"):
            ray.get(ref)
        with one:
            assert ray.get(ref) == 1
        one.disconnect()
        with two:
            assert ray.get(where.remote())
        two.disconnect()
        assert ray.util.client.num_connected_contexts() == 0
        ray.init(HEAD, timeout=60)
        assert ray.get(where.remote())
        """,
    )


def test_the_address_from_the_environment(cluster: Head) -> None:
    run(
        cluster,
        """
        ray.init(namespace="given")
        assert ray.get(where.remote())[1:] == ("given", "there")
        ray.shutdown()
        # Without ray.init, the first call connects.
        assert ray.get(where.remote())[1:] == ("from-environment", "there")
        assert ray.util.client.ray.is_connected()
        """,
        RAY_ADDRESS=f"raymq://{cluster.address}",
        RAY_NAMESPACE="from-environment",
        RAY_RUNTIME_ENV='{"env_vars": {"WORD": "there"}}',
    )


def test_the_original_form(cluster: Head) -> None:
    run(
        cluster,
        """
        with pytest.warns(DeprecationWarning, match="raymq://"):
            context = ray.client(HEAD).env({"env_vars": {"WORD": "sent"}}).namespace("mine").connect()
        with context:
            assert ray.get(where.remote())[1:] == ("mine", "sent")
        assert not ray.is_initialized()
        """,
    )


def test_options(cluster: Head) -> None:
    run(
        cluster,
        """
        for options in ({"num_cpus": 1}, {"dashboard_port": 1}, {"object_store_memory": 10**8}):
            with pytest.raises(ValueError, match="is for starting a cluster"):
                ray.init(HEAD, **options)
        with pytest.raises(ValueError, match="no option 'nonsense'"):
            ray.init(HEAD, nonsense=1)
        with pytest.raises(ConnectionError, match="does not resolve"):
            ray.init("raymq://there.is.no.such.host.invalid:1")
        assert not ray.is_initialized()
        ray.init(
            HEAD, timeout=60, namespace="ns", runtime_env={"env_vars": {"WORD": "w"}}, logging_level="WARNING",
            log_to_driver=False, configure_logging=True,
        )
        assert ray.get(where.remote())[1:] == ("ns", "w")
        for options in ({"_owner": Counter.remote()}, {"_tensor_transport": "nccl"}):
            with pytest.raises(ValueError, match=f"takes no {next(iter(options))} through raymq"):
                ray.put(1, **options)
        """,
    )


def test_output_of_workers(cluster: Head) -> None:
    run(
        cluster,
        """
        import io, threading, time
        seen = threading.Event()
        class Out(io.StringIO):
            def write(self, text):
                if "a word from the worker" in text:
                    seen.set()
                return len(text)
        sys.stdout = Out()
        @ray.remote
        def say():
            print("a word from the worker")
        ray.init(HEAD, timeout=60)
        ray.get(say.remote())
        assert seen.wait(60)
        """,
    )


def test_ray_without_grpc(cluster: Head) -> None:
    run(
        cluster,
        """
        sys.modules["grpc"] = None  # as with a plain "pip install ray"
        for options in ({}, {"allow_multiple": True}):
            with ray.init(HEAD, timeout=60, **options):
                counter = Counter.remote()
                assert ray.get(counter.add.remote()) == 1
            ray.shutdown()
        assert "ray.util.client.common" not in sys.modules
        """,
    )


def test_versions_are_ray_s_matter(cluster: Head) -> None:
    run(
        cluster,
        """
        from raymq.protocol import versions
        versions.ray_version = lambda: "2.0.0"  # what the broker is told
        ray.init(HEAD, timeout=60)  # it is for Ray to compare
        ray.shutdown()
        ray.__version__ = "2.0.0"
        with pytest.raises(RuntimeError, match="(?s)Version mismatch: The cluster was started with:.*Ray: 2.0.0"):
            ray.init(HEAD, timeout=60)
        assert not ray.is_initialized()
        os.environ["RAY_IGNORE_VERSION_MISMATCH"] = "1"
        ray.init(HEAD, timeout=60)
        assert ray.get(where.remote())
        """,
    )


def test_a_session_that_is_lost(cluster: Head) -> None:
    run(
        cluster,
        """
        import subprocess, time
        import raymq
        ray.init(HEAD, timeout=60, session="to-be-lost")
        ref = ray.put(1)
        command = [sys.executable, "-m", "raymq_cli", "sessions", "kill", "to-be-lost"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while ray.is_initialized():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        def all_say_so():
            for call in (lambda: ray.get(ref), lambda: where.remote(), lambda: ray.put(1), ray.nodes):
                with pytest.raises(raymq.SessionLost):  # and no cluster starts here instead
                    call()
        all_say_so()
        with pytest.raises(raymq.NothingListens):
            ray.init("raymq://127.0.0.1:1", timeout=1)
        all_say_so()
        ray.init(HEAD, timeout=60)
        assert ray.get(where.remote())
        with pytest.raises(raymq.WrongSession):
            ray.get(ref)
        """,
        RAYMQ_RUNTIME_DIR=cluster.environ["RAYMQ_RUNTIME_DIR"],
    )


def test_a_session_that_starts_over(cluster: Head) -> None:
    run(
        cluster,
        """
        import subprocess, time
        import psutil, raymq
        ray.init(HEAD, timeout=60, reconnect="new")
        job, lost = ray.get(where.remote())[0], ray.put(1)
        driver = ray.util.client.ray.get_context().api.session.id.hex()
        command = [sys.executable, "-m", "raymq_cli", "status", "--json", "--no-publications"]
        status = __import__("json").loads(subprocess.run(command, check=True, capture_output=True).stdout)
        (pid,) = [b["pid"] for i in status["instances"] for b in i["bridges"] if b["session"] == driver]
        psutil.Process(pid).kill()
        deadline = time.monotonic() + 60
        while True:
            try:
                again = ray.get(where.remote())[0]
                break
            except (raymq.SessionLost, raymq.ConnectError):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert again != job
        with pytest.raises(raymq.ObjectLost):
            ray.get(lost)
        """,
        RAYMQ_RUNTIME_DIR=cluster.environ["RAYMQ_RUNTIME_DIR"],
    )


def test_raymq_itself_beside_it(cluster: Head) -> None:
    run(
        cluster,
        """
        import raymq
        ray.init(HEAD, timeout=60)
        with raymq.connect(os.environ["HEAD"], timeout=60) as session:
            @raymq.remote
            def thin():
                return "thin"
            assert session.get(thin.remote()) == "thin"
            assert ray.get(where.remote())
            assert type(raymq.ClientBuilder("x")).__module__ == "raymq.api"
            assert type(raymq.client("x")).__module__ == "raymq.api"
        assert ray.get(where.remote())
        """,
    )


def test_references_do_not_leave_their_session(cluster: Head) -> None:
    run(
        cluster,
        """
        import copy, pickle
        ray.init(HEAD, timeout=60)
        for make in (lambda: ray.put(1), Counter.remote):
            held = make()
            pickled = pickle.dumps(held)
            assert pickle.loads(pickled) is held
            assert copy.deepcopy([held])[0] is held
            del held
            with pytest.raises(TypeError, match="within its own session"):
                pickle.loads(pickled)
        """,
    )


def test_ray_data_is_told_of_objects_that_are_let_go(cluster: Head) -> None:
    run(
        cluster,
        """
        import threading
        from ray._private.worker import global_worker
        ray.init(HEAD, timeout=60)
        gone, ids = threading.Event(), []
        ref = ray.put(b"x" * 200_000)
        wanted = ref.binary()
        core = global_worker.core_worker
        assert core.add_object_out_of_scope_callback(ref, lambda id: (ids.append(id), gone.set()))
        assert not core.add_object_out_of_scope_callback(ray.ObjectRef.nil(), print)
        assert ray.experimental.get_local_object_locations([ref])[ref]["object_size"] > 200_000
        assert not gone.is_set()
        del ref
        ray.get(where.remote())
        assert gone.wait(60)
        assert ids == [wanted]
        assert ray._private.state.state.get_draining_nodes() == {}
        ray.shutdown()
        assert not global_worker.connected
        assert not hasattr(global_worker, "core_worker")
        """,
    )


def test_what_goes_is_released(cluster: Head) -> None:
    run(
        cluster,
        """
        import gc, time
        ray.init(HEAD, timeout=60)
        counter = Counter.options(name="goes").remote()
        ray.get(counter.add.remote())
        del counter
        gc.collect()
        deadline = time.monotonic() + 60
        while "goes" in ray.util.list_named_actors():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        """,
    )


def test_a_working_directory_of_this_machine(cluster: Head, tmp_path: Path) -> None:
    (tmp_path / "of_the_client.py").write_text("WORD = 'from this machine'\n")
    (tmp_path / "data.txt").write_text("some data")
    (tmp_path / "too.large").write_text("left out")
    run(
        cluster,
        """
        ray.init(HEAD, timeout=60, runtime_env={"working_dir": os.environ["FILES"], "excludes": ["*.large"]})

        @ray.remote(num_cpus=0)
        def look():
            import of_the_client
            return of_the_client.WORD, open("data.txt").read(), os.path.exists("too.large")

        assert ray.get(look.remote()) == ("from this machine", "some data", False)
        ray.shutdown()
        """,
        FILES=str(tmp_path),
    )
