"""`handstamp healthcheck`: what the container image runs to learn whether its service can answer. Not listed in the help."""

from __future__ import annotations

import argparse
import http.client
import ssl
from pathlib import Path
from typing import Annotated

import typer

from ..config.loading import load
from ..config.settings import Settings
from ..errors import HandstampError, Unavailable
from .common import make_command

_TIMEOUT_S = 2.0
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound

app: typer.Typer = make_command()


@app.command()
def healthcheck(process: Annotated[int, typer.Option(help="The process whose command line is read.")] = 1) -> None:
    """Ask the service of this container for /readyz. The exit status is 0 if it can answer requests, else 1.

    Address, port and scheme are those of the settings, and of the options with which the container's first process was started.
    """
    settings = _load_settings_of(process)
    host = _EVERY_ADDRESS.get(settings.host, settings.host)
    connection = _connect(host, settings)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as problem:
        raise Unavailable(f"nothing answers on {host}, port {settings.port}: {problem}") from None
    finally:
        connection.close()
    if status != 200:
        raise HandstampError(f"/readyz on {host}, port {settings.port} answers {status}")


def _connect(host: str, settings: Settings) -> http.client.HTTPConnection:
    if settings.tls_cert is None:
        return http.client.HTTPConnection(host, settings.port, timeout=_TIMEOUT_S)
    context = ssl.create_default_context()
    context.check_hostname = False  # the certificate is for the public name, and this is the same container
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, settings.port, timeout=_TIMEOUT_S, context=context)


def _load_settings_of(process: int) -> Settings:
    """Return the settings that `serve` found. Its options are read here again, without the modules that it needs to run."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--host", "--port", "--tls-cert", "--tls-key"):
        options.add_argument(name)
    given, _ = options.parse_known_args(_words_of(process))
    return load(**vars(given))


def _words_of(process: int) -> list[str]:
    try:
        command = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # no such process, or no Linux: the settings alone count
        return []
    words = [word.decode("utf-8", "replace") for word in command.split(b"\0")]
    return words[words.index("serve") + 1 :] if "serve" in words else []
