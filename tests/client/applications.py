"""An application's own clients. Little is imported here: programs that tests start as processes want to start soon."""

from __future__ import annotations

from typing import Any

import httpx

from handstamp.client import Auth


def client_with(auth: Auth, **options: Any) -> httpx.Client:
    """Return an application's client."""
    # As many are kept as there may be: of those above 20, httpcore 1 closes one that another thread has just been given.
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    defaults: dict[str, Any] = {"base_url": auth.issuer, "trust_env": False, "verify": False, "timeout": 60, "limits": limits}
    return httpx.Client(auth=auth, **defaults | options)


def async_client_with(auth: Auth, **options: Any) -> httpx.AsyncClient:
    """Return an application's client for coroutines."""
    limits = httpx.Limits(max_connections=8)  # httpx takes seconds to look after hundreds
    defaults: dict[str, Any] = {"base_url": auth.issuer, "trust_env": False, "verify": False, "timeout": 60, "limits": limits}
    return httpx.AsyncClient(auth=auth, **defaults | options)
