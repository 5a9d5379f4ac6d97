"""The providers of a deployment, made from their settings."""

from __future__ import annotations

from collections.abc import Iterable

from ..crypto.jwk import SigningKey
from ..domain.provider import ProviderSettings
from ..errors import ConfigurationError
from ..outbound.client import Outbound
from ..service.parts.providers import Provider
from .client_auth import AppleAuth, ClientAuth, KeyAuth, SecretAuth
from .github import GitHubProvider
from .openid import OpenIdProvider


def make_providers(described: Iterable[ProviderSettings], outbound: Outbound) -> dict[str, Provider]:
    """Return the providers by name, in their order. No request is sent.

    Raises:
        ConfigurationError: If a private key cannot be used, or an issuer cannot be requested.
    """
    return {settings.name: _make_provider(settings, outbound) for settings in described}


def _make_provider(settings: ProviderSettings, outbound: Outbound) -> Provider:
    try:
        outbound.require_url(settings.issuer)
        if settings.preset == "github":
            return GitHubProvider(settings, settings.client_secret, outbound)
        return OpenIdProvider(settings, _make_auth(settings), outbound)
    except (ConfigurationError, ValueError) as problem:
        raise ConfigurationError(f"The provider {settings.name!r}: {problem}") from None


def _make_auth(settings: ProviderSettings) -> ClientAuth:
    if not settings.private_key:
        return SecretAuth(settings.client_id, settings.client_secret, place=settings.client_secret_in)
    key = SigningKey.from_pem(settings.private_key, kid=settings.key_id or None)
    if settings.preset != "apple":
        return KeyAuth(settings.client_id, key)
    if key.algorithm != "ES256":
        raise ConfigurationError("Apple's keys are P-256: use the file AuthKey_….p8 that it gave you.")
    return AppleAuth(settings.client_id, key, team_id=settings.team_id)
