"""Send the mail of the outbox, in the background of every process.

A process claims a mail before it sends it, for a bounded time, and deletes it afterwards. So each mail is sent by one process,
another one takes over after a crash, and a mail is sent twice only if a process dies between the server's answer and the commit.
Both copies have the same `Message-ID` then.

A server that is away pauses the process and not the mail, so that all mail goes out soon after an outage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from ...clock import Clock, monotonic_s
from ...domain.event import Event
from ...domain.mail import Letter, Mail, is_worth_sending, pause_ms
from ...errors import HandstampError
from ...storage.store import Store, Transaction
from ..parts.audit import Audit
from ..parts.bounded_logger import BoundedLogger
from ..parts.changes import Changes
from .delivery import Composer, Connection, DeliveryFailed, Transport
from .outbox import Letters, Outbox

TRY_S = 90.0
"""How long one try may take. A transport has shorter limits for each step."""
LEASE_MS = 120_000
"""After that long, another process takes a claimed mail over. It is longer than a try."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
"""How long a process waits after the mail server was away, doubled each time."""
_LOOK_EVERY_S = 1.0
"""How often mail of other processes is looked for while there are commits."""
_EXPECT_S = 5.0
"""For so long after mail was added in this process, it is looked for after every commit."""
_LONGEST_WAIT_S = 60.0
_GOODBYE_S = 5.0
"""How long a stop waits for a message that is being sent."""
_log = BoundedLogger("handstamp.mail")
_T = TypeVar("_T")


class Tools(NamedTuple):
    """What sends mail."""

    composer: Composer
    transport: Transport


