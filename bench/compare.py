"""Compare Handstamp with the usual alternatives on the same tasks over HTTP.

One server process runs on one core and the clients on the other, with durable SQLite commits in all systems. All servers stay up
and take turns, so that a slow machine affects all of them. Ratios are computed within one turn.
"""

from __future__ import annotations

import math
import sqlite3
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial, reduce
from itertools import cycle
from pathlib import Path
from typing import Annotated, NamedTuple

import argon2
import typer

from .load import Client, Measured, Operation, cores, on_core, run
from .plot import Series, bars
from .report import AsJson, Cell, MarkdownTo, Promise, Table, progress, show
from .service import temporary_folder
from .systems.base import ARGON2, PASSWORD, Server, Session, System
from .systems.catalogue import ALL, available
from .systems.ruler import Ruler

_WARM_UP_S = 0.2
_SIGN_INS_LAST = 2
"""How much longer a turn of sign-ins lasts: few fit into a second, so that one more or less would be some percent."""
_STARTS = 3
_CHAINS = 16
_FLOOD = 4
_OURS = "Handstamp"
_RULER = "ruler"
_TITLES = {
    "refresh": f"Refresh, {_CHAINS} chains, each with its newest token",
    "profile": f"Profile, {_CHAINS} clients",
    "login 1": "Login, one client",
    "login 8": "Login, eight clients",
    "logout": "Logout, eight clients",
    "beside": f"Profile, {_CHAINS} clients, beside {_FLOOD} that sign in without pause",
}
_ROTATING_IN_PYTHON = frozenset({"simplejwt", "django-allauth JWT", "Flask-JWT-Extended", "better-auth-server OAuth"})
"""Python alternatives that rotate the refresh token, as Handstamp does."""
_PLOTTED = ("refresh", "profile", "login 8", "beside")
Groups = Mapping[str, Sequence[Client]]


class Turn(NamedTuple):
    """What the clients measured, and the processor time of the server."""

    seen: Measured
    processor_s: float


Rounds = Mapping[tuple[str, str], Sequence[Turn]]
"""The turns of all rounds, by measure and by system."""


class Contender:
    """A running system and its sessions."""

    def __init__(self, server: Server) -> None:
        """Keep the running server."""
        self._server = server
        self._system = server.system
        self._chains: list[Session] = []
        self._fresh: list[Session] = []
        self._emails = cycle(f"person{number}@example.com" for number in range(_CHAINS))

    @property
    def name(self) -> str:
        """Return the system's name."""
        return self._system.name

    def sign_in(self) -> None:
        """Start new sessions for profiles and refreshes."""
        self._chains = self._server.sessions(_CHAINS)

    def does(self, what: str) -> bool:
        """Return whether the system has this operation."""
        return (self._system.can_refresh or what != "refresh") and (self._system.can_sign_in or what in ("profile", "refresh"))

    def measure(self, what: str, seconds: float) -> Turn:
        """Run one operation under load and return the turn."""
        profiles = [partial(self._system.profile, session) for session in self._chains]
        work: dict[str, Groups] = {
            "refresh": {what: [partial(self._system.refresh, session) for session in self._chains]},
            "profile": {what: profiles},
            "login 1": {what: [self._login]},
            "login 8": {what: [self._login] * 8},
            "logout": {what: [self._logout] * 8},
            "beside": {what: profiles, "flood": [self._login] * _FLOOD},
        }
        before_s = self._server.processor_s()
        if what == "logout":
            measured = run(self._server.port, work[what])[what]
        else:
            measured = run(self._server.port, work[what], seconds=seconds, warm_up_s=_WARM_UP_S)[what]
        return Turn(measured, self._server.processor_s() - before_s)

    def _login(self) -> Operation:
        session = Session(next(self._emails))
        yield from self._system.login(session)
        if session.access:
            self._fresh.append(session)

    def _logout(self) -> Operation | None:
        return self._system.logout(self._fresh.pop()) if self._fresh else None


