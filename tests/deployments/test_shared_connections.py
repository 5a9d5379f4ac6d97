"""Proxies that share connections to the service between clients: no client can read or send in another one's name."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.serving import Server, free_port
from tests.verifying import eventually

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("shared-connections")]
_ROUNDS = 20
_CONFIGURATIONS = {
    "caddy": """{{
  admin off
  auto_https off
}}
http://localhost:{port} {{
  reverse_proxy 127.0.0.1:{backend} {{
    transport http {{
      max_conns_per_host 1
    }}
  }}
}}
""",
    "nginx": """daemon off; user {user}; pid {folder}/pid; error_log stderr; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream service {{ server 127.0.0.1:{backend}; keepalive 1; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }}
  }}
}}
""",
    "haproxy": """global
  maxconn 64
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  http-reuse always
frontend public
  bind 127.0.0.1:{port}
  default_backend service
backend service
  server one 127.0.0.1:{backend} maxconn 1
""",
}
_COMMANDS = {
    "caddy": ["run", "--adapter", "caddyfile", "--config"],
    "nginx": ["-p", "{folder}", "-e", "stderr", "-c"],
    "haproxy": ["-db", "-f"],
}


@contextmanager
def run_proxy(name: str, backend: int, folder: Path, text: str = "", *, scheme: str = "http", **more: object) -> Iterator[int]:
    """Run a proxy in front of a port; give its own port. Skip the test if it is not installed, except in CI.

    Args:
        name: The program.
        backend: The port of the service.
        folder: Where its files are.
        text: Its configuration, as a format. The default makes all clients share one connection to the service.
        scheme: "https" if the proxy ends TLS.
        more: Values for the format.
    """
    program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        missing = f"{name} is not installed here (Debian: apt install {'nginx-light' if name == 'nginx' else name})"
        assert "CI" not in os.environ, missing
        pytest.skip(missing)
    port = free_port()
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    values = {"port": port, "backend": backend, "folder": folder, "user": user, **more}
    configuration = folder / f"{name}.conf"
    configuration.write_text((text or _CONFIGURATIONS[name]).format(**values))
    arguments = [argument.format(**values) for argument in _COMMANDS[name]]
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        home = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        process = subprocess.Popen([program, *arguments, str(configuration)], stdout=output, stderr=output, cwd=folder, env=home)
    try:
        assert eventually(lambda: _is_alive(scheme, port)), log.read_text()
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _is_alive(scheme: str, port: int) -> bool:
    try:
        return httpx.get(f"{scheme}://localhost:{port}/healthz", trust_env=False, verify=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module", params=sorted(_CONFIGURATIONS))
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """Run the service behind each kind of proxy, with one connection for all clients."""
    server = Server(tmp_path_factory.mktemp("service"), TRUSTED_PROXIES="127.0.0.1").start()
    try:
        with run_proxy(request.param, server.port, tmp_path_factory.mktemp(request.param)) as port:
            yield server, port
    finally:
        server.kill()


def send(port: int, sent: bytes) -> bytes:
    """Send bytes through the proxy; return the first piece of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(sent)
        return connection.recv(65536)


@pytest.mark.parametrize("upgrade", ["anything", "h2c", "websocket"])
def test_a_request_hidden_in_a_body_is_not_answered(proxy: tuple[Server, int], upgrade: str) -> None:
    """After each attack, the next client on the shared connection gets its own answer."""
    _, port = proxy
    hidden = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    attack = (
        f"POST /refresh HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(hidden)}\r\n\r\n"
    ).encode() + hidden
    with httpx.Client(base_url=f"http://localhost:{port}", trust_env=False, timeout=60) as victim:
        for _ in range(_ROUNDS):
            send(port, attack)
            assert victim.get("/healthz").json() == {"status": "alive"}


def test_trailers_are_never_read_as_headers(proxy: tuple[Server, int]) -> None:
    """A proxy may forward trailers. The service treats none of them as a header."""
    server, port = proxy
    server.register()
    access = server.login()["accessToken"]
    sent = (
        "GET /profile HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        "Trailer: Authorization\r\nConnection: close\r\n\r\n"
        f"1\r\nx\r\n0\r\nAuthorization: Bearer {access}\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"
    )
    assert b" 401 " in send(port, sent.encode()).partition(b"\r\n")[0]
