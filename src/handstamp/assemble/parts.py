"""What the use cases of a deployment share, made from its settings."""

from __future__ import annotations

from collections.abc import Mapping

from ..clock import Clock
from ..config.private_files import require_database
from ..config.providers import load_providers
from ..config.secret_file import load_master_secret
from ..config.settings import Settings
from ..crypto.attempts import SealedAttempts
from ..crypto.credential_secrets import CredentialSecrets
from ..crypto.dpop import DpopProofs
from ..crypto.one_time import OneTimeCodes
from ..crypto.passkeys import Passkeys
from ..crypto.passwords import PasswordHasher
from ..crypto.proofs import Challenges, DevicePasses, DpopNonces, FormTags
from ..crypto.provider_tokens import TokenSeal
from ..crypto.recovery_codes import RecoveryCodes
from ..crypto.seal import DeviceTags, Pseudonyms
from ..crypto.totp import TotpSecrets
from ..domain.issuer import Issuer
from ..domain.limits import NetworkLimits
from ..domain.policy import Policy
from ..errors import ConfigurationError
from ..outbound.client import Outbound
from ..service.accounts.factor_changes import FactorChanges
from ..service.accounts.new_password import PasswordRules
from ..service.mailing.grant_mail import GrantMail
from ..service.mailing.notices import Notices
from ..service.mailing.outbox import Outbox
from ..service.mailing.undo_links import UndoLinks
from ..service.operating.administration import Administrators
from ..service.operating.keys import Keys
from ..service.parts.attempts import Attempts
from ..service.parts.audit import Audit
from ..service.parts.capacity import count_hashing_threads
from ..service.parts.changes import Changes
from ..service.parts.common_clock import CommonClock
from ..service.parts.devices import Devices
from ..service.parts.granting import Granting, Hook
from ..service.parts.hashing import Hashing
from ..service.parts.meter import Meter
from ..service.parts.one_time import OneTimeGrants
from ..service.parts.provider_links import ProviderLinks
from ..service.parts.provider_trips import ProviderTrips
from ..service.parts.providers import Provider
from ..service.parts.receipts import Receipts
from ..service.parts.recovery_codes import RecoveryCodeSets
from ..service.parts.throttling import Throttling
from ..service.parts.tokens import TokenIssuer
from ..storage.store import Store
from .mailing import Mailing
from .measuring import Measuring
from .stores import make_store
from .tracing import Tracing


