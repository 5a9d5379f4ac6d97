"""A TCP proxy that can be cut, like a network."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Self

_CHUNK = 64 * 1024
_LOOK_EVERY_S = 0.05


class Proxy:
    """Forwards bytes between clients and one port of this machine.

    While it is cut, connections can be opened and stay open, but no bytes are forwarded, as in a broken network.
    """

    def __init__(self, to_port: int) -> None:
        """Keep the target port."""
        self._to_port = to_port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._ends: dict[socket.socket, socket.socket] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._is_cut = False
        self.url = f"http://localhost:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        """Start to forward."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop, and close all connections."""
        self._stopping.set()
        self._thread.join()
        for end in (self._listening, *self._ends):
            end.close()

    def cut(self) -> None:
        """Stop forwarding."""
        self._is_cut = True

    def mend(self) -> None:
        """Continue forwarding."""
        self._is_cut = False

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._is_cut:
                self._stopping.wait(_LOOK_EVERY_S)
                continue
            for key, _ in self._selector.select(_LOOK_EVERY_S):
                if key.fileobj is self._listening:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._ends:
                    self._carry(key.fileobj)

    def _accept(self) -> None:
        near, _ = self._listening.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._to_port))
        except OSError:  # the target is down
            near.close()
            return
        for end, other in ((near, far), (far, near)):
            self._ends[end] = other
            self._selector.register(end, selectors.EVENT_READ)

    def _carry(self, end: socket.socket) -> None:
        other = self._ends[end]
        data = b""
        with contextlib.suppress(OSError):
            data = end.recv(_CHUNK)
            other.sendall(data)
        if not data:
            for closed in (end, other):
                self._selector.unregister(closed)
                del self._ends[closed]
                closed.close()
