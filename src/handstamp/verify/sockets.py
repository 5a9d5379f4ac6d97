"""For what stays open: WebSockets and event streams end when their session ends (ASGI).

```python
app = HandstampMiddleware(EndWithSession(app, verifier=verifier), verifier=verifier)
```

A request is judged when it arrives; a connection lives on after that, and its person may have signed out since. This asks again
and again, by what the outer middleware or FastAPI's `Require` left in `scope["state"]["claims"]`, and closes the connection.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from ..domain.claims import AccessClaims
from ..errors import ConfigurationError, HandstampError, SessionEnded, Unavailable
from .asgi import Application, Message, Receive, Scope, Send

__all__ = ["SESSION_ENDED", "TRY_AGAIN_LATER", "Confirms", "EndWithSession"]

SESSION_ENDED = 4401
"""The close code of a WebSocket whose session ended: the application's own range (RFC 6455 §7.4.2), after HTTP's 401."""
TRY_AGAIN_LATER = 1013
"""The close code where nobody can tell any more whether the session lives (IANA's registry of close codes)."""
_STOPPING_S = 1.0
"""How long an application may take to stop before its connection is closed without it."""
_LAST_EVENT = b'event: session_ended\ndata: {"code": "session_ended"}\n\n'


class Confirms(Protocol):
    """What knows whether sessions live: a `Verifier`, or an embedded Handstamp's."""

    @property
    def hears_of_ends(self) -> bool:
        """Whether it can know at all that a session has ended."""

    async def confirm(self, claims: AccessClaims) -> None:
        """Raise `SessionEnded` if the session of the claims has ended, `Unavailable` if that cannot be told."""


class EndWithSession:
    """Stops what still runs when the session of its claims has ended, and closes the connection.

    A WebSocket is closed with 4401 (RFC 6455 §7.4), an event stream after a last event `session_ended`, any other answer where it
    stands; with 1013, and without the event, where nobody can tell for too long. Quick answers cost nothing here.
    """

    def __init__(self, app: Application, *, verifier: Confirms, every_s: float = 0.5, patience_s: float = 30) -> None:
        """Ask every `every_s` seconds; close what nobody could confirm for `patience_s` seconds.

        Raises `ConfigurationError` for a verifier that never hears of a sign-out: nothing would ever be closed.
        """
        if not verifier.hears_of_ends:
            raise ConfigurationError("EndWithSession needs a verifier that follows the feed: give it a credential.")
        self._app = app
        self._verifier = verifier
        self._every_s = every_s
        self._patience_s = patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})  # whoever hands on a copy of the scope shares this one
        connection = _Connection(scope, send)
        try:
            async with asyncio.timeout(None) as time_left:

                async def watch() -> None:
                    connection.over = await self._until_over(state)
                    time_left.reschedule(0)
                    await asyncio.sleep(_STOPPING_S)
                    await connection.close()  # what works in a thread cannot be stopped, and may wait there for long

                connection.watch = watch
                await self._app(scope, receive, connection.send)
        except OSError:  # TimeoutError among them: the application was stopped, or has tried to send meanwhile
            if connection.over is None:
                raise
        finally:
            connection.stop_watching()
            await connection.close()

    async def _until_over(self, state: Mapping[str, Any]) -> HandstampError:
        """Return why the connection must be closed, once it must."""
        loop = asyncio.get_running_loop()
        confirmed_at = loop.time()
        while True:
            await asyncio.sleep(self._every_s * random.uniform(0.8, 1.2))  # noqa: S311 - it only spreads the load
            claims = state.get("claims")
            try:
                if claims is not None:
                    await self._verifier.confirm(claims)
                confirmed_at = loop.time()
            except SessionEnded as ended:
                return ended
            except Unavailable as unknown:
                if loop.time() - confirmed_at >= self._patience_s:
                    return unknown


class _Connection:
    """What has been sent on one connection, and how it is closed from outside."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.over: HandstampError | None = None
        """Why it must be closed, if it must."""
        self.watch: Callable[[], Coroutine[Any, Any, None]] | None = None
        """What is to be begun once it turns out to be a connection that stays."""
        self._watching: asyncio.Task[None] | None = None
        self._is_open = False
        self._is_websocket = scope["type"] == "websocket"
        self._is_event_stream = False
        self._send = send

    async def send(self, message: Message) -> None:
        if self.over is not None:
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
        """Stop asking, unless the connection is being closed by that very task."""
        if self._watching is not None and (self.over is None or self._is_open):
            self._watching.cancel()

    async def close(self) -> None:
        """Close what is open, once, if it must be."""
        if self.over is None or not self._is_open:
            return
        self._is_open = False
        has_ended = isinstance(self.over, SessionEnded)
        if self._is_websocket:
            code, reason = (SESSION_ENDED, "session_ended") if has_ended else (TRY_AGAIN_LATER, "unavailable")
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        else:
            last = _LAST_EVENT if has_ended and self._is_event_stream else b""
            await self._send({"type": "http.response.body", "body": last, "more_body": False})
