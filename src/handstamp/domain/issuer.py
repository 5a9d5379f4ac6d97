"""The issuer: the public URL of a service, and what follows from it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Issuer:
    """The public URL of a service, byte for byte as its tokens carry it in `iss` (RFC 8414 §2, RFC 9068 §2.2)."""

    url: str

    @property
    def origin(self) -> str:
        """Its origin, in the form that browsers send."""
        return origin_of(self.url)

    @property
    def path(self) -> str:
        """The path under which the service is reached; empty at the root of its host."""
        return urlsplit(self.url).path

    @property
    def host(self) -> str:
        """The host name or address in lower case, without port and brackets; empty if there is none."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port on which it is reached, also if the URL leaves out the default one of its scheme."""
        return urlsplit(self.url).port or (443 if self.is_https else 80)

    @property
    def is_https(self) -> bool:
        """Whether browsers reach the service over TLS, so that its cookies can be `Secure`."""
        return urlsplit(self.url).scheme == "https"

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on the same machine can reach the service."""
        return is_loopback(self.host)


def origin_of(url: str) -> str:
    """Return the origin of a URL in the form that browsers send (RFC 6454 §6.1).

    Raises: ValueError if the URL cannot be parsed.
    """
    parts = urlsplit(url.lower())
    default_port = {"https": ":443", "http": ":80"}.get(parts.scheme, "")
    return f"{parts.scheme}://{parts.netloc.removesuffix(default_port)}"


def find_hosts(origins: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the hosts of https origins, in order; addresses and names without a dot are left out."""
    hosts = {urlsplit(origin).hostname or "" for origin in origins if origin.startswith("https:")}
    return tuple(sorted(host for host in hosts if "." in host and not host.rpartition(".")[2].isdigit()))


def is_loopback(host: str) -> bool:
    """Return whether a host name or address never leaves this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(url: str) -> bool:
    """Return whether requests to a URL are encrypted or stay on this machine: it is https, or loopback."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))
