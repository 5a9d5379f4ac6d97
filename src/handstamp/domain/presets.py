"""What is known of well-known providers, so that an operator need not look it up."""

from __future__ import annotations

from typing import NamedTuple

from .provider import Preset


class ProviderPreset(NamedTuple):
    """The settings that a preset brings."""

    label: str
    issuer: str
    scopes: tuple[str, ...]


_OPENID = ("openid", "email", "profile")
PRESETS: dict[Preset, ProviderPreset] = {
    "": ProviderPreset("", "", _OPENID),
    "google": ProviderPreset("Google", "https://accounts.google.com", _OPENID),
    "microsoft": ProviderPreset("Microsoft", "https://login.microsoftonline.com/{tenant}/v2.0", _OPENID),
    "apple": ProviderPreset("Apple", "https://appleid.apple.com", ("openid", "email", "name")),
    "github": ProviderPreset("GitHub", "https://github.com", ("read:user", "user:email")),
}
PERSONAL_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The tenant of all personal accounts at Microsoft, which its addresses call "consumers"."""
SHARED_TENANTS = ("common", "organizations")
"""Addresses of Microsoft with which people of any tenant sign in."""
