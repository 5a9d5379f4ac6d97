"""HTTP/1.1 on a connection: uvicorn's protocol with bounds, and without upgrades and trailers.

httptools stops reading a request at its head when the head asks for an upgrade, and the body would then be read as the next
request. It reports trailer fields like header fields. Both let one client write requests in another's name behind a proxy that
shares connections (request smuggling), so this class mends both: see docs/decisions/0016-http-edge.md.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools
import msgspec
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ..crypto.identifiers import new_id
from ..service.parts.bounded_logger import BoundedLogger
from ..wire.headers import SECURITY_HEADERS
from ..wire.problems import MEDIA_TYPE, Problem
from .body import MAX_ESCAPES
from .cycle import AnswerCycle
from .idle import IDLE_CLOSINGS
from .stopping import STOPPING

MAX_HEAD_BYTES = 64 * 1024
"""The most bytes of a request line with its fields, and of all that is between two pieces of a body (chunk heads, trailers)."""
MAX_FIELDS = 100
"""The most header fields of one request (RFC 6585 §5). A browser behind two proxies sends about thirty."""
MAX_TARGET_BYTES = 8 * 1024
"""The longest path with its query. RFC 9110 §4.1 recommends at least 8,000 bytes."""
MAX_CHUNKS = 1024
"""Of one body. Each costs some microseconds, however short it is."""
MAX_PIPELINED = 32
"""Requests of one connection that wait for the answers to earlier ones. Browsers send none ahead."""
REQUEST_TIMEOUT_S = 30.0
"""Seconds that a client has for its first byte, for the head of each request, and for its body."""
_EARLY_S = 0.001
"""By how much a timer may come too early: event loops round."""
FIRST_REQUEST_S = 1.0
"""For how long a new connection may bring its first request when the server stops."""
_FIELDS = {"content-type": MEDIA_TYPE, "cache-control": "no-store", **SECURITY_HEADERS, "connection": "close"}
_log = BoundedLogger("handstamp.web")


class Protocol(HttpToolsProtocol):
    """Reads requests strictly and in bounded time and memory (RFC 9112; ASVS 4.2.5)."""

    def __init__(self, *arguments: Any, request_timeout_s: float = REQUEST_TIMEOUT_S, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._request_timeout_s = request_timeout_s
        self._is_reading = False  # a request has begun and is not complete
        self._is_head_complete = False
        self._has_cycle = False  # the request that is being read has been handed to the application
        self._is_refused = False
        self._chunks = 0
        self._held_bytes = 0  # received since the request began or since the last piece of its body
        self._is_expecting = False  # the client must send something within `_request_timeout_s`
        self._ends_s: float | None = None  # when the connection is given up unless more arrives, by the clock of the loop
        self._timer: asyncio.TimerHandle | None = None

    # --- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and expect a request soon."""
        super().connection_made(transport)
        self._expect_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._cancel_timer()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Answer what was asked, and close the connection.

        A connection on which nothing was asked yet stays for a moment. A proxy that has just made it sends a request, and would
        not send it again on another connection.
        """
        if self.cycle is None and not self.transport.is_closing():
            self.loop.call_later(FIRST_REQUEST_S, super().shutdown)
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Read on, or refuse what cannot be a request."""
        if self._is_refused:
            return
        self._held_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(400, "This is not a valid HTTP/1.1 request.")
            return
        if not self._is_reading:
            self._held_bytes = 0
        elif self._held_bytes > MAX_HEAD_BYTES:
            self._refuse(431, f"The header or trailer fields take more than {MAX_HEAD_BYTES} bytes.")
        else:
            self._expect_more()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Answer what was asked completely; refuse what will never be complete. TLS cannot be closed on one side alone."""
        if self._is_reading:
            self._refuse(400, "The connection was closed before the request was complete.")
        if self._is_idle or self.scheme == "https":
            return None
        self.cycle.keep_alive = False
        return True

    # --- the parser

    def _feed(self, data: bytes) -> None:
        """Parse `data`. A request that asks for an upgrade is parsed again without that wish (RFC 9110 §7.8)."""
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as stopped:
                if self._is_refused or self.transport.is_closing():
                    return
                if self.parser.get_method() == b"CONNECT":
                    raise httptools.HttpParserError("CONNECT is for proxies") from None
                data = self._head_without_upgrade() + data[stopped.args[0] :]
                self.parser: httptools.HttpRequestParser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode("ascii")
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        """Begin a request."""
        self.url: bytes = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.expect_100_continue: bool = False
        self._is_reading = True
        self._is_head_complete = self._has_cycle = False
        self._chunks = 0

    def on_url(self, url: bytes) -> None:
        """Keep the request target, or a piece of it."""
        self.url += url
        if len(self.url) > MAX_TARGET_BYTES:
            self._refuse(414, f"The path with its query has more than {MAX_TARGET_BYTES} bytes.")
            raise httptools.HttpParserError("the target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field; drop a trailer field, which may overrule nothing (RFC 9110 §6.5.1).

        It does what uvicorn's does without calling it, because browsers send fifteen fields.
        """
        if self._is_head_complete:
            return
        if len(self.headers) >= MAX_FIELDS:
            self._refuse(431, f"The request has more than {MAX_FIELDS} header fields.")
            raise httptools.HttpParserError("too many fields")
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value.strip(b" \t")))  # RFC 9112 §5.1; httptools leaves the space behind a value

    def on_headers_complete(self) -> None:
        """Hand the request to the application, unless it has to be read again without its wish for an upgrade."""
        self._is_head_complete = True
        if self.parser.should_upgrade():
            return
        version = self.parser.get_http_version()
        names = dict(self.headers)
        repeats_host = len(names) < len(self.headers) and [name for name, _ in self.headers].count(b"host") > 1
        if repeats_host or (b"host" not in names and version != "1.0"):
            self._refuse(400, "The request must have one Host field (RFC 9112 section 3.2).")
            raise httptools.HttpParserError("no single Host")
        if version != "1.1" and b"transfer-encoding" in names:
            self._refuse(400, f"Transfer-Encoding needs HTTP/1.1, and this request is HTTP/{version} (RFC 9112 section 6.1).")
            raise httptools.HttpParserError("Transfer-Encoding before HTTP/1.1")
        if self.url.count(b"%") > MAX_ESCAPES:
            self._refuse(414, f"The path with its query has more than {MAX_ESCAPES} percent-encoded bytes.")
            raise httptools.HttpParserError("the target is too long")
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refuse(400, f"More than {MAX_PIPELINED} requests wait for their answers.")
            raise httptools.HttpParserError("too many requests ahead")
        self._has_cycle = True
        self._hand_over(version)

    def _hand_over(self, version: str) -> None:
        """Give the request to the application, after those that came earlier on this connection.

        It is what uvicorn's `on_headers_complete` does, with a cycle of our own, and without its limit for connections.
        """
        target = httptools.parse_url(self.url)
        path = target.path.decode("ascii")
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": self.parser.get_method().decode("ascii"),
            "root_path": self.root_path,
            "path": self.root_path + (unquote(path) if "%" in path else path),
            "raw_path": self.root_path.encode("ascii") + target.path,
            "query_string": target.query or b"",
            "headers": self.headers,
            "state": self.app_state.copy(),
        }
        earlier: RequestResponseCycle | None = self.cycle
        default = self.server_state.default_headers
        self.cycle: RequestResponseCycle = AnswerCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=[*default, (b"connection", b"close")] if STOPPING.is_on else default,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if earlier is None or earlier.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_chunk_header(self) -> None:
        """Count a piece of a body in chunks (RFC 9112 §7.1)."""
        self._chunks += 1
        if self._chunks > MAX_CHUNKS:
            self._refuse(400, f"The body has more than {MAX_CHUNKS} chunks.")
            raise httptools.HttpParserError("too many chunks")

    def on_body(self, body: bytes) -> None:
        """Hand on a piece of the body."""
        self._held_bytes = 0
        if self._has_cycle:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request that was read completely."""
        if self._has_cycle:
            self._is_reading = False
            self._held_bytes = 0
            self._expect_no_more()
            if self.cycle.response_complete:
                self._end_after(self.timeout_keep_alive)
            else:
                self.cycle.more_body = False
                self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Go on with the next request, which has come already or is expected."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._is_expecting:
            self._end_after(self.timeout_keep_alive)

    # --- deadlines and refusals

    @property
    def _is_idle(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _expect_more(self) -> None:
        if not self._is_expecting:
            self._is_expecting = True
            self._end_after(self._request_timeout_s)

    def _expect_no_more(self) -> None:
        self._is_expecting, self._ends_s = False, None

    def _end_after(self, seconds: float) -> None:
        """Give up after so many seconds. The timer is rarely set: uvloop makes and closes a handle for each."""
        self._ends_s = self.loop.time() + seconds
        if self._timer is None or self._timer.when() > self._ends_s:
            self._cancel_timer()
            self._timer = self.loop.call_at(self._ends_s, self._look_at_time)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at_time(self) -> None:
        self._timer = None
        if self._ends_s is None:
            return
        left_s = self._ends_s - self.loop.time()
        if left_s > _EARLY_S:
            self._end_after(left_s)
        else:
            self._give_up()

    def _give_up(self) -> None:
        if self._is_reading:
            self._refuse(408, "The request took too long to arrive.")
        elif not self.transport.is_closing():
            if not self._is_expecting and self.client:
                IDLE_CLOSINGS.count(self.client[0])
            self.transport.close()

    def _refuse(self, status: int, why: str) -> None:
        """Answer a request that cannot be read, after the answers that are still owed, and close the connection."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        self._expect_no_more()
        refusal = _Refusal(status, why)
        _log.info(
            "request_unreadable", status=status, why=why, ip=self.client[0] if self.client else "", request_id=refusal.request_id
        )
        is_own = self._is_reading and self._has_cycle
        if is_own and self.pipeline:  # it waits behind earlier requests: refuse it in its turn
            self.pipeline.popleft()
            self.pipeline.appendleft((self.cycle, refusal))  # type: ignore[arg-type]  # their ASGI types differ
            self.cycle.keep_alive = False
        elif is_own and self._is_idle:  # the application has answered it already, before its body had arrived
            self.transport.close()
        elif is_own or self._is_idle:
            self._write_now(refusal)
        else:  # the answers to earlier requests go out, then the connection ends
            self.cycle.keep_alive = False

    def _write_now(self, refusal: _Refusal) -> None:
        if self._is_idle:
            self.transport.write(refusal.raw())
        else:
            self.cycle.disconnected = True  # the application learns of it, and its answer is dropped
            self.cycle.message_event.set()
            if not self.cycle.response_started:
                self.transport.write(refusal.raw())
        self.transport.close()


class _Refusal:
    """The answer to a request that cannot be read: as bytes, or as an ASGI application where it has to wait for its turn."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        self.request_id = new_id()
        self._body = msgspec.json.encode(
            Problem(
                type="urn:handstamp:problem:invalid_request",
                title=HTTPStatus(status).phrase,
                status=status,
                detail=why,
                instance=f"urn:handstamp:request:{self.request_id}",
                code="invalid_request",
            )
        )
        self._fields = [(name.encode("ascii"), value.encode("ascii")) for name, value in _FIELDS.items()]
        self._fields += [
            (b"content-length", str(len(self._body)).encode("ascii")),
            (b"x-request-id", self.request_id.encode("ascii")),
        ]

    def raw(self) -> bytes:
        line = f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}".encode("ascii")
        return b"\r\n".join([line, *(name + b": " + value for name, value in self._fields), b"", self._body])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        await send({"type": "http.response.start", "status": self.status, "headers": self._fields})
        await send({"type": "http.response.body", "body": self._body})
