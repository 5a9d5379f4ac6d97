"""`handstamp token inspect`: what a token says, and whether it holds here."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import msgspec
import typer

from ..assemble.deployment import Deployment
from ..crypto import jws
from ..crypto.strict import base64url_decode, json_decode
from ..domain.claims import ACCESS_TYPE, REFRESH_TYPE
from ..domain.session import end_reason
from ..errors import ExpiredToken, HandstampError, InvalidToken
from ..service.parts.caller import Caller
from ..words import format_distance, format_time
from .common import Database, on_service, printable, said

app = typer.Typer(help="Look into tokens.", no_args_is_help=True, rich_markup_mode=None)


class _Anything(msgspec.Struct):
    """Any JSON object."""


@app.callback()
def group() -> None:
    """Look into tokens."""


@app.command()
def inspect(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The token, or - to read it from standard input.")],
    database: Database = None,
) -> None:
    """Show a token's header and claims, its times in words, and whether it holds here, and why not.

    Example:  handstamp token inspect - < token.txt
    """
    text = (sys.stdin.read() if token == "-" else token).strip()  # noqa: S105 - the usual sign for standard input
    verdict, holds = on_service(lambda service, caller: _verdict(service, caller, text), database)
    said(verdict)
    raise typer.Exit(0 if holds else 1)


async def _verdict(service: Deployment, caller: Caller, token: str) -> tuple[str, bool]:
    try:
        header, payload, _, _ = jws.split(token)
        data = base64url_decode(payload)
        json_decode(data, _Anything)
        claims: dict[str, Any] = msgspec.json.decode(data)
    except InvalidToken as problem:
        return f"This is no token: {problem.why}.", False
    lines = [f"{'alg':<10} {header.alg}", f"{'typ':<10} {header.typ}", f"{'kid':<10} {header.kid}", ""]
    for name, value in claims.items():
        is_time = name in ("exp", "iat", "nbf", "auth_time") and isinstance(value, int)
        words = f"   {format_time(value * 1000)} UTC, {format_distance(caller.now_ms, value * 1000)}" if is_time else ""
        lines.append(f"{name:<10} {value if isinstance(value, str) else msgspec.json.encode(value).decode()}{words}")
    issuer = service.settings.issuer
    if claims.get("iss") != issuer:
        why_not: str | None = f"its issuer is another one; here it is {issuer}, which HANDSTAMP_ISSUER sets"
    else:
        why_not = await _why_not(service, caller, token, jws.normalise_typ(header.typ))
    lines += ["", "It holds here." if why_not is None else f"It does not hold here: {why_not}."]
    return "\n".join(printable(line).replace("\n", "?") for line in lines), why_not is None


async def _why_not(  # noqa: PLR0911 - each is a sentence
    service: Deployment, caller: Caller, token: str, typ: str
) -> str | None:
    try:
        if typ == REFRESH_TYPE:
            refresh = service.tokens.read_refresh(token)
            if caller.now_ms >= refresh.exp * 1000:
                return "its time is over"
            session, account = await service.store.session(refresh.sid) or (None, None)
            if session is None:
                return "its session is not in this database"
            over = end_reason(session, account, caller.now_ms)
            if over is not None:
                return f"its session has ended ({over})"
            if refresh.gen != session.generation:
                return f"it is generation {refresh.gen} of a session that is at generation {session.generation}"
            return None
        if typ == ACCESS_TYPE:
            access = service.verifier.verify(token, now_ms=caller.now_ms)
            await service.sessions.require_living(access.sid, caller.now_ms)
            return None
    except InvalidToken as problem:
        return problem.why
    except ExpiredToken:
        return "its time is over"
    except HandstampError as problem:
        return str(problem).rstrip(".")
    return f"typ {typ} is no kind of token that Handstamp issues"
