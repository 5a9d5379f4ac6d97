"""The answer of a sign-in that needs another step: a challenge in place of tokens."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from starlette.responses import Response

from ..errors import SecondFactorRequired
from ..wire.cross_site import is_from_browser
from .cookies import set_grant
from .edge import Call


def _described(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class ChallengeAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The sign-in needs another step. No session has begun. Lifetimes are whole seconds."""

    challenge: Annotated[str, _described("To be sent back with the second factor. It is as secret as a token")]
    methods: Annotated[
        tuple[Literal["passkey", "totp", "recovery_code"], ...], _described("What completes the sign-in, the safest first")
    ]
    enrol: (
        Annotated[tuple[Literal["passkey", "totp"], ...], _described("Without methods: the factors of which one is to be added")]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    expires_in: Annotated[int, _described("Seconds for which the challenge is accepted")]
    ticket: (
        Annotated[str, _described("For clients without cookies: to be sent with the challenge. Browsers have a cookie instead")]
        | msgspec.UnsetType
    ) = msgspec.UNSET

    def __repr__(self) -> str:
        """Return a text without the challenge and the ticket."""
        return f"ChallengeAnswer(methods={self.methods!r})"


def write_challenge(needed: SecondFactorRequired, call: Call) -> Response:
    """Return the answer 200.

    A browser gets the secret to which the challenge is bound as a cookie, another client as `ticket`.
    """
    is_browser = is_from_browser(call.headers.getlist)
    answer = ChallengeAnswer(
        challenge=needed.challenge,
        methods=needed.methods,  # type: ignore[arg-type]
        enrol=needed.enrol or msgspec.UNSET,  # type: ignore[arg-type]
        expires_in=needed.expires_in_s,
        ticket=msgspec.UNSET if is_browser else needed.browser,
    )
    response = Response(msgspec.json.encode(answer), media_type="application/json", headers={"cache-control": "no-store"})
    if is_browser:
        set_grant(response, needed.browser, call.cookies)
    return response
