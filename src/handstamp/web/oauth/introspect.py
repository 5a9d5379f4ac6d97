"""`POST /introspect`: services ask whether an access token is valid now (RFC 7662)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.responses import Response

from ...domain.claims import ActorClaim, Confirmation
from ...errors import CredentialLacksScope, CrossSite, InvalidClient, NotSignedIn, TooManyAttempts
from ..answers import write_json
from ..api.shapes import Token, described
from ..edge import Call
from ..operation import BODY_ERRORS, Operation, UseCases
from .common import Form, service_credential, write_oauth_error


class IntrospectForm(Form, frozen=True, kw_only=True):
    """Ask whether an access token is valid (RFC 7662 §2.1)."""

    token: Token
    token_type_hint: Annotated[str, described("Ignored")] = ""


class IntrospectAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether an access token is valid, and its claims if it is (RFC 7662 §2.2, RFC 8693 §4.1, RFC 9470 §6.2)."""

    active: bool
    iss: str = ""
    aud: str | tuple[str, ...] = ""
    sub: str = ""
    client_id: str = ""
    token_type: str = ""
    iat: int = 0
    exp: int = 0
    jti: str = ""
    sid: str = ""
    auth_time: int = 0
    acr: str | None = None
    amr: tuple[str, ...] = ()
    cnf: Confirmation | None = None
    act: ActorClaim | None = None
    scope: str = ""
    roles: tuple[str, ...] = ()


async def introspect(use: UseCases, call: Call, form: IntrospectForm) -> Response:
    """Return the claims of a valid access token, and nothing about any other (RFC 7662 §2.2)."""
    await use.credentials.authenticate(service_credential(call, form), call.caller, scope="read")
    try:
        claims = use.verifier.verify(form.token, now_ms=call.now_ms, proved="any", impersonation=True)
        await use.sessions.require_living(claims.sid, call.now_ms)
    except NotSignedIn:
        return write_json(IntrospectAnswer(active=False))
    answer = IntrospectAnswer(
        active=True,
        iss=claims.iss,
        aud=claims.aud,
        sub=claims.sub,
        client_id=claims.client_id,
        token_type="Bearer" if claims.cnf is None else "DPoP",
        cnf=claims.cnf,
        act=claims.actor,
        iat=claims.iat,
        exp=claims.exp,
        jti=claims.jti,
        sid=claims.sid,
        auth_time=claims.auth_time,
        acr=claims.acr,
        amr=claims.amr,
        scope=claims.scope,
        roles=claims.roles,
    )
    return write_json(answer)


OPERATIONS = (
    Operation(
        method="POST",
        path="/introspect",
        run=introspect,
        summary="Whether an access token is valid, for other services (RFC 7662)",
        form=IntrospectForm,
        answer=IntrospectAnswer,
        errors=(*BODY_ERRORS, InvalidClient, CredentialLacksScope, CrossSite, TooManyAttempts),
        write_error=write_oauth_error,
        credential="client",
        budget=None,
    ),
)
