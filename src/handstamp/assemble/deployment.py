"""The object graph of a deployment: its use cases over the parts they share, and how it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..clock import Clock
from ..config.private_files import warn_if_readable
from ..config.settings import Settings
from ..service.accounts.administer import AdministerAccounts
from ..service.accounts.authenticator_app import AuthenticatorApp
from ..service.accounts.change_email import ChangeEmail
from ..service.accounts.change_password import ChangePassword
from ..service.accounts.forgetting import Forgetting
from ..service.accounts.identities import OwnIdentities
from ..service.accounts.import_accounts import ImportAccounts
from ..service.accounts.list_factors import ListFactors
from ..service.accounts.own_data import ChangeProfile, DeleteAccount, ExportData
from ..service.accounts.passkeys import OwnPasskeys
from ..service.accounts.provider_tokens import KeptTokens
from ..service.accounts.recovery_codes import ReplaceRecoveryCodes
from ..service.accounts.register import CreateAccount, Register
from ..service.accounts.reset_password import PasswordReset
from ..service.accounts.sign_up import SignUp
from ..service.accounts.undo import Undo
from ..service.accounts.verify_email import VerifyAddress
from ..service.operating.administration import Administration
from ..service.operating.audit_trail import AuditTrail
from ..service.operating.credentials import Credentials
from ..service.operating.health import LookAtHealth
from ..service.operating.history import Histories
from ..service.operating.housekeeping import Housekeeping
from ..service.operating.readiness import Readiness
from ..service.operating.reseal import ResealApps, ResealTokens
from ..service.operating.statistics import Statistics
from ..service.parts.ceremonies import PasskeyCeremonies
from ..service.parts.email_address import load_rules
from ..service.parts.granting import Hook
from ..service.sessions.begin import BeginSession
from ..service.sessions.bind import BindSession
from ..service.sessions.gate import FactorGate
from ..service.sessions.impersonate import Impersonate
from ..service.sessions.limit import SessionLimit
from ..service.sessions.living import LivingSessions
from ..service.sessions.prove_again import ProveAgain
from ..service.sessions.provider_logout import ProviderLogouts
from ..service.sessions.recognise import Recognise
from ..service.sessions.refresh import Refresh
from ..service.sessions.revocations import Revocations
from ..service.sessions.sign_out import SignOut
from ..service.sessions.sweeping import Sweeping
from ..service.signing_in.code import CodeSignIn
from ..service.signing_in.passkey import PasskeyFactor, PasskeySignIn
from ..service.signing_in.password import PasswordSignIn
from ..service.signing_in.provider import ProviderSignIn
from ..service.signing_in.recovery_code import RecoveryCodeProver
from ..service.signing_in.second_factor import FactorProvers, SecondFactor
from ..service.signing_in.step_up import StepUp
from ..service.signing_in.totp import TotpProver
from ..verify.verifier import Verifier
from .auditing import Auditing
from .parts import Parts
from .tracing import NO_TRACING, Tracing
from .version import running_version


class Deployment(Parts):
    """The use cases of one deployment over one store. Enter `open` or `run` before calling any."""

    begin_session: BeginSession
    refresh: Refresh
    bind: BindSession
    sweeping: Sweeping
    sign_out: SignOut
    sessions: LivingSessions
    recognise: Recognise
    prove_again: ProveAgain
    sign_in: PasswordSignIn
    second_factor: SecondFactor
    step_up: StepUp
    authenticator_app: AuthenticatorApp
    replace_recovery_codes: ReplaceRecoveryCodes
    list_factors: ListFactors
    passkey_sign_in: PasskeySignIn
    own_passkeys: OwnPasskeys
    provider_sign_in: ProviderSignIn
    own_identities: OwnIdentities
    provider_logouts: ProviderLogouts
    kept_tokens: KeptTokens
    create_account: CreateAccount
    register: Register
    change_password: ChangePassword
    change_profile: ChangeProfile
    reset_password: PasswordReset
    change_email: ChangeEmail
    undo: Undo
    export_data: ExportData
    delete_account: DeleteAccount
    sign_up: SignUp
    code_sign_in: CodeSignIn
    verify_address: VerifyAddress
    accounts: AdministerAccounts
    impersonate: Impersonate
    import_accounts: ImportAccounts
    credentials: Credentials
    administration: Administration
    histories: Histories
    reseal_apps: ResealApps
    reseal_tokens: ResealTokens
    statistics: Statistics
    audit_trail: AuditTrail
    auditing: Auditing
    revocations: Revocations
    readiness: Readiness
    look_at_health: LookAtHealth
    housekeeping: Housekeeping
    verifier: Verifier

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, claims: Hook | None = None, tracing: Tracing = NO_TRACING
    ) -> None:
        """Create the parts. Only the files of the master secrets are read, or the first is created; the store is not opened yet.

        Args:
            settings: The settings. The issuer must be set.
            clock: Returns the time in milliseconds since 1970, and is believed whatever it shows. None for this machine's clock,
                which is not believed after a leap.
            claims: Called before each access token is minted; returns what the token contains beyond the session.
            tracing: Makes spans.

        Raises:
            ConfigurationError: If the issuer is missing, the master secret cannot be had, or others can change the database.
        """
        super().__init__(settings, clock=clock, claims=claims, tracing=tracing)
        self._add_sessions()
        self._add_accounts()
        self._add_mailed()
        self._add_factors()
        self._add_providers()
        self._add_operating()
        self.measuring.attach(self)

    def _add_sessions(self) -> None:
        store, tokens, audit, policy = self.store, self.tokens, self.audit, self.policy
        limit = SessionLimit(store=store, most=self.settings.sessions_per_account, audit=audit)
        self.begin_session = BeginSession(
            store=store,
            tokens=tokens,
            granting=self.granting,
            receipts=self.receipts,
            limit=limit,
            gate=FactorGate(attempts=self.attempts, policy=self.settings.second_factor),
            links=self.provider_links,
            policy=policy,
            audit=audit,
        )
        self.refresh = Refresh(
            store=store, tokens=tokens, granting=self.granting, policy=policy, notices=self.notices, audit=audit
        )
        self.bind = BindSession(
            store=store,
            tokens=tokens,
            challenges=self.challenges,
            granting=self.granting,
            refresh=self.refresh,
            policy=policy,
            audit=audit,
        )
        self.sweeping = Sweeping(store=store, clock=self.clock, audit=audit)
        self.sign_out = SignOut(store=store, tokens=tokens, sweeping=self.sweeping, receipts=self.receipts, audit=audit)
        self.sessions = LivingSessions(store=store)
        self.recognise = Recognise(store=store, tokens=tokens, policy=policy, tags=self.form_tags)
        self.prove_again = ProveAgain(store=store, audit=audit)

    def _add_accounts(self) -> None:
        store, hashing, throttling, rules = self.store, self.hashing, self.throttling, self.rules
        self.sign_in = PasswordSignIn(
            store=store,
            begin_session=self.begin_session,
            hashing=hashing,
            throttling=throttling,
            devices=self.devices,
            notices=self.notices,
            requires_verified=self.settings.require_verified_email,
        )
        self.create_account = CreateAccount(store=store, hashing=hashing, receipts=self.receipts, rules=rules, audit=self.audit)
        self.register = Register(store=store, create_account=self.create_account, throttling=throttling)
        self.change_password = ChangePassword(
            store=store,
            tokens=self.tokens,
            begin_session=self.begin_session,
            hashing=hashing,
            throttling=throttling,
            rules=rules,
            sweeping=self.sweeping,
            notices=self.notices,
        )
        forgetting = Forgetting(throttling=throttling, sweeping=self.sweeping, notices=self.notices, audit=self.audit)
        self.change_profile = ChangeProfile(store=store, audit=self.audit)
        self.export_data = ExportData(store=store, throttling=throttling, audit=self.audit)
        self.delete_account = DeleteAccount(store=store, forgetting=forgetting)
        self.accounts = AdministerAccounts(
            store=store,
            attempts=self.attempts,
            create_account=self.create_account,
            hashing=hashing,
            throttling=throttling,
            rules=rules,
            sweeping=self.sweeping,
            forgetting=forgetting,
            notices=self.notices,
            administrators=self.administrators,
            receipts=self.receipts,
            audit=self.audit,
        )
        self.impersonate = Impersonate(
            store=store,
            begin_session=self.begin_session,
            grants=self.one_time,
            notices=self.notices,
            administrators=self.administrators,
            policy=self.settings.impersonation,
        )
        self.import_accounts = ImportAccounts(store=store, hashing=hashing, audit=self.audit)

    def _add_mailed(self) -> None:
        """Add the use cases that begin with a mail."""
        store, grants, mail, throttling, audit = self.store, self.one_time, self.grant_mail, self.throttling, self.audit
        self.sign_up = SignUp(
            store=store,
            grants=grants,
            mail=mail,
            hashing=self.hashing,
            rules=self.rules,
            throttling=throttling,
            begin_session=self.begin_session,
            audit=audit,
        )
        self.code_sign_in = CodeSignIn(
            store=store,
            grants=grants,
            mail=mail,
            throttling=throttling,
            begin_session=self.begin_session,
            audit=audit,
        )
        self.verify_address = VerifyAddress(
            store=store, grants=grants, mail=mail, sign_in=self.sign_in, throttling=throttling, audit=audit
        )
        self.reset_password = PasswordReset(
            store=store,
            grants=grants,
            mail=mail,
            notices=self.notices,
            hashing=self.hashing,
            throttling=throttling,
            rules=self.rules,
            sweeping=self.sweeping,
            receipts=self.receipts,
            audit=audit,
        )
        self.change_email = ChangeEmail(
            store=store,
            grants=grants,
            mail=mail,
            notices=self.notices,
            undo_links=self.undo_links,
            throttling=throttling,
            audit=audit,
        )
        self.undo = Undo(
            store=store,
            grants=grants,
            notices=self.notices,
            throttling=throttling,
            sweeping=self.sweeping,
            audit=audit,
        )

    def _add_factors(self) -> None:
        """Add the use cases of second factors."""
        store, throttling, audit, policy = self.store, self.throttling, self.audit, self.settings.second_factor
        ceremonies = PasskeyCeremonies(store=store, attempts=self.attempts, passkeys=self.passkeys, meter=audit.meter)
        provers = FactorProvers(
            totp=TotpProver(store=store, secrets=self.totp_secrets, throttling=throttling, audit=audit),
            recovery_code=RecoveryCodeProver(store=store, notices=self.notices, audit=audit),
            passkey=PasskeyFactor(ceremonies),
            store=store,
            throttling=throttling,
            notices=self.notices,
        )
        self.second_factor = SecondFactor(
            store=store,
            attempts=self.attempts,
            provers=provers,
            devices=self.devices,
            notices=self.notices,
            begin_session=self.begin_session,
        )
        self.step_up = StepUp(store=store, provers=provers, hashing=self.hashing, throttling=throttling, audit=audit)
        self.authenticator_app = AuthenticatorApp(
            store=store,
            secrets=self.totp_secrets,
            codes=self.recovery_codes,
            changes=self.factor_changes,
            throttling=throttling,
            policy=policy,
            service_name=self.settings.brand_name or self.issuer.host,
            audit=audit,
        )
        self.list_factors = ListFactors(store=store, policy=policy)
        self.passkey_sign_in = PasskeySignIn(
            store=store,
            ceremonies=ceremonies,
            devices=self.devices,
            notices=self.notices,
            begin_session=self.begin_session,
            requires_verified=self.settings.require_verified_email,
        )
        self.own_passkeys = OwnPasskeys(
            store=store,
            attempts=self.attempts,
            passkeys=self.passkeys,
            codes=self.recovery_codes,
            changes=self.factor_changes,
            policy=policy,
            providers=self.providers.keys(),
            audit=audit,
        )
        self.replace_recovery_codes = ReplaceRecoveryCodes(
            store=store, codes=self.recovery_codes, changes=self.factor_changes, audit=audit
        )

    def _add_providers(self) -> None:
        """Add the use cases of signing in with other services."""
        store, trips, links = self.store, self.provider_trips, self.provider_links
        self.provider_sign_in = ProviderSignIn(
            store=store,
            trips=trips,
            links=links,
            attempts=self.attempts,
            throttling=self.throttling,
            devices=self.devices,
            notices=self.notices,
            sweeping=self.sweeping,
            begin_session=self.begin_session,
            registration_open=self.settings.registration == "open",
            requires_verified=self.settings.require_verified_email,
        )
        self.own_identities = OwnIdentities(store=store, trips=trips, links=links, attempts=self.attempts, audit=self.audit)
        self.kept_tokens = KeptTokens(store=store, trips=trips, seal=self.token_seal)
        self.provider_logouts = ProviderLogouts(store=store, trips=trips, audit=self.audit)

    def _add_operating(self) -> None:
        store, keys, clock = self.store, self.keys, self.clock
        self.reseal_apps = ResealApps(store=store, secrets=self.totp_secrets, audit=self.audit)
        self.reseal_tokens = ResealTokens(store=store, seal=self.token_seal, audit=self.audit)
        self.histories = Histories(store=store)
        self.statistics = Statistics(store=store, keys=keys)
        self.audit_trail = AuditTrail(store=store)
        self.auditing = Auditing(
            self.settings,
            outbound=self.outbound,
            store=store,
            trail=self.audit_trail,
            changes=self.changes,
            clock=clock,
            meter=self.audit.meter,
        )
        self.credentials = Credentials(store=store, secrets=self.credential_secrets, receipts=self.receipts, audit=self.audit)
        self.administration = Administration(credentials=self.credentials, administrators=self.administrators)
        self.revocations = Revocations(store=store, changes=self.changes, keys=keys, clock=clock)
        self.readiness = Readiness(
            store=store,
            keys=keys,
            clock=clock,
            revocations=self.revocations,
            hashing=self.hashing,
            find_mail_problem=lambda: "" if self.mailing.sender is None else self.mailing.sender.problem,
            read_receivers=self.auditing.read_receivers,
        )
        self.look_at_health = LookAtHealth(
            store=store,
            readiness=self.readiness,
            clock=clock,
            read_receivers=self.auditing.read_receivers,
            version=running_version(),
        )
        self.housekeeping = Housekeeping(
            store=store,
            keys=keys,
            sweeping=self.sweeping,
            clock=clock,
            audit_retention_ms=self.settings.audit_retention * 1000,
        )
        self.verifier = Verifier(
            self.settings.issuer, audience=self.audience, keys=lambda: keys.verifying, check="offline", clock=clock
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
            await self.mailing.prepare()
            works = (self.clock.run(), self.housekeeping.run(), self.changes.run(), self.revocations.run(), load_rules())
            further = (*self.mailing.works(), *self.auditing.works(), *self.measuring.works())
            tasks = [asyncio.create_task(work) for work in (*works, *further)]
            try:
                async with self.measuring.serving():
                    yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self.tracing.flush()
