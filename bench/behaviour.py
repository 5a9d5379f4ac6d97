"""Compare how Handstamp and the usual alternatives behave during failures: words and counts, no speed.

Each system runs alone, in its own folder, with durable commits, and is used over HTTP.
"""

from __future__ import annotations

import copy
import sqlite3
from contextlib import closing
from functools import partial
from threading import Timer
from typing import Annotated

import msgspec
import typer

from .load import LOST, Operation, cores, on_core, once, run
from .report import AsJson, MarkdownTo, Promise, Table, progress, show
from .service import temporary_folder
from .systems.base import Server, Session, System, good
from .systems.catalogue import available
from .wire import request

_AT_ONCE = 10
_SESSIONS = 32
_KILLED_AFTER_S = 0.7
_NONE = "no refresh"
_TEXTS = ("email", "username", "password", "refreshToken", "refresh", "refresh_token", "token", "grant_type", "client_id")


def _everywhere(value: object) -> bytes:
    """Return a body with one value under every member name that any system reads."""
    return msgspec.json.encode(dict.fromkeys(_TEXTS, value))


_GARBAGE = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"1e400",
    b"[" * 50_000,
    b'{"email": "\xff\xfe", "password": "\x80"}',
    b"\x00\x01\x02\x03",
    _everywhere(None),
    _everywhere(1),
    _everywhere(["a", {}]),
    _everywhere({"$gt": ""}),
    _everywhere("\x00"),
    _everywhere("ab").replace(b"ab", b"\\ud800"),
    _everywhere("a" * 300_000),
    _everywhere("eyJhbGciOiJub25lIn0.eyJzdWIiOjF9."),
    b"email=%ff&username=%00&password=%&refresh_token=%zz&grant_type=refresh_token&client_id=bench",
)


class Found(msgspec.Struct, frozen=True):
    """The behaviour of one system."""

    name: str
    at_once: str
    old_token: str
    after_sign_out: str
    lost: str
    rows: str
    server_errors: str


def main(
    *,
    only: Annotated[list[str] | None, typer.Option(help="A system to look at beside Handstamp; again for more.")] = None,
    kills: Annotated[int, typer.Option(help="How often each server is killed.", min=1)] = 3,
    refreshes: Annotated[int, typer.Option(help="How often the one session is renewed whose rows are counted.", min=1)] = 1000,
    markdown_to: MarkdownTo = None,
    as_json: AsJson = False,
) -> None:
    """Print how each system handles a repeated token, a sign-out, a kill and malformed requests."""
    core, own_core = cores()
    found = []
    with temporary_folder() as folder, on_core(own_core):
        for kind in available({"Handstamp", *only} if only else ()):
            progress(f"{kind.name} …")
            own = folder / kind.name.replace(" ", "-")
            own.mkdir()
            with Server(kind(own), core) as server:
                server.check_durability()
                found.append(_examine(server, kills, refreshes))
    columns = (
        "",
        f"{_AT_ONCE} refreshes with one token at once",
        "a token that was rotated twice comes back",
        "access token after sign-out",
        f"kill -9 under load: lost of {kills * _SESSIONS}",
        f"rows that {refreshes:,} refreshes leave",
        "5xx for garbage",
    )
    table = Table("When things go wrong", columns, [msgspec.structs.astuple(one) for one in found])
    ours = next(one for one in found if one.name == "Handstamp")
    show(
        "behaviour",
        notes=(
            f"Killed {kills} times while {_SESSIONS} sessions renew without pause; after the restart each tries what it has.",
            f"Garbage: {len(_GARBAGE)} bodies to each of the endpoints that take one for signing in or renewing.",
        ),
        tables=(table,),
        promises=(
            Promise("kill -9 at any moment: sessions lost", ours.lost, "0", ours.lost == "0"),
            Promise("rows of one session, whatever the number of refreshes", f"{ours.rows} more", "0", ours.rows == "0"),
        ),
        as_json=as_json,
        markdown_to=markdown_to,
    )


def _examine(server: Server, kills: int, refreshes: int) -> Found:
    name, can_refresh = server.system.name, server.system.can_refresh
    return Found(
        name,
        at_once=_use_at_once(server) if can_refresh else _NONE,
        old_token=_use_old_token(server) if can_refresh else _NONE,
        after_sign_out=_use_after_sign_out(server),
        rows=f"{_count_rows_left(server, refreshes):,}" if can_refresh else _NONE,
        lost=str(sum(_count_lost(server) for _ in range(kills))) if can_refresh else _NONE,
        server_errors=_count_server_errors(server),
    )


