"""One client of the soak, in a process of its own: ``python -m tests.soak.client ADDRESS SEED DIRECTORY PATIENCE LARGE``.

It works until its standard input ends, then checks everything, and says goodbye. It tells how far it is in
``DIRECTORY/progress``, a JSON line at a time. A step that takes longer than its patience is a hang: then it says where
it hung, with the stack of each thread in ``DIRECTORY/stacks``, and ends itself.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import raymq
from tests.soak.workload import Workload

TELL_EVERY = 0.2

SLOW = 4.0
"""Seconds after which a step is worth a look: where the connection stands is written to ``DIRECTORY/slow``."""


def main() -> None:
    """Work, and end with code 0 if everything was right, else 1; 3 after a hang."""
    address, seed, directory, patience, large = sys.argv[1:]
    session = raymq.connect(address, timeout=60)
    workload = Workload(session, int(seed), Path(directory, "stdout"), int(large))
    workload.warm_up()
    telling = Telling(session, workload, Path(directory), float(patience))
    stop = threading.Event()
    threading.Thread(target=telling.run, daemon=True).start()
    threading.Thread(target=lambda: (os.read(0, 1), stop.set()), daemon=True).start()
    try:
        workload.run(stop)
        session.close(timeout=60)
    except raymq.SessionLost as error:
        workload.problem(f"the session was lost: {error}")
    right = not (workload.lost or workload.doubled or workload.problems)
    telling.tell(finished=True)
    sys.exit(0 if right else 1)


class Telling:
    """The progress and the watchdog."""

    def __init__(self, session: raymq.Session, workload: Workload, directory: Path, patience: float) -> None:
        self._session, self._workload, self._directory, self._patience = session, workload, directory, patience
        self._lock = threading.Lock()

    def run(self) -> None:
        try:
            while True:
                time.sleep(TELL_EVERY)
                self._look()
        except BaseException:
            traceback.print_exc()
            os._exit(4)  # without a watchdog nothing is worth anything

    def _look(self) -> None:
        step, since = self._workload.step
        if time.monotonic() - since > SLOW:
            with (self._directory / "slow").open("a") as file:
                file.write(f"{time.monotonic():.2f} {step} for {time.monotonic() - since:.1f} s\n{self._streams()}")
        if time.monotonic() - since > self._patience:
            with (self._directory / "stacks").open("w") as file:
                faulthandler.dump_traceback(file)
                file.write(self._streams())
            self.tell(finished=True, hang=f"{step}, for {time.monotonic() - since:.0f} s")
            os._exit(3)
        self.tell()

    def tell(self, **more: Any) -> None:
        """One line."""
        workload = self._workload
        line = {
            "step": workload.step[0], "slowest": workload.slowest, "done": dict(workload.done), "lost": workload.lost,
            "doubled": workload.doubled, "problems": list(workload.problems), "blocks": sys.getallocatedblocks(), **more,
        }  # fmt: skip
        with self._lock, (self._directory / "progress").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _streams(self) -> str:
        """Where this end of both lanes stands."""
        connection: Any = self._session._life._wire._connection  # type: ignore[union-attr]
        lines = [f"{connection.state} attached {connection._attached}"]
        for name in ("calls", "bulk"):
            stream = getattr(connection.channel, name)
            numbers = {key: value for key, value in vars(stream).items() if isinstance(value, int | float)}
            lines.append(f"{name}: {numbers}")
        return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
