"""Reads PostgreSQL URLs."""

from __future__ import annotations

import ssl
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit


class Target(NamedTuple):
    """The arguments of `asyncpg.connect`, and whether PgBouncer in transaction mode is in between.

    With PgBouncer each transaction may get another connection. No prepared statement, setting or `LISTEN` outlives a transaction.
    """

    options: dict[str, Any]
    is_pooled: bool


def target_of(url: str, *, patience_s: float) -> Target:
    """Return the target of a URL. `patience_s` seconds limit the connecting and each statement.

    Raises `ValueError` for an invalid URL, and `OSError` for certificates that cannot be read.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    is_pooled = {"true": True, "false": False}.get(options.pop("pgbouncer", "false"))
    if is_pooled is None:
        raise ValueError("pgbouncer is true or false")
    beside: dict[str, Any] = {
        "timeout": patience_s,
        "command_timeout": patience_s,
        # A replica that lags behind would accept sessions that have ended.
        "target_session_attrs": options.pop("target_session_attrs", "read-write"),
        "server_settings": {"application_name": "handstamp"},
    }
    if is_pooled:
        beside["statement_cache_size"] = 0
    else:
        beside["server_settings"]["idle_in_transaction_session_timeout"] = "10s"
    if options.get("sslmode", "").startswith("verify-") and options.get("sslrootcert", "system") == "system":
        options.pop("sslrootcert", None)
        beside["ssl"] = _system_trust(options)
    return Target({"dsn": urlunsplit(parts._replace(query=urlencode(options))), **beside}, is_pooled)


def _system_trust(options: dict[str, str]) -> ssl.SSLContext:
    """Trust the authorities of this machine. asyncpg by default reads a file in the user's home and nothing else."""
    trust = ssl.create_default_context()
    trust.check_hostname = options.pop("sslmode") == "verify-full"
    if "sslcert" in options:
        trust.load_cert_chain(options.pop("sslcert"), options.pop("sslkey", None))
    return trust
