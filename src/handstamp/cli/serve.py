"""`handstamp serve`: run the service on a socket."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import resource
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from starlette.types import ASGIApp

from ..assemble.application import freeze_objects, make_application
from ..assemble.deployment import Deployment
from ..assemble.measuring import FOLDER_VARIABLE, forget_worker
from ..assemble.tracing import Tracing
from ..config.brand import load_brand
from ..config.loading import load
from ..config.logs import configure_logging
from ..config.private_files import require_unchangeable, warn_if_readable
from ..config.settings import Settings
from ..domain.issuer import Issuer, is_loopback
from ..errors import ConfigurationError
from ..web.certificate import load_certificate
from ..web.server import Supervisor, hold_hangup, uvicorn_config
from .common import Database, make_command, print_line

_WORKER = "handstamp.assemble.application:application"
"""What each of several worker processes runs."""


app: typer.Typer = make_command()


@app.command()
def serve(  # noqa: PLR0917 - they are options
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535, show_default="8000")
    ] = None,
    database: Database = None,
    issuer: Annotated[str | None, typer.Option(help="The public URL; else HANDSTAMP_ISSUER. https off loopback.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Number of processes that serve; they share the database.", min=1, max=64, show_default="1"),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM. Read again when it changes.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
) -> None:
    """Run the service. The first start creates the database, its schema, the secret file and a signing key.

    Example:  handstamp serve --port 8000
    """
    settings = load(database=database, issuer=issuer, host=host, port=port, workers=workers, tls_cert=tls_cert, tls_key=tls_key)
    certificate = _require_tls_pair(settings)
    _raise_file_limit()
    with listen(settings.host, settings.port) as listening, sharing_metrics(settings):
        settings = _require_safe_issuer(settings, listening.getsockname()[1])
        configure_logging(log_format=settings.log_format)
        if tls_key is not None:
            require_unchangeable(tls_key, "private key")
            warn_if_readable(tls_key)
        deployment = Deployment(settings, tracing=Tracing.from_environment(os.environ))
        asyncio.run(_prepare(deployment))
        _print_greeting(settings, listening.getsockname()[1], shows_mail=deployment.mailing.inbox is not None)
        hold_hangup()
        has_workers = settings.workers > 1
        application: ASGIApp | str = _WORKER
        if has_workers:
            _pass_to_workers(settings)
        else:
            application = make_application(deployment, drain_s=settings.drain)
            freeze_objects()
        config = uvicorn_config(
            application,
            factory=has_workers,
            request_timeout_s=settings.request_timeout,
            keep_alive_s=settings.keep_alive,
            workers=settings.workers,
            certificate=certificate,
        )
        if has_workers:
            Supervisor(config, sockets=[listening], forget=forget_worker if settings.metrics_address else None).run()
        else:
            uvicorn.Server(config).run(sockets=[listening])


@contextmanager
def sharing_metrics(settings: Settings) -> Iterator[None]:
    """Give several workers a folder in which they share what they count, for the length of the block."""
    if settings.metrics_address is None or settings.workers == 1:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="handstamp-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder  # before the library is imported, which reads it once
        yield


def _require_safe_issuer(settings: Settings, port: int) -> Settings:
    """Return the settings with an issuer. Raises `ConfigurationError` if it would be served where tokens can be read."""
    host, has_tls = settings.host, settings.tls_cert is not None
    if not settings.issuer:
        if not is_loopback(host):
            raise ConfigurationError(
                f"On {host} others can reach the service: set its public URL with --issuer https://… or HANDSTAMP_ISSUER."
            )
        settings = dataclasses.replace(settings, issuer=f"{'https' if has_tls else 'http'}://localhost:{port}")
    is_https = Issuer(settings.issuer).is_https
    if not is_https and not is_loopback(host):
        raise ConfigurationError(
            f"The issuer {settings.issuer} uses http, which is allowed on loopback only, but the service would listen on {host}. "
            "Use an https issuer, with --tls-cert and --tls-key or behind a proxy that terminates TLS."
        )
    if has_tls and not is_https:
        raise ConfigurationError(f"The service has a TLS certificate, but its issuer is {settings.issuer}: use an https issuer.")
    return settings


def _require_tls_pair(settings: Settings) -> tuple[Path, Path] | None:
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ConfigurationError("--tls-cert and --tls-key are needed together: give both.")
    try:
        load_certificate(cert, key)
    except OSError as problem:  # ssl.SSLError is one too
        raise ConfigurationError(f"The certificate {cert} with the key {key} cannot be used: {problem}") from None
    return cert, key


def _raise_file_limit() -> None:
    """Raise the limit of open files for this process and its workers: each connection is one, and many systems allow 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS reports a limit that it does not accept
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `ConfigurationError`."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.getaddrinfo(host or None, port, family, socket.SOCK_STREAM)  # create_server leaks its socket where this raises
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, TypeError, ValueError) as problem:  # the latter two for a name that no host can have
        reason = getattr(problem, "strerror", None) or problem
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {reason}. Take another port with --port, 0 for any free one."
        ) from None


async def _prepare(deployment: Deployment) -> None:
    """Create what a first start creates, before any worker starts, and raise every `ConfigurationError` here."""
    load_brand(deployment.settings)
    async with deployment.run():
        pass


def _pass_to_workers(settings: Settings) -> None:
    """Set the environment, which the workers read, to what the options of the command line say."""
    path = settings.database_path
    os.environ["HANDSTAMP_DATABASE"] = settings.database if path is None else f"sqlite:///{path.absolute()}"
    os.environ["HANDSTAMP_ISSUER"] = settings.issuer
    os.environ["HANDSTAMP_WORKERS"] = str(settings.workers)


def _print_greeting(settings: Settings, port: int, *, shows_mail: bool) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print_line(f"Handstamp serves {settings.issuer} on {host}:{port}, database {settings.describe_database()}")
    print_line(f"Try {settings.issuer}/docs in a browser, or:")
    print_line("  password=$(openssl rand -base64 18)")
    print_line(
        f"  curl {settings.issuer}/register -H 'Content-Type: application/json' -d "
        """'{"email": "ada@example.com", "password": "'$password'"}'"""
    )
    if shows_mail:
        print_line(f"Mail is not sent, but shown at {settings.issuer}/dev/mail")
    print_line("Stop with Ctrl-C.")