def main(
    *,
    rounds: Annotated[int, typer.Option(help="How often the systems take turns.", min=1)] = 5,
    seconds: Annotated[float, typer.Option(help="How long each is loaded in each turn.", min=0.2)] = 1,
    only: Annotated[list[str] | None, typer.Option(help="A system to measure beside Handstamp; again for more.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the rates into this SVG file.")] = None,
    markdown_to: MarkdownTo = None,
    as_json: AsJson = False,
) -> None:
    """Print and plot rates, latencies, memory and cold starts of all systems."""
    systems = available({_OURS, *only} if only else ())
    core, own_core = cores()
    with temporary_folder() as folder, ExitStack() as running, on_core(own_core):
        servers, starts = [], {}
        every_kind: list[type[System]] = [Ruler, *systems]
        for kind in every_kind:
            server = _started(kind, folder, core, running)
            progress(f"starting {server.system.name}")
            starts[server.system.name] = [server.start_again() for _ in range(_STARTS)]
            server.check_durability()
            servers.append(server)
        ceiling, commit_ms = _ceiling(servers[0].port), _commit_ms(folder)
        rates = _take_turns([Contender(server) for server in servers], rounds, seconds, core)
        tables = [_summary(rates, servers, starts), *(_table(what, rates) for what in _TITLES), _footprint(servers, starts)]
    if plot is not None:
        plot.write_text(_draw(rates), encoding="utf-8")
    show(
        "compare",
        notes=(
            f"{rounds} rounds of {seconds:g} s, and of {seconds * _SIGN_INS_LAST:g} s for signing in.",
            "Rates and ratios are medians of the rounds, latencies of all of them.",
            "core ms: the server's processor time for one; it says most where others use the machine, too.",
            f"One process serves on core {core}; the clients are on core {own_core} and could ask {ceiling:,.0f} times a second.",
            f"SQLite with journal_mode=WAL and synchronous=FULL everywhere, asked of each; a commit takes {commit_ms:.1f} ms.",
            "They do not all do the same work: bench/README.md says what differs.",
        ),
        tables=tables,
        promises=_promises(rates),
        as_json=as_json,
        markdown_to=markdown_to,
    )


def _started(kind: type[System], folder: Path, core: int, running: ExitStack) -> Server:
    own = folder / kind.name.replace(" ", "-")
    own.mkdir()
    return running.enter_context(Server(kind(own), core))


def _ceiling(port: int) -> float:
    """Return how many requests the clients can send in a second of their own processor time."""
    ruler = Ruler(Path())
    began = time.process_time()
    seen = run(port, {"": [partial(ruler.profile, Session(""))] * _CHAINS}, seconds=1)[""]
    return len(seen.latencies_s) / (time.process_time() - began)


def _commit_ms(folder: Path) -> float:
    """Return the time of a durable commit of one row: the median of a hundred."""
    took_s = []
    with closing(sqlite3.connect(folder / "commits.db", isolation_level=None)) as connection:
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE row (number)"):
            connection.execute(statement)
        for number in range(100):
            began = time.perf_counter()
            connection.execute("INSERT INTO row VALUES (?)", (number,))
            took_s.append(time.perf_counter() - began)
    return statistics.median(took_s) * 1000


def _take_turns(contenders: Sequence[Contender], rounds: int, seconds: float, core: int) -> Rounds:
    rates: dict[tuple[str, str], list[Turn]] = defaultdict(list)
    order = list(contenders)
    progress("all systems warm up")
    for contender in contenders:
        contender.sign_in()
        for what in ("profile", "refresh"):
            if contender.does(what):
                contender.measure(what, 1)
    for number in range(1, rounds + 1):
        for contender in contenders:
            contender.sign_in()
        for what, title in _TITLES.items():
            progress(f"round {number} of {rounds}: {title}")
            signs_in = what.startswith("login")
            turn_s = seconds * _SIGN_INS_LAST if signs_in else seconds
            for contender in order:
                if contender.does(what):
                    rates[what, contender.name].append(contender.measure(what, turn_s))
            if signs_in:
                rates[what, _RULER].append(_bare_argon2(turn_s, core))
            order.append(order.pop(0))  # each system follows a different one in the next round
    return rates


def _bare_argon2(seconds: float, core: int) -> Turn:
    """Verify passwords without a pause, on the core of the servers, which are idle meanwhile."""
    hasher = argon2.PasswordHasher(**ARGON2)
    stored, latencies_s = hasher.hash(PASSWORD), []
    with on_core(core):
        before_s, began = time.process_time(), time.perf_counter()
        then = began
        while then < began + seconds:
            hasher.verify(stored, PASSWORD)
            latencies_s.append(-then + (then := time.perf_counter()))
    return Turn(Measured(then - began, latencies_s, {}, len(latencies_s)), time.process_time() - before_s)


