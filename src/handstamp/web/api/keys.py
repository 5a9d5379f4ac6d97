"""`GET /.well-known/jwks.json`: the public keys, for verifiers (RFC 7517)."""

from __future__ import annotations

from starlette.responses import Response

from ...domain.keyring import JWKS_MAX_AGE_S
from ..answers import write_public
from ..edge import Call
from ..operation import Operation, UseCases
from .shapes import AnswerShape


class JwksAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """The public keys that access tokens are signed with (RFC 7517 §5)."""

    keys: tuple[dict[str, str], ...]


async def jwks(use: UseCases, call: Call, _: None) -> Response:
    """Publish the keys. Caches and verifiers keep them for `JWKS_MAX_AGE_S`."""
    return write_public(use.keys.jwks, call, max_age_s=JWKS_MAX_AGE_S)


OPERATIONS = (
    Operation(
        method="GET",
        path="/.well-known/jwks.json",
        run=jwks,
        summary="The public keys of the access tokens (RFC 7517)",
        answer=JwksAnswer,
        budget=None,
    ),
)
