"""Two nodes behind a real proxy are restarted one after the other under load, and no request fails.

HAProxy and Caddy ask `/readyz`, and never retry here. nginx does not ask: it retries what it could not send, and renewals.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.commands import run_process
from tests.serving import EMAIL, PASSWORD, Server, free_port
from tests.verifying import eventually

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.xdist_group("proxy")]
PROXIES = ("haproxy", "nginx", "caddy")
CHAINS, PAUSE_S = 6, 0.03
DRAIN_S = 2
"""Twenty times the interval of the health checks, so that a busy machine notices in time too."""
CONFIGURATIONS = {
    "haproxy": """
global
  stats socket {folder}/s
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout check 10s
  retries 0
  option forwardfor
frontend public
  bind 127.0.0.1:{port}
  default_backend nodes
backend nodes
  balance roundrobin
  option httpchk GET /readyz
  default-server check inter 100ms fall 1 rise 1
  server one 127.0.0.1:{one}
  server two 127.0.0.1:{two}
""",
    "nginx": """
pid {folder}/pid;
events {{ worker_connections 256; }}
http {{
  access_log off;
  upstream nodes {{
    server 127.0.0.1:{one} max_fails=1 fail_timeout=1s;
    server 127.0.0.1:{two} max_fails=1 fail_timeout=1s;
    keepalive 64;
  }}
  server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    location / {{ proxy_pass http://nodes; }}
    location = /refresh {{
      proxy_pass http://nodes;
      proxy_next_upstream error timeout http_502 non_idempotent;
    }}
  }}
}}
""",
    "caddy": """
{{
  admin off
  auto_https off
}}
http://localhost:{port} {{
  reverse_proxy 127.0.0.1:{one} 127.0.0.1:{two} {{
    lb_policy random  # Caddy 2.6 finds no node by round_robin if another request takes its turn in between
    health_uri /readyz
    health_interval 100ms
    health_timeout 10s
  }}
}}
""",
}
COMMANDS = {
    "haproxy": ["haproxy", "-db", "-f", "configuration"],
    "nginx": ["nginx", "-p", ".", "-c", "configuration", "-e", "stderr", "-g", "daemon off; user root;"],
    "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config", "configuration"],
}


class Deployment(NamedTuple):
    """Two nodes on one database, of which the second has two workers, behind a proxy.

    Attributes:
        proxy: One of `PROXIES`.
        url: Its address.
        folder: Where it has its files.
    """

    nodes: list[Server]
    proxy: str
    url: str
    folder: Path

    def sends_to(self, node: Server) -> bool:
        """Return whether the proxy sends requests to a node that has started again."""
        match self.proxy:
            case "haproxy":
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(self.folder / "s"))
                    connection.sendall(b"show stat\n")
                    with connection.makefile("r") as answer:
                        servers = [line.split(",") for line in answer if line.startswith(("nodes,one,", "nodes,two,"))]
                return [server[17] for server in servers] == ["UP", "UP"]
            case "caddy":
                lines = (self.folder / "log").read_text().splitlines()
                checks = [line for line in lines if "health_checker" in line and f":{node.port}" in line]
                return bool(checks) and "host is up" in checks[-1]  # it was also up before
            case _:
                return True  # it tries a node again a second after the last failure, and the drain is longer

    def client(self) -> httpx.AsyncClient:
        """Return an HTTP client for the proxy."""
        return httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=60)


@pytest.fixture(params=PROXIES)
def deployment(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """Run a proxy and two nodes."""
    name: str = request.param
    program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        assert "CI" not in os.environ, name
        pytest.skip(f"{name} is not installed here (Debian: apt install {name})")
    url = f"http://localhost:{(port := free_port())}"
    settings = {
        "ISSUER": url,
        "TRUSTED_PROXIES": "127.0.0.1",
        "DATABASE": f"sqlite:///{tmp_path}/handstamp.db",
        "DRAIN": f"{DRAIN_S}s",
    }
    nodes: list[Server] = []
    for number, options in enumerate(((), ("--workers", "2"))):
        (home := tmp_path / f"node-{number}").mkdir()
        nodes.append(Server(home, *options, **settings).start())
    (folder := tmp_path / "proxy").mkdir()
    text = CONFIGURATIONS[name].format(port=port, one=nodes[0].port, two=nodes[1].port, folder=folder)
    (folder / "configuration").write_text(text)
    command = [program, *COMMANDS[name][1:]]
    with (folder / "log").open("wb") as log:
        proxy = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=os.environ | {"HOME": str(folder)})
    try:
        with httpx.Client(base_url=url, trust_env=False) as client:
            assert eventually(lambda: _status(client) == 200), (folder / "log").read_text()
        yield Deployment(nodes, name, url, folder)
    finally:
        proxy.terminate()
        proxy.wait(30)
        for node in nodes:
            node.kill()


def _status(client: httpx.Client) -> int:
    """Return the status of `/readyz`, 0 if nothing listens."""
    try:
        return client.get("/readyz").status_code
    except httpx.TransportError:
        return 0


def _drain(node: Server) -> list[int]:
    """Stop a node; return the different statuses of its `/readyz` until then, in their order."""
    seen: list[int] = []
    assert node.process is not None
    node.process.send_signal(signal.SIGTERM)
    while node.process.poll() is None:
        with node.client(timeout=60) as client:  # a connection each time: is there still a listener?
            status = _status(client)
        if not seen or seen[-1] != status:
            seen.append(status)
        time.sleep(PAUSE_S)
    return seen


@asynccontextmanager
async def load(deployment: Deployment, answers: list[int]) -> AsyncIterator[tuple[str, str]]:
    """Renew sessions and wait at the feed until the block ends. Fails if any request does. Yield a credential."""
    made = run_process(deployment.nodes[0].folder, "credentials", "create", "orders", "--json", **deployment.nodes[0].settings)
    name, secret = json.loads(made.stdout)["credential"].split(":")
    is_over = asyncio.Event()

    async def renew(client: httpx.AsyncClient, tokens: dict[str, Any]) -> None:
        while not is_over.is_set():
            answer = await client.post("/refresh", json={"refreshToken": tokens["refreshToken"]})
            assert answer.status_code == 200, answer.text
            tokens = answer.json()
            answers.append(answer.status_code)
            await asyncio.sleep(PAUSE_S)

    async def follow(client: httpx.AsyncClient) -> None:
        cursor = ""
        while not is_over.is_set():
            answer = await client.get("/revocations", params={"after": cursor, "wait": 1}, auth=(name, secret))
            assert answer.status_code == 200, answer.text
            cursor = answer.json()["cursor"]

    async with deployment.client() as client, asyncio.TaskGroup() as tasks:
        assert (await client.post("/register", json={"email": EMAIL, "password": PASSWORD})).status_code == 201
        for _ in range(CHAINS):
            answer = await client.post("/login", json={"email": EMAIL, "password": PASSWORD})
            tasks.create_task(renew(client, answer.json()))
            tasks.create_task(follow(client))
        try:
            yield name, secret
        finally:
            is_over.set()


async def test_a_rolling_restart_costs_no_request(deployment: Deployment, count: Callable[[str], None]) -> None:
    """`/readyz` turns 503 while the node still listens, and requests in progress are answered."""
    answers: list[int] = []
    nodes = deployment.nodes if deployment.proxy == "haproxy" else deployment.nodes[1:]  # each restart takes seconds
    async with load(deployment, answers):
        for node in nodes:
            before = len(answers)
            seen = await asyncio.to_thread(_drain, node)
            assert 503 in seen, seen
            assert len(answers) > before
            await asyncio.to_thread(node.start)
            assert await asyncio.to_thread(eventually, partial(deployment.sends_to, node)), "the proxy has seen the node start"
    count(f"behind {deployment.proxy}: {len(nodes)} restarts, {len(answers)} renewals, none failed")
