"""Measure how long other services still accept a token after a sign-out, with real sockets and processes.

Each verifier is a process that follows the feed and verifies the session's token about every millisecond. This process takes the
time of the service's answer to the sign-out, the verifier that of its first refusal. Both use `CLOCK_MONOTONIC`, which the
processes of a Linux machine share. A figure is at most one round of the loop too long, and never too short.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Annotated

import typer

from handstamp import HandstampError, SessionEnded, Verifier

from .report import AsJson, Promise, Table, percentile, progress, show
from .service import Service, temporary_folder

_EVERY_S = 0.001
_LONGEST_PAUSE_S = 0.15
_READY_S = 60
_PATIENCE_NS = 20 * 10**9
_ONCE_MORE = 20
_CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a verifier observed of one sign-out, in nanoseconds of the common clock."""

    accepted_at_ns: int
    """When it accepted the token for the last time."""
    refused_at_ns: int
    other_answers: int
    """Number of other answers, such as `Unavailable`."""
    accepted_again: int
    """How often it accepted the token after a refusal."""


def main(
    *,
    sign_outs: Annotated[int, typer.Option(help="How many sessions end, one after another.", min=2)] = 200,
    verifiers: Annotated[int, typer.Option(help="How many processes verify.", min=1)] = 3,
    workers: Annotated[int, typer.Option(help="How many processes serve.", min=1)] = 1,
    database: Annotated[str, typer.Option(help="A PostgreSQL database, for two nodes.", metavar="URL")] = "",
    as_json: AsJson = False,
) -> None:
    """Print the time from the answer to a sign-out until each verifier refuses the session's token.

    With `--database` there are two nodes: clients sign out at one, and the verifiers follow the feed of the other.
    """
    with temporary_folder() as folder, ExitStack() as running:
        service = asked = Service(folder, workers=workers, database=database)
        if database:
            service.migrate()
            asked = running.enter_context(Service(folder, workers=workers, database=database, issuer=service.url))
        running.enter_context(service)
        credential = service.credential(f"bench-{os.getpid()}")
        watchers = [_start_watcher(service.url, credential) for _ in range(verifiers)]
        try:
            for pipe, _ in watchers:
                pipe.recv()  # it is ready
            with asked.client() as client:
                client.register()
                progress(f"signing in {sign_outs} times")
                tokens = [client.sign_in()["accessToken"] for _ in range(sign_outs)]
                progress("signing out")
                seen, answered_at_ns = [], []
                for token in tokens:
                    for pipe, _ in watchers:
                        pipe.send(token)
                    for pipe, _ in watchers:
                        pipe.recv()  # it has accepted the token
                    time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 - not in step with periodic work
                    answered_at_ns.append(client.sign_out(token))
                    seen.append([_seen(pipe) for pipe, _ in watchers])
        finally:
            for _, process in watchers:
                process.kill()
    where = "two nodes on PostgreSQL, and people sign out at the other one" if database else "one node on SQLite"
    where = f"{where}, {workers} process(es) each"
    _report(seen, answered_at_ns, where=where, promised_ms=100 if database else 1000, as_json=as_json)


def _report(
    seen: Sequence[Sequence[Seen]], answered_at_ns: Sequence[int], *, where: str, promised_ms: int, as_json: bool
) -> None:
    after_ms = [
        [(one.refused_at_ns - answered_ns) / 1e6 for one in of_one]
        for of_one, answered_ns in zip(seen, answered_at_ns, strict=True)
    ]
    everything = [one for of_one in seen for one in of_one]
    flat = [value for of_one in after_ms for value in of_one]
    columns = ("ms after the 204", "p50", "p90", "p99", "longest", "refused before it", "of")
    rows = [_row(f"verifier {number}", values) for number, values in enumerate(zip(*after_ms, strict=True), start=1)]
    rows.append(_row("all", flat))
    rows.append(_row("the last of them", [max(of_one) for of_one in after_ms]))
    loop_ms = [(one.refused_at_ns - one.accepted_at_ns) / 1e6 for one in everything]
    again, other = sum(one.accepted_again for one in everything), sum(one.other_answers for one in everything)
    p99 = percentile(flat, 99)
    show(
        "sign_out",
        notes=(
            f"{len(seen)} sign-outs one after another, up to {_LONGEST_PAUSE_S * 1000:g} ms between them.",
            f"{len(seen[0])} verifiers, {where}.",
            f"Each verified every {_EVERY_S * 1000:g} ms; a figure may be too long by what lies between last yes and first no:",
            f"{percentile(loop_ms, 50):.1f} ms, p99 {percentile(loop_ms, 99):.1f} ms.",
        ),
        tables=(Table("From sign-out to refusal", columns, rows),),
        promises=(
            Promise("sign-out seen by verifiers elsewhere", f"p99 {p99:.0f} ms", f"p99 < {promised_ms:,} ms", p99 < promised_ms),
            Promise("once refused, never let in again", f"{again} times", "never", again == 0),
            Promise("no answer but yes and 'session ended'", f"{other} others", "none", other == 0),
        ),
        as_json=as_json,
    )


def _row(name: str, values: Sequence[float]) -> tuple[str | int | float, ...]:
    early = sum(value < 0 for value in values)
    return name, percentile(values, 50), percentile(values, 90), percentile(values, 99), max(values), early, len(values)


def _start_watcher(url: str, credential: str) -> tuple[Connection, BaseProcess]:
    ours, its = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_watch, args=(its, url, credential), daemon=True)
    process.start()
    its.close()
    return ours, process


def _seen(pipe: Connection) -> Seen:
    if not pipe.poll(2 * _PATIENCE_NS / 1e9):
        raise RuntimeError("a verifier does not answer")
    seen: Seen = pipe.recv()
    return seen


def _watch(pipe: Connection, url: str, credential: str) -> None:
    """Run a verifier: for each token from the pipe, report that it is accepted, and then what was observed."""
    with Verifier(url, audience=url, credential=credential) as verifier:
        if not verifier.wait_until_ready(_READY_S):
            raise RuntimeError(f"not ready: {verifier.status()}")
        pipe.send("ready")
        while True:
            token = pipe.recv()
            verifier.verify(token)
            accepted_at_ns = time.monotonic_ns()
            pipe.send("let in")
            pipe.send(_until_refused(verifier, token, accepted_at_ns))


def _until_refused(verifier: Verifier, token: str, accepted_at_ns: int) -> Seen:
    others, give_up_ns = 0, accepted_at_ns + _PATIENCE_NS
    while (began_ns := time.monotonic_ns()) < give_up_ns:
        try:
            verifier.verify(token)
        except SessionEnded:
            refused_at_ns = time.monotonic_ns()
            again = sum(_is_let_in(verifier, token) for _ in range(_ONCE_MORE))
            return Seen(accepted_at_ns, refused_at_ns, others, again)
        except HandstampError:
            others += 1
        else:
            accepted_at_ns = began_ns
        time.sleep(_EVERY_S)
    raise RuntimeError("the token of a session that ended is still let in")


def _is_let_in(verifier: Verifier, token: str) -> bool:
    try:
        verifier.verify(token)
    except HandstampError:
        return False
    return True


if __name__ == "__main__":
    typer.run(main)
