"""What expressions for Prometheus name, compared with the metrics that there are."""

from __future__ import annotations

import re

from tests.integration.test_metrics import Documented, documented

_WORDS = {
    "abs",
    "and",
    "by",
    "count",
    "histogram_quantile",
    "increase",
    "max",
    "min",
    "on",
    "or",
    "rate",
    "sum",
    "time",
    "up",
    "vector",
}


def all_metrics() -> set[Documented]:
    """Return the metrics of the service and of verifiers."""
    return documented() | documented("Metrics of verifiers")


def names_of(metric: Documented) -> list[str]:
    """Return the names of the series of a metric."""
    if metric.type != "histogram":
        return [metric.name]
    return [f"{metric.name}_{part}" for part in ("bucket", "count", "sum")]


def find_unknown(expression: str) -> set[str]:
    """Return the words of an expression that are neither of PromQL, nor a metric, nor a label of one."""
    names = {name for each in all_metrics() for name in names_of(each)}
    labels = {label for each in all_metrics() for label in each.labels} | {"job", "instance", "le"}
    words = set(re.findall(r"[a-z_]{2,}", re.sub(r'"[^"]*"|\[[^\]]*\]', "", expression)))
    return words - names - labels - _WORDS
