"""The shipped nginx configuration in front of two real nodes. Only names of hosts and files are replaced."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests import certificates
from tests.commands import run_process
from tests.serving import EMAIL, PASSWORD, Server, free_port
from tests.verifying import eventually

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.xdist_group("proxy")]
CONFIGURATION = Path(__file__).parents[2] / "deploy" / "compose" / "nginx.conf"
_MISSING = "nginx is not installed here (Debian: apt install nginx-light)"
CHAINS = 8
KILLS = 4
LEFT_ALONE_S = 3.2
"""Longer than nginx avoids a failed node: for 2 s in its configuration, counted in whole seconds, so for up to 3 s. If it avoids
both nodes, it answers 502."""


class Deployment(NamedTuple):
    """Two nodes on one database, and the address of the proxy in front of them."""

    nodes: list[Server]
    url: str
    trust: ssl.SSLContext

    def client(self, **options: Any) -> httpx.AsyncClient:
        """Return an HTTP client for the proxy."""
        return httpx.AsyncClient(base_url=self.url, verify=self.trust, trust_env=False, timeout=30, **options)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """Run nginx and two nodes."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        assert "CI" not in os.environ, _MISSING
        pytest.skip(_MISSING)
    folder = tmp_path / "proxy"
    trust = _certificate(folder / "certs")
    url = f"https://localhost:{(port := free_port())}"
    settings = {
        "ISSUER": url,
        "TRUSTED_PROXIES": "127.0.0.1",
        "DATABASE": f"sqlite:///{tmp_path}/handstamp.db",
    }
    nodes = []
    for number in (1, 2):
        (home := tmp_path / f"node-{number}").mkdir()
        nodes.append(Server(home, **settings).start())
    text = CONFIGURATION.read_text("utf-8").replace("8443", f"127.0.0.1:{port}").replace("/tmp/nginx.pid", f"{folder}/pid")
    for number, node in enumerate(nodes, 1):
        text = text.replace(f"node-{number}:8000", f"127.0.0.1:{node.port}")
    (folder / "nginx.conf").write_text(text)
    command = [nginx, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr", "-g", f"daemon off; user {_user()};"]
    with (folder / "log").open("wb") as log:
        proxy = subprocess.Popen(command, stderr=log, cwd=folder)
    try:
        with httpx.Client(verify=trust, trust_env=False) as client:
            assert eventually(lambda: _answers(client, url)), (folder / "log").read_text()
        yield Deployment(nodes, url, trust)
    finally:
        proxy.terminate()
        proxy.wait(30)
        for node in nodes:
            node.kill()


def _user() -> str:
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _certificate(folder: Path) -> ssl.SSLContext:
    """Create a certificate for localhost; return a TLS context that trusts it."""
    folder.mkdir(parents=True)
    making = certificates.build_command(folder / "fullchain.pem", folder / "privkey.pem")
    subprocess.run(making, check=True, capture_output=True)
    return ssl.create_default_context(cafile=folder / "fullchain.pem")


async def test_a_browser_signs_in_through_the_proxy(deployment: Deployment) -> None:
    """Cookies have the attributes for https. The address is that of the connection, not one that the client sent."""
    async with deployment.client(headers={"origin": deployment.url, "x-forwarded-for": "203.0.113.9"}) as client:
        person = {"email": EMAIL, "password": PASSWORD}
        assert (await client.post("/register", json=person)).status_code == 201
        answer = await client.post("/login", json=person | {"delivery": "cookie"})
        assert answer.status_code == 200
        assert "strict-transport-security" in answer.headers
        assert any(cookie.startswith("__Host-") for cookie in client.cookies)
        (session,) = (await client.get("/sessions")).json()["sessions"]
        assert session["ip"] == "127.0.0.1"
        assert (await client.post("/logout")).status_code == 204
        assert (await client.get("/profile")).status_code == 401


async def test_a_killed_node_costs_no_session(deployment: Deployment, count: Callable[[str], None]) -> None:
    """A node is killed and restarted repeatedly under refresh load. Every request is answered, or can be repeated.

    The proxy asks the other node, unless it has passed on the head of an answer: then the client sees the answer end early.
    """
    stopped = asyncio.Event()
    renewals = cut = 0

    async def more_renewals() -> None:
        enough = renewals + 5 * CHAINS
        while renewals < enough:  # noqa: ASYNC110 - the chains must not wait for this loop
            await asyncio.sleep(0.02)

    async def renew(client: httpx.AsyncClient, tokens: dict[str, Any]) -> None:
        nonlocal renewals, cut
        while not stopped.is_set():
            try:
                answer = await client.post("/refresh", json={"refreshToken": tokens["refreshToken"]})
            except httpx.RemoteProtocolError:
                cut += 1
                continue
            assert answer.status_code == 200, answer.text
            tokens = answer.json()
            renewals += 1

    async with deployment.client() as client, asyncio.TaskGroup() as chains:
        assert (await client.post("/register", json={"email": EMAIL, "password": PASSWORD})).status_code == 201
        # Sign in before the first kill: nginx does not retry a sign-in, and hashing has a lower priority than refreshes.
        for answer in [await client.post("/login", json={"email": EMAIL, "password": PASSWORD}) for _ in range(CHAINS)]:
            chains.create_task(renew(client, answer.json()))
        for number in range(KILLS):
            await more_renewals()
            node = deployment.nodes[number % 2]
            node.kill(signal.SIGKILL)
            await more_renewals()
            await asyncio.to_thread(node.start)
            await asyncio.sleep(LEFT_ALONE_S)
        stopped.set()
    assert cut <= KILLS * CHAINS, "only those that were under way at a kill"
    count(f"behind the proxy: {KILLS} kills, {renewals} renewals, none refused, {cut} answers cut")


async def test_the_feed_waits_through_the_proxy(deployment: Deployment) -> None:
    """A long poll is answered when a session ends at either node, and the proxy does not time out before."""
    node = deployment.nodes[0]
    made = run_process(node.folder, "credentials", "create", "orders", "--json", **node.settings)
    credential = tuple(json.loads(made.stdout)["credential"].split(":"))
    async with deployment.client() as client:
        assert (await client.post("/register", json={"email": EMAIL, "password": PASSWORD})).status_code == 201
        tokens = (await client.post("/login", json={"email": EMAIL, "password": PASSWORD})).json()
        page = (await client.get("/revocations", auth=credential)).json()
        asking = [
            asyncio.create_task(client.get("/revocations", params={"after": page["cursor"], "wait": 5}, auth=credential))
            for _ in range(4)
        ]
        await asyncio.sleep(0.5)
        assert not any(question.done() for question in asking)
        assert (await client.post("/logout", json={"refreshToken": tokens["refreshToken"]})).status_code == 204
        for question in asking:
            entries = (await question).json()["entries"]
            assert [entry["sid"] for entry in entries] == [tokens["sessionId"]]
