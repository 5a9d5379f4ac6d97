"""The clock of the machine leaps while the service runs, or while it is off: nobody is signed out, and nothing is deleted."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import httpx
import pytest

from handstamp.assemble.deployment import Deployment
from handstamp.domain.policy import DAY_MS, HOUR_MS
from handstamp.errors import Unavailable
from handstamp.service.parts import common_clock
from handstamp.service.parts.leap_guard import SETTLE_MS
from handstamp.storage.sql.sessions import AFTERLIFE_MS
from tests.builders import Clock
from tests.deployment import settings_in, start_session
from tests.serving import EMAIL, PASSWORD, Server
from tests.verifying import credential_for, eventually

pytestmark = pytest.mark.anyio
DAY_S = 24 * 3600

_SHIFTED = """
import pathlib
import time

SHIFT, RIGHT = pathlib.Path(__file__).with_name("shift"), time.time_ns


def wrong():
    return RIGHT() + int(SHIFT.read_text()) * 10**9


time.time_ns, time.time = wrong, lambda: wrong() / 1e9
"""
"""A `sitecustomize` module, which Python runs at its start: the process then has a clock that a file moves."""


class LeapingServer(Server):
    """A service whose machine has a clock that a test sets."""

    def __init__(self, folder: Path) -> None:
        """Start with the right time."""
        super().__init__(folder)
        self._set_to = folder / "python" / "shift"
        self._set_to.parent.mkdir()
        self._set_to.with_name("sitecustomize.py").write_text(_SHIFTED)
        self.wrapper = ["env", f"PYTHONPATH={self._set_to.parent}"]
        self.leap(0)

    def leap(self, seconds: int) -> None:
        """Set the clock to so many seconds from the right time. It happens in one step."""
        fresh = self._set_to.with_name("fresh")
        fresh.write_text(str(seconds))
        fresh.replace(self._set_to)

    def ask(self, method: str, path: str, token: str = "", **body: str) -> httpx.Response:
        """Send a request."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        with self.client() as client:
            return client.request(method, path, headers=headers, json=body or None)


