"""A small HTTP/1.1 client for servers that may be broken or hostile: time, header fields and bodies are bounded.

It follows no redirect, sends no cookie by itself, and shows every answer as it came. It takes no proxy from the environment,
because it must see what a browser would see.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Sequence
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import h11

from ..clock import monotonic_ms
from ..domain.issuer import is_loopback
from ..errors import ConfigurationError

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 512 * 1024
REQUEST_S = 10.0
"""How long one answer may take, unless a request waits on purpose."""
ALL_S = 90.0
"""How long all requests together may take."""
_CHUNK = 64 * 1024
_AGENT = "Mozilla/5.0 (compatible; handstamp-doctor)"
_Headers = Sequence[tuple[str, str]]


class Target(NamedTuple):
    """The address of a deployment."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        """The origin as browsers write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" if self.port == _DEFAULT_PORTS[self.scheme] else f"{self.scheme}://{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL, without a slash at its end."""
        return self.origin + self.path

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, as browsers judge by the name alone."""
        return is_loopback(self.host)

    @property
    def authority(self) -> str:
        """What `Host` says."""
        return self.origin.partition("://")[2]


_DEFAULT_PORTS = {"http": 80, "https": 443}


def parse_target(url: str) -> Target:
    """Return the address that a URL names. Raises `ConfigurationError` if it is none."""
    try:
        parts = urlsplit(url.strip())
        scheme, host, port = parts.scheme.lower(), (parts.hostname or "").encode("idna").decode("ascii"), parts.port
    except ValueError:  # UnicodeError too
        scheme, host, port, parts = "", "", None, urlsplit("")
    if scheme not in _DEFAULT_PORTS or not host or parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError("--url is the public URL of the service, as https://auth.example.com, without user and query.")
    return Target(scheme, host, port or _DEFAULT_PORTS[scheme], parts.path.rstrip("/"))


class Answer(NamedTuple):
    """An answer, or with status 0 the reason why there is none."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    seconds: float = 0.0
    problem: str = ""

    def values(self, name: str) -> list[str]:
        """Return the values of a header field, whose name is in lower case."""
        return [value for other, value in self.headers if other == name]

    def value(self, name: str) -> str:
        """Return the values of a header field as one, "" if there is none."""
        return ", ".join(self.values(name))

    def json(self) -> dict[str, Any]:
        """Return the JSON object of the body, an empty one if it is none."""
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(self.body)
            if isinstance(found, dict):
                return found
        return {}

    @property
    def code(self) -> str:
        """The code of one of Handstamp's problems; "" if it is none."""
        problem = self.json() if self.value("content-type").startswith("application/problem+json") else {}
        return str(problem.get("code", "")) if str(problem.get("type", "")).startswith("urn:handstamp:problem:") else ""

    def describe(self) -> str:
        """Return what came, in a few words."""
        return f"status {self.status}" if self.status else self.problem


class Visitor:
    """Sends requests to one target. Connections are reused, as browsers do."""

    def __init__(
        self,
        target: Target,
        *,
        connect_to: tuple[str, int] | None = None,
        source: str | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare to visit.

        Args:
            target: Whom to visit.
            connect_to: Host and port to connect to instead of those of the target, which are still named.
            source: The address of this machine to connect from, None for any.
            trust: How certificates are checked. None if the target does not use TLS.
        """
        self.target = target
        self._source = None if source is None else (source, 0)
        self._address = connect_to or (target.host, target.port)
        self._trust = trust
        self._idle: list[_Connection] = []
        self._ends_at_ms = monotonic_ms() + int(ALL_S * 1000)

    async def fetch(
        self,
        method: str,
        target: str,
        headers: _Headers = (),
        body: bytes | None = None,
        *,
        timeout_s: float = REQUEST_S,
    ) -> Answer:
        """Send a request and return the answer. A failure is an answer with status 0.

        Args:
            method: The method.
            target: Path and query.
            headers: Further header fields.
            body: The body, None for none.
            timeout_s: How many seconds the whole answer may take.
        """
        began_ms = monotonic_ms()
        left_s = min(timeout_s, (self._ends_at_ms - began_ms) / 1000)
        if left_s <= 0:
            return Answer(0, problem="not asked, because the answers before it took too long")
        try:
            async with asyncio.timeout(left_s):
                status, found, data = await self._exchange(method, target, headers, body)
        except TimeoutError:
            return Answer(0, problem=f"no complete answer within {left_s:.0f} s", seconds=left_s)
        except ssl.SSLCertVerificationError as problem:
            return Answer(0, problem=f"its certificate is not valid: {problem.verify_message}")
        except ssl.SSLError as problem:
            return Answer(0, problem=f"TLS failed: {problem.reason or type(problem).__name__}")
        except (OSError, h11.ProtocolError) as problem:
            return Answer(0, problem=f"{type(problem).__name__}: {problem}", seconds=(monotonic_ms() - began_ms) / 1000)
        return Answer(status, found, data, (monotonic_ms() - began_ms) / 1000)

    async def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop().close()

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self.close()

    async def _exchange(
        self, method: str, target: str, headers: _Headers, body: bytes | None
    ) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
        fields = [("Host", self.target.authority), ("User-Agent", _AGENT), ("Accept", "*/*"), *headers]
        if body is not None:
            fields.append(("Content-Length", str(len(body))))
        request = h11.Request(method=method, target=target, headers=fields)
        while self._idle:
            with contextlib.suppress(OSError, h11.RemoteProtocolError):  # it was closed meanwhile: the next one, or a new one
                return await self._exchange_on(self._idle.pop(), request, body)
        return await self._exchange_on(await self._connect(), request, body)

    async def _exchange_on(
        self, connection: _Connection, request: h11.Request, body: bytes | None
    ) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
        try:
            answer = await connection.exchange(request, body)
        except BaseException:
            connection.close()
            raise
        if connection.can_be_reused():
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    async def _connect(self) -> _Connection:
        host, port = self._address
        name = self.target.host if self._trust else None
        reader, writer = await asyncio.open_connection(
            host, port, ssl=self._trust, server_hostname=name, local_addr=self._source, limit=_CHUNK
        )
        return _Connection(reader, writer)


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)

    async def exchange(self, request: h11.Request, body: bytes | None) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
        """Send a request and read the answer. An answer may come before the body was sent."""
        sent = self._http.send(request)
        sent = (sent or b"") + (self._http.send(h11.Data(body or b"")) or b"") + (self._http.send(h11.EndOfMessage()) or b"")
        with contextlib.suppress(ConnectionError):  # a server may refuse a body before it has read it
            self._writer.write(sent)
            await self._writer.drain()
        answer: h11.Response | h11.InformationalResponse | None = None
        data = b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_CHUNK))
            elif isinstance(event, h11.Response):
                answer = event
            elif isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    return 101, _read_headers(event), b""
            elif isinstance(event, h11.Data):
                data += bytes(event.data)
                if len(data) > MAX_BODY_BYTES:
                    self._http.send_failed()
                    break
            else:
                break
        if answer is None:
            raise h11.RemoteProtocolError("the connection was closed without an answer")
        return answer.status_code, _read_headers(answer), data[:MAX_BODY_BYTES]

    def can_be_reused(self) -> bool:
        """Return whether another request can be sent, and prepare for it."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE or self._reader.at_eof():
            return False
        self._http.start_next_cycle()
        return True

    def close(self) -> None:
        """Close the connection at once."""
        self._writer.transport.abort()


def _read_headers(answer: h11.Response | h11.InformationalResponse) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers)
