"""What an operation of the HTTP API is, and what its handler can use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from starlette.responses import Response

from ..crypto.proofs import DevicePasses
from ..domain.account import Account
from ..domain.brand import Brand
from ..domain.claims import AccessClaims
from ..domain.delivery import DELIVERIES
from ..domain.issuer import Issuer
from ..domain.session import Session
from ..errors import (
    CredentialLacksScope,
    CrossSite,
    ExpiredToken,
    HandstampError,
    Impersonated,
    InsufficientAuthentication,
    InsufficientScope,
    InvalidClient,
    InvalidDpopProof,
    InvalidFields,
    InvalidRequest,
    InvalidToken,
    MissingToken,
    NotFound,
    NotSignedIn,
    RequestTooLarge,
    SessionEnded,
    UnsupportedMediaType,
)
from ..service.accounts.administer import AdministerAccounts
from ..service.accounts.authenticator_app import AuthenticatorApp
from ..service.accounts.change_email import ChangeEmail
from ..service.accounts.change_password import ChangePassword
from ..service.accounts.identities import OwnIdentities
from ..service.accounts.list_factors import ListFactors
from ..service.accounts.own_data import ChangeProfile, DeleteAccount, ExportData
from ..service.accounts.passkeys import OwnPasskeys
from ..service.accounts.provider_tokens import KeptTokens
from ..service.accounts.recovery_codes import ReplaceRecoveryCodes
from ..service.accounts.register import Register
from ..service.accounts.reset_password import PasswordReset
from ..service.accounts.sign_up import SignUp
from ..service.accounts.undo import Undo
from ..service.accounts.verify_email import VerifyAddress
from ..service.mailing.queue import DevelopmentInbox, MailQueue
from ..service.operating.administration import Administration
from ..service.operating.audit_receivers import ReceiverStatus
from ..service.operating.audit_trail import AuditTrail
from ..service.operating.credentials import Credentials
from ..service.operating.health import LookAtHealth
from ..service.operating.history import Histories
from ..service.operating.keys import Keys
from ..service.operating.readiness import Readiness
from ..service.operating.statistics import Statistics
from ..service.parts.devices import Devices
from ..service.parts.granting import Granting
from ..service.parts.one_time import OneTimeGrants
from ..service.parts.tokens import TokenPair
from ..service.sessions.bind import BindSession
from ..service.sessions.impersonate import Impersonate
from ..service.sessions.living import LivingSessions
from ..service.sessions.provider_logout import ProviderLogouts
from ..service.sessions.recognise import Recognise
from ..service.sessions.refresh import FindEnd, Refresh, Way
from ..service.sessions.revocations import Revocations
from ..service.sessions.sign_out import SignOut
from ..service.signing_in.code import CodeSignIn
from ..service.signing_in.passkey import PasskeySignIn
from ..service.signing_in.password import PasswordSignIn
from ..service.signing_in.provider import ProviderSignIn
from ..service.signing_in.second_factor import SecondFactor
from ..service.signing_in.step_up import StepUp
from ..text import mark
from ..verify.verifier import Verifier
from ..wire.basic import basic_credential
from .answers import write_error
from .cookies import set_device
from .edge import Budget, Call, ErrorWriter

BODY_ERRORS: tuple[type[HandstampError], ...] = (InvalidRequest, InvalidFields, RequestTooLarge, UnsupportedMediaType)
"""What an operation with a body can answer."""
READ_ERRORS: tuple[type[HandstampError], ...] = (InvalidRequest, MissingToken, InvalidToken, ExpiredToken, SessionEnded)
"""What an operation that needs an access token can answer, if it serves operators who act in the place of a person, too."""
ACCESS_ERRORS: tuple[type[HandstampError], ...] = (*READ_ERRORS, Impersonated)
"""What an operation that needs an access token of the person can answer."""
OPERATOR_ERRORS: tuple[type[HandstampError], ...] = (
    *ACCESS_ERRORS,
    InvalidClient,
    CredentialLacksScope,
    InsufficientScope,
    InsufficientAuthentication,
    CrossSite,
)
"""What an operation for operators can answer."""


@dataclass(frozen=True, slots=True)
class UseCases:
    """The use cases behind the edge, for the API, OAuth and the pages, and the settings that answers depend on."""

    sign_in: PasswordSignIn
    second_factor: SecondFactor
    step_up: StepUp
    list_factors: ListFactors
    passkey_sign_in: PasskeySignIn
    own_passkeys: OwnPasskeys
    provider_sign_in: ProviderSignIn
    own_identities: OwnIdentities
    provider_logouts: ProviderLogouts
    kept_tokens: KeptTokens
    related_origins: tuple[str, ...]
    authenticator_app: AuthenticatorApp
    replace_recovery_codes: ReplaceRecoveryCodes
    refresh: Refresh
    bind: BindSession
    passes: DevicePasses
    sign_out: SignOut
    devices: Devices
    sessions: LivingSessions
    recognise: Recognise
    granting: Granting
    register: Register
    change_password: ChangePassword
    change_profile: ChangeProfile
    histories: Histories
    reset_password: PasswordReset
    change_email: ChangeEmail
    undo: Undo
    export_data: ExportData
    delete_account: DeleteAccount
    administration: Administration
    accounts: AdministerAccounts
    statistics: Statistics
    impersonate: Impersonate
    audit_trail: AuditTrail
    read_receivers: Callable[[], Awaitable[list[ReceiverStatus]]]
    mail_queue: MailQueue
    credentials: Credentials
    revocations: Revocations
    keys: Keys
    verifier: Verifier
    issuer: Issuer
    trusted_hosts: tuple[str, ...]
    trusted_origins: frozenset[str]
    keep_alive_s: int
    inbox: DevelopmentInbox | None
    one_time: OneTimeGrants
    sign_up: SignUp
    code_sign_in: CodeSignIn
    verify_address: VerifyAddress
    mail_is_on: bool
    support_contact: str
    confirms_sign_up: bool
    sign_in_by_code: bool
    registration_open: bool
    password_min_length: int
    brand: Brand
    readiness: Readiness
    look_at_health: LookAtHealth
    render_metrics: Callable[[str], Awaitable[tuple[bytes, str]]] | None

    def require_mail(self) -> None:
        """Raise `NotFound` if this service sends no mail."""
        if not self.mail_is_on:
            raise NotFound(mark("This service sends no mail."))

    def require_open_registration(self) -> None:
        """Raise `NotFound` if strangers cannot create accounts."""
        if not self.registration_open:
            raise NotFound(mark("Registration is closed. The people who run this service create accounts."))

    def require_sign_up(self) -> None:
        """Raise `NotFound` if strangers do not sign up by mail."""
        self.require_open_registration()
        if not self.confirms_sign_up:
            raise NotFound(mark("Accounts are created without mail here."))

    def require_sign_in_by_code(self) -> None:
        """Raise `NotFound` if people cannot sign in by mail here."""
        if not self.sign_in_by_code:
            raise NotFound(mark("Signing in by mail is turned off here."))

    def read_access(self, call: Call, *, impersonation: bool = False) -> AccessClaims:
        """Return the claims of a call's access token, with its proof if it is bound. Arguments and errors: `require_session`."""
        token, proved = call.access_token(), "any" if call.is_dpop else None
        claims = self.verifier.verify(token, now_ms=call.now_ms, proved=proved, impersonation=impersonation)
        if call.is_dpop:
            call.prove_token(claims, token)
        return claims

    def require_session(self, call: Call, *, impersonation: bool = False) -> Awaitable[tuple[Session, Account | None]]:
        """Return the session of a call's access token, and its account if the subject has one here.

        Args:
            call: The request.
            impersonation: True to serve an operator who acts in the place of the person. Nothing that changes something may, and
                nothing about what the person signs in with.

        Raises:
            Impersonated: An operator acts in the place of the person.
            MissingToken, InvalidToken, ExpiredToken, SessionEnded: as their names say.
        """
        return self.sessions.require_living(self.read_access(call, impersonation=impersonation).sid, call.now_ms)

    async def admit_operator(self, call: Call) -> None:
        """Admit the sender of a call as an operator: a service credential, or else a person by their access token.

        Raises:
            InvalidClient, CredentialLacksScope: The credential is wrong, or does not have the scope `admin`.
            MissingToken, InvalidToken, ExpiredToken, SessionEnded: As `require_session` does.
            InsufficientScope, InsufficientAuthentication: The person is no administrator, or has not just proved two factors.
            TooManyAttempts: If the operator does too much.
        """
        presented = basic_credential(call.headers.getlist("authorization"))
        if presented is not None:
            call.admit(await self.administration.admit_credential(presented, call.caller))
        else:
            call.admit(self.administration.admit_account(*await self.require_session(call), call.caller))

    async def renew(self, call: Call, token: str, way: Way) -> TokenPair:
        """Return the pair that follows a refresh token, given what the request shows of the device. Raises as `Refresh` does."""
        try:
            return await self.refresh(
                token, way=way, caller=call.caller, find_fault=call.find_fault, find_end=self.find_credential_end(call)
            )
        except InvalidDpopProof as missing:
            raise call.refused_proof or missing from None

    def find_credential_end(self, call: Call) -> FindEnd:
        """Return what finds the credential of a session that was bound to its browser: the access cookie, or a pass."""

        def find_end(session: Session) -> int | None:
            if session.bound_by != "dbsc":
                return None
            if not DELIVERIES[session.delivery].access_is_cookie:
                return self.passes.find_end(call.bound_cookie, session.id, call.now_ms // 1000)
            try:
                claims = self.verifier.verify(call.access_cookie, now_ms=call.now_ms, impersonation=True)
            except NotSignedIn:
                return None
            is_valid = claims.sid == session.id and call.now_ms < claims.exp * 1000  # without the verifier's leeway
            return claims.exp if is_valid else None

        return find_end

    def remember_device(self, response: Response, call: Call, pair: TokenPair) -> None:
        """Set the device cookie of a browser in which a person has proved the password. Other clients keep their tokens."""
        if DELIVERIES[pair.delivery].refresh_is_cookie:
            set_device(response, self.devices.remember(call.device_cookie, pair.subject), call.cookies)


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation: requests are routed by it, and the OpenAPI document is made of it.

    Its body is JSON (`body`), or a form in the words of OAuth (`form`). `errors` come on top of `Unavailable`, which every
    operation may answer, and of `TooManyAttempts`, which one with a budget may answer.
    """

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    run: Callable[[UseCases, Call, Any], Awaitable[Response]]
    """Takes the use cases, the call and its decoded body. Its name is the operation's id."""
    summary: str
    body: type[msgspec.Struct] | None = None
    body_required: bool = True
    runs_without_body: bool = False
    """Whether it runs even if its body cannot be read. The error is answered afterwards, if only the body could hold a token."""
    form: type[msgspec.Struct] | None = None
    query: Mapping[str, str] = {}
    answer: type[msgspec.Struct] | None = None
    status: int = 200
    accepted: type[msgspec.Struct] | None = None
    """What it answers with 202 instead, where a mail must be answered first."""
    errors: tuple[type[HandstampError], ...] = ()
    write_error: ErrorWriter = write_error
    credential: Literal["access", "refresh", "any", "client", "operator"] | None = None
    """What it needs. "operator": it runs for operators only, and these are all under /admin."""
    signs_in: bool = False
    is_repeatable: bool = False
    """Whether it takes an `Idempotency-Key`. Operations that change something without one are idempotent by nature."""
    own_pages_only: bool = False
    """Whether pages of trusted origins may not use it, not even to read with the cookies of the service."""
    budget: Budget | None = "requests"
    """What its requests are counted as, for the limits of their network."""

    def __post_init__(self) -> None:
        """Raise `ValueError` if it is under /admin and not for operators only, or the other way round."""
        if self.path.startswith("/admin") != (self.credential == "operator"):
            raise ValueError(f"{self.path} is for operators only, or is not, by its path")

    @property
    def is_public(self) -> bool:
        """Whether neither its requests nor its answers hold a secret."""
        return self.method == "GET" and self.credential is None
