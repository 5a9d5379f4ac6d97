"""The alerts of deploy/monitoring, run by Prometheus's own tool over series that raise each of them, and others that do not."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.deployments.promql import find_unknown
from tests.promtool import find_promtool

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "monitoring"
ALERTS = FOLDER / "alerts.yml"
RUNBOOK = ROOT / "docs" / "how-to" / "runbook.md"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]]
_REQUESTS = "handstamp_request_duration_seconds"
_COMMITS = "handstamp_commit_duration_seconds"
_FOUND = 'job="handstamp", instance="a"'


class Case(NamedTuple):
    """Series that raise an alert and series that do not, and what the alert says."""

    firing: Sequence[tuple[str, str]]
    quiet: Sequence[tuple[str, str]]
    says: str
    labels: dict[str, str]


def case(firing: Sequence[tuple[str, str]], quiet: Sequence[tuple[str, str]], says: str, **labels: str) -> Case:
    """Return a case. Series have a value a minute: `begin+step x times`."""
    return Case(firing, quiet, says, labels or {"job": "handstamp"})


def at(metric: str, labels: str = "") -> str:
    """Return the name of a series of node `a`."""
    return f"{metric}{{{_FOUND}{', ' if labels else ''}{labels}}}"


ON_NODE = {"job": "handstamp", "instance": "a"}
OF_ORDERS = {"job": "orders", "instance": "b", "verifier": "v"}
_B = 'job="orders", instance="b", verifier="v"'
CASES: dict[str, Case] = {
    "HandstampDown": case([(at("up"), "0x90")], [(at("up"), "1x90")], "Prometheus cannot read a.", **ON_NODE),
    "HandstampStoreDown": case(
        [(at("handstamp_store_up"), "0x90")],
        [(at("handstamp_store_up"), "1x90")],
        "a gets no answer from its database.",
        **ON_NODE,
    ),
    "HandstampErrors": case(
        [(at(f"{_REQUESTS}_count", 'status="503"'), "0+3x90"), (at(f"{_REQUESTS}_count", 'status="200"'), "0+97x90")],
        [(at(f"{_REQUESTS}_count", 'status="503"'), "0+1x90"), (at(f"{_REQUESTS}_count", 'status="401"'), "0+999x90")],
        "3% of all requests fail.",
    ),
    "HandstampRefreshSlow": case(
        [
            (at(f"{_REQUESTS}_bucket", 'route="/refresh", le="1"'), "0+100x90"),
            (at(f"{_REQUESTS}_bucket", 'route="/refresh", le="+Inf"'), "0+100x90"),
        ],
        [
            (at(f"{_REQUESTS}_bucket", 'route="/refresh", le="0.1"'), "0+100x90"),
            (at(f"{_REQUESTS}_bucket", 'route="/refresh", le="+Inf"'), "0+100x90"),
        ],
        "One refresh in a hundred takes longer than 990ms.",
    ),
    "HandstampCommitsSlow": case(
        [(at(f"{_COMMITS}_bucket", 'le="1"'), "0+100x90"), (at(f"{_COMMITS}_bucket", 'le="+Inf"'), "0+100x90")],
        [(at(f"{_COMMITS}_bucket", 'le="0.1"'), "0+100x90"), (at(f"{_COMMITS}_bucket", 'le="+Inf"'), "0+100x90")],
        "One commit in a hundred takes longer than 990ms.",
    ),
    "HandstampChangesWait": case(
        [(at("handstamp_changes_waiting"), "300x90")],
        [(at("handstamp_changes_waiting"), "20x90")],
        "300 changes wait for a commit at a.",
        **ON_NODE,
    ),
    "HandstampHashingFull": case(
        [(at("handstamp_hashing_refused_total"), "0+60x90")],
        [(at("handstamp_hashing_refused_total"), "7x90")],
        "Sign-ins are refused, because too many passwords wait to be hashed.",
    ),
    "HandstampClockOff": case(
        [(at("handstamp_clock_offset_seconds"), "-3x90")],
        [(at("handstamp_clock_offset_seconds"), "0.4x90")],
        "The clock of a differs from the database's by 3 seconds.",
        **ON_NODE,
    ),
    "HandstampNoSigningKey": case(
        [(at("handstamp_keys", 'state="active"'), "0x90"), (at("handstamp_keys", 'state="gone"'), "0x90")],
        [(at("handstamp_keys", 'state="active"'), "1x90"), (at("handstamp_keys", 'state="gone"'), "0x90")],
        "a has no key that signs.",
        **ON_NODE,
        state="active",
    ),
    "HandstampKeyTimetableLate": case(
        [(at("handstamp_key_step_late_seconds", 'step="publish"'), "7200x90")],
        [(at("handstamp_key_step_late_seconds", 'step="publish"'), "0x40 40x50")],
        "The step publish of the timetable of signing keys is late by 2h 0m 0s.",
        **ON_NODE,
        step="publish",
    ),
    "HandstampTokensReused": case(
        [(at("handstamp_refreshes_total", 'outcome="reuse"'), "0+1x90")],
        [
            (at("handstamp_refreshes_total", 'outcome="reuse"'), "0+0.1x90"),
            (at("handstamp_refreshes_total", 'outcome="rotated"'), "0+99x90"),
        ],
        "60 sessions ended in an hour because an old refresh token was used.",
    ),
    "HandstampSignInsFail": case(
        [
            (at("handstamp_sign_ins_total", 'outcome="failed", method="pwd"'), "0+300x90"),
            (at("handstamp_sign_ins_total", 'outcome="succeeded", method="pwd"'), "0+60x90"),
        ],
        [
            (at("handstamp_sign_ins_total", 'outcome="failed", method="pwd"'), "0+300x90"),
            (at("handstamp_sign_ins_total", 'outcome="succeeded", method="pwd"'), "0+100x90"),
        ],
        "5 sign-ins a second fail, more than four times as many as succeed.",
    ),
    "HandstampThrottled": case(
        [(at("handstamp_throttled_total", 'operation="sign_in", limit="network"'), "0+120x90")],
        [(at("handstamp_throttled_total", 'operation="sign_in", limit="network"'), "0+6x90")],
        "The limit network of sign_in refuses 2 attempts a second.",
        job="handstamp",
        operation="sign_in",
        limit="network",
    ),
    "HandstampCommitsLost": case(
        [(at("handstamp_refreshes_total", 'outcome="caught_up"'), "0x58 1x40")],
        [(at("handstamp_refreshes_total", 'outcome="caught_up"'), "0x90")],
        "Clients have newer refresh tokens than the database: it has lost commits.",
    ),
    "HandstampMailStuck": case(
        [(at("handstamp_mail_oldest_seconds"), "960x90")],
        [(at("handstamp_mail_oldest_seconds"), "60x90")],
        "A mail has waited for 16m 0s.",
        **ON_NODE,
    ),
    "HandstampMailGivenUp": case(
        [
            (at("handstamp_mails_total", 'outcome="given_up"'), "0+1x90"),
            (at("handstamp_mails_total", 'outcome="sent"'), "0+2x90"),
        ],
        [
            (at("handstamp_mails_total", 'outcome="given_up"'), "0+1x90"),
            (at("handstamp_mails_total", 'outcome="sent"'), "0+99x90"),
        ],
        "60 mails were given up in an hour, more than a tenth of those that were sent.",
    ),
    "HandstampAuditBehind": case(
        [(at("handstamp_audit_webhook_oldest_seconds", 'receiver="siem"'), "1800x90")],
        [(at("handstamp_audit_webhook_oldest_seconds", 'receiver="siem"'), "20x90")],
        "The receiver siem of the audit trail is behind by 30m 0s.",
        **ON_NODE,
        receiver="siem",
    ),
    "HandstampAuditLost": case(
        [(at("handstamp_audit_webhook_lost_events", 'receiver="siem"'), "0x30 7x60")],
        [(at("handstamp_audit_webhook_lost_events", 'receiver="siem"'), "0x90")],
        "The receiver siem of the audit trail has missed 7 events for good.",
        **ON_NODE,
        receiver="siem",
    ),
    "HandstampFeedReaderSilent": case(
        [(at("handstamp_feed_read_timestamp_seconds", 'credential="orders"'), "3000x90")],
        [(at("handstamp_feed_read_timestamp_seconds", 'credential="orders"'), "0+60x90")],
        "The verifiers with the credential orders have not read the revocation feed for 10m 0s.",
        job="handstamp",
        credential="orders",
    ),
    "HandstampVerifierNotReady": case(
        [(f"handstamp_verifier_ready{{{_B}}}", "0x90")],
        [(f"handstamp_verifier_ready{{{_B}}}", "1x90")],
        "The verifier v of orders has not fetched the keys or the ended sessions.",
        **OF_ORDERS,
    ),
    "HandstampVerifierFeedOld": case(
        [(f"handstamp_verifier_feed_age_seconds{{{_B}}}", "60x90")],
        [(f"handstamp_verifier_feed_age_seconds{{{_B}}}", "6x90")],
        "The verifier v of orders has not followed the revocation feed for 1m 0s.",
        **OF_ORDERS,
    ),
    "HandstampVerifierKeysOld": case(
        [(f"handstamp_verifier_keys_age_seconds{{{_B}}}", "4200x90")],
        [(f"handstamp_verifier_keys_age_seconds{{{_B}}}", "240x90")],
        "The verifier v of orders has not renewed the keys for 1h 10m 0s.",
        **OF_ORDERS,
    ),
    "HandstampVerifierUnavailable": case(
        [
            (f'handstamp_verifier_verifications_total{{{_B}, outcome="unavailable"}}', "0+5x90"),
            (f'handstamp_verifier_verifications_total{{{_B}, outcome="valid"}}', "0+95x90"),
        ],
        [(f'handstamp_verifier_verifications_total{{{_B}, outcome="valid"}}', "0+95x90")],
        "orders answers 5% of its requests with 503, because it cannot verify their tokens.",
        job="orders",
        verifier="v",
    ),
}


def promtool(*words: str | Path) -> None:
    """Run promtool. Fails if it finds a mistake."""
    ran = subprocess.run([find_promtool(), *map(str, words)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_rules_are_valid() -> None:
    """Prometheus accepts the example of a configuration and every expression."""
    promtool("check", "config", FOLDER / "prometheus.yml")
    promtool("check", "rules", "--lint-fatal", ALERTS)


@pytest.mark.slow
def test_each_alert_is_raised_and_only_then(tmp_path: Path) -> None:
    """After an hour of its series each alert fires with its sentence; of the quiet series it does not."""
    assert list(CASES) == [rule["alert"] for rule in RULES]
    tests = []
    for rule in RULES:
        each = CASES[rule["alert"]]
        raised = {
            "exp_labels": each.labels | rule["labels"],
            "exp_annotations": {"summary": each.says, "runbook_url": rule["annotations"]["runbook_url"]},
        }
        for series, expected in ((each.firing, [raised]), (each.quiet, [])):
            tests.append(
                {
                    "interval": "1m",
                    "input_series": [{"series": name, "values": values} for name, values in series],
                    "alert_rule_test": [{"eval_time": "1h", "alertname": rule["alert"], "exp_alerts": expected}],
                }
            )
    (tmp_path / "tests.yml").write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "5m", "tests": tests}))
    promtool("test", "rules", tmp_path / "tests.yml")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_each_expression_uses_what_there_is(rule: dict[str, str]) -> None:
    """Every metric and label exists."""
    assert find_unknown(rule["expr"]) == set()


def test_each_alert_has_its_section_in_the_runbook_and_each_section_its_alert() -> None:
    """And the address in the alert leads there."""
    sections = re.findall(r"^## (Handstamp\w+)$", RUNBOOK.read_text("utf-8"), re.MULTILINE)
    assert sections == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["annotations"]["runbook_url"].endswith(f"/docs/how-to/runbook.md#{rule['alert'].lower()}")
