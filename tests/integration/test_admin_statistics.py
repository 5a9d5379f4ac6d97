"""Operators see how much a deployment holds."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from handstamp.domain.totp import Totp
from handstamp.service.operating import statistics
from handstamp.web.admin.statistics import AdminStatisticsAnswer
from tests.administering import Service, serving
from tests.commands import output_of, run_command
from tests.serving import PASSWORD, Server

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Run the service."""
    async with serving(tmp_path) as running:
        yield running


async def test_all_is_counted(service: Service) -> None:
    """By what operators ask about."""
    auth = await service.credential("admin")
    ada, bob, _ = [await service.account(f"{name}@example.com") for name in ("ada", "bob", "eve")]
    for delivery in ("json", "json", "cookie"):
        await service.sign_in(ada, delivery=delivery)
    await service.sign_in(bob)
    app = Totp(account_id=ada.id, sealed=b"x", created_at_ms=0, last_step=0, used_at_ms=0)
    await service.running.store.transact(lambda rows: rows.totp.save(app))
    await service.running.accounts.disable(bob.email, service.caller)
    answer = (await service.client.get("/admin/statistics", auth=auth)).raise_for_status().json()
    assert answer["accounts"] == {
        "total": 3,
        "verified": 0,
        "disabled": 1,
        "locked": 0,
        "withPassword": 0,
        "withTotp": 1,
        "withPasskey": 0,
        "withSecondFactor": 1,
    }
    assert answer["sessions"] == {"total": 3, "byDelivery": {"json": 2, "cookie": 1}, "byBinding": {"none": 3}}
    assert answer["day"] == answer["week"]
    assert answer["day"]["events"] == {"account_created": 3, "account_disabled": 1, "credential_added": 1, "key_added": 1}
    assert (answer["mailsWaiting"], answer["keys"], answer["incomplete"]) == (0, {"active": 1}, [])
    assert answer["revocations"] == 2  # the session of bob, and the name of the feed


def test_the_command_line_counts_the_same(server: Server) -> None:
    """With the names of the API, and as a table."""
    assert (
        run_command(server.folder, "users", "create", "counted@example.com", "--password-stdin", stdin=PASSWORD).returncode == 0
    )
    printed = json.loads(output_of(run_command(server.folder, "statistics", "--json")))
    assert printed["accounts"]["total"] >= 1
    names = {field.encode_name for field in msgspec.structs.fields(AdminStatisticsAnswer)}
    assert printed.keys() - {"countedAtMs"} == names - {"countedAt"}
    table = output_of(run_command(server.folder, "statistics"))
    assert re.search(r"^accounts +[1-9]", table, re.MULTILINE)
    assert "signing keys active" in table


async def test_old_events_are_left_out(service: Service) -> None:
    """Those of the last week are no events of the last day, and those before are neither."""
    auth = await service.credential("admin")
    service.clock.advance(seconds=3 * 86_400)
    await service.account("ada@example.com")
    service.clock.advance(seconds=5 * 86_400)
    await service.account("bob@example.com")
    answer = (await service.client.get("/admin/statistics", auth=auth)).json()
    assert answer["day"]["events"]["account_created"] == 1
    assert answer["week"]["events"]["account_created"] == 2
    assert "credential_added" not in answer["week"]["events"]


async def test_figures_are_kept_for_a_while(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that come together share one count, so that no operator keeps the store busy."""
    auth = await service.credential("admin")
    now_ms = 1_000_000
    monkeypatch.setattr(statistics, "monotonic_ms", lambda: now_ms)
    times = []
    for after_ms in (0, 0, statistics.KEPT_MS - 1, 1):
        now_ms += after_ms
        service.clock.advance(seconds=1)
        both = await asyncio.gather(*(service.client.get("/admin/statistics", auth=auth) for _ in range(2)))
        times.append({answer.json()["countedAt"] for answer in both})
    assert [len(each) for each in times] == [1, 1, 1, 1]
    assert times[0] == times[1] == times[2] != times[3]


async def test_a_slow_count_is_kept_for_longer(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a twentieth of the time is spent on counting."""
    steps = iter([0, 10_000, 10_000 + 200_000 - 1, 10_000 + 200_000, 10_000 + 200_000])
    monkeypatch.setattr(statistics, "monotonic_ms", lambda: next(steps))
    count = service.running.statistics
    assert [(await count(number)).counted_at_ms for number in range(3)] == [0, 0, 2]


async def test_a_table_with_more_rows_is_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers are lower bounds, and the command line says so."""
    monkeypatch.setattr(statistics, "PIECE", 2)
    monkeypatch.setattr(statistics, "MOST", 2)
    for name in ("ada", "bob", "eve"):
        await service.account(f"{name}@example.com")
    answer = (await service.client.get("/admin/statistics", auth=await service.credential("admin"))).json()
    assert answer["incomplete"] == ["accounts", "events"]
    assert answer["accounts"]["total"] == 2
