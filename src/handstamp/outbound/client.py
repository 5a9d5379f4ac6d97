"""Send requests to other servers: bounded in time and size, never to an address inside the operator's network by accident.

- One deadline covers the wait for a free slot, the name, connection, TLS, request and answer, however slowly they arrive.
- Redirects are not followed, answers are not decompressed, and connections are not kept.
- A name is resolved once. Each of its addresses must be public, and the connection goes to the addresses that were checked, so
  a name that changes meanwhile (DNS rebinding) gains nothing. The operator can allow hosts by name.
- Through a proxy of the environment the proxy resolves the name, and only addresses that are written in a URL are checked.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from ..errors import ConfigurationError, Unavailable
from .response import Response

if TYPE_CHECKING:
    from .exchange import Exchange

MAX_REQUESTS = 32
MAX_REQUESTS_PER_HOST = 8
MAX_WAITING_PER_HOST = 100
_T = TypeVar("_T")


class Outbound:
    """Sends requests, each in a thread of its own: of this process at most 32 at once, 8 of them to one host.

    Others wait. So a server that does not answer delays only requests to itself.
    """

    def __init__(self, *, allow: Collection[str] = (), ca_file: str | os.PathLike[str] | None = None) -> None:
        """Create it without a connection.

        Args:
            allow: Hosts, as in URLs, that may have addresses that are not public. Of these, loopback hosts may have http URLs.
            ca_file: A PEM file with authorities to trust besides those of the system.

        Raises:
            ConfigurationError: The file cannot be read, or holds no certificate.
        """
        self._allowed = frozenset(host.lower() for host in allow)
        self._ca_file = None if ca_file is None else os.fspath(ca_file)
        if self._ca_file is not None:
            from .exchange import load_tls  # noqa: PLC0415 - see `_prepare`

            try:
                load_tls(self._ca_file)
            except OSError as problem:
                raise ConfigurationError(f"{self._ca_file} must be a readable PEM file with certificates: {problem}") from None
        self._all = asyncio.Semaphore(MAX_REQUESTS)
        self._hosts: dict[str, _Slots] = {}

    def require_url(self, url: str) -> None:
        """Raise `ValueError` if a URL can never be requested. The sentence does not repeat the URL."""
        self._prepare("GET", url)

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        deadline_s: float,
        max_bytes: int,
    ) -> Response:
        """Send a request and return the answer, whatever its status is.

        Args:
            method: The method, such as "POST".
            url: An absolute https URL. http only for a loopback host that is allowed.
            headers: The header fields.
            body: The content, None for none.
            deadline_s: Seconds until the whole answer must have arrived.
            max_bytes: The largest body to accept.

        Raises:
            Unavailable: No complete answer of acceptable size arrived in time, the URL is malformed or has a host that is not
                allowed, or too many requests are waiting. Its reason contains no header, query or body.
        """
        return await self.exchange(
            method, url, headers, body, deadline_s=deadline_s, max_bytes=max_bytes, read=lambda response: response
        )

    async def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        deadline_s: float,
        max_bytes: int,
        read: Callable[[Response], _T],
    ) -> _T:
        """Do as `request`, and return what `read` makes of the answer. It runs in the thread, so parsing costs the loop nothing.

        Raises:
            Unavailable: As `request`.
            Exception: What `read` raises.
        """

        def work(left_s: float) -> _T:
            return read(self.send(method, url, headers, body, deadline_s=left_s, max_bytes=max_bytes))

        return await self.run(work, url=url, deadline_s=deadline_s)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        deadline_s: float,
        max_bytes: int,
    ) -> Response:
        """Do as `request`, and block this thread. Resolving the name may take longer than the deadline."""
        try:
            exchange = self._prepare(method, url)
        except ValueError as problem:
            raise Unavailable(f"a request cannot be sent: {problem}") from None
        return exchange.run(headers, body, deadline_s=deadline_s, max_bytes=max_bytes, ca_file=self._ca_file)

    def _prepare(self, method: str, url: str) -> Exchange:
        from .exchange import Exchange  # noqa: PLC0415 - its HTTP library would slow the start of services that send nothing

        return Exchange.prepare(method, url, allowed=self._allowed)

    async def run(self, work: Callable[[float], _T], *, url: str, deadline_s: float) -> _T:
        """Run blocking work in a thread, in a slot for the host of `url`, and return its result.

        Args:
            work: Called with the seconds that are left. It should end by then.
            url: The URL that it requests.
            deadline_s: Seconds until the result must be there. Work that takes longer goes on, and keeps its slot.

        Raises:
            Unavailable: It took too long, or too many wait for this host.
            Exception: What the work raises.
        """
        host = _host_of(url)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + deadline_s
        slots = self._hosts.setdefault(host, _Slots())
        if slots.users >= MAX_REQUESTS_PER_HOST + MAX_WAITING_PER_HOST:
            raise Unavailable(f"too many requests wait for {host}")
        try:
            async with asyncio.timeout_at(ends_at):
                await self._enter(host, slots)
                future: Future[_T] = Future()
                future.add_done_callback(lambda _: _call_in(loop, self._leave, host, slots))
                _start(lambda: work(max(ends_at - loop.time(), 0.001)), future)
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise Unavailable(f"{host} did not answer in time") from None

    async def _enter(self, host: str, slots: _Slots) -> None:
        slots.users += 1
        try:
            await slots.running.acquire()
            try:
                await self._all.acquire()
            except BaseException:
                slots.running.release()
                raise
        except BaseException:
            self._forget(host, slots)
            raise

    def _leave(self, host: str, slots: _Slots) -> None:
        self._all.release()
        slots.running.release()
        self._forget(host, slots)

    def _forget(self, host: str, slots: _Slots) -> None:
        slots.users -= 1
        if not slots.users and self._hosts.get(host) is slots:
            del self._hosts[host]
        if not self._hosts:
            self._all = asyncio.Semaphore(MAX_REQUESTS)  # it would stay with the event loop in which somebody had to wait


class _Slots:
    """The requests to one host that run or wait."""

    def __init__(self) -> None:
        self.running = asyncio.Semaphore(MAX_REQUESTS_PER_HOST)
        self.users = 0


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: object) -> None:
    with suppress(RuntimeError):  # the loop has been closed
        loop.call_soon_threadsafe(function, *arguments)


def _start(work: Callable[[], _T], future: Future[_T]) -> None:
    """Complete a future with the result of `work` in a daemon thread, which does not delay the end of the process."""
    future.set_running_or_notify_cancel()  # so that a caller that gives up cannot cancel it, which would free its slot

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the future is awaited
            future.set_exception(error)

    try:
        threading.Thread(target=run, name="handstamp-outbound", daemon=True).start()
    except RuntimeError:  # at exit, or at the system's limit
        future.set_exception(Unavailable("no thread can be started for a request"))