def _rate(rates: Rounds, what: str, name: str) -> float:
    return statistics.median(one.seen.rate for one in rates[what, name]) if (what, name) in rates else math.nan


def _ratio(rates: Rounds, what: str, one: str, other: str) -> float:
    """Return the ratio of two rates: the median of the rounds, or NaN if either system has none."""
    pairs = zip(rates.get((what, one), ()), rates.get((what, other), ()), strict=False)
    ratios = [a.seen.rate / b.seen.rate if b.seen.rate else math.inf for a, b in pairs]
    return statistics.median(ratios) if ratios else math.nan


def _summary(rates: Rounds, servers: Sequence[Server], starts: Mapping[str, Sequence[float]]) -> Table:
    """Return a table with the rates, the cold start and the memory of each system."""
    rows = []
    for server in servers:
        name = server.system.name
        measured = [_rate(rates, what, name) for what in _PLOTTED]
        cells = ["" if math.isnan(rate) else rate for rate in measured]
        rows.append((name, *cells, statistics.median(starts[name]), server.memory_mib()))
    columns = ("", "refreshes", "profiles", "sign-ins", "profiles beside sign-ins", "start, s", "memory, MiB")
    return Table("A second, on one core: all at a glance", columns, rows)


def _table(what: str, rates: Rounds) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name in (_RULER, *(one.name for one in ALL)):
        if (what, name) not in rates:
            continue
        turns = rates[what, name]
        joined = reduce(Measured.join, (turn.seen for turn in turns))
        cost_ms = statistics.median(turn.processor_s / max(turn.seen.ended, 1) for turn in turns) * 1000
        is_argon2 = name == _RULER and what.startswith("login")
        failed = ", ".join(f"{count} x {status or 'lost'}" for status, count in sorted(joined.failed.items()))
        ratios = (_ratio(rates, what, name, _RULER), _ratio(rates, what, _OURS, name))
        rows.append(
            (
                "bare argon2" if is_argon2 else name,
                _rate(rates, what, name),
                *("" if math.isnan(ratio) else ratio for ratio in ratios),
                "" if what == "beside" else cost_ms,
                joined.ms(50),
                joined.ms(99),
                failed,
            )
        )
    columns = ("", "a second", "x ruler", "Handstamp is x", "core ms", "p50 ms", "p99 ms", "failed")
    return Table(_TITLES[what], columns, rows)


def _footprint(servers: Sequence[Server], starts: Mapping[str, Sequence[float]]) -> Table:
    rows = [
        (one.system.name, statistics.median(starts[one.system.name]), one.memory_mib(), one.system.versions()) for one in servers
    ]
    return Table("From start to first good answer, and memory (PSS) after all that", ("", "seconds", "MiB", "versions"), rows)


def _promises(rates: Rounds) -> list[Promise]:
    names = {name for what, name in rates if what == "refresh"}
    python = max(names & _ROTATING_IN_PYTHON, key=lambda name: _rate(rates, "refresh", name), default="")
    wanted = (
        ("refresh", "ruler", 0.4),
        ("refresh", python, 10),
        ("refresh", "oidc-provider", 5),
        ("profile", "ruler", 0.55),
        ("profile", "simplejwt", 8),
        ("profile", "oidc-provider", 2.5),
        ("login 8", "ruler", 0.95),
    )
    promises = []
    for what, other, least in wanted:
        ratio = _ratio(rates, what, _OURS, other)
        if not math.isnan(ratio):
            beside = "bare argon2" if what.startswith("login") else f"the {other}" if other == _RULER else other
            promises.append(Promise(f"{what} beside {beside}", f"{ratio:.2f} x", f">= {least:g} x", ratio >= least))
    return promises


def _draw(rates: Rounds) -> str:
    names = [one.name for one in ALL if ("profile", one.name) in rates]
    return bars(
        "Answers a second of one process on one core",
        groups=names,
        panels={_TITLES[what]: [Series("answers a second", [_rate(rates, what, name) for name in names])] for what in _PLOTTED},
    )


if __name__ == "__main__":
    typer.run(main)
