"""`handstamp token inspect`: show what a token contains, and whether it is valid here."""

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
from .common import Database, make_group, print_line, sanitise_text
from .operating import operate

app: typer.Typer = make_group("Inspect tokens.")


class _Anything(msgspec.Struct):
    """Any JSON object."""


@app.callback()
def token() -> None:
    """Inspect tokens."""


@app.command()
def inspect(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The token, or - to read it from standard input.")],
    database: Database = None,
) -> None:
    """Show a token's header and claims, its times in words, and whether it is valid here, or why not.

    Example:  handstamp token inspect - < token.txt
    """
    text = (sys.stdin.read() if token == "-" else token).strip()  # noqa: S105 - the usual sign for standard input
    report, is_valid = operate(lambda deployment, caller: _describe(deployment, caller, text), database)
    print_line(report)
    raise typer.Exit(0 if is_valid else 1)


async def _describe(deployment: Deployment, caller: Caller, token: str) -> tuple[str, bool]:
    try:
        header, payload, _, _ = jws.split(token)
        data = base64url_decode(payload)
        json_decode(data, _Anything)
        claims: dict[str, Any] = msgspec.json.decode(data)
    except InvalidToken as problem:
        return f"This is not a token: {problem.why}.", False
    lines = [f"{'alg':<10} {header.alg}", f"{'typ':<10} {header.typ}", f"{'kid':<10} {header.kid}", ""]
    for name, value in claims.items():
        is_time = name in ("exp", "iat", "nbf", "auth_time") and isinstance(value, int)
        words = f"   {format_time(value * 1000)} UTC, {format_distance(caller.now_ms, value * 1000)}" if is_time else ""
        lines.append(f"{name:<10} {value if isinstance(value, str) else msgspec.json.encode(value).decode()}{words}")
    issuer = deployment.settings.issuer
    if claims.get("iss") != issuer:
        reason: str | None = f"it has another issuer; the issuer here is {issuer}, which HANDSTAMP_ISSUER sets"
    else:
        reason = await _find_problem(deployment, caller, token, jws.normalise_typ(header.typ))
    lines += ["", "It is valid here." if reason is None else f"It is not valid here: {reason}."]
    return "\n".join(sanitise_text(line).replace("\n", "?") for line in lines), reason is None


async def _find_problem(  # noqa: PLR0911 - one sentence each
    deployment: Deployment, caller: Caller, token: str, typ: str
) -> str | None:
    try:
        if typ == REFRESH_TYPE:
            refresh = deployment.tokens.read_refresh(token)
            if caller.now_ms >= refresh.exp * 1000:
                return "it has expired"
            session, account = await deployment.store.session(refresh.sid) or (None, None)
            if session is None:
                return "its session is not in this database"
            over = end_reason(session, account, caller.now_ms)
            if over is not None:
                return f"its session has ended ({over})"
            if refresh.gen != session.generation:
                return f"it is generation {refresh.gen} of a session that is at generation {session.generation}"
            return None
        if typ == ACCESS_TYPE:
            access = deployment.verifier.verify(token, now_ms=caller.now_ms, impersonation=True)
            await deployment.sessions.require_living(access.sid, caller.now_ms)
            return None
    except InvalidToken as problem:
        return problem.why
    except ExpiredToken:
        return "it has expired"
    except HandstampError as problem:
        return str(problem).rstrip(".")
    return f"typ {typ} is not a type of token that Handstamp issues"
