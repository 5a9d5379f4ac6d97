"""Metrics, read by Prometheus's own parser: from a service with several workers, with a credential, and switched off."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from handstamp.assemble.application import make_application
from handstamp.assemble.deployment import Deployment
from handstamp.domain.event import Event
from handstamp.domain.keyring import PUBLISH_AHEAD_MS, ROTATE_AFTER_MS, SLACK_MS
from handstamp.errors import InvalidCode
from handstamp.metrics.meter import _DURATIONS_S, make_meter
from handstamp.service.parts.caller import Caller
from handstamp.service.parts.one_time import Shown
from tests.builders import Clock
from tests.deployment import ISSUER, caller, deployed
from tests.integration.helpers import client_of, expect_problem, refresh, run_server, sign_in_new_user
from tests.promtool import find_promtool
from tests.serving import free_port
from tests.verifying import eventually
from tests.webhooks import new_webhook_secret, write_secrets

pytestmark = pytest.mark.anyio
REFERENCE = Path(__file__).parents[2] / "docs/reference.md"


class Metrics:
    """What was read."""

    def __init__(self, text: str) -> None:
        """Parse Prometheus's text format."""
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of all samples with these labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items())
        )


def read(url: str) -> Metrics:
    """Read metrics from an address."""
    answer = httpx.get(url, trust_env=False, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    return Metrics(answer.text)


@pytest.mark.slow
def test_several_workers_are_one(tmp_path: Path) -> None:
    """Whoever answers tells what all have done, and nothing that strangers send becomes a label."""
    port = free_port()
    with (
        run_server(tmp_path, "--workers", "2", METRICS_ADDRESS=f"127.0.0.1:{port}") as server,
        client_of(server) as client,
    ):
        ada = sign_in_new_user(client)
        for _ in range(5):
            ada = ada.after(refresh(client, ada))
        client.post("/login", json={"email": ada.email, "password": "a wrong sentence, 12 words"})
        for number in range(20):
            with client_of(server) as other:  # of its own connection, which may be with the other worker
                other.get(f"/nothing/{number}", headers={"x": "y"})
        url = f"http://127.0.0.1:{port}/metrics"
        requests = "handstamp_request_duration_seconds_count"
        assert eventually(lambda: read(url).value(requests, route="other", status="404") == 20), "each tells the others soon"
        assert eventually(lambda: read(url).value("handstamp_refreshes_total", outcome="rotated") == 5)
        seen = read(url)
        assert seen.value("handstamp_sign_ins_total", outcome="succeeded") == 1
        assert seen.value("handstamp_sign_ins_total", outcome="failed") == 1
        assert seen.value("handstamp_events_total", kind="account_created") == 1
        assert seen.value("handstamp_request_duration_seconds_count", route="/refresh", status="200") == 5
        assert seen.value("handstamp_request_duration_seconds_count", route="other", status="404") == 20
        assert seen.value("handstamp_commit_duration_seconds_count") > 5
        assert seen.value("handstamp_sessions") == 1
        assert seen.value("handstamp_keys", state="active") == 1
        assert seen.value("handstamp_store_up") == 1
        assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 404
        expect_problem(client.get("/metrics"), 401, "invalid_client")


async def test_with_a_credential(tmp_path: Path) -> None:
    """At the service's own address, and for nobody else."""
    clock = Clock()
    async with deployed(tmp_path, clock, metrics_address="credential") as running:
        name, secret = await make_credential(running, clock)
        transport = httpx.ASGITransport(make_application(running))
        async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
            expect_problem(await client.get("/metrics"), 401, "invalid_client")
            expect_problem(await client.get("/metrics", auth=(name, "wrong")), 401, "invalid_client")
            answer = await client.get("/metrics", auth=(name, secret))
            assert Metrics(answer.text).value("handstamp_events_total", kind="credential_added") == 1
            accept = {"accept": "application/openmetrics-text; version=1.0.0"}
            answer = await client.get("/metrics", auth=(name, secret), headers=accept)
            assert answer.text.endswith("# EOF\n")


class Documented(NamedTuple):
    """A row of the reference."""

    name: str
    type: str
    labels: frozenset[str]


def documented(title: str = "Metrics") -> set[Documented]:
    """Return what a section of the reference lists."""
    section = REFERENCE.read_text("utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:5]] for row in section.splitlines() if row.startswith("| `")]
    return {
        Documented(name.strip("`"), kind.strip("* "), frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows
    }


def list_families(registry: CollectorRegistry) -> set[Documented]:
    """Return our metrics that there are to read, each with its type and its labels."""
    found = set()
    for collector in list(registry._collector_to_names):
        known = frozenset(getattr(collector, "_labelnames", ()))
        for family in collector.collect():
            suffix = "_total" if family.type == "counter" else "_info" if family.type == "info" else ""
            labels = known or frozenset(label for sample in family.samples for label in sample.labels if label != "le")
            found.add(Documented(family.name + suffix, family.type, labels))
    return {each for each in found if each.name.startswith("handstamp_")}


async def test_the_reference_lists_every_metric(tmp_path: Path) -> None:
    """Names, types and labels are the same in the reference and in the registry."""
    webhook = {
        "audit_webhook_urls": ["https://siem.example.com"],
        "audit_webhook_secret_file": write_secrets(tmp_path / "webhook.secret", new_webhook_secret()),
    }
    async with deployed(tmp_path, Clock(), metrics_address="credential", **webhook) as running:
        render = running.measuring.render
        assert render is not None
        await render("")
        exporter = running.measuring._exporter
        assert exporter is not None
        assert list_families(exporter._registry) == documented()


async def test_prometheus_finds_nothing_to_improve(tmp_path: Path) -> None:
    """Its own linter reads every metric: names end with base units, counters with `_total`, all have a help text."""
    async with deployed(tmp_path, Clock(), metrics_address="credential") as running:
        render = running.measuring.render
        assert render is not None
        await running.revocations.read_after("", wait_s=0, reader="orders", caller=caller(Clock()))
        text, _ = await render("")
    promtool = find_promtool()
    ran = await asyncio.to_thread(subprocess.run, [promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


async def test_what_is_measured_on_the_way(tmp_path: Path) -> None:
    """Readers of the feed, failed sign-ins without a password, and mails."""
    clock = Clock()
    async with deployed(tmp_path, clock, metrics_address="credential") as running:
        render = running.measuring.render
        assert render is not None
        await running.revocations.read_after("", wait_s=0, reader="orders", caller=caller(clock))
        with pytest.raises(InvalidCode):
            await running.one_time.prove("sign_in", Shown(token="x" * 43), caller(clock))
        with pytest.raises(InvalidCode):
            await running.one_time.prove("reset_password", Shown(token="x" * 43), caller(clock))
        running.audit.log(Event(at_ms=clock(), kind="sign_in_failed", detail={"factor": "totp"}))
        running.audit.log(Event(at_ms=clock(), kind="mail_given_up"))
        seen = Metrics((await render(""))[0].decode())
        assert seen.value("handstamp_feed_read_timestamp_seconds", credential="orders") == clock() / 1000
        assert seen.value("handstamp_sign_ins_total", outcome="failed", method="otp") == 2
        assert seen.value("handstamp_mails_total", outcome="given_up") == 1
        assert seen.value("handstamp_key_step_late_seconds") == 0
        clock.advance(ms=ROTATE_AFTER_MS)
        seen = Metrics((await render(""))[0].decode())
        assert seen.value("handstamp_key_step_late_seconds", step="publish") == (PUBLISH_AHEAD_MS + SLACK_MS) / 1000
        await running.keys.maintain(clock())
        assert Metrics((await render(""))[0].decode()).value("handstamp_key_step_late_seconds") == 0


def test_labels_are_bounded() -> None:
    """Whatever becomes a label: a metric has at most a thousand of each, and the rest is one."""
    meter = make_meter()
    for number in range(3000):
        meter.count_event(Event(at_ms=0, kind="signed_in", detail={"amr": f"word-{number}"}))
        meter.time_request(f"/{number}", "GET", 200, 0.5)
    meter.publish()
    seen = Metrics(generate_latest(meter.registry).decode())
    assert len([each for each in seen.samples if each.name == "handstamp_sign_ins_total"]) == 1001
    assert seen.value("handstamp_sign_ins_total", outcome="other", method="other") == 2000
    assert seen.value("handstamp_request_duration_seconds_count", route="other", status="other") == 2000


def test_observations_are_added_to_the_right_buckets() -> None:
    """As the library itself would: a value on a bound is below it, and the sum and the count are right."""
    meter = make_meter()
    values = [0.0, 0.001, 0.0011, 0.25, 3.0, 10.0, 10.5, 400.0]
    reference = Histogram("x", "The library's.", buckets=_DURATIONS_S, registry=(registry := CollectorRegistry()))
    for half in (values[:4], values[4:]):
        for value in half:
            meter.time_request("/refresh", "POST", 200, value)
            reference.observe(value)
        meter.publish()
    expected, seen = Metrics(generate_latest(registry).decode()), Metrics(generate_latest(meter.registry).decode())
    for bound in {sample.labels["le"] for sample in expected.samples if sample.name == "x_bucket"}:
        assert seen.value("handstamp_request_duration_seconds_bucket", le=bound) == expected.value("x_bucket", le=bound)
    assert seen.value("handstamp_request_duration_seconds_sum") == pytest.approx(sum(values))


async def test_a_store_that_does_not_answer_is_told(tmp_path: Path) -> None:
    """The rest is there."""
    async with deployed(tmp_path, Clock(), metrics_address="credential") as running:
        render = running.measuring.render
        assert render is not None
        text, _ = await render("")
        assert Metrics(text.decode()).value("handstamp_store_up") == 1
        await running.store.close()
        (tmp_path / "handstamp.db").rename(tmp_path / "gone")
        (tmp_path / "handstamp.db").mkdir()
        text, _ = await render("")
        seen = Metrics(text.decode())
        assert seen.value("handstamp_store_up") == 0
        assert "handstamp_events" in text.decode()
        (tmp_path / "handstamp.db").rmdir()
        (tmp_path / "gone").rename(tmp_path / "handstamp.db")


async def test_off_costs_nothing(tmp_path: Path) -> None:
    """Neither requests nor commits are timed, and there is nothing to count."""
    async with deployed(tmp_path, Clock()) as running:
        assert not running.measuring.is_on
        transport, credential = httpx.ASGITransport(make_application(running)), await make_credential(running, Clock())
        async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
            expect_problem(await client.get("/metrics", auth=credential), 404, "not_found")
        assert running.measuring.time_request is None
        assert running.store._group._commit == running.store._commit_together  # type: ignore[attr-defined]


async def make_credential(running: Deployment, clock: Clock) -> tuple[str, str]:
    """Return the id and the secret of a new credential."""
    credential, secret = await running.credentials.create("prometheus", Caller(now_ms=clock(), actor="operator"))
    return credential.id, secret
