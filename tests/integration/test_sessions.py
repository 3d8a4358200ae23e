"""Sessions: opening, closing, several of them, and what they know."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import raymq as ray
from raymq import api
from tests.integration.conftest import Head, there_and_back, wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture
def no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_default", None)


def test_info(session: ray.Session, cluster: Head) -> None:
    info = session.info
    assert info.address == cluster.address
    assert info.protocol == 1
    assert info.client["python"] == info.cluster["python"] == platform.python_version()
    assert info.client["raymq"] == ray.__version__
    assert info.cluster["ray"]
    assert info.cluster["packages"]["cloudpickle"]
    assert len(bytes.fromhex(info.job_id)) == 4
    assert info.node_id == session.nodes()[0]["NodeID"]
    assert info.differing_packages == {}
    assert ":" in info.dashboard_url


def test_job_and_namespace_are_the_sessions_own(cluster: Head) -> None:
    with cluster.connect(namespace="one") as first, cluster.connect(namespace="two") as second:
        assert (first.info.namespace, second.info.namespace) == ("one", "two")
        assert first.info.job_id != second.info.job_id

        @ray.remote(num_cpus=0)
        class Named:
            def where(self) -> str:
                return ray.get_runtime_context().namespace  # type: ignore[attr-defined, no-any-return]

        named = second.remote(num_cpus=0)(Named._definition.target).options(name="only here").remote()
        assert second.get(named.where.remote()) == "two"
        assert second.list_named_actors() == ["only here"]
        assert second.get_actor("only here") == named
        with pytest.raises(ValueError, match="only here"):
            first.get_actor("only here")
        assert first.get_actor("only here", namespace="two") is not None


def test_references_stay_with_their_session(session: ray.Session, own_session: ray.Session) -> None:
    mine, other = own_session.put(1), session.put(2)
    for wrong in (
        lambda: own_session.get(other),
        lambda: own_session.wait([mine, other]),
        lambda: own_session.put([other]),
        lambda: own_session.remote(lambda x: x).remote(other),
    ):
        with pytest.raises(ray.WrongSession, match="use it with its own session"):
            wrong()
    assert own_session.get(mine) == 1


def test_functions_are_shared_by_sessions(
    session: ray.Session, own_session: ray.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decorated once, before any of them; each session gets the definition by itself."""

    @ray.remote
    def which() -> str:
        return ray.get_runtime_context().get_job_id()  # type: ignore[attr-defined, no-any-return]

    monkeypatch.setattr(api, "_default", own_session)
    assert ray.get(which.remote()) == own_session.info.job_id
    monkeypatch.setattr(api, "_default", session)
    assert ray.get(which.remote()) == session.info.job_id


def test_connect_sets_the_default(cluster: Head, no_default: None) -> None:
    assert not ray.is_initialized()
    with pytest.raises(ray.NotConnected, match="call raymq.connect"):
        ray.put(1)
    with cluster.connect() as session:
        assert ray.is_initialized()
        assert there_and_back(ray)
    assert not session.is_open
    assert not ray.is_initialized()
    with pytest.raises(ray.SessionClosed):
        session.put(1)
    ray.shutdown()
    ray.shutdown()


def test_init(cluster: Head, no_default: None) -> None:
    session = ray.init(f"raymq://{cluster.address}", namespace="by init", logging_level="info", session="i", timeout=60)
    try:
        assert session.info.namespace == "by init"
        assert session.name == "i"
        with pytest.raises(RuntimeError, match="twice"):
            ray.init(cluster.address)
        assert ray.init(cluster.address, ignore_reinit_error=True) is session
    finally:
        ray.shutdown()
    with pytest.raises(ValueError, match="num_cpus is for starting a cluster"):
        ray.init(cluster.address, num_cpus=2)
    with pytest.raises(ValueError, match="enable_resource_isolation is for starting a cluster"):
        ray.init(cluster.address, local_mode=False, enable_resource_isolation=True)
    with pytest.raises(ValueError, match="no option 'colour'"):
        ray.init(cluster.address, colour="red")
    with pytest.raises(ValueError, match="takes no job_config"):
        ray.init(cluster.address, job_config=object())


