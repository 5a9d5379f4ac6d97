"""`POST /revoke`: signing out in the words of OAuth (RFC 7009)."""

from __future__ import annotations

from typing import Annotated

from starlette.responses import Response

from ...errors import CrossSite, InvalidClient
from ..api.shapes import Token, described
from ..edge import Call
from ..operation import BODY_ERRORS, Operation, UseCases
from .common import Form, require_first_party, write_oauth_error


class RevokeForm(Form, frozen=True, kw_only=True):
    """End the session of a token of either kind (RFC 7009 §2.1). `client_id` is `handstamp` or absent."""

    token: Token
    token_type_hint: Annotated[str, described("Ignored")] = ""


async def revoke(use: UseCases, call: Call, form: RevokeForm) -> Response:
    """End the session of a token. Answers 200 even if it is no token of ours (RFC 7009 §2.2)."""
    await require_first_party(use, call, form)
    await use.sign_out.end_by_tokens([form.token], call.ending_caller)
    return Response(status_code=200, headers={"cache-control": "no-store"})


OPERATIONS = (
    Operation(
        method="POST",
        path="/revoke",
        run=revoke,
        summary="Sign out with a token of either kind, in the words of OAuth (RFC 7009)",
        form=RevokeForm,
        errors=(*BODY_ERRORS, InvalidClient, CrossSite),
        write_error=write_oauth_error,
        budget="sign_outs",
    ),
)
