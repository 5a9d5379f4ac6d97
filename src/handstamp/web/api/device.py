"""`POST /device/start` and `POST /device/refresh`: the browser binds a session to its device and renews it, without any script.

See docs/explanation/device-bound.md. How Chromium takes an answer decides its status: 401 and most other 4xx make it forget its
session for good, so they mean that the session has ended, and a limit or a failure is 503.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from starlette.responses import Response

from ...errors import (
    CrossSite,
    HandstampError,
    InvalidRequest,
    InvalidToken,
    ProofRequired,
    SessionEnded,
    TooManyAttempts,
    Unavailable,
)
from ...service.parts.tokens import TokenPair
from ...service.sessions.bind import BrowserProof
from ...text import mark
from ...wire.device import REFRESH_PATH, RESPONSE, SESSION_ID, START_PATH, read_value
from ..answers import write_error, write_json
from ..cookies import set_pair
from ..edge import Call
from ..operation import Operation, UseCases
from .shapes import AnswerShape, described

MAX_SID_LENGTH = 64
"""Of the id of a session that is repeated to the browser. Ours have 22 characters."""


class DeviceScope(AnswerShape, frozen=True, kw_only=True, rename=None):
    """The requests that wait for the cookie: those to the service's own origin, except for these."""

    include_site: bool = False
    scope_specification: tuple[dict[str, str], ...]


class DeviceSession(AnswerShape, frozen=True, kw_only=True, omit_defaults=True, rename={"goes_on": "continue"}):
    """The browser's instructions (W3C DBSC §9.10): which cookie it renews where."""

    session_identifier: str = ""
    refresh_url: str = ""
    scope: DeviceScope | None = None
    credentials: tuple[dict[str, str], ...] = ()
    allowed_refresh_initiators: Annotated[tuple[str, ...], described("Other hosts whose pages may wait for the cookie")] = ()
    goes_on: Annotated[bool, described("False if the browser must forget the session")] = True


async def start_device_session(use: UseCases, call: Call, _: None) -> Response:
    """Bind the session of the cookies to the key in the proof."""
    shown = _read(use, call, START_PATH)
    try:
        return _write(use, call, None if shown is None else await use.bind.start(shown, call.caller))
    except InvalidToken as refused:
        raise InvalidRequest(mark("This is no proof that binds the session of the cookies.")) from refused


async def refresh_device_session(use: UseCases, call: Call, _: None) -> Response:
    """Renew a bound session. Without a valid proof, answer what the browser has to sign.

    Raises:
        Unavailable: The session is active, but the browser has sent none of its cookies: a link of another site led here.
    """
    shown = _read(use, call, REFRESH_PATH)
    if shown is not None:
        with suppress(InvalidToken):
            return _write(use, call, await use.bind.renew(shown, call.caller))
    else:
        with suppress(SessionEnded):
            await use.sessions.require_living(_read_sid(call), call.now_ms)
            raise Unavailable("a bound session was to be renewed without its refresh cookie")
    return _write(use, call, None)


def write_device_error(error: HandstampError, call: Call) -> Response:
    """Write an error as the API does. But a limit is 503: after 429 the browser would forget its session."""
    if isinstance(error, TooManyAttempts):
        error = Unavailable(f"limit {error.limit}", error.retry_after_s)
    return write_error(error, call)


def _read(use: UseCases, call: Call, path: str) -> BrowserProof | None:
    """Return what the browser has sent, or None without a refresh cookie: there is nothing to renew."""
    if not call.carries_refresh_cookie:
        return None
    token, _ = call.refresh_token(None)
    return BrowserProof(token, read_value(call.headers.getlist(RESPONSE)), f"{use.issuer.url}{path}", _read_sid(call))


def _read_sid(call: Call) -> str:
    return read_value(call.headers.getlist(SESSION_ID))[:MAX_SID_LENGTH]


def _write(use: UseCases, call: Call, pair: TokenPair | None) -> Response:
    if pair is None or pair.binding.by != "dbsc":  # the latter after a restored backup, from before the session was bound
        response = write_json(DeviceSession(session_identifier=_read_sid(call), goes_on=False))
    else:
        scope = DeviceScope(scope_specification=({"type": "exclude", "domain": "*", "path": f"{use.issuer.path}/assets"},))
        answer = DeviceSession(
            session_identifier=pair.session_id,
            refresh_url=f"{use.issuer.path}{REFRESH_PATH}",
            scope=scope,
            credentials=(call.cookies.describe_bound(pair.delivery),),
            allowed_refresh_initiators=use.trusted_hosts,
        )
        response = write_json(answer)
    if pair is not None:
        set_pair(response, pair, call.cookies)
    return response


OPERATIONS = tuple(
    Operation(
        method="POST",
        path=path,
        run=run,
        summary=summary,
        answer=DeviceSession,
        errors=(ProofRequired, SessionEnded, CrossSite),
        write_error=write_device_error,
        credential="refresh",
        own_pages_only=True,
    )
    for path, run, summary in (
        (START_PATH, start_device_session, "For browsers: bind the session to this device (W3C DBSC)"),
        (REFRESH_PATH, refresh_device_session, "For browsers: renew a session that is bound to this device"),
    )
)
