"""The object graph of a deployment: the one file that names the concrete parts of the service and puts them together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..clock import Clock
from ..config.private_files import require_database, warn_if_readable
from ..config.secret_file import load_master_secret
from ..config.settings import Settings
from ..crypto.passwords import PasswordHasher
from ..crypto.seal import DeviceTags, Pseudonyms
from ..domain.issuer import Issuer
from ..domain.limits import NetworkLimits
from ..errors import ConfigurationError
from ..service.accounts.administer import AdministerAccounts
from ..service.accounts.change_password import ChangePassword
from ..service.accounts.new_password import PasswordRules
from ..service.accounts.register import CreateAccount, Register
from ..service.operating.credentials import Credentials
from ..service.operating.housekeeping import Housekeeping
from ..service.operating.keys import Keys
from ..service.parts.audit import Audit
from ..service.parts.capacity import count_hashing_threads
from ..service.parts.common_clock import CommonClock
from ..service.parts.devices import Devices
from ..service.parts.email_address import load_rules
from ..service.parts.granting import Granting, Hook
from ..service.parts.hashing import Hashing
from ..service.parts.receipts import Receipts
from ..service.parts.throttling import Throttling
from ..service.parts.tokens import TokenIssuer
from ..service.sessions.begin import BeginSession
from ..service.sessions.limit import SessionLimit
from ..service.sessions.living import LivingSessions
from ..service.sessions.recognise import Recognise
from ..service.sessions.refresh import Refresh
from ..service.sessions.revocations import Revocations
from ..service.sessions.sign_out import SignOut
from ..service.sessions.sweeping import Sweeping
from ..service.signing_in.password import PasswordSignIn
from ..storage.store import Store
from ..verify.verifier import Verifier
from .stores import make_store


class Deployment:
    """The use cases of one deployment over one store. Enter `open` or `run` before calling any."""

    settings: Settings
    issuer: Issuer
    store: Store
    clock: CommonClock
    hashing: Hashing
    keys: Keys
    tokens: TokenIssuer
    devices: Devices
    begin_session: BeginSession
    sign_in: PasswordSignIn
    refresh: Refresh
    sweeping: Sweeping
    sign_out: SignOut
    sessions: LivingSessions
    recognise: Recognise
    create_account: CreateAccount
    register: Register
    change_password: ChangePassword
    accounts: AdministerAccounts
    credentials: Credentials
    revocations: Revocations
    housekeeping: Housekeeping
    verifier: Verifier

    def __init__(self, settings: Settings, *, clock: Clock | None = None, claims: Hook | None = None) -> None:
        """Create the parts. Only the files of the master secrets are read, or the first is created; the store is not opened yet.

        Args:
            settings: The settings. The issuer must be set.
            clock: Returns the time in milliseconds since 1970, and is believed whatever it shows. None for this machine's clock,
                which is not believed after a leap.
            claims: Called before each access token is minted; returns what the token contains beyond the session.

        Raises:
            ConfigurationError: If the issuer is missing, the master secret cannot be had, or others can change the database.
        """
        if not settings.issuer:
            raise ConfigurationError("HANDSTAMP_ISSUER is not set: write the public URL of the service.")
        if settings.database_path is not None:
            require_database(settings.database_path)
        secret = load_master_secret(settings)
        audience = settings.audience or (settings.issuer,)
        policy = settings.policy
        audit = Audit()
        granting = Granting(claims)
        pseudonyms = Pseudonyms(secret)
        people = settings.people_per_network
        throttling = Throttling(pseudonyms, audit, people_per_network=people)
        receipts = Receipts(pseudonyms, policy=policy)
        self.settings = settings
        self.issuer = Issuer(settings.issuer)
        self.store = store = make_store(settings)
        self.clock = common_clock = CommonClock(store, clock)
        hasher = PasswordHasher(settings.password_cost)
        threads = count_hashing_threads(hasher.memory_bytes, workers=settings.workers, wanted=settings.hashing_threads)
        self.hashing = hashing = Hashing(hasher, NetworkLimits(people).hashing, threads=threads)
        self.keys = keys = Keys(store=store, secret=secret, algorithm=settings.algorithm, audit=audit)
        self.tokens = tokens = TokenIssuer(
            issuer=settings.issuer,
            audience=audience,
            policy=policy,
            keys=keys,
            refresh_key=secret.derive_refresh_key(),
            refresh_keys=secret.derive_refresh_keys(),
        )
        self.devices = devices = Devices(DeviceTags(secret), tokens)
        limit = SessionLimit(store=store, most=settings.sessions_per_account, audit=audit)
        self.begin_session = begin_session = BeginSession(
            store=store, tokens=tokens, granting=granting, receipts=receipts, limit=limit, policy=policy, audit=audit
        )
        self.sign_in = PasswordSignIn(
            store=store, begin_session=begin_session, hashing=hashing, throttling=throttling, devices=devices
        )
        self.refresh = Refresh(store=store, tokens=tokens, granting=granting, policy=policy, audit=audit)
        self.sweeping = sweeping = Sweeping(store=store, clock=common_clock, audit=audit)
        self.sign_out = SignOut(store=store, tokens=tokens, sweeping=sweeping, audit=audit)
        self.sessions = LivingSessions(store=store)
        self.recognise = Recognise(store=store, tokens=tokens, policy=policy)
        rules = PasswordRules(min_length=settings.password_min_length, service_words=("handstamp", self.issuer.host))
        self.create_account = create_account = CreateAccount(
            store=store, hashing=hashing, receipts=receipts, rules=rules, audit=audit
        )
        self.register = Register(store=store, create_account=create_account, throttling=throttling)
        self.change_password = ChangePassword(
            store=store,
            tokens=tokens,
            begin_session=begin_session,
            hashing=hashing,
            throttling=throttling,
            rules=rules,
            sweeping=sweeping,
        )
        self.accounts = AdministerAccounts(
            store=store, hashing=hashing, throttling=throttling, rules=rules, sweeping=sweeping, audit=audit
        )
        self.credentials = Credentials(store=store, audit=audit)
        self.revocations = Revocations(store=store, keys=keys, clock=common_clock)
        self.housekeeping = Housekeeping(store=store, keys=keys, sweeping=sweeping, clock=common_clock)
        self.verifier = Verifier(
            settings.issuer, audience=audience, keys=lambda: keys.verifying, check="offline", clock=common_clock
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open the store and the keys, and close them at the end. Raises `ConfigurationError`."""
        await self.store.open()
        if self.settings.database_path is not None:
            warn_if_readable(self.settings.database_path)  # it holds addresses, but nothing with which one could sign in
        self.hashing.open()
        try:
            await self.clock.synchronise()
            await self.keys.load(self.clock.estimate())
            yield
        finally:
            self.hashing.close()
            await self.store.close()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Open as `open` does, and keep house in the background until the end. Raises `ConfigurationError`."""
        async with self.open():
            if not self.clock.is_in_doubt:  # otherwise requests are answered 503 until housekeeping can do it
                await self.housekeeping.prepare()
            works = (self.clock.run(), self.housekeeping.run(), self.revocations.run(), load_rules())
            tasks = [asyncio.create_task(work) for work in works]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
