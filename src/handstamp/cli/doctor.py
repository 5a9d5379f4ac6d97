"""`handstamp doctor`: find what is wrong with a deployment, beside the service or from outside."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from typing import Annotated

import typer

from ..doctor.finding import Report
from ..errors import ConfigurationError
from .common import AsJson, Database, make_command, print_json, print_line

_CREDENTIAL = "HANDSTAMP_DOCTOR_CREDENTIAL"
app: typer.Typer = make_command()


@app.command()
def doctor(
    *,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="Visit this address as a browser does, and look at what comes back."),
    ] = None,
    credential_file: Annotated[
        Path | None,
        typer.Option(
            "--credential-file",
            metavar="FILE",
            help=f"A file with ID:SECRET of a service credential. By default: ${_CREDENTIAL}.",
        ),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option("--origin", metavar="ORIGIN", help="An origin whose pages call the service. May be repeated."),
    ] = None,
    connect_to: Annotated[
        str | None, typer.Option("--connect-to", metavar="HOST:PORT", help="Where to connect to, before DNS is set.")
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option("--ca-file", metavar="FILE", help="A PEM file with authorities to trust beside those of the system."),
    ] = None,
    as_json: AsJson = False,
    database: Database = None,
) -> None:
    """Find what is wrong with the deployment, and say which setting mends it.

    Nothing is changed. The exit status is 1 if there is an error.

    Without --url it looks at the settings, files, database, keys and mail server here.

    Example:  handstamp doctor --url https://auth.example.com
    """
    if url is None:
        from ..doctor.inside import examine_here  # noqa: PLC0415 - it loads the service, which the visit from outside does not need

        report = examine_here(database)
    else:
        credential = _read_credential(credential_file)
        report = asyncio.run(_visit(url, credential, tuple(origin or ()), connect_to, ca_file))
    if as_json:
        print_json(
            {"findings": [each._asdict() for each in report.findings], "unseen": [each._asdict() for each in report.unseen]}
        )
    else:
        _print(report)
    if any(finding.severity == "error" for finding in report.findings):
        raise typer.Exit(1)


def _print(report: Report) -> None:
    for finding in sorted(report.findings, key=lambda each: each.severity):
        print_line(f"{finding.severity.upper()}  {finding.wrong}\n       {finding.mend}  [{finding.id}]")
    for part, why in report.unseen:
        print_line(f"NOT SEEN  {part}: {why}")
    if not report.findings:
        print_line("Nothing is wrong." if not report.unseen else "Nothing else is wrong.")


async def _visit(url: str, credential: str, origins: tuple[str, ...], connect_to: str | None, ca_file: Path | None) -> Report:
    from ..doctor.outside import examine  # noqa: PLC0415 - its HTTP library would slow `doctor` down
    from ..doctor.visit import Visitor, parse_target  # noqa: PLC0415

    target = parse_target(url)
    place = None if connect_to is None else _parse_place(connect_to)
    trust = _load_trust(ca_file) if target.scheme == "https" else None
    port_80 = None
    if target.scheme == "https" and target.port == 443 and place is None:
        port_80 = Visitor(target._replace(scheme="http", port=80))
    async with Visitor(target, connect_to=place, trust=trust) as visitor:
        return await examine(visitor, credential=credential, origins=origins, port_80=port_80)


def _read_credential(file: Path | None) -> str:
    try:
        text = os.environ.get(_CREDENTIAL, "") if file is None else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"The credential file {file} cannot be read: {problem}") from None
    text = text.strip()
    if text and (":" not in text or len(text) > 200):
        raise ConfigurationError("A service credential is ID:SECRET, as handstamp credentials create doctor prints it.")
    return text


def _parse_place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ConfigurationError("--connect-to is HOST:PORT, as 203.0.113.5:443.")
    return host.strip("[]"), int(port)


def _load_trust(ca_file: Path | None) -> ssl.SSLContext:
    trust = ssl.create_default_context()
    try:
        if ca_file is not None:
            trust.load_verify_locations(ca_file)
    except OSError as problem:
        raise ConfigurationError(f"{ca_file} must be a readable PEM file with certificates: {problem}") from None
    return trust
