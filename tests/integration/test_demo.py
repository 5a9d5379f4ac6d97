"""`handstamp demo` without a browser: the command, and the endpoints that `handstamp serve` lacks."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.commands import command
from tests.demonstration import demo
from tests.integration.helpers import SignedIn, expect_ended, profile, sign_in
from tests.serving import EMAIL, Server, free_port
from tests.verifying import eventually

pytestmark = pytest.mark.xdist_group("demo")


@pytest.fixture(scope="module")
def demonstration() -> Iterator[tuple[str, str]]:
    """Return the URL and the password of a running demonstration."""
    with demo("--port", "0") as (url, said, _):
        yield url, password_in(said)


@pytest.fixture
def client(demonstration: tuple[str, str]) -> Iterator[httpx.Client]:
    """Return a client of it that sends what its own page sends."""
    with httpx.Client(
        base_url=demonstration[0], headers={"sec-fetch-site": "same-origin"}, trust_env=False, verify=False
    ) as client:
        yield client


@pytest.fixture
def visitor(demonstration: tuple[str, str], client: httpx.Client) -> SignedIn:
    """Return the session of a visitor. The client has its cookies."""
    return sign_in(client, EMAIL, delivery="split", password=demonstration[1])


def password_in(said: str) -> str:
    """Return the password that the command prints."""
    printed = re.search(f"Sign in as {EMAIL} with the password '([^']+)'", said)
    assert printed, said
    return printed[1]


# --- the command


@pytest.mark.parametrize(
    "by", [signal.SIGTERM, *(pytest.param(by, marks=pytest.mark.slow) for by in (signal.SIGINT, signal.SIGHUP))]
)
def test_the_demo_leaves_no_files_and_reads_no_settings(by: signal.Signals, tmp_path: Path) -> None:
    """The demonstration ignores settings and files of the user, prints the sign-in, and deletes its folder at each signal."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "handstamp.toml").write_text("nonsense = 1")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    settings = {"HANDSTAMP_DATABASE": "nonsense", "HANDSTAMP_NONSENSE": "1", "HANDSTAMP_ACCESS_LIFETIME": "1h"}
    with demo("--port", "0", folder=mine, TMPDIR=str(temporary), **settings) as (url, said, process):
        assert len(list(temporary.iterdir())) == 1
        with httpx.Client(base_url=url, trust_env=False, verify=False) as client:
            answer = client.post("/login", json={"email": EMAIL, "password": password_in(said)})
            assert answer.json()["expiresIn"] == 30
        process.send_signal(by)
        assert process.wait(30) == 0
        assert list(temporary.iterdir()) == []
        assert [file.name for file in mine.iterdir()] == ["handstamp.toml"]


def test_a_chosen_port_in_use_is_reported() -> None:
    """If a port named with `--port` is taken, the command says so and exits; it only chooses another for the default."""
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        ran = subprocess.run(
            command("demo", "--no-browser", "--port", str(port)), capture_output=True, text=True, timeout=30, check=False
        )
        assert ran.returncode == 2
        assert f"Cannot listen on 127.0.0.1:{port}" in ran.stderr


def test_a_default_port_in_use_is_replaced() -> None:
    """If the default port is taken, the demonstration chooses another."""
    with demo() as (first, _, _), demo() as (second, _, _):
        assert first != second
        assert httpx.get(f"{second}/park", trust_env=False, verify=False).status_code == 200


# --- what is there for the demonstration alone


def test_serve_has_no_demo_pages(server: Server, client: httpx.Client) -> None:
    """`handstamp serve` has none of the demonstration's paths, holds back no answer and adds no header about cookies."""
    paths = [("GET", "/park"), ("GET", "/park/park.js"), ("GET", "/park/visit"), ("POST", "/park/copy"), ("POST", "/park/thief")]
    with server.client() as real:
        for method, path in paths:
            assert real.request(method, path).status_code == 404
            assert client.request(method, path).status_code != 404
        answer = real.post("/refresh", headers={"park-answer": "lost"})
        assert answer.status_code == 401
        assert "park-overheard" not in answer.headers
        assert "park-overheard" in client.post("/refresh").headers


@pytest.mark.parametrize("site", [None, "same-site", "cross-site", "none"])
def test_no_other_page_gets_the_card(client: httpx.Client, site: str | None) -> None:
    """Only the park's own page may use the demonstration's endpoints, and only under a name of this machine."""
    for method, path in (("POST", "/park/copy"), ("POST", "/park/thief"), ("GET", "/park/visit")):
        request = client.build_request(method, path, headers={"sec-fetch-site": site or ""})
        if site is None:
            del request.headers["sec-fetch-site"]
        assert client.send(request).status_code == 403
        assert client.request(method, path, headers={"host": "park.example.com"}).status_code == 403
    assert client.post("/park/copy").status_code == 200
    assert client.post("/park/thief", content='{"refreshToken": "a\\r\\nb: c"}').status_code == 400
    assert client.post("/park/thief", content="[]").status_code == 400


def test_a_stolen_card_ends_the_session(client: httpx.Client, visitor: SignedIn) -> None:
    """The thief renews with a copy after the visitor has renewed twice. The answer shows no complete token."""
    copied = client.post("/park/copy").json()
    assert copied == {"refreshToken": visitor.refresh}
    for generation in (1, 2):
        assert client.post("/refresh").status_code == 200
        seen = client.get("/park/visit").json()
        assert (seen["generation"], seen["card"], seen["over"]) == (generation, generation, None)
    told = client.post("/park/thief", json=copied)
    assert (told.status_code, told.json()["status"]) == (200, 401)
    assert visitor.refresh not in told.text
    expect_ended(profile(client, visitor), "reuse")
    seen = client.get("/park/visit", params={"session": visitor.sid}).json()
    assert (seen["over"], seen["email"]) == ("reuse", EMAIL)


def test_an_answer_can_be_late_or_lost(client: httpx.Client, visitor: SignedIn) -> None:
    """The service has renewed even if its answer never arrives, and the same card gets the same answer once more."""
    with pytest.raises(httpx.ReadTimeout):
        client.post("/refresh", headers={"park-answer": "lost"}, timeout=0.5)
    assert eventually(lambda: client.get("/park/visit").json()["generation"] == 1)
    seen = client.get("/park/visit").json()
    assert (seen["session"], seen["card"]) == (visitor.sid, 0)
    assert client.post("/refresh", headers={"park-answer": "late"}).status_code == 200
    assert client.get("/park/visit").json()["card"] == 1
