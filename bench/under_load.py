"""Measure the service under load: many sign-ins, connections, simultaneous refreshes, refreshes in a row, and workers.

One `handstamp serve` runs on one core, on SQLite with full durability; the clients run on another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from handstamp.config.logs import configure_logging

from .endurance import endurance
from .flood import flood
from .herd import herd
from .kept_open import kept_open
from .report import AsJson, Findings, show
from .workers import workers


class Part(StrEnum):
    """The parts that can be measured alone."""

    FLOOD = "flood"
    CONNECTIONS = "connections"
    HERD = "herd"
    REFRESHES = "refreshes"
    WORKERS = "workers"


def main(
    *,
    part: Annotated[list[Part] | None, typer.Option(help="Measure this alone; may come more than once.")] = None,
    rounds: Annotated[int, typer.Option(help="How many turns what is compared takes.", min=1)] = 5,
    seconds: Annotated[float, typer.Option(help="How long a turn lasts.", min=0.5)] = 2,
    connections: Annotated[int, typer.Option(help="How many clients stay connected.", min=200)] = 10_000,
    herd_size: Annotated[int, typer.Option(help="How many clients renew at once.", min=1)] = 2000,
    refreshes: Annotated[int, typer.Option(help="After how many refreshes to look at the memory.", min=1000)] = 200_000,
    plots: Annotated[Path | None, typer.Option(help="Draw herd.svg and refreshes.svg into this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the figures of the service under load."""
    configure_logging(logging.WARNING)
    parts: Mapping[Part, Callable[[], Findings]] = {
        Part.FLOOD: lambda: flood(rounds=rounds, seconds=seconds),
        Part.CONNECTIONS: lambda: kept_open(connections=connections),
        Part.HERD: lambda: herd(size=herd_size, plot=plots and plots / "herd.svg"),
        Part.REFRESHES: lambda: endurance(refreshes=refreshes, plot=plots and plots / "refreshes.svg"),
        Part.WORKERS: lambda: workers(rounds=rounds, seconds=seconds),
    }
    found = [measure() for name, measure in parts.items() if part is None or name in part]
    show(
        "under_load",
        notes=[note for one in found for note in one.notes],
        tables=[table for one in found for table in one.tables],
        promises=[promise for one in found for promise in one.promises],
        packages=("uvicorn", "uvloop"),
        as_json=as_json,
    )


if __name__ == "__main__":
    typer.run(main)
