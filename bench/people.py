"""People who are signed in already, what they ask for, and what they saw of it.

Their rows are made in bulk: hashing ten thousand passwords would take minutes.
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

PASSWORD = "a sentence that all of them say"  # noqa: S105 - of nobody
_CHUNK = 500


@dataclass(slots=True)
class Person:
    """Somebody with an account and one session."""

    email: str
    access: str = field(repr=False)
    refresh: str = field(repr=False)


class Answered(NamedTuple):
    """One answer: when it was here, how long it took, and its status."""

    at_s: float
    took_s: float
    status: int


class Seen:
    """What somebody saw, answer by answer."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.answers: list[Answered] = []
        self.retry_after = 0
        """How many answers said when to come again."""

    def ask(self, request: bytes) -> Generator[bytes | float, Answer, Answer]:
        """Send a request and return the answer."""
        began_s = time.perf_counter()
        answer = yield request
        now_s = time.perf_counter()
        self.answers.append(Answered(now_s, now_s - began_s, answer.status))
        self.retry_after += bool(answer.status >= 400 and answer.headers(b"retry-after"))
        return answer

    def ms(self, percent: int) -> float:
        """Return a percentile of how long good answers took."""
        return percentile([1000 * one.took_s for one in self.answers if one.status < 400] or [float("nan")], percent)

    @property
    def good(self) -> int:
        """How many answers were good."""
        return sum(0 < one.status < 400 for one in self.answers)

    @property
    def failures(self) -> Counter[int]:
        """How many answers were not, by status."""
        return Counter(one.status for one in self.answers if not 0 < one.status < 400)


Way = Callable[[Person, Seen], Operation]


def renewed(person: Person, seen: Seen) -> Generator[bytes | float, Answer, Answer]:
    """Renew, keep what came, and return the answer."""
    answer = yield from seen.ask(post(b"/refresh", {"refreshToken": person.refresh}))
    if answer.status == 200:
        tokens = answer.json()
        person.access, person.refresh = tokens["accessToken"], tokens["refreshToken"]
    return answer


def refresh(person: Person, seen: Seen) -> Operation:
    """Renew."""
    yield from renewed(person, seen)


def profile(person: Person, seen: Seen) -> Operation:
    """Ask who is signed in."""
    yield from seen.ask(get(b"/profile", bearer(person.access)))


def sign_in(person: Person, seen: Seen) -> Operation:
    """Begin another session, or come again when told; the person goes on with the session that is there."""
    answer = yield from seen.ask(post(b"/login", {"email": person.email, "password": PASSWORD}))
    if answer.status == 503:
        yield float(answer.headers(b"retry-after")[0])


def pausing(way: Way, pause_s: float) -> Way:
    """Return a way that takes a rest first."""

    def rested(person: Person, seen: Seen) -> Operation:
        yield pause_s
        yield from way(person, seen)

    return rested


def clients(way: Way, people: Sequence[Person], seen: Seen, *, count: int) -> list[Client]:
    """Return so many clients who share the people: each goes on for ever, for one of its own after the other."""

    def client(own: Iterator[Person]) -> Client:
        return lambda: way(next(own), seen)

    return [client(itertools.cycle(people[number::count])) for number in range(count)]


class Town(NamedTuple):
    """A service, who lives there, and the core that it has."""

    service: Service
    people: list[Person]
    core: int

    @property
    def port(self) -> int:
        """Return where the service listens."""
        return self.service.port


@contextmanager
def inhabited(count: int, *, workers: int = 1, is_pinned: bool = True) -> Iterator[Town]:
    """Yield a service in which so many people are signed in; it has one core for itself, and we another, if `is_pinned`."""
    its_core, own_core = cores()
    with ExitStack() as left_after:
        service = Service(left_after.enter_context(temporary_folder()), workers=workers)
        people = asyncio.run(_move_in(service, count))
        with on_core(its_core) if is_pinned else nullcontext():
            left_after.enter_context(service)
        if is_pinned:
            left_after.enter_context(on_core(own_core))
        yield Town(service, people, its_core)
        progress(f"  its main thread had a core for {service.had_core():.0%} of the time for which it wanted one")


async def _move_in(service: Service, count: int) -> list[Person]:
    database = f"sqlite:///{service.database}"
    running = Deployment(without_environment(database=database, issuer=service.url, access_lifetime=3600))
    password_hash, people = PasswordHasher("owasp").hash(PASSWORD), []
    async with running.open():
        await running.keys.maintain(now_ms())
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