class Parts:
    """The parts that several use cases of a deployment work with."""

    settings: Settings
    issuer: Issuer
    audience: tuple[str, ...]
    policy: Policy
    tracing: Tracing
    measuring: Measuring
    outbound: Outbound
    providers: Mapping[str, Provider]
    audit: Audit
    granting: Granting
    rules: PasswordRules
    store: Store
    clock: CommonClock
    changes: Changes
    mailing: Mailing
    outbox: Outbox
    notices: Notices
    keys: Keys
    challenges: Challenges
    passes: DevicePasses
    form_tags: FormTags
    dpop: DpopProofs
    tokens: TokenIssuer
    devices: Devices
    receipts: Receipts
    throttling: Throttling
    one_time: OneTimeGrants
    grant_mail: GrantMail
    undo_links: UndoLinks
    attempts: Attempts
    totp_secrets: TotpSecrets
    credential_secrets: CredentialSecrets
    token_seal: TokenSeal
    provider_links: ProviderLinks
    provider_trips: ProviderTrips
    recovery_codes: RecoveryCodeSets
    factor_changes: FactorChanges
    passkeys: Passkeys
    hashing: Hashing
    administrators: Administrators

    def __init__(self, settings: Settings, *, clock: Clock | None, claims: Hook | None, tracing: Tracing) -> None:
        """Create the parts. `Deployment.__init__` describes the arguments and the errors."""
        if not settings.issuer:
            raise ConfigurationError("HANDSTAMP_ISSUER is not set: write the public URL of the service.")
        if settings.database_path is not None:
            require_database(settings.database_path)
        secret = load_master_secret(settings)
        pseudonyms = Pseudonyms(secret)
        self.settings = settings
        self.issuer = Issuer(settings.issuer)
        self.audience = settings.audience or (settings.issuer,)
        self.policy = settings.policy
        self.tracing = tracing
        self.measuring = Measuring(settings)
        meter = self.measuring.meter
        self.outbound = tracing.trace_outbound()(allow=settings.outbound_allow, ca_file=settings.outbound_ca_file)
        self.providers = _make_providers(settings, self.outbound)
        self.audit = Audit(meter)
        self.granting = Granting(claims, policy=settings.second_factor)
        words = ("handstamp", self.issuer.host, settings.brand_name)
        self.rules = PasswordRules(min_length=settings.password_min_length, service_words=words)
        self.store = tracing.trace_store(
            make_store(settings, around=lambda commit: tracing.trace_commits(self.measuring.time_commits(commit))),
            is_remote=settings.database_path is None,
        )
        self.clock = CommonClock(self.store, clock)
        self.changes = Changes(self.store)
        self.receipts = Receipts(pseudonyms, policy=self.policy)
        self.administrators = Administrators(settings.admin_role)
        self.mailing = Mailing(
            settings,
            secret,
            store=self.store,
            changes=self.changes,
            clock=self.clock,
            audit=self.audit,
            receipts=self.receipts,
            administrators=self.administrators,
            tracing=tracing,
        )
        self.outbox = self.mailing.outbox
        self.notices = Notices(self.outbox)
        self.keys = Keys(store=self.store, secret=secret, algorithm=settings.algorithm, receipts=self.receipts, audit=self.audit)
        self.challenges = Challenges(secret)
        self.passes = DevicePasses(secret)
        self.form_tags = FormTags(secret)
        self.dpop = DpopProofs(self.issuer.origin, prefix=self.issuer.path, nonces=DpopNonces(secret))
        self.tokens = TokenIssuer(
            issuer=settings.issuer,
            audience=self.audience,
            policy=self.policy,
            keys=self.keys,
            refresh_key=secret.derive_refresh_key(),
            refresh_keys=secret.derive_refresh_keys(),
            challenges=self.challenges,
            passes=self.passes,
        )
        self.devices = Devices(DeviceTags(secret), self.tokens)
        self.throttling = Throttling(pseudonyms, self.audit, people_per_network=settings.people_per_network)
        self.one_time = OneTimeGrants(
            store=self.store,
            codes=OneTimeCodes(secret),
            throttling=self.throttling,
            issuer_url=settings.issuer,
            meter=meter,
        )
        self.grant_mail = GrantMail(grants=self.one_time, outbox=self.outbox, throttling=self.throttling, devices=self.devices)
        self.attempts = Attempts(store=self.store, sealed=SealedAttempts(secret))
        self.token_seal = TokenSeal(secret)
        self.undo_links = UndoLinks(grants=self.one_time, outbox=self.outbox)
        self.provider_links = ProviderLinks(
            providers=self.providers, seal=self.token_seal, notices=self.notices, undo_links=self.undo_links
        )
        self.provider_trips = ProviderTrips(
            store=self.store,
            providers=self.providers,
            attempts=self.attempts,
            throttling=self.throttling,
            meter=meter,
            issuer_url=settings.issuer,
        )
        self.totp_secrets = TotpSecrets(secret)
        self.credential_secrets = CredentialSecrets(secret)
        self.recovery_codes = RecoveryCodeSets(RecoveryCodes(secret), self.receipts)
        self.passkeys = Passkeys(
            self.issuer, settings.trusted_origins, secret, service_name=settings.brand_name or self.issuer.host
        )
        self.factor_changes = FactorChanges(self.notices, self.undo_links)
        self.hashing = _make_hashing(settings, meter, tracing)


def _make_providers(settings: Settings, outbound: Outbound) -> Mapping[str, Provider]:
    if not settings.providers:
        return {}
    from ..relying_party.registry import make_providers  # noqa: PLC0415 - it imports an HTTP library, which few services need

    return make_providers(load_providers(settings), outbound)


def _make_hashing(settings: Settings, meter: Meter, tracing: Tracing) -> Hashing:
    hasher = PasswordHasher(settings.password_cost)
    threads = count_hashing_threads(hasher.memory_bytes, workers=settings.workers, wanted=settings.hashing_threads)
    return tracing.trace_hashing()(hasher, NetworkLimits(settings.people_per_network).hashing, threads=threads, meter=meter)
