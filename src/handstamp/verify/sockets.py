"""Ends WebSockets and event streams when their session ends (ASGI).

```python
app = HandstampMiddleware(EndWithSession(app, verifier=verifier), verifier=verifier)
```

A request is authenticated when it arrives, and its connection may stay open after the person has signed out. `EndWithSession`
looks at regular intervals whether the session is still active, and closes the connection when it is not. It finds the claims in
`scope["state"]["claims"]`, where the middleware around it or FastAPI's `Require` has put them. It needs asyncio.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ..clock import monotonic_ms
from ..domain.claims import AccessClaims
from ..domain.policy import MAX_ACCESS_LIFETIME_MS
from ..errors import ConfigurationError, ExpiredToken, HandstampError, SessionEnded, Unavailable
from .asgi import Application, Message, Receive, Scope, Send
from .authenticator import AnyVerifier

__all__ = ["SESSION_ENDED", "TRY_AGAIN_LATER", "EndWithSession"]

SESSION_ENDED = 4401
"""The close code of a WebSocket whose session has ended, modelled on HTTP's 401, in the application's range (RFC 6455 §7.4.2)."""
TRY_AGAIN_LATER = 1013
"""The close code of a WebSocket whose session could not be confirmed (IANA registry of WebSocket close codes)."""
_STOPPING_S = 1.0
"""Seconds for which an application may take to stop before its connection is closed."""
_LAST_EVENT = b'event: session_ended\ndata: {"code": "session_ended"}\n\n'


class EndWithSession:
    """Stops the application and closes the connection when the session of its claims has ended.

    - A WebSocket is closed with code 4401 (RFC 6455 §7.4) and the reason `session_ended`, or `expired_token`.
    - An event stream ends after a last event `session_ended`.
    - Any other answer ends where it is.

    If the session cannot be confirmed for `timeout_s`, WebSockets are closed with code 1013, and streams end without the event.
    Answers that are sent in one piece are not watched.
    """

    def __init__(
        self,
        app: Application,
        *,
        verifier: AnyVerifier,
        interval_s: float = 0.5,
        timeout_s: float = 30,
        outlives_token: bool = True,
    ) -> None:
        """Wrap an application.

        Args:
            app: The ASGI application.
            verifier: A `Verifier` with a credential, or `Handstamp.verifier`.
            interval_s: Seconds between two looks at the session.
            timeout_s: Seconds without confirmation after which a connection is closed. With the verifier's `max_staleness_s`, at
                most an hour: the feed does not report an end for longer.
            outlives_token: False to close connections when their access token expires, too; the client connects again with its
                next token. Otherwise a copied token of a session that is bound to its browser opens a connection that lasts as
                long as the session.

        Raises:
            ConfigurationError: The verifier does not follow the feed, so it never learns that a session has ended. Or `timeout_s`
                is too long.
        """
        if not verifier.follows_feed:
            raise ConfigurationError("EndWithSession needs a verifier that follows the feed: give it a credential.")
        self._max_gap_ms = MAX_ACCESS_LIFETIME_MS - int(verifier.max_staleness_s * 1000)
        if timeout_s * 1000 > self._max_gap_ms:
            raise ConfigurationError("timeout_s and the verifier's max_staleness_s are together more than an hour: shorten one.")
        self._app = app
        self._verifier = verifier
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._outlives_token = outlives_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection. Raises `ConfigurationError` under another event loop than asyncio's."""
        _require_asyncio()
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})  # copies of the scope further inside share this dictionary
        connection = _WatchedConnection(scope, send)
        try:
            async with asyncio.timeout(None) as time_limit:

                async def watch() -> None:
                    connection.end_reason = await self._wait_for_end(state)
                    time_limit.reschedule(0)
                    await asyncio.sleep(_STOPPING_S)
                    await connection.close()  # a generator in a thread cannot be cancelled and may run on

                connection.watch = watch
                await self._app(scope, receive, connection.send)
        except OSError:  # TimeoutError, if the application was cancelled, or the error of `send`
            if connection.end_reason is None:
                raise
        finally:
            connection.stop_watching()
            await connection.close()

    async def _wait_for_end(self, state: Mapping[str, Any]) -> HandstampError:
        """Return the reason to close the connection, as soon as there is one."""
        confirmed_at_ms = monotonic_ms()
        while True:
            await asyncio.sleep(self._interval_s * random.uniform(0.8, 1.2))  # noqa: S311 - it only spreads the load
            claims: AccessClaims | None = state.get("claims")
            now_ms = monotonic_ms()
            if now_ms - confirmed_at_ms > self._max_gap_ms:  # the machine was suspended: an end may be forgotten again
                return Unavailable("the session was not confirmed for too long")
            if claims is not None and not self._outlives_token and self._verifier.now_ms() >= claims.exp * 1000:
                return ExpiredToken()
            try:
                if claims is not None:
                    await self._verifier.confirm(claims)
                confirmed_at_ms = now_ms
            except SessionEnded as ended:
                return ended
            except Unavailable as unavailable:
                if now_ms - confirmed_at_ms >= self._timeout_s * 1000:
                    return unavailable


def _require_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "EndWithSession needs asyncio, and the server runs another event loop, such as trio's. Run the application with an "
            "asyncio worker, for example 'hypercorn --worker-class asyncio'."
        ) from None


class _WatchedConnection:
    """What has been sent on a connection, and how to close it from outside the application."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.end_reason: HandstampError | None = None
        """Why the connection must be closed, None while it may stay open."""
        self.watch: Callable[[], Coroutine[Any, Any, None]] | None = None
        """Started once the connection turns out to stay open."""
        self._watching: asyncio.Task[None] | None = None
        self._is_open = False
        self._is_websocket = scope["type"] == "websocket"
        self._is_event_stream = False
        self._send = send

    async def send(self, message: Message) -> None:
        if self.end_reason is not None:
            raise OSError("the session has ended")
        await self._send(message)
        match message["type"]:
            case "http.response.start":
                headers = {name.lower(): value for name, value in message.get("headers", ())}
                self._is_event_stream = headers.get(b"content-type", b"").startswith(b"text/event-stream")
            case "http.response.body":
                self._is_open = message.get("more_body", False)
            case kind:
                self._is_open = kind in ("websocket.accept", "websocket.send")
        if self._is_open and self._watching is None and self.watch is not None:
            self._watching = asyncio.create_task(self.watch())

    def stop_watching(self) -> None:
        """Cancel the watching task, unless it is closing the connection at this moment."""
        if self._watching is not None and (self.end_reason is None or self._is_open):
            self._watching.cancel()

    async def close(self) -> None:
        """Close the connection if there is a reason and it is open. Safe to call twice."""
        if self.end_reason is None or not self._is_open:
            return
        self._is_open = False
        if self._is_websocket:
            code = TRY_AGAIN_LATER if isinstance(self.end_reason, Unavailable) else SESSION_ENDED
            await self._send({"type": "websocket.close", "code": code, "reason": self.end_reason.code})
        else:
            last = _LAST_EVENT if isinstance(self.end_reason, SessionEnded) and self._is_event_stream else b""
            await self._send({"type": "http.response.body", "body": last, "more_body": False})
