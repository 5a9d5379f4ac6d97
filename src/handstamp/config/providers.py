"""Read the secrets of providers from their files."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..domain.provider import ProviderSettings
from ..errors import ConfigurationError
from .private_files import require_secret
from .settings import Settings

_MAX_BYTES = 64 * 1024


def load_providers(settings: Settings) -> tuple[ProviderSettings, ...]:
    """Return the providers with the secrets that are in files.

    Raises:
        ConfigurationError: With a sentence for each file that cannot be read, is empty, or is readable by others.
    """
    problems: list[str] = []
    found: list[ProviderSettings] = []
    for provider in settings.providers:
        try:
            found.append(
                msgspec.structs.replace(
                    provider,
                    client_secret=provider.client_secret or _read(provider, provider.client_secret_file),
                    private_key=provider.private_key or _read(provider, provider.private_key_file),
                )
            )
        except ConfigurationError as problem:
            problems += problem.problems
    if problems:
        raise ConfigurationError(*problems)
    return tuple(found)


def _read(provider: ProviderSettings, file: str) -> str:
    """Return what a file contains, without white space around it; "" for no file."""
    if not file:
        return ""
    path = Path(file)
    try:
        require_secret(path, f"secret of the provider {provider.name}")
        with path.open("rb") as opened:
            text = opened.read(_MAX_BYTES).decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"The file {file} of the provider {provider.name} cannot be read: {problem}") from None
    if not text:
        raise ConfigurationError(f"The file {file} of the provider {provider.name} is empty.")
    return text
