"""What a PostgreSQL URL means to us."""

from __future__ import annotations

import ssl
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit


class Target(NamedTuple):
    """What asyncpg connects to, and whether a PgBouncer in transaction mode stands before it.

    There each transaction may have another connection, and nothing outlives one: no prepared statement, no setting, no `LISTEN`.
    """

    options: dict[str, Any]
    is_pooled: bool


def target_of(url: str, *, patience_s: float) -> Target:
    """Return what a URL means, with time-outs for a connection and a statement.

    Raises `ValueError`, or `OSError` for certificates that cannot be read.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    is_pooled = {"true": True, "false": False}.get(options.pop("pgbouncer", "false"))
    if is_pooled is None:
        raise ValueError("pgbouncer is true or false")
    beside: dict[str, Any] = {
        "timeout": patience_s,
        "command_timeout": patience_s,
        # A replica that lags behind would say yes to whoever has signed out.
        "target_session_attrs": options.pop("target_session_attrs", "read-write"),
        "server_settings": {"application_name": "handstamp"},
    }
    if is_pooled:
        beside["statement_cache_size"] = 0
    else:
        beside["server_settings"]["idle_in_transaction_session_timeout"] = "10s"
    if options.get("sslmode", "").startswith("verify-") and options.get("sslrootcert", "system") == "system":
        options.pop("sslrootcert", None)
        beside["ssl"] = _trust_of_the_system(options)
    return Target({"dsn": urlunsplit(parts._replace(query=urlencode(options))), **beside}, is_pooled)


def _trust_of_the_system(options: dict[str, str]) -> ssl.SSLContext:
    """Trust whom this machine trusts: asyncpg by itself looks for a file in the user's home, and for none but that."""
    trust = ssl.create_default_context()
    trust.check_hostname = options.pop("sslmode") == "verify-full"
    if "sslcert" in options:
        trust.load_cert_chain(options.pop("sslcert"), options.pop("sslkey", None))
    return trust
