"""Looks at the server that runs an application with Handstamp inside, and says which of its options are unsafe.

The server is known from the first request alone, and only if no middleware wraps `receive`. Otherwise nothing is said.
"""

from __future__ import annotations

import sys
from typing import Any

from starlette.types import Receive

from ..logger import Logger

_HTTPTOOLS = "uvicorn.protocols.http.httptools_impl"
_EVERY_CLIENT = frozenset({"*", "0.0.0.0/0", "::/0"})
_log = Logger("handstamp.embedded")


def warn_about_server(receive: Receive) -> None:
    """Log a warning for each unsafe option of the server that made `receive` (docs/how-to/embed.md)."""
    for event, advice in _find_risks(_protocol_of(receive)):
        _log.warning(event, advice=advice)


def _protocol_of(receive: Receive) -> Any:
    """Return uvicorn's protocol of a connection, None if the server is another one or cannot be seen."""
    cycle = getattr(receive, "__self__", None)  # uvicorn passes a method of the request
    if not type(cycle).__module__.startswith("uvicorn.protocols.http."):
        return None
    return getattr(getattr(cycle, "on_response", None), "__self__", None)


def _find_risks(protocol: Any) -> list[tuple[str, str]]:
    risks = []
    if _HTTPTOOLS in sys.modules and type(protocol) is sys.modules[_HTTPTOOLS].HttpToolsProtocol:
        advice = (
            "uvicorn reads HTTP with httptools, which ends a request with 'Connection: Upgrade' at its head and reads the body "
            "as the next request. Run uvicorn with --http h11, or let your proxy remove Upgrade for all but your WebSockets."
        )
        risks.append(("server_reads_bodies_as_requests", advice))
    config = getattr(protocol, "config", None)
    trusted = getattr(config, "forwarded_allow_ips", "")
    names = trusted.split(",") if isinstance(trusted, str) else trusted
    if getattr(config, "proxy_headers", False) and _EVERY_CLIENT & {name.strip() for name in names}:
        advice = (
            "uvicorn takes X-Forwarded-For from every client: one that reaches it without your proxy chooses its own address. "
            "Set --forwarded-allow-ips to the address of your proxy."
        )
        risks.append(("server_trusts_every_client", advice))
    return risks
