"""Where tokens may be sent: to the service and to listed origins, over https or on this machine (RFC 6750 §5.3). Pure."""

from __future__ import annotations

from collections.abc import Collection

import httpx

from ..domain.issuer import is_private
from ..errors import ConfigurationError

Origin = tuple[str, str, int | None]
"""Scheme, host and port (RFC 6454 §4), in lower case; the port is None if it is the scheme's default."""


def url_origin(url: httpx.URL) -> Origin:
    """Return the origin of a URL, which httpx has normalised."""
    return url.scheme, url.host, url.port


def parse_issuer(issuer: str) -> str:
    """Return the service's URL without its final slash. Raises `ConfigurationError` if it is invalid or not private."""
    url = _url(issuer)
    if not is_private(issuer):
        raise ConfigurationError(f"The service must be reached by https, or on this machine: {issuer} is neither.")
    if url is None or url.userinfo or url.query or url.fragment:
        raise ConfigurationError("The service's URL is written as 'https://auth.example.com', without user, query and fragment.")
    return str(url).rstrip("/")


def parse_origins(origins: Collection[str]) -> set[Origin]:
    """Return the origins. Raises `ConfigurationError`, listing each one that is invalid or not private."""
    if isinstance(origins, str):  # a string is a collection too: of its characters
        raise ConfigurationError(f"origins is a list: write [{origins!r}].")
    urls = {origin: _url(origin) for origin in origins}
    problems = [problem for origin, url in urls.items() if (problem := _problem(origin, url))]
    if problems:
        raise ConfigurationError(*problems)
    return {url_origin(url) for url in urls.values() if url is not None}


def _problem(origin: str, url: httpx.URL | None) -> str:
    if url is None or not url.host or url.userinfo or url.query or url.fragment or url.path.strip("/"):
        return f"An origin is written as 'https://api.example.com', not {origin!r}."
    if not is_private(origin):
        return f"The token would travel in the clear: {origin} is neither https nor on this machine."
    return ""


def _url(text: str) -> httpx.URL | None:
    try:
        return httpx.URL(text)
    except httpx.InvalidURL:
        return None
