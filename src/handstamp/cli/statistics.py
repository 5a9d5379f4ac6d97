"""`handstamp statistics`: how much the deployment holds."""

from __future__ import annotations

import msgspec
import typer

from ..service.operating.statistics import MOST, Figures
from .common import AsJson, Database, make_command, print_error, print_json
from .operating import operate
from .tables import print_table

app: typer.Typer = make_command()


@app.command()
def statistics(as_json: AsJson = False, database: Database = None) -> None:
    """Count accounts, sessions, sign-ins, mail, keys and revocations.

    Example:  handstamp statistics --json
    """
    figures = operate(lambda deployment, caller: deployment.statistics(caller.now_ms), database)
    if figures.incomplete:
        print_error(f"There are more than {MOST:,} rows of: {', '.join(figures.incomplete)}. Their numbers are lower bounds.")
    if as_json:
        print_json(msgspec.to_builtins(figures))
        return
    print_table(("WHAT", "HOW MANY"), [(what, f"{count:,}") for what, count in _list_rows(figures)], empty="")


def _list_rows(figures: Figures) -> list[tuple[str, int]]:
    accounts, sessions = figures.accounts, figures.sessions
    return [
        ("accounts", accounts.total),
        ("  with a verified address", accounts.verified),
        ("  disabled", accounts.disabled),
        ("  locked for unknown devices", accounts.locked),
        ("  with a password", accounts.with_password),
        ("  with an authenticator app", accounts.with_totp),
        ("  with a passkey", accounts.with_passkey),
        ("  with one of these second factors", accounts.with_second_factor),
        ("active sessions", sessions.total),
        *((f"  delivery {name}", count) for name, count in sorted(sessions.by_delivery.items())),
        *((f"  bound by {name}", count) for name, count in sorted(sessions.by_binding.items())),
        ("sign-ins, last day", figures.day.sign_ins),
        ("sign-ins, last week", figures.week.sign_ins),
        ("addresses that failed, last day", figures.day.failed_addresses),
        ("addresses that failed, last week", figures.week.failed_addresses),
        *((f"events {kind}, last week", count) for kind, count in figures.week.events.items()),
        ("mails waiting", figures.mails_waiting),
        *((f"signing keys {state}", count) for state, count in sorted(figures.keys.items())),
        ("revocations in the feed", figures.revocations),
    ]
