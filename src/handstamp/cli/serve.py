"""`handstamp serve`: the service on a socket."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import resource
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from uvicorn.supervisors import Multiprocess

from ..assemble.deployment import Deployment
from ..config.loading import load
from ..config.logs import configure_logging
from ..config.settings import Settings
from ..domain.issuer import Issuer, is_loopback
from ..errors import ConfigurationError
from ..web.server import uvicorn_config
from .common import Database, said

_APPLICATION = "handstamp.assemble.application:application"


def serve(  # noqa: PLR0917 - they are options
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8000,
    database: Database = None,
    issuer: Annotated[str | None, typer.Option(help="The public URL; else HANDSTAMP_ISSUER. https off loopback.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that serve; they share the database.", min=1, max=64)] = 1,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
) -> None:
    """Run the service. The first start makes the database, its schema, the secret file and a signing key.

    Example:  handstamp serve --port 8000
    """
    _check_tls(tls_cert, tls_key)
    _allow_many_files()
    listening = listen(host, port)
    with listening:
        settings = _settings(database, issuer, host, listening.getsockname()[1], has_tls=tls_cert is not None)
        # The workers read the environment; what was said on the command line must reach them.
        path = settings.database_path
        os.environ["HANDSTAMP_DATABASE"] = settings.database if path is None else f"sqlite:///{path.absolute()}"
        os.environ["HANDSTAMP_ISSUER"] = settings.issuer
        configure_logging()
        asyncio.run(_prepare(settings))
        _greet(settings, f"{host}:{listening.getsockname()[1]}")
        config = uvicorn_config(
            _APPLICATION,
            request_timeout_s=settings.request_timeout,
            keep_alive_s=settings.keep_alive,
            factory=True,
            workers=workers,
            ssl_certfile=tls_cert,
            ssl_keyfile=str(tls_key) if tls_key else None,
        )
        if workers > 1:
            Multiprocess(config, sockets=[listening]).run()
        else:
            uvicorn.Server(config).run(sockets=[listening])


def _settings(database: str | None, issuer: str | None, host: str, port: int, *, has_tls: bool) -> Settings:
    settings = load(database=database, issuer=issuer)
    if not settings.issuer:
        if not is_loopback(host):
            raise ConfigurationError(
                f"On {host} others can reach the service: say its public URL with --issuer https://… or HANDSTAMP_ISSUER."
            )
        settings = dataclasses.replace(settings, issuer=f"{'https' if has_tls else 'http'}://localhost:{port}")
    is_https = Issuer(settings.issuer).is_https
    if not is_https and not is_loopback(host):
        raise ConfigurationError(
            f"The issuer {settings.issuer} is plain http, which is for loopback alone, and the service would listen on {host}. "
            "Use an https issuer, with --tls-cert and --tls-key or behind a proxy that ends TLS."
        )
    if has_tls and not is_https:
        raise ConfigurationError(f"The service would speak TLS and call itself {settings.issuer}: use an https issuer.")
    return settings


def _check_tls(cert: Path | None, key: Path | None) -> None:
    if (cert is None) != (key is None):
        raise ConfigurationError("--tls-cert and --tls-key belong together: give both.")
    if cert is not None:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key)
        except (OSError, ssl.SSLError) as problem:
            raise ConfigurationError(f"The certificate {cert} with the key {key} cannot be used: {problem}") from None


def _allow_many_files() -> None:
    """Let this process and its workers have as many files open as they may: each connection is one, and most begin with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS names a limit that it does not take
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `ConfigurationError`."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, TypeError, ValueError) as problem:  # the latter two: a name that no host can have
        reason = getattr(problem, "strerror", None) or problem
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {reason}. Take another port with --port, 0 for any free one."
        ) from None


async def _prepare(settings: Settings) -> None:
    """Make what a first start makes, once and before any worker, and show every mistake here."""
    async with Deployment(settings).run():
        pass


def _greet(settings: Settings, address: str) -> None:
    said(f"Handstamp serves {settings.issuer} on {address}, database {settings.describe_database()}")
    said(f"Try {settings.issuer}/docs in a browser, or:")
    said(
        f"  curl {settings.issuer}/register -H 'Content-Type: application/json' -d "
        """'{"email": "ada@example.com", "password": "a sentence only ada would say"}'"""
    )
    said("Stop with Ctrl-C.")
