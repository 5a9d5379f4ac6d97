"""Load the brand of a deployment: read the logo, and check that its colours can be read."""

from __future__ import annotations

from pathlib import Path

from ..domain.brand import LOGO_MAX_BYTES, Brand, Logo
from ..errors import ConfigurationError
from .private_files import require_unchangeable
from .settings import Settings


def load_brand(settings: Settings) -> Brand:
    """Return the brand. Raises `ConfigurationError` if the logo cannot be used."""
    light, dark = settings.brand_color or ("", "")
    return Brand(
        name=settings.brand_name,
        logo=None if settings.brand_logo is None else _read_logo(settings.brand_logo),
        light=light,
        dark=dark,
        terms_url=settings.terms_url,
        privacy_url=settings.privacy_url,
        support=settings.support_contact,
    )


def _read_logo(file: Path) -> Logo:
    try:
        require_unchangeable(file, "logo")
        with file.open("rb") as opened:
            return Logo.parse(opened.read(LOGO_MAX_BYTES + 1))
    except (OSError, ValueError) as problem:
        raise ConfigurationError(f"HANDSTAMP_BRAND_LOGO: the file {file} cannot be used: {problem}") from None
