"""The composition root: the only file that names the concrete parts and puts them together."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from ..clock import Clock, now_ms
from ..config.loading import load
from ..config.logs import configure_logging
from ..config.settings import Settings
from ..crypto.passwords import PasswordHasher
from ..crypto.seal import MasterSecret, Pseudonyms
from ..domain.issuer import Issuer
from ..errors import ConfigurationError
from ..service.accounts.accounts import Accounts
from ..service.operating.credentials import Credentials
from ..service.operating.housekeeping import Housekeeping
from ..service.operating.keys import Keys
from ..service.parts.audit import Audit
from ..service.parts.common_clock import CommonClock
from ..service.parts.granting import Granting, Hook
from ..service.parts.hashing import Hashing
from ..service.parts.throttling import Throttling
from ..service.parts.tokens import TokenIssuer
from ..service.sessions.begin import Start
from ..service.sessions.living import LivingSessions
from ..service.sessions.recognise import Recognise
from ..service.sessions.refresh import Refresh
from ..service.sessions.revocations import Revocations
from ..service.sessions.sign_out import SignOut
from ..service.signing_in.password import PasswordSignIn
from ..storage.sqlite.store import SqliteStore
from ..storage.store import Store
from ..verify.verifier import Verifier
from ..web.app import asgi
from ..web.edge import Edge
from ..web.operation import UseCases
from ..web.pages.site import Pages


@dataclass(frozen=True, slots=True)
class Service:
    """One deployment's use cases over one store. Enter `running` before calling any."""

    settings: Settings
    issuer: Issuer
    clock: CommonClock
    store: Store
    hashing: Hashing
    keys: Keys
    tokens: TokenIssuer
    sign_in: PasswordSignIn
    start: Start
    refresh: Refresh
    sign_out: SignOut
    sessions: LivingSessions
    recognise: Recognise
    accounts: Accounts
    credentials: Credentials
    revocations: Revocations
    housekeeping: Housekeeping
    verifier: Verifier

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Open the store and the keys, and let go of them at the end. Raises `ConfigurationError`."""
        await self.store.open()
        self.hashing.open()
        try:
            await self.clock.synchronise()
            await self.keys.load(self.clock())
            yield
        finally:
            self.hashing.close()
            await self.store.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """As `opened`, with housekeeping going on beside it."""
        async with self.opened():
            await self.keys.maintain(self.clock())
            tasks = [asyncio.create_task(work) for work in (self.clock.run(), self.housekeeping.run(), self.revocations.run())]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def asgi(self) -> ASGIApp:
        """Return the service as an ASGI application, which runs it from its start to its stop."""
        edge = Edge(clock=self.clock, issuer=self.issuer, trusted_origins=self.settings.trusted_origins)
        use = UseCases(
            sign_in=self.sign_in,
            refresh=self.refresh,
            sign_out=self.sign_out,
            sessions=self.sessions,
            recognise=self.recognise,
            accounts=self.accounts,
            credentials=self.credentials,
            revocations=self.revocations,
            keys=self.keys,
            verifier=self.verifier,
            issuer=self.issuer,
            registration_open=self.settings.registration == "open",
        )
        pages = Pages(
            sign_in=self.sign_in,
            sign_out=self.sign_out,
            sessions=self.sessions,
            accounts=self.accounts,
            recognise=self.recognise,
            edge=edge,
            registration_open=self.settings.registration == "open",
            password_min_length=self.settings.password_min_length,
        )
        application = asgi(
            use,
            pages,
            edge,
            version=version("handstamp"),
            running=self.running,
        )
        if self.settings.trusted_proxies:
            return ProxyHeadersMiddleware(application, trusted_hosts=list(self.settings.trusted_proxies))  # type: ignore[arg-type, return-value]
        return application


def service(settings: Settings, *, clock: Clock = now_ms, claims: Hook | None = None) -> Service:
    """Put a deployment together. Nothing is opened yet, but for the secret's file. Raises `ConfigurationError`.

    `claims` is asked at each mint what a subject's access tokens say beyond who signed in.
    """
    if not settings.issuer:
        raise ConfigurationError("HANDSTAMP_ISSUER is not set: write the public URL of the service.")
    issuer = Issuer(settings.issuer)
    secret = master_secret(settings).beside(previous_secrets(settings))
    store = _store(settings)
    common = CommonClock(store, clock)
    audience = settings.audience or (settings.issuer,)
    policy = settings.policy
    audit = Audit()
    keys = Keys(
        store=store,
        secret=secret,
        algorithm=settings.algorithm,
        audit=audit,
    )
    tokens = TokenIssuer(
        issuer=settings.issuer,
        audience=audience,
        policy=policy,
        keys=keys,
        refresh_key=secret.derive_refresh_key(),
        refresh_keys=secret.derive_refresh_keys(),
    )
    hashing = Hashing(PasswordHasher(settings.password_cost))
    throttling = Throttling(Pseudonyms(secret))
    granting = Granting(claims)
    return Service(
        settings=settings,
        issuer=issuer,
        clock=common,
        store=store,
        hashing=hashing,
        keys=keys,
        tokens=tokens,
        sign_in=PasswordSignIn(
            store=store, tokens=tokens, granting=granting, hashing=hashing, throttling=throttling, policy=policy, audit=audit
        ),
        start=Start(store=store, tokens=tokens, granting=granting, policy=policy, audit=audit),
        refresh=Refresh(store=store, tokens=tokens, granting=granting, policy=policy, audit=audit),
        sign_out=SignOut(store=store, tokens=tokens, audit=audit),
        sessions=LivingSessions(store=store),
        recognise=Recognise(store=store, tokens=tokens, policy=policy),
        accounts=Accounts(
            store=store,
            tokens=tokens,
            granting=granting,
            hashing=hashing,
            throttling=throttling,
            policy=policy,
            audit=audit,
            password_min_length=settings.password_min_length,
            service_words=("handstamp", issuer.host),
        ),
        credentials=Credentials(store=store, audit=audit),
        revocations=Revocations(store=store, keys=keys, clock=common),
        housekeeping=Housekeeping(store=store, keys=keys, clock=common),
        verifier=Verifier(settings.issuer, audience=audience, keys=lambda: keys.verifying, check="offline", clock=common),
    )


def _store(settings: Settings) -> Store:
    if settings.database_path is not None:
        return SqliteStore(settings.database_path)
    store: Store = _postgres().PostgresStore(settings.database, connections=settings.database_connections)
    return store


def _postgres() -> ModuleType:
    try:
        return importlib.import_module("handstamp.storage.postgres.store")  # its driver is an extra
    except ImportError:
        raise ConfigurationError("PostgreSQL needs its driver: pip install 'handstamp[postgres]'") from None


async def migrate(settings: Settings) -> list[str]:
    """Bring the schema up to date; return the names of the migrations that were applied. Raises `ConfigurationError`."""
    if settings.database_path is None:
        applied: list[str] = await _postgres().migrate(settings.database)
        return applied
    store = SqliteStore(settings.database_path)
    await store.open()  # which migrates by itself
    await store.close()
    return []


def application() -> ASGIApp:
    """Return the service as the environment configures it: what each worker process of `handstamp serve` runs."""
    configure_logging()
    found = service(load()).asgi()
    # What is there now stays, and a request leaves hardly anything in circles: so the collector, which would look at both every
    # few requests, is told to look past the one and to come seldom for the other.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    return found


def master_secret(settings: Settings) -> MasterSecret:
    """Return the master secret; make its file, mode 0600, if there is neither file nor database yet.

    A missing file beside an existing database is never replaced: a new secret would void every session without a word.
    """
    if settings.secret is not None:
        if settings.secret_file is not None:
            raise ConfigurationError("Both HANDSTAMP_SECRET and HANDSTAMP_SECRET_FILE are set: keep one.")
        return settings.secret
    database = settings.database_path
    if database is None and settings.secret_file is None:
        raise ConfigurationError(
            "With PostgreSQL every node needs the same master secret: set HANDSTAMP_SECRET, or HANDSTAMP_SECRET_FILE. "
            "Make one with:  openssl rand -hex 32"
        )
    file = settings.secret_file or (database or Path("x")).with_name("handstamp.secret")
    try:
        if database is not None and not file.exists():
            _make_secret(file, database)
    except OSError as problem:
        raise ConfigurationError(f"The secret file {file} cannot be created: {problem}") from None
    return _read_secret(file)


def previous_secrets(settings: Settings) -> list[MasterSecret]:
    """Return the master secrets that are accepted besides the current one.

    Raises:
        ConfigurationError: If a file cannot be read, can be read by others, or holds a weak secret.
    """
    return [*settings.previous_secrets, *(_read_secret(file) for file in settings.previous_secret_files)]


def _read_secret(file: Path) -> MasterSecret:
    try:
        status = file.stat()
        text = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"The secret file {file} cannot be read: {problem}") from None
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise ConfigurationError(f"Others on this machine can read the secret file {file}: chmod 600 {file}")
    return MasterSecret(text.encode())


def _make_secret(file: Path, database: Path) -> None:
    if database.exists() and database.stat().st_size > 0:
        if file.exists():  # another process has just made both
            return
        raise ConfigurationError(
            f"The secret file {file} is missing, but the database {database} was made with it. "
            "Bring the file back from your backup, or set HANDSTAMP_SECRET."
        )
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(MasterSecret.generate_text() + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    with suppress(FileExistsError):  # another process was faster: its secret counts
        os.link(draft, file)
    draft.unlink()
