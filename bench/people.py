"""Create signed-in people, their requests, and records of the answers.

Their rows are inserted in bulk: hashing ten thousand passwords would take minutes.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

from handstamp.assemble.deployment import Deployment
from handstamp.clock import now_ms
from handstamp.config.loading import without_environment
from handstamp.crypto.identifiers import new_id
from handstamp.crypto.passwords import PasswordHasher
from handstamp.domain.account import Account
from handstamp.domain.grant import NOTHING
from handstamp.domain.policy import Policy
from handstamp.domain.proof import Proof
from handstamp.domain.session import Session, start
from handstamp.storage.store import Transaction

from .load import Client, Operation, cores, on_core
from .report import percentile, progress
from .service import Service, temporary_folder
from .wire import Answer, bearer, get, post

PASSWORD = "a sentence that all of them say"  # noqa: S105 - of test accounts
_CHUNK = 500


@dataclass(slots=True)
class Person:
    """A person with an account and one session."""

    email: str
    access: str = field(repr=False)
    refresh: str = field(repr=False)


class Answered(NamedTuple):
    """One answer: its time, its latency and its status."""

    at_s: float
    took_s: float
    status: int


class Seen:
    """A record of answers."""

    def __init__(self) -> None:
        """Create an empty record."""
        self.answers: list[Answered] = []
        self.retry_after = 0
        """Number of answers with `Retry-After`."""

    def ask(self, request: bytes) -> Generator[bytes | float, Answer, Answer]:
        """Send a request, record its answer and return it."""
        began_s = time.perf_counter()
        answer = yield request
        now_s = time.perf_counter()
        self.answers.append(Answered(now_s, now_s - began_s, answer.status))
        self.retry_after += bool(answer.status >= 400 and answer.headers(b"retry-after"))
        return answer

    def ms(self, percent: int) -> float:
        """Return a percentile of the latencies of good answers, in milliseconds."""
        return percentile([1000 * one.took_s for one in self.answers if one.status < 400] or [float("nan")], percent)

    @property
    def good(self) -> int:
        """Return the number of good answers."""
        return sum(0 < one.status < 400 for one in self.answers)

    @property
    def failures(self) -> Counter[int]:
        """Return the number of other answers by status."""
        return Counter(one.status for one in self.answers if not 0 < one.status < 400)


Way = Callable[[Person, Seen], Operation]


def renew(person: Person, seen: Seen) -> Generator[bytes | float, Answer, Answer]:
    """Refresh, keep the new tokens, and return the answer."""
    answer = yield from seen.ask(post(b"/refresh", {"refreshToken": person.refresh}))
    if answer.status == 200:
        tokens = answer.json()
        person.access, person.refresh = tokens["accessToken"], tokens["refreshToken"]
    return answer


def refresh(person: Person, seen: Seen) -> Operation:
    """Refresh once."""
    yield from renew(person, seen)


def profile(person: Person, seen: Seen) -> Operation:
    """Fetch the profile."""
    yield from seen.ask(get(b"/profile", bearer(person.access)))


def sign_in(person: Person, seen: Seen) -> Operation:
    """Start another session, or wait if `Retry-After` says so; the person keeps the first session."""
    answer = yield from seen.ask(post(b"/login", {"email": person.email, "password": PASSWORD}))
    if answer.status == 503:
        yield float(answer.headers(b"retry-after")[0])


def pausing(way: Way, pause_s: float) -> Way:
    """Return an operation that pauses first."""

    def rested(person: Person, seen: Seen) -> Operation:
        yield pause_s
        yield from way(person, seen)

    return rested


def clients(way: Way, people: Sequence[Person], seen: Seen, *, count: int) -> list[Client]:
    """Return `count` clients that share the people: each runs forever, for one of its people after the other."""

    def client(own: Iterator[Person]) -> Client:
        return lambda: way(next(own), seen)

    return [client(itertools.cycle(people[number::count])) for number in range(count)]


class Town(NamedTuple):
    """A service, its people, and its core."""

    service: Service
    people: list[Person]
    core: int

    @property
    def port(self) -> int:
        """Return the service's port."""
        return self.service.port


@contextmanager
def run_town(count: int, *, workers: int = 1, is_pinned: bool = True) -> Iterator[Town]:
    """Yield a service with `count` signed-in people. If `is_pinned`, the service and this process have a core each."""
    its_core, own_core = cores()
    with ExitStack() as left_after:
        service = Service(left_after.enter_context(temporary_folder()), workers=workers)
        people = asyncio.run(move_in(service, count))
        with on_core(its_core) if is_pinned else nullcontext():
            left_after.enter_context(service)
        if is_pinned:
            left_after.enter_context(on_core(own_core))
        yield Town(service, people, its_core)
        progress(f"  its main thread had a core for {service.had_core():.0%} of the time for which it wanted one")


async def move_in(service: Service, count: int) -> list[Person]:
    """Make the database of a service that does not run yet, with `count` people, who are signed in."""
    database = f"sqlite:///{service.database}"
    running = Deployment(without_environment(database=database, issuer=service.url, access_lifetime=3600))
    async with running.open():
        await running.keys.maintain(now_ms())
        return await settle(running, count)


async def settle(running: Deployment, count: int) -> list[Person]:
    """Insert `count` people with a session each into a deployment that is open."""
    password_hash, people = PasswordHasher("owasp").hash(PASSWORD), []
    for first in range(0, count, _CHUNK):
        now = now_ms()
        made = [_account(number, password_hash, now) for number in range(first, min(count, first + _CHUNK))]
        sessions = [_session(account, now) for account in made]

        async def insert(rows: Transaction, made: Sequence[Account] = made, sessions: Sequence[Session] = sessions) -> None:
            for account, session in zip(made, sessions, strict=True):
                await rows.accounts.insert(account)
                await rows.sessions.insert(session)

        await running.store.transact(insert)
        for account, session in zip(made, sessions, strict=True):
            pair = running.tokens.mint(session, NOTHING, now)
            people.append(Person(account.email, pair.access_token, pair.refresh_token))
    return people


def _account(number: int, password_hash: str, now: int) -> Account:
    return Account(id=new_id(), email=f"{number}@example.com", password_hash=password_hash, created_at_ms=now)


def _session(account: Account, now: int) -> Session:
    return start(
        new_id(),
        Proof(subject=account.id, account=account, amr=("pwd",), authenticated_at_ms=now),
        delivery="json",
        user_agent="bench",
        ip="127.0.0.1",
        now_ms=now,
        policy=Policy(),
    )