@pytest.mark.parametrize(
    "leap_s", [40 * DAY_S, -3600, *(pytest.param(leap_s, marks=pytest.mark.slow) for leap_s in (3600, -40 * DAY_S))]
)
def test_after_a_leap_requests_are_answered_503_and_nobody_is_signed_out(tmp_path: Path, leap_s: int) -> None:
    """As soon as the clock is right again, everything goes on."""
    server = LeapingServer(tmp_path)
    try:
        assert server.start().register().status_code == 201
        staying, leaving = server.login(), server.login()
        reader = dict(zip(("username", "password"), credential_for(server, "reader").split(":"), strict=True))

        server.leap(leap_s)
        for answer in (
            server.ask("POST", "/refresh", refreshToken=staying["refreshToken"]),
            server.ask("GET", "/profile", staying["accessToken"]),
            server.ask("POST", "/login", email=EMAIL, password=PASSWORD),
            server.ask("POST", "/register", email="eve@example.com", password=PASSWORD),
            server.ask("GET", "/sessions", staying["accessToken"]),
            server.ask("GET", "/readyz"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) > 0
            assert "set-cookie" not in answer.headers
        assert server.ask("GET", "/healthz").status_code == 200, "a restart would not help"
        assert server.ask("POST", "/logout", refreshToken=leaving["refreshToken"]).status_code == 204
        with server.client(auth=httpx.BasicAuth(**reader)) as client:
            entries = client.get("/revocations").json()["entries"]
        assert [entry["sid"] for entry in entries] == [leaving["sessionId"]]

        server.leap(0)
        assert server.ask("POST", "/refresh", refreshToken=staying["refreshToken"]).status_code == 200
        assert server.ask("GET", "/profile", staying["accessToken"]).status_code == 200
        assert server.ask("GET", "/profile", leaving["accessToken"]).json()["code"] == "session_ended"
        ended = server.ask("POST", "/refresh", refreshToken=leaving["refreshToken"]).json()
        assert (ended["code"], ended["reason"]) == ("session_ended", "logout")
        assert "clock_in_doubt" in server.log.read_text()
        assert "clock_believed" in server.log.read_text()
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("leap_s", [40 * DAY_S, -3600])
def test_a_start_with_a_wrong_clock_signs_nobody_out(tmp_path: Path, leap_s: int) -> None:
    """The machine was off, and its clock is wrong until NTP corrects it."""
    server = LeapingServer(tmp_path)
    try:
        assert server.start().register().status_code == 201
        tokens = server.login()
        server.kill()
        server.leap(leap_s)
        starting = threading.Thread(target=server.start)
        starting.start()
        assert eventually(lambda: _status(server, "/healthz") == 200)
        assert server.ask("GET", "/readyz").status_code == 503
        assert server.ask("POST", "/refresh", refreshToken=tokens["refreshToken"]).json()["code"] == "unavailable"
        server.leap(0)
        starting.join()
        assert server.ask("POST", "/refresh", refreshToken=tokens["refreshToken"]).status_code == 200
    finally:
        server.stop()


def _status(server: Server, path: str) -> int:
    try:
        with server.client() as client:
            return client.get(path).status_code
    except httpx.TransportError:
        return 0


class Machine:
    """The two clocks of this machine, of which a test sets one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.steady = Clock(), Clock(1_000_000)
        monkeypatch.setattr(common_clock, "now_ms", self.wall)
        monkeypatch.setattr(common_clock, "monotonic_ms", self.steady)

    def leap(self, ms: int) -> None:
        """Set the clock. The steady one goes on: services look once in a millisecond of it."""
        self.wall.advance(ms=ms)
        self.steady.advance(ms=1)

    def later(self, ms: int) -> None:
        """Let time pass."""
        self.wall.advance(ms=ms)
        self.steady.advance(ms=ms)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a machine whose clock a test sets."""
    return Machine(monkeypatch)


async def rows_of(running: Deployment) -> int:
    """Return the number of sessions whose rows exist."""
    sessions = await running.store.read(lambda rows: rows.sessions.list_page(None, now_ms=0, limit=1_000))
    return len(sessions)


async def test_housekeeping_deletes_nothing_after_a_leap(tmp_path: Path, machine: Machine) -> None:
    """Not while the clock is in doubt; and later only at a pace that leaves time to notice."""
    running = Deployment(settings_in(tmp_path))
    async with running.open():
        await running.housekeeping.prepare()
        await asyncio.gather(*(start_session(running, machine.wall) for _ in range(5)))
        machine.leap(ms=40 * DAY_MS)
        with pytest.raises(Unavailable):
            await running.housekeeping.run_once()
        machine.later(SETTLE_MS)
        for _ in range(10):
            assert await running.housekeeping.run_once() == 0
            machine.later(30_000)
        assert await rows_of(running) == 5
        machine.leap(ms=-40 * DAY_MS)
        with pytest.raises(Unavailable):
            await running.housekeeping.run_once()
        machine.later(SETTLE_MS)
        await running.housekeeping.run_once()
        assert await rows_of(running) == 5


async def test_a_start_with_a_wrong_clock_deletes_nothing(tmp_path: Path, machine: Machine) -> None:
    """Neither in the minute in which it is in doubt, nor in the rounds after it."""
    async with (first := Deployment(settings_in(tmp_path))).open():
        await first.housekeeping.prepare()
        await start_session(first, machine.wall)
    machine.leap(ms=40 * DAY_MS)
    async with (second := Deployment(settings_in(tmp_path))).run():
        with pytest.raises(Unavailable):
            await second.housekeeping.run_once()
        machine.later(SETTLE_MS)
        assert await second.housekeeping.run_once() == 0
        assert await rows_of(second) == 1


async def test_a_service_that_was_off_for_forty_days_purges_in_the_end(tmp_path: Path, machine: Machine) -> None:
    """Everything that has expired is deleted within a day, as ever."""
    async with (first := Deployment(settings_in(tmp_path))).open():
        await first.housekeeping.prepare()
        await start_session(first, machine.wall)
    machine.later(40 * DAY_MS)
    async with (second := Deployment(settings_in(tmp_path))).open():
        machine.later(SETTLE_MS)
        for _ in range(DAY_MS // 60_000):
            await second.housekeeping.prepare()
            machine.later(60_000)
        assert await rows_of(second) == 1
        await second.housekeeping.run_once()
        assert await rows_of(second) == 0


async def test_usually_a_session_is_deleted_an_hour_after_its_end(tmp_path: Path, machine: Machine) -> None:
    """The pace of the purge is no delay."""
    running = Deployment(settings_in(tmp_path, session_lifetime="1h", refresh_idle_lifetime="1h"))
    async with running.open():
        await running.housekeeping.prepare()
        await start_session(running, machine.wall)
        machine.later(HOUR_MS + AFTERLIFE_MS - 60_000)
        await running.housekeeping.run_once()
        assert await rows_of(running) == 1
        for _ in range(4):
            machine.later(30_000)
            await running.housekeeping.run_once()
        assert await rows_of(running) == 0
