"""The endpoints that speak OAuth 2: forms in, snake case out, errors of RFC 6749 §5.2."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from ...domain.session import FIRST_PARTY
from ...errors import (
    CrossSite,
    ExpiredToken,
    HandstampError,
    InvalidClient,
    InvalidFields,
    InvalidRequest,
    InvalidToken,
    NotSignedIn,
    SessionEnded,
    Unavailable,
)
from ...service.operating.credentials import Credentials
from ...service.sessions.living import LivingSessions
from ...service.sessions.refresh import Refresh
from ...service.sessions.sign_out import SignOut
from ...verify.verifier import Verifier
from ...wire.problems import headers_of, row_of
from ..messages import IntrospectAnswer, IntrospectForm, OAuthProblem, OAuthTokenAnswer, RevokeForm, TokenForm
from ..problems import log_failure
from ..transport import Call, ClientFields, write_json


class RefusedGrant(InvalidRequest):
    """A request that RFC 6749 §5.2 has a name of its own for."""

    def __init__(self, error: str, description: str) -> None:
        """Take that name."""
        super().__init__(description)
        self.error = error


@dataclass(frozen=True, slots=True)
class OAuthEndpoints:
    """The endpoints over their use cases."""

    refresher: Refresh
    sign_out: SignOut
    sessions: LivingSessions
    credentials: Credentials
    verifier: Verifier

    async def token(self, call: Call, form: TokenForm) -> Response:
        """Renew the pair of a session whose tokens travel in bodies (RFC 6749 §6)."""
        await self._is_first_party(call, form)
        if form.grant_type != "refresh_token":
            raise RefusedGrant("unsupported_grant_type", "The one grant here is refresh_token. People sign in with POST /login.")
        if not form.refresh_token:
            raise InvalidRequest("refresh_token is missing.")
        if form.scope:
            raise RefusedGrant("invalid_scope", "A session has the scope that it was given: leave it away.")
        pair = await self.refresher(form.refresh_token, way="body", caller=call.caller)
        answer = OAuthTokenAnswer(
            access_token=pair.access_token,
            token_type="Bearer",  # noqa: S106 - the name of a scheme
            expires_in=pair.expires_in_s,
            refresh_token=pair.refresh_token,
            refresh_expires_in=pair.refresh_expires_in_s,
            session_id=pair.session_id,
        )
        response = write_json(answer)
        response.headers["pragma"] = "no-cache"  # RFC 6749 §5.1 wants it too
        return response

    async def revoke(self, call: Call, form: RevokeForm) -> Response:
        """End the session of a token; 200 also for what is no token of ours (RFC 7009 §2.2)."""
        await self._is_first_party(call, form)
        await self.sign_out.end_by_tokens([form.token], call.caller)
        return Response(status_code=200, headers={"cache-control": "no-store"})

    async def introspect(self, call: Call, form: IntrospectForm) -> Response:
        """Say whether an access token holds here and now; nothing more about one that does not (RFC 7662 §2.2)."""
        await self.credentials.authenticate(call.client_credential(form))
        try:
            claims = self.verifier.verify(form.token, now_ms=call.now_ms)
            await self.sessions.require_living(claims.sid, call.now_ms)
        except NotSignedIn:
            return write_json(IntrospectAnswer(active=False))
        answer = IntrospectAnswer(
            active=True,
            iss=claims.iss,
            aud=claims.aud,
            sub=claims.sub,
            client_id=claims.client_id,
            token_type="Bearer",  # noqa: S106 - the name of a scheme
            iat=claims.iat,
            exp=claims.exp,
            jti=claims.jti,
            sid=claims.sid,
            auth_time=claims.auth_time,
            scope=claims.scope,
            roles=claims.roles,
        )
        return write_json(answer)

    async def _is_first_party(self, call: Call, form: ClientFields) -> None:
        """Let through whoever uses our own sessions: software without a credential. Services read; they neither renew nor end."""
        credential = call.client_credential(form)
        if credential is not None:
            await self.credentials.authenticate(credential)
            raise RefusedGrant("unauthorized_client", "A service credential is for introspection and the revocation feed alone.")
        if form.client_id not in ("", FIRST_PARTY):
            raise InvalidClient(f"The client of these tokens is {FIRST_PARTY}: send that as client_id, or none.")


def write_oauth_error(error: HandstampError) -> Response:
    """Return an error in OAuth's words. Tokens that do not hold have one answer, whatever is wrong with them (RFC 6749 §5.2)."""
    log_failure(error)
    status, _ = row_of(type(error))
    match error:
        case RefusedGrant():
            name = error.error
        case InvalidToken() | ExpiredToken() | SessionEnded():
            return _refusal(400, "invalid_grant", "The refresh token does not hold. Sign in again.", {})
        case InvalidClient():
            name = "invalid_client"
        case InvalidFields():
            status, name = 400, "invalid_request"
        case InvalidRequest():
            name = "invalid_request"
        case CrossSite():
            name = "access_denied"
        case Unavailable():
            name = "temporarily_unavailable"
        case _:
            name = "server_error"
    return _refusal(status, name, str(error), headers_of(error))


def _refusal(status: int, error: str, description: str, sent: dict[str, str]) -> Response:
    plain = "".join(character if " " <= character <= "~" and character not in '"\\' else "'" for character in description)
    response = write_json(OAuthProblem(error=error, error_description=plain), status)
    response.headers.update(sent)
    return response