def test_client_builder(cluster: Head, no_default: None) -> None:
    session = ray.client(cluster.address).namespace("built").env({"env_vars": {"RAYMQ_TEST": "built"}}).connect()
    with session:
        assert session.info.namespace == "built"
        assert session.get(session.remote(lambda: os.environ["RAYMQ_TEST"]).remote()) == "built"


def test_address_from_the_environment(cluster: Head, no_default: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYMQ_ADDRESS", cluster.address)
    with ray.connect(timeout=60) as session:
        assert session.info.address == cluster.address


def test_close_fails_what_waits(cluster: Head) -> None:
    import threading

    session = cluster.connect()

    @session.remote(num_cpus=0)
    def sleep() -> None:
        import time

        time.sleep(600)

    reference = sleep.remote()
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            session.get(reference)
        except ray.SessionClosed as error:
            failures.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: session._life.ledger._values, "the get is waiting")
    session.close()
    thread.join(60)
    assert len(failures) == 1


def test_goodbye_comes_after_everything(cluster: Head, view: Any) -> None:
    """What was called before close() still happens, although nobody waited for it."""
    with cluster.connect(namespace="goodbye") as session:

        @session.remote(num_cpus=0, name="survivor", lifetime="detached")
        class Survivor:
            def name(self) -> str:
                return "survivor"

        Survivor.remote()
    with cluster.connect(namespace="goodbye") as session:
        survivor = wait_until(lambda: _actor(session, "survivor"), "the detached actor is there")
        assert session.get(survivor.name.remote()) == "survivor"
        session.kill(survivor)


def _actor(session: ray.Session, name: str) -> Any:
    try:
        return session.get_actor(name)
    except ValueError:
        return None


def test_fork(session: ray.Session) -> None:
    """A forked child gets a clear error, and does no harm to its parent's session."""
    reference = ray.put(1)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            ray.get(reference)
        except ray.ForkedSession:
            os.write(writer, b"refused")
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"refused"
    os.close(reader)
    assert ray.get(reference) == 1


SCRIPT = """
import raymq as ray
ray.connect({address!r}, timeout=60)

@ray.remote
def do_work(x):
    return x ** x

class Box:
    def __init__(self, x):
        self.x = x

@ray.remote(num_cpus=0)
class Keeper:
    def keep(self, box):
        self.box = box
        return box

print(ray.get(do_work.remote(2)))
print(type(ray.get(Keeper.remote().keep.remote(Box(1)))) is Box)
"""


def test_script(cluster: Head, tmp_path: Path) -> None:
    """A plain script, which does not even say goodbye; its exit is silent and quick."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(address=cluster.address))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr, done.returncode) == ("4\nTrue\n", "", 0)


def _typed(address: str) -> str:
    """The script as somebody types it: one blank line after each block and none within."""
    blocks = SCRIPT.format(address=address).strip().split("\n\n")
    lines: list[str] = []
    for block in blocks:
        lines += [*block.splitlines(), ""] if ":" in block and "print" not in block else block.splitlines()
    return "\n".join(lines) + "\n"


def test_interactive_shell(cluster: Head) -> None:
    typed = _typed(cluster.address)
    done = subprocess.run([sys.executable, "-i", "-q"], input=typed, capture_output=True, text=True, timeout=100)
    assert "4\nTrue\n" in done.stdout, done.stderr
    assert "Error" not in done.stderr


def test_ipython(cluster: Head, tmp_path: Path) -> None:
    environ = {**os.environ, "IPYTHONDIR": str(tmp_path)}
    command = [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"]
    done = subprocess.run(
        command, input=_typed(cluster.address), env=environ, capture_output=True, text=True, timeout=100
    )
    assert "4\n" in done.stdout, done.stderr
    assert "True\n" in done.stdout
    assert "Error" not in done.stdout + done.stderr


def test_notebook(cluster: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a real kernel, cell by cell; top-level await included."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    cells = [*SCRIPT.format(address=cluster.address).strip().split("\n\n"), "print(await do_work.remote(3))"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=100, kernel_name="python3").execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.outputs)
    assert printed == "4\nTrue\n27\n"
