"""The dashboard of deploy/monitoring, read by Grafana's own library and by Prometheus's own parser."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.deployments.promql import all_metrics, find_unknown, names_of
from tests.promtool import find_promtool

FILE = Path(__file__).parents[2] / "deploy" / "monitoring" / "dashboard.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
EXPRESSIONS: dict[str, str] = {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel.get("targets", ())
}


def find_lost(document: dict[str, Any]) -> list[str]:
    """Return the fields that Grafana's library does not know, or knows with another value. It adds fields with defaults."""
    register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(document), cls=JSONEncoder))

    def compare(given: Any, found: Any, place: str) -> Iterator[str]:
        if isinstance(given, dict) and isinstance(found, dict):
            for name, value in given.items():
                yield from compare(value, found.get(name, "nothing"), f"{place}.{name}")
        elif isinstance(given, list) and isinstance(found, list) and len(given) == len(found):
            for number, (value, other) in enumerate(zip(given, found, strict=True)):
                yield from compare(value, other, f"{place}[{number}]")
        elif given != found:
            yield place

    return list(compare(document, read, ""))


def test_grafana_knows_every_field() -> None:
    """Reading and writing it loses nothing. With a misspelt field it does."""
    assert find_lost(DASHBOARD) == []
    wrong = json.loads(FILE.read_text("utf-8"))
    wrong["panels"][1]["fieldConfig"]["defaults"]["unti"] = "s"
    assert find_lost(wrong) == [".panels[1].fieldConfig.defaults.unti"]


def test_panels_have_their_places() -> None:
    """No two share a place or an id, and none is wider than the page."""
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    places = [panel["gridPos"] for panel in PANELS]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        assert any(
            first[axis] + first[size] <= second[axis]
            for axis, size in (("x", "w"), ("y", "h"))
            for first, second in ((one, other), (other, one))
        ), (one, other)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_each_expression_uses_what_there_is(name: str) -> None:
    """Every metric and label exists."""
    assert find_unknown(EXPRESSIONS[name]) == set()


def test_each_metric_is_on_the_dashboard() -> None:
    """Nothing is measured that nobody sees."""
    shown = " ".join(EXPRESSIONS.values())
    assert [metric.name for metric in all_metrics() if not any(name in shown for name in names_of(metric))] == []


def test_prometheus_parses_every_expression(tmp_path: Path) -> None:
    """With values in place of the variables of Grafana."""
    rules = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "5m").replace("$job", "handstamp")}
        for number, text in enumerate(EXPRESSIONS.values())
    ]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    ran = subprocess.run([find_promtool(), "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
