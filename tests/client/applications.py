"""httpx clients as an application makes them. Imports are few, because tests start programs that import this module."""

from __future__ import annotations

from typing import Any

import httpx

from handstamp.client import Auth


def client_with(auth: Auth, **options: Any) -> httpx.Client:
    """Return a client that signs its requests with `auth`."""
    # All connections may stay idle. Above 20, httpcore 1 can close one that it has just given to another thread.
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    defaults: dict[str, Any] = {"base_url": auth.issuer, "trust_env": False, "verify": False, "timeout": 60, "limits": limits}
    return httpx.Client(auth=auth, **defaults | options)


def async_client_with(auth: Auth, **options: Any) -> httpx.AsyncClient:
    """Return an asynchronous client that signs its requests with `auth`."""
    limits = httpx.Limits(max_connections=8)  # with hundreds of connections httpx itself takes seconds
    defaults: dict[str, Any] = {"base_url": auth.issuer, "trust_env": False, "verify": False, "timeout": 60, "limits": limits}
    return httpx.AsyncClient(auth=auth, **defaults | options)
