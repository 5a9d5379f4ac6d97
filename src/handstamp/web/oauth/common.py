"""What the OAuth endpoints share: their forms, who may use them, and errors in the words of RFC 6749 §5.2."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.responses import Response

from ...domain.proof import FIRST_PARTY
from ...errors import (
    CredentialLacksScope,
    CrossSite,
    ExpiredToken,
    HandstampError,
    InvalidClient,
    InvalidDpopProof,
    InvalidFields,
    InvalidRequest,
    InvalidToken,
    SessionEnded,
    TooManyAttempts,
    Unavailable,
)
from ...wire.basic import basic_credential
from ...wire.problems import headers_of, row_of
from ..answers import log_refusal, write_json
from ..api.shapes import described
from ..edge import Call
from ..operation import UseCases


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """The form that other software sends. Unknown parameters are ignored (RFC 6749 §3.2). Its repr shows no field."""

    client_id: Annotated[str, described("Instead of HTTP Basic authentication")] = ""
    client_secret: Annotated[str, described("With `client_id`")] = ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(****)"


class OAuthProblem(msgspec.Struct, frozen=True, kw_only=True):
    """An error of the OAuth endpoints (RFC 6749 §5.2). Switch on `error`."""

    error: str
    error_description: Annotated[str, described("For people")]


class RefusedGrant(InvalidRequest):
    """A request for which RFC 6749 §5.2 has an error code of its own."""

    def __init__(self, error: str, description: str, *, why: str = "") -> None:
        """Take that code, and a sentence for the developer of the client. `why` is for the log alone."""
        super().__init__(description)
        self.error = error
        self.why = why


def service_credential(call: Call, form: Form) -> tuple[str, str] | None:
    """Return the (id, secret) of a service, or None if none was sent (RFC 6749 §2.3.1).

    Raises:
        InvalidRequest: It came both by HTTP Basic and in the form.
        InvalidClient: It cannot be decoded.
    """
    in_form = (form.client_id, form.client_secret) if form.client_secret else None
    in_header = basic_credential(call.headers.getlist("authorization"))
    if in_form is not None and in_header is not None:
        raise InvalidRequest("The service's credential came both in the header and in the form: send one of them.")
    return in_header or in_form


async def require_first_party(use: UseCases, call: Call, form: Form) -> None:
    """Refuse services with a credential: they read, and neither refresh nor sign out.

    Raises:
        InvalidClient: The credential is wrong, or `client_id` names another client than ours.
        RefusedGrant: The credential is right.
    """
    credential = service_credential(call, form)
    if credential is not None:
        await use.credentials.authenticate(credential, call.ending_caller, scope="read")
        raise RefusedGrant("unauthorized_client", "A service credential is for introspection and the revocation feed alone.")
    if form.client_id not in ("", FIRST_PARTY):
        raise InvalidClient(f"The client of these tokens is {FIRST_PARTY}: send that as client_id, or none.")


def write_oauth_error(error: HandstampError, call: Call) -> Response:
    """Return an error in OAuth's words. All tokens that are not valid get the same answer (RFC 6749 §5.2)."""
    log_refusal(error, call.request.scope)
    status, _title = row_of(type(error))
    match error:
        case RefusedGrant():
            name = error.error
        case InvalidToken() | ExpiredToken() | SessionEnded():
            return _write(400, "invalid_grant", "The refresh token is not valid. Sign in again.", {})
        case InvalidClient():
            name = "invalid_client"
        case InvalidDpopProof():
            # The body alone names the error (RFC 9449 §5): where there is a challenge, certified clients read no body.
            headers = {name: value for name, value in headers_of(error).items() if name != "www-authenticate"}
            return _write(status, error.code, str(error), headers)
        case InvalidFields():
            status, name = 400, "invalid_request"
        case InvalidRequest():
            name = "invalid_request"
        case CrossSite():
            name = "access_denied"
        case CredentialLacksScope():
            name = error.code
        case TooManyAttempts() | Unavailable():
            name = "temporarily_unavailable"
        case _:
            name = "server_error"
    return _write(status, name, str(error), headers_of(error))


def _write(status: int, error: str, description: str, headers: dict[str, str]) -> Response:
    # RFC 6749 §5.2 allows printable ASCII without quotes and backslashes.
    plain = "".join(character if " " <= character <= "~" and character not in '"\\' else "'" for character in description)
    response = write_json(OAuthProblem(error=error, error_description=plain), status)
    response.headers.update(headers)
    return response
