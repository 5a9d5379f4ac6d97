"""`GET /.well-known/oauth-authorization-server`: where the endpoints are (RFC 8414)."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from ...domain.assurance import ACR_VALUES
from ...domain.binding import PROOF_ALGORITHMS
from ...domain.keyring import JWKS_MAX_AGE_S
from ..answers import write_public
from ..edge import Call
from ..operation import Operation, UseCases


class MetadataAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The URLs of the endpoints, and what they support (RFC 8414 §2)."""

    issuer: str
    jwks_uri: str
    token_endpoint: str
    revocation_endpoint: str
    introspection_endpoint: str
    acr_values_supported: tuple[str, ...] = ACR_VALUES
    grant_types_supported: tuple[str, ...] = ("refresh_token",)
    response_types_supported: tuple[str, ...] = ()
    dpop_signing_alg_values_supported: tuple[str, ...] = PROOF_ALGORITHMS
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("none",)
    revocation_endpoint_auth_methods_supported: tuple[str, ...] = ("none",)
    introspection_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic", "client_secret_post")


async def authorization_server(use: UseCases, call: Call, _: None) -> Response:
    """Publish the URLs of the endpoints."""
    url = use.issuer.url
    answer = MetadataAnswer(
        issuer=url,
        jwks_uri=f"{url}/.well-known/jwks.json",
        token_endpoint=f"{url}/token",
        revocation_endpoint=f"{url}/revoke",
        introspection_endpoint=f"{url}/introspect",
    )
    return write_public(msgspec.json.encode(answer), call, max_age_s=JWKS_MAX_AGE_S)


OPERATIONS = (
    Operation(
        method="GET",
        path="/.well-known/oauth-authorization-server",
        run=authorization_server,
        summary="The URLs of the endpoints, for software that speaks OAuth 2 (RFC 8414)",
        answer=MetadataAnswer,
        budget=None,
    ),
)
