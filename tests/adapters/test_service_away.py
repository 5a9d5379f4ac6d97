"""The service is killed: routes follow their declared policy, and no client has to sign in again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from tests.adapters.examples import COMMANDS, Applications, all_examples
from tests.integration.helpers import SignedIn, client_of, expect_problem, mint_of, run_server, sign_in_new_user
from tests.serving import Server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("adapters-away")]
_PATIENCE_S = 60


class Survivors(NamedTuple):
    """The parts that remain after the service was killed."""

    applications: Applications
    ada: SignedIn
    writer: dict[str, str]


@pytest.fixture(scope="module")
def survivors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Survivors]:
    """Start everything, send a token to every example, then kill the service."""
    with run_server(tmp_path_factory.mktemp("away")) as server, all_examples(server) as applications:
        with client_of(server) as client:
            ada = sign_in_new_user(client)
        writer = {"authorization": f"Bearer {mint_of(server).access(ada.access, scope='orders:write')}"}
        for application in applications.values():
            assert application.get("/orders", headers=ada.bearer).status_code == 200
            assert application.delete("/orders/1", headers=writer).status_code == 204
        _kill_after_feeds_arrived(server, applications, ada)
        yield Survivors(applications, ada, writer)


def _kill_after_feeds_arrived(server: Server, applications: Applications, ada: SignedIn) -> None:
    """Kill the service once every application answers without it, that is, after each has received its feed."""
    assert server.process is not None
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        os.killpg(server.process.pid, signal.SIGSTOP)
        heard = [application.get("/orders", headers=ada.bearer).status_code == 200 for application in applications.values()]
        if all(heard):
            server.kill()
            return
        assert time.monotonic() < deadline, dict(zip(applications, heard, strict=True))
        os.killpg(server.process.pid, signal.SIGCONT)
        time.sleep(1)  # a verifier does not ask a service again within a second of a failure


@pytest.fixture(params=COMMANDS)
def application(request: pytest.FixtureRequest, survivors: Survivors) -> httpx.Client:
    """Return a client of one example after the other."""
    return survivors.applications[request.param]


def test_a_feed_route_still_answers(application: httpx.Client, survivors: Survivors) -> None:
    """A route with the policy `feed` accepts tokens for 30 seconds after the last contact."""
    assert application.get("/orders", headers=survivors.ada.bearer).status_code == 200


def test_a_live_route_answers_503(application: httpx.Client, survivors: Survivors) -> None:
    """A `live` route answers 503. It never admits, and never answers 401, after which a client drops its tokens."""
    for _ in range(2):
        answer = application.delete("/orders/1", headers=survivors.writer)
        expect_problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert "www-authenticate" not in answer.headers


def test_invalid_tokens_are_still_refused(application: httpx.Client, survivors: Survivors) -> None:
    """A missing token, an invalid token and a missing role are still refused without the service."""
    expect_problem(application.get("/orders"), 401, "missing_token")
    expect_problem(application.get("/orders", headers={"authorization": "Bearer rubbish"}), 401, "invalid_token")
    expect_problem(application.get("/reports", headers=survivors.ada.bearer), 403, "insufficient_scope")