def _statuses(server: Server, *operations: Operation) -> list[int]:
    """Run operations concurrently; return the final status of each."""
    statuses = [LOST] * len(operations)

    def watched(number: int, operation: Operation) -> Operation:
        step = next(operation)
        while True:
            answer = yield step
            statuses[number] = answer.status
            try:
                step = operation.send(answer)
            except StopIteration as end:
                statuses[number] = end.value or answer.status
                return

    once(server.port, *(watched(number, operation) for number, operation in enumerate(operations)))
    return statuses


def _status(server: Server, operation: Operation) -> int:
    return _statuses(server, operation)[0]


def _use_at_once(server: Server) -> str:
    """Describe how many copies of a token were accepted, and into how many separate chains the session split.

    Each accepted copy refreshes three more times, in turns. Copies of the same chain then hold the same token, and an ended chain
    has none.
    """
    system = server.system
    (session,) = server.sessions(1)
    copies = [copy.copy(session) for _ in range(_AT_ONCE)]
    statuses = _statuses(server, *(system.refresh(one) for one in copies))
    going_on = [one for one, status in zip(copies, statuses, strict=True) if status == 200]
    answered = len(going_on)
    for _ in range(3):
        going_on = [one for one in going_on if _status(server, system.refresh(one)) == 200]
    chains = len({one.refresh for one in going_on})
    verdict = {0: "the session is over", 1: "one session goes on"}.get(chains, f"{chains} sessions go on")
    return f"{answered} answered, {verdict}"


def _use_old_token(server: Server) -> str:
    """Describe what happens to a token that was rotated twice, and to its session. The client that rotated it may be a thief."""
    system = server.system
    (session,) = server.sessions(1)
    old = copy.copy(session)
    for _ in range(2):
        once(server.port, good(system.refresh(session)))
    if session.refresh == old.refresh:
        return "the same token: let in"
    is_let_in = _status(server, system.refresh(old)) == 200
    goes_on = _status(server, system.refresh(session)) == 200
    return f"{'let in' if is_let_in else 'refused'}, the session {'goes on' if goes_on else 'ends'}"


def _use_after_sign_out(server: Server) -> str:
    (session,) = server.sessions(1)
    once(server.port, good(server.system.profile(session)))
    once(server.port, good(server.system.logout(session)))
    return "let in" if _status(server, server.system.profile(session)) == 200 else "refused"


def _count_rows_left(server: Server, refreshes: int) -> int:
    """Return how many rows many refreshes of one session add, in all tables."""
    (session,) = server.sessions(1)
    before = _count_rows(server.system)
    left = iter(range(refreshes))
    measured = run(server.port, {"": [lambda: None if next(left, None) is None else server.system.refresh(session)]})[""]
    if measured.failed:
        raise RuntimeError(f"{server.system.name} did not renew: {measured.failed}")
    return _count_rows(server.system) - before


def _count_rows(system: System) -> int:
    with closing(sqlite3.connect(system.database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").fetchall()
        return sum(connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in tables)


def _count_lost(server: Server) -> int:
    """Kill the server during refreshes; return how many clients can no longer refresh with their tokens."""
    sessions = server.sessions(_SESSIONS)
    killer = Timer(_KILLED_AFTER_S, server.kill)
    killer.start()
    clients = [partial(server.system.refresh, session) for session in sessions]
    measured = run(server.port, {"": clients}, seconds=_KILLED_AFTER_S + 0.3)[""]
    killer.join()
    if not measured.failed.get(LOST):
        raise RuntimeError("the server was killed and no client noticed")
    server.start()
    return sum(_status(server, server.system.refresh(session)) != 200 for session in sessions)


def _count_server_errors(server: Server) -> str:
    """Return how many malformed requests were answered with 5xx, or not at all."""
    statuses = [
        _status(server, _send(request(b"POST", path, body=body, kind=kind)))
        for path, kind in server.system.doors
        for body in _GARBAGE
    ]
    if _status(server, server.system.login(Session(server.sessions(1)[0].email))) >= 400:
        raise RuntimeError(f"{server.system.name} does not sign in any more")
    return f"{sum(status >= 500 or status == LOST for status in statuses)} of {len(statuses)}"


def _send(what: bytes) -> Operation:
    yield what


if __name__ == "__main__":
    typer.run(main)