class Sender:
    """Sends what is due."""

    def __init__(
        self,
        *,
        store: Store,
        changes: Changes,
        clock: Clock,
        outbox: Outbox,
        letters: Letters,
        audit: Audit,
        load: Callable[[], Awaitable[Tools]],
    ) -> None:
        """Create it. `load` returns the tools. It is called when mail is due, because their libraries take time to import."""
        self._store = store
        self._changes = changes
        self._clock = clock
        self._outbox = outbox
        self._letters = letters
        self._audit = audit
        self._load = load
        self.problem: str = ""
        """Why the mail server took no mail at the last try of this process, "" if it did."""
        self._pause_s = 0.0
        self._is_paused = False
        self._is_stopping = False
        self._sent: set[str] = set()
        """Mails that were sent here and could not be deleted yet."""

    async def run(self) -> None:
        """Send mail until cancelled. Mail that is being sent then gets a few seconds more."""
        self._is_stopping = False
        with self._changes.follow() as changed:
            while True:
                wait_s = _LONGEST_WAIT_S
                try:
                    wait_s = await self._finish(self.send_due())
                except HandstampError as problem:
                    _log.warning("mail_sending_failed", problem=getattr(problem, "why", str(problem)))
                except Exception:  # noqa: BLE001 - an unexpected failure must not stop the loop
                    _log.exception("mail_sending_failed")
                if self._is_paused:
                    await asyncio.sleep(wait_s)
                else:
                    await self._wait(changed, wait_s)

    async def send_due(self) -> float:
        """Send all mail that is due, over one connection, until there is none or the server is away.

        Returns:
            The number of seconds to wait before the next call, at most a minute.

        Raises:
            Unavailable: If the store does not answer, or the clock is in doubt.
        """
        self._is_paused = False
        async with _Line(self._load) as line:
            while (wait_s := await self._look()) <= 0 and not self._is_stopping:
                mail = await self._claim()
                if mail is not None and not await self._try(mail, line):
                    self._is_paused = True
                    return self._pause_s
        return wait_s

    async def _look(self) -> float:
        """Return how many seconds the next mail is away, at most a minute."""
        next_at_ms = await self._store.read(lambda rows: rows.mails.get_next_at_ms())
        return _LONGEST_WAIT_S if next_at_ms is None else min((next_at_ms - self._clock()) / 1000, _LONGEST_WAIT_S)

    async def _claim(self) -> Mail | None:
        now_ms = self._clock()
        return await self._store.transact(lambda rows: rows.mails.claim(now_ms=now_ms, until_ms=now_ms + LEASE_MS))

    async def _try(self, mail: Mail, line: _Line) -> bool:
        """Send one mail, or record why not. Return False if the server is away."""
        if mail.id in self._sent:
            return await self._forget(mail)
        if not is_worth_sending(mail, self._clock()):
            return await self._give_up(mail, "it was not sent in time")
        try:
            await self._send(mail, line)
        except ValueError as problem:
            return await self._give_up(mail, str(problem))
        except DeliveryFailed as failed:
            return await self._record(mail, failed)
        return await self._forget(mail)

    async def _send(self, mail: Mail, line: _Line) -> None:
        try:
            letter = self._letters.open(mail)
            if letter.to:
                await line.send(mail, letter)
                self.problem = ""
                self._pause_s = 0.0
                self._sent.add(mail.id)
                self._audit.meter.count_mail("sent")
                _log.info("mail_sent", mail=mail.id, mail_kind=mail.kind, tries=mail.tries)
        except (DeliveryFailed, ValueError, HandstampError):
            raise
        except Exception:  # noqa: BLE001 - one mail that cannot be sent must not hold up all others
            _log.exception("mail_sending_failed")
            raise DeliveryFailed("content", "an unexpected error, which is in the log") from None

    async def _record(self, mail: Mail, failed: DeliveryFailed) -> bool:
        if failed.is_final:
            return await self._give_up(mail, failed.why)
        wait_ms = pause_ms(mail.tries)
        if failed.concerns_server:
            self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            wait_ms = int(self._pause_s * 1000)
            self.problem = f"{failed.stage}: {failed.why}"
            _log.warning("mail_server_unavailable", stage=failed.stage, why=failed.why)
        else:
            _log.warning(
                "mail_postponed", mail=mail.id, mail_kind=mail.kind, tries=mail.tries, stage=failed.stage, why=failed.why
            )
        self._audit.meter.count_mail("postponed")
        next_at_ms, error = self._clock() + wait_ms, f"{failed.stage}: {failed.why}"
        await self._store.transact(lambda rows: rows.mails.postpone(mail, next_at_ms=next_at_ms, error=error))
        return not failed.concerns_server

    async def _give_up(self, mail: Mail, why: str) -> bool:
        detail: dict[str, str | int | None] = {"mail": mail.id, "mail_kind": mail.kind, "tries": mail.tries, "because": why}
        event = Event(at_ms=self._clock(), kind="mail_given_up", subject=mail.account, detail=detail)

        async def give_up(rows: Transaction) -> bool:
            was_there = await rows.mails.delete(mail.id)
            if was_there:
                await rows.events.insert(event)
            return was_there

        if await self._store.transact(give_up):
            self._audit.log(event)
        return True

    async def _forget(self, mail: Mail) -> bool:
        await self._store.transact(lambda rows: rows.mails.delete(mail.id))
        self._sent.discard(mail.id)
        return True

    async def _wait(self, changed: asyncio.Event, wait_s: float) -> None:
        """Wait until mail may be due: until its time, or for a commit that may have added some."""
        looked_s = monotonic_s()
        until_s = looked_s + wait_s
        while (left_s := until_s - monotonic_s()) > 0:
            try:
                async with asyncio.timeout(left_s):
                    await changed.wait()
            except TimeoutError:
                return
            changed.clear()
            if monotonic_s() - self._outbox.last_added_s < _EXPECT_S:
                return
            until_s = min(until_s, looked_s + _LOOK_EVERY_S)

    async def _finish(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Return what `work` returns. If this task is cancelled, let `work` finish the mail that it is sending."""
        task = asyncio.create_task(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._is_stopping = True
            await asyncio.wait({task}, timeout=_GOODBYE_S)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise


class _Line:
    """The connection of one round. It is opened for the first mail and used for all that follow."""

    def __init__(self, load: Callable[[], Awaitable[Tools]]) -> None:
        self._load = load
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._drop()

    async def send(self, mail: Mail, letter: Letter) -> None:
        """Send one mail. Raises `DeliveryFailed`, and `ValueError` as `Composer.compose`."""
        tools = await self._load()
        message = await asyncio.to_thread(tools.composer.compose, mail, letter)  # templates can be slow
        try:
            async with asyncio.timeout(TRY_S):
                self._connection = self._connection or await tools.transport.connect()
                await self._connection.send(message)
        except TimeoutError:
            await self._drop()
            raise DeliveryFailed("content", "the server took too long") from None
        except DeliveryFailed as failed:
            if failed.code is None or failed.concerns_server:
                await self._drop()
            raise

    async def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()
