"""A proxy for https requests."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import suppress


class Tunnels(socketserver.ThreadingTCPServer):
    """A proxy that connects every CONNECT request (RFC 9110 §9.3.6) to one port and records the requests."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        """Listen on a port of this machine."""
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.upstream = port
        self.requests: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        """The user, password, host and port of the proxy, as in a URL."""
        return f"ada:p%40ss@127.0.0.1:{self.server_address[1]}"


class Tunnel(socketserver.BaseRequestHandler):
    """One connection to the proxy."""

    server: Tunnels

    def handle(self) -> None:
        """Connect, then forward both directions until one side closes."""
        self.server.requests.append(self.request.recv(65536).decode())
        with socket.create_connection(("127.0.0.1", self.server.upstream)) as upstream:
            self.request.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=_pass_on, args=(upstream, self.request))
            back.start()
            _pass_on(self.request, upstream)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
