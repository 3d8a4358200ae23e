"""A TCP proxy that a test can cut, stall, or turn into a black hole."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import Any


class Proxy:
    """Passes bytes between clients and one port, until it is told to do otherwise. Use as a context manager."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._swallow = False
        self._refuse = False
        self._running = True
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: Any) -> None:
        self._running = False
        self._thread.join()

    def cut(self, *, refuse: bool = False) -> None:
        """Break every connection; with ``refuse``, also those that come from now on, until ``heal``."""
        with self._lock:
            self._refuse = refuse
            for pair in self._pairs:
                for end in pair:
                    with contextlib.suppress(OSError):  # closed by its peer in this moment
                        end.shutdown(socket.SHUT_RDWR)

    def swallow(self) -> None:
        """From now on take everything and pass nothing on: a silent cut."""
        self._swallow = True

    def heal(self) -> None:
        """Pass new connections on again."""
        self._swallow = self._refuse = False

    def _run(self) -> None:
        while self._running:
            for key, _ in self._selector.select(0.05):
                if key.data is None:
                    self._accept()
                elif key.fileobj.fileno() != -1:  # type: ignore[union-attr]  # closed since, with its other end
                    self._pass_on(key.fileobj, key.data)  # type: ignore[arg-type]
        for pair in self._pairs:
            for end in pair:
                end.close()
        self._selector.close()
        self._listener.close()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        if self._refuse:
            near.close()
            return
        try:
            far = socket.create_connection(self._target)
        except OSError:
            near.close()
            return
        with self._lock:
            self._pairs.append((near, far))
        self._selector.register(near, selectors.EVENT_READ, far)
        self._selector.register(far, selectors.EVENT_READ, near)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            data = source.recv(1 << 16)
            if self._swallow and data:
                return
            if data:
                sink.settimeout(5)
                sink.sendall(data)
                return
        except OSError:
            pass
        for end in (source, sink):
            if end.fileno() != -1:
                self._selector.unregister(end)
                end.close()
        with self._lock:
            self._pairs = [pair for pair in self._pairs if source not in pair]
