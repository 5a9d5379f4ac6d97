"""The settings of a deployment: names, defaults and what each allows. `handstamp.config.loading` reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints
from urllib.parse import urlsplit

from ..crypto.algorithms import ALGORITHMS, Algorithm
from ..crypto.passwords import Cost
from ..crypto.seal import MasterSecret
from ..domain.event import AUDIT_RETENTION_MS
from ..domain.factor import OPTIONAL, FactorPolicy
from ..domain.impersonation import ImpersonationPolicy
from ..domain.mail import MailKind
from ..domain.policy import DeviceBinding, Policy
from ..domain.provider import ProviderSettings
from ..domain.smtp import Mailbox, SmtpServer
from .logs import LogFormat
from .provider_tables import parse_providers
from .values import (
    duration_between,
    number_between,
    one_of,
    parse_colors,
    parse_contact,
    parse_database,
    parse_duration_or_off,
    parse_file,
    parse_files,
    parse_hosts,
    parse_issuer,
    parse_link,
    parse_mailbox,
    parse_metrics_address,
    parse_name,
    parse_notices,
    parse_origins,
    parse_proxies,
    parse_role,
    parse_second_factor,
    parse_secret,
    parse_secrets,
    parse_smtp_url,
    parse_switch,
    parse_text,
    parse_texts,
    parse_webhook_urls,
)

_DAY_S = 86_400
_SQLITE = "sqlite:///"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings, each with the function that parses it. Durations are seconds."""

    database: Annotated[str, parse_database] = dataclasses.field(default="sqlite:///handstamp.db", repr=False)
    """`sqlite:///FILE`, or `postgresql://USER:PASSWORD@HOST/NAME?sslmode=…`."""
    database_connections: Annotated[int, number_between(1, 200)] = 10
    """Connections to PostgreSQL of each process. One more listens for notifications."""
    host: Annotated[str, parse_text] = "127.0.0.1"
    """The address on which `serve` listens."""
    port: Annotated[int, number_between(0, 65535)] = 8000
    """Its port. 0 takes a free one."""
    workers: Annotated[int, number_between(1, 64)] = 1
    """The number of processes that serve on this machine."""
    tls_cert: Annotated[Path | None, parse_file] = None
    """The file of the TLS certificate chain, PEM. It is read again when it changes."""
    tls_key: Annotated[Path | None, parse_file] = None
    """The file of its private key, PEM."""
    issuer: Annotated[str, parse_issuer] = ""
    """The public URL; https off loopback. If it is empty, `serve` on loopback sets `http://localhost:PORT`."""
    audience: Annotated[tuple[str, ...], parse_texts] = ()
    """The services that accept the access tokens, one or several. If empty, the issuer."""
    secret: Annotated[MasterSecret | None, parse_secret] = None
    secret_file: Annotated[Path | None, parse_file] = None
    """The file of the master secret. If None, `handstamp.secret` beside the database, created at first start."""
    previous_secrets: Annotated[tuple[MasterSecret, ...], parse_secrets] = ()
    """Other master secrets that are accepted while the secret is changed."""
    previous_secret_files: Annotated[tuple[Path, ...], parse_files] = ()
    """Their files."""
    algorithm: Annotated[Algorithm, one_of(*ALGORITHMS)] = "ES256"
    """The signature algorithm of access tokens."""
    access_lifetime: Annotated[int, duration_between("30s", "1h")] = 900
    refresh_idle_lifetime: Annotated[int, duration_between("31s", "400d")] = 14 * _DAY_S
    """A session ends if it is not refreshed for this long."""
    session_lifetime: Annotated[int, duration_between("1m", "400d")] = 30 * _DAY_S
    """A session ends after this long in any case."""
    grace: Annotated[int, duration_between("0", "60s")] = 10
    """How long a replaced refresh token gets the same answer again. 0 is strict."""
    recovery_interval: Annotated[int | None, parse_duration_or_off] = _DAY_S
    """At most one late repeat of a refresh is accepted per interval. None is strict."""
    catch_up: Annotated[bool, parse_switch] = True
    """Accept tokens that are newer than a restored database. False treats them as reuse."""
    device_binding: Annotated[DeviceBinding, one_of(*get_args(DeviceBinding))] = "preferred"
    """Whether new sessions are bound to their device. If "required", sessions end that are not bound within five minutes."""
    audit_retention: Annotated[int, duration_between("1d", "3650d")] = AUDIT_RETENTION_MS // 1000
    """How long the rows of the audit trail are kept."""
    audit_webhook_urls: Annotated[tuple[str, ...], parse_webhook_urls] = dataclasses.field(default=(), repr=False)
    """Where the audit trail is sent, as `https://siem.example.com/handstamp`; one or several. They may contain secrets."""
    audit_webhook_secret_file: Annotated[Path | None, parse_file] = None
    """The file of the secret that signs what is sent there, as `whsec_` and base64; while it is changed, the old one too."""
    sessions_per_account: Annotated[int, number_between(1, 10_000)] = 100
    """How many devices one person can be signed in on. A further sign-in ends the session that was seen the longest ago."""
    request_timeout: Annotated[int, duration_between("1s", "5m")] = 30
    """How long a client may take to send a request, and to begin one on a new connection."""
    drain: Annotated[int, duration_between("0s", "5m")] = 0
    """For how long the service goes on after SIGTERM, while `/readyz` answers 503, before it accepts no more connections."""
    keep_alive: Annotated[int, duration_between("1s", "1h")] = 75
    """How long an idle connection stays open. It must be longer than the proxy in front keeps its own."""
    log_format: Annotated[LogFormat, one_of(*get_args(LogFormat))] = "auto"
    """How log lines are written: "json", "text", or "auto" for text on a terminal and JSON otherwise."""
    registration: Annotated[Literal["open", "closed"], one_of("open", "closed")] = "open"
    """Whether visitors can create accounts."""
    sign_in_by_code: Annotated[bool, parse_switch] = False
    """Whether people can sign in with a link or a code that comes by mail."""
    require_verified_email: Annotated[bool, parse_switch] = False
    """Whether an account signs in only once its address is verified."""
    second_factor: Annotated[FactorPolicy, parse_second_factor] = OPTIONAL
    """Who must have a second factor: `optional`, `required`, or `required_for:ROLE`, with several roles separated by commas."""
    admin_role: Annotated[str, parse_role] = "admin"
    """The role of accounts that may administer this service over the network. "" if none may."""
    impersonation: Annotated[ImpersonationPolicy, one_of(*get_args(ImpersonationPolicy))] = "off"
    """Whether administrators may look at accounts as their persons: "off", "read", or "write" to change something, too."""
    password_min_length: Annotated[int, number_between(8, 64)] = 15
    """In characters. 15 is NIST's minimum (SP 800-63B-4 §3.1.1.2)."""
    password_cost: Annotated[Cost, one_of(*get_args(Cost))] = "owasp"  # noqa: S105 - the name of a cost
    hashing_threads: Annotated[int | None, number_between(1, 256)] = None
    """How many passwords all processes of this machine hash at once. If None, as many as its processors and memory allow."""
    hsts_include_subdomains: Annotated[bool, parse_switch] = False
    """Tell browsers that every subdomain of the issuer's host is always https too."""
    trusted_origins: Annotated[tuple[str, ...], parse_origins] = ()
    """Other origins whose pages may use this service, as `https://app.example.com`."""
    trusted_proxies: Annotated[tuple[str, ...], parse_proxies] = ()
    """Addresses or networks of proxies whose `X-Forwarded-For` is trusted; `unix` for all peers on a Unix socket."""
    people_per_network: Annotated[int, number_between(1_000, 10_000_000)] = 10_000
    """How many people may share one address, as an office does. The limits for each network follow from it."""
    outbound_allow: Annotated[tuple[str, ...], parse_hosts] = ()
    """Hosts of other services that may have private addresses when Handstamp sends them requests. All others must be public."""
    outbound_ca_file: Annotated[Path | None, parse_file] = None
    """A PEM file with authorities that sign certificates of other services, besides those of the system."""
    providers: Annotated[tuple[ProviderSettings, ...], parse_providers] = dataclasses.field(default=(), repr=False)
    """Other services with which people sign in."""
    metrics_address: Annotated[tuple[str, int] | Literal["credential"] | None, parse_metrics_address] = None
    """Where Prometheus reads `/metrics`: HOST:PORT, or "credential" for the service's own address, with a service credential."""
    smtp_url: Annotated[SmtpServer | Literal["inbox"] | None, parse_smtp_url] = dataclasses.field(default=None, repr=False)
    """The mail server, as `smtp://USER:PASSWORD@HOST:587` or `smtps://…`; "inbox" for the development inbox."""
    smtp_url_file: Annotated[Path | None, parse_file] = None
    """The file of that URL."""
    mail_from: Annotated[Mailbox | None, parse_mailbox] = None
    """The address that mail comes from, as `Example <no-reply@example.com>`."""
    mail_templates: Annotated[Path | None, parse_file] = None
    """A folder with templates that replace those of Handstamp."""
    mail_notices: Annotated[frozenset[MailKind], parse_notices] = parse_notices("all")
    """The kinds of notices that are sent."""
    support_contact: Annotated[str, parse_contact] = ""
    """Whom people can ask: an e-mail address or a URL."""

    brand_name: Annotated[str, parse_name] = ""
    """What the service is called on its pages and in its mails."""
    brand_logo: Annotated[Path | None, parse_file] = None
    """The file of a logo above each page: SVG, PNG or WebP."""
    brand_color: Annotated[tuple[str, str] | None, parse_colors] = None
    """The accent of the pages, as `#0f766e`; or two, for light and for dark pages."""
    terms_url: Annotated[str, parse_link] = ""
    """The page with the terms of use."""
    privacy_url: Annotated[str, parse_link] = ""
    """The page about privacy."""

    @property
    def policy(self) -> Policy:
        """The numbers that the rules of sessions depend on.

        Raises:
            ValueError: If they contradict each other.
        """
        return Policy(
            access_lifetime_ms=self.access_lifetime * 1000,
            idle_lifetime_ms=self.refresh_idle_lifetime * 1000,
            session_lifetime_ms=self.session_lifetime * 1000,
            grace_ms=self.grace * 1000,
            recovery_interval_ms=None if self.recovery_interval is None else self.recovery_interval * 1000,
            catch_up=self.catch_up,
            device_binding=self.device_binding,
        )

    @property
    def database_path(self) -> Path | None:
        """The SQLite file; None with PostgreSQL."""
        return Path(self.database.removeprefix(_SQLITE)) if self.database.startswith(_SQLITE) else None

    def describe_database(self) -> str:
        """Return where the database is, without user and password."""
        if self.database_path is not None:
            return str(self.database_path.absolute())
        parts = urlsplit(self.database)
        return f"postgresql://{parts.hostname or ''}{parts.path}"


PARSERS: dict[str, Callable[[object], Any]] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(Settings, include_extras=True).items()
}
"""By the name of each setting, the function that returns its value or raises `ValueError` with what is allowed."""
