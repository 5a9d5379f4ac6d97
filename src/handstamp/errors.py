"""Every error that Handstamp raises, in one class hierarchy.

```
HandstampError
├── InvalidRequest            invalid_request      the request cannot be understood
│   ├── InvalidFields                              the request was understood, but some fields are wrong
│   ├── RequestTooLarge
│   ├── InvalidDpopProof      invalid_dpop_proof   the session is bound to a key, and its proof is missing or invalid
│   │   └── UseDpopNonce      use_dpop_nonce       the proof needs a nonce of the service
│   └── UnsupportedMediaType
├── NotSignedIn               the request does not prove who is asking
│   ├── BoundTokenRefused                          as InvalidDpopProof, for an access token that is bound to a key
│   ├── MissingToken          missing_token
│   ├── InvalidToken          invalid_token
│   ├── ExpiredToken          expired_token        the token was valid and has expired: refresh
│   ├── SessionEnded          session_ended        the only error after which a client deletes its tokens
│   ├── InvalidCredentials    invalid_credentials
│   └── InvalidClient         invalid_client       the credential of a service is missing or wrong
├── NotAllowed                                     the caller is known but may not do this
│   ├── InsufficientScope     insufficient_scope
│   ├── CredentialLacksScope                       as InsufficientScope, for the credential of a service
│   ├── AdministratorProtected administrator_protected  this caller may not change this administrator
│   ├── Impersonated          impersonated         an operator acts in the place of the person, who alone may do this
│   ├── PersonRequired        person_required      a service credential may not do this, because nobody is accountable for it
│   ├── InsufficientAuthentication                 insufficient_user_authentication: prove again who you are (RFC 9470)
│   ├── ProofRequired         proof_required       the session is bound to a device, and the request does not come from there
│   ├── SecondFactorRequired  second_factor_required   the sign-in needs another step: `challenge`, `methods`
│   ├── LastWay               last_way             this is the last way in which the person can sign in
│   ├── FactorRequired        factor_required      the account must have a second factor, and this is the last one
│   ├── EmailNotVerified      email_not_verified   the password is right, but the address must be verified first
│   ├── DeletionBlocked       deletion_blocked     the old address of the account can still undo a change of the address
│   └── CrossSite             cross_site
├── NotLinked                 not_linked           nobody here is known by this sign-in with another service
├── IdentityTaken             identity_taken       that sign-in belongs to another account
├── ProviderRefused           provider_refused     another service, with which the person signs in, did not sign them in
├── InvalidProviderAnswer     invalid_provider_answer   its answer is forged, stale, or belongs to another sign-in
├── InvalidChallenge          invalid_challenge    a sign-in in several steps has expired or was used
├── InvalidPasskey            invalid_passkey      a passkey is not accepted
│   └── UnknownPasskey        unknown_passkey      the service has no such passkey
├── InvalidCode               invalid_code         a link or a code is wrong, used, expired or void
├── NotFound                  not_found
├── AccountExists             account_exists
├── TooManyAttempts           too_many_attempts    has `retry_after_s`
├── Unavailable               unavailable          has `retry_after_s`; a dependency failed, no session has ended
│   ├── ProviderUnavailable   provider_unavailable the service with which the person signs in does not answer as it should
│   └── NotReady                                   has `parts`: which part of the service fails
└── ConfigurationError        configuration_error  the process refuses to start
```

`code` is stable: programs switch on it. `str(error)` is for people and never contains a secret. `InvalidToken.why` names the
check that failed. It is for logs and for `handstamp token inspect`, and is never sent to the client that presented the token.
"""

from __future__ import annotations

import copyreg
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from .text import mark, mark_plural


def reduce_error(error: Exception) -> tuple[Any, ...]:
    """Return how pickle and copy restore an exception: by its attributes.

    By default they call `__init__` with `args`, which is the text and not what it takes.
    """
    return copyreg.__newobj__, (type(error), *error.args), vars(error)  # type: ignore[attr-defined]  # missing in typeshed


class HandstampError(Exception):
    """Base class of all errors of Handstamp. `code` identifies the kind of error for programs.

    Every error can be pickled and copied, so it can leave a worker process.
    """

    code: ClassVar[str] = "internal_error"
    is_dpop: bool = False
    """True if the request had an access token with the scheme DPoP, so that the challenge has the same (RFC 9449 §7.1)."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how pickle and copy restore the error."""
        return reduce_error(self)


class InvalidRequest(HandstampError):
    """The request cannot be understood, or contradicts itself (for example, a token both in the cookie and in the body)."""

    code = "invalid_request"


class InvalidFields(InvalidRequest):
    """Some fields have invalid values. `fields` pairs the name of each with what is wrong and how to fix it."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        """Create the error from (name, problem) pairs. The problems are shown to the person who typed the values."""
        super().__init__("; ".join(f"{name}: {problem}" if name else problem for name, problem in fields))
        self.fields: tuple[tuple[str, str], ...] = tuple(fields)


class RequestTooLarge(InvalidRequest):
    """The body is larger than the limit."""


class UnsupportedMediaType(InvalidRequest):
    """The body does not have the media type that this endpoint accepts."""


class InvalidDpopProof(InvalidRequest):
    """The proof of a device's key is missing, invalid, was used, or is for another request (RFC 9449 §5). The session goes on."""

    code = "invalid_dpop_proof"

    def __init__(self, why: str = "") -> None:
        """Create the error; `why` names the check that failed and is for logs only."""
        super().__init__(mark("This session is bound to a key: the request needs a valid, new DPoP proof of it."))
        self.why = why


class UseDpopNonce(InvalidDpopProof):
    """The proof needs a nonce of this service (RFC 9449 §8). `nonce` is one."""

    code = "use_dpop_nonce"

    def __init__(self, nonce: str = "") -> None:
        """Create the error with a nonce for the next proof."""
        super().__init__()
        self.why = "the proof needs a nonce"
        self.nonce = nonce


class NotSignedIn(HandstampError):
    """The request does not prove who is asking."""


class BoundTokenRefused(NotSignedIn):
    """An access token came with the scheme DPoP and without a valid proof (RFC 9449 §7.1). `why` is for logs only."""

    code = "invalid_dpop_proof"

    def __init__(self, why: str = "", nonce: str = "") -> None:
        """Create the error. `nonce` is for the next proof, "" if it needs none."""
        super().__init__(mark("This session is bound to a key: the request needs a valid, new DPoP proof of it."))
        self.why = why
        self.nonce = nonce


class BoundTokenNeedsNonce(BoundTokenRefused):
    """As `UseDpopNonce`, for an access token."""

    code = "use_dpop_nonce"


class MissingToken(NotSignedIn):
    """The request carries no credential, but needs one."""

    code = "missing_token"

    def __init__(self, needed: str = mark("This request needs an access token: send 'Authorization: Bearer <token>'.")) -> None:
        """Create the error; `needed` tells the client what to send."""
        super().__init__(needed)


class InvalidToken(NotSignedIn):
    """The token is malformed, forged, or for another issuer, audience or purpose. The answer never says which."""

    code = "invalid_token"

    def __init__(self, why: str) -> None:
        """Create the error; `why` names the check that failed and is for logs only."""
        super().__init__(mark("The token is not valid here."))
        self.why = why


class ExpiredToken(NotSignedIn):
    """The access token was valid but has expired. Refresh and try again."""

    code = "expired_token"

    def __init__(self) -> None:
        super().__init__(mark("The access token has expired. Use the refresh token to get a new one."))


class SessionEnded(NotSignedIn):
    """The session has ended and stays ended. `reason` is one of `handstamp.domain.reasons.EndReason`.

    A verifier in another service does not know the reason: `reason` is None there. The next refresh answers with the reason.
    """

    code = "session_ended"

    def __init__(self, reason: str | None = None, *, session_lives: bool = False) -> None:
        """Create the error. The text shown to the person for `reason` is chosen where the answer is made.

        Args:
            reason: Why the session ended, or None if unknown.
            session_lives: True if only this expired copy of the refresh token is refused and the session itself is still active.
        """
        super().__init__(
            mark("The session has ended (%(reason)s). Sign in again.", reason=reason)
            if reason
            else mark("The session has ended. Sign in again.")
        )
        self.reason = reason
        self.session_lives = session_lives


class InvalidCredentials(NotSignedIn):
    """The address is unknown, the password is wrong or the account is disabled: one error, so that it does not tell which."""

    code = "invalid_credentials"

    def __init__(self) -> None:
        super().__init__(mark("That e-mail address and password do not match."))


class InvalidClient(NotSignedIn):
    """A service sent no service credential, or a wrong one (RFC 6749 §5.2)."""

    code = "invalid_client"


class NotAllowed(HandstampError):
    """The caller is known but may not do this, or not from this origin."""


class InsufficientScope(NotAllowed):
    """The access token lacks a scope or a role that the resource requires (RFC 6750 §3.1)."""

    code = "insufficient_scope"

    def __init__(self, *, scope: str = "", role: str = "") -> None:
        """Create the error for a missing `scope` (a space-separated list) or `role`."""
        super().__init__(
            mark("This needs the scope '%(scope)s', which the access token does not have.", scope=scope)
            if scope
            else mark("This needs the role '%(role)s', which the access token does not have.", role=role)
        )
        self.scope = scope
        self.role = role


class CredentialLacksScope(NotAllowed):
    """The credential of a service is right, and may not be used for this."""

    code = "insufficient_scope"

    def __init__(self, scope: str = "") -> None:
        """Create the error for a missing scope."""
        super().__init__(mark("This needs a service credential with the scope '%(scope)s'.", scope=scope))
        self.scope = scope


class AdministratorProtected(NotAllowed):
    """The account is an administrator, or would become one, and this caller may not change it so. Nothing has changed."""

    code = "administrator_protected"
    _SENTENCES: ClassVar[dict[str, str]] = {
        "looked_at": mark("This account administers the service. Nobody looks at it as its person."),
        "own": mark(
            "You administer this service, and this is your own account. Ask another administrator, or use the command line."
        ),
        "by_credential": mark(
            "A service credential cannot make or change administrators. Sign in as one, or use the command line."
        ),
    }

    def __init__(self, *, is_own: bool = False, is_looked_at: bool = False) -> None:
        """Create the error.

        Args:
            is_own: True if the account is the caller's own.
            is_looked_at: True if the caller wanted to look at it as its person.
        """
        super().__init__(self._SENTENCES["looked_at" if is_looked_at else "own" if is_own else "by_credential"])


class PersonRequired(NotAllowed):
    """An operator that is a service credential may not do this: a person must be accountable for it. Nothing has changed."""

    code = "person_required"

    def __init__(self) -> None:
        super().__init__(mark("A person must be accountable for this. Sign in with an account that administers."))


class Impersonated(NotAllowed):
    """An operator acts in the place of the person, and this is for the person alone, or changes something."""

    code = "impersonated"

    def __init__(self) -> None:
        super().__init__(mark("You look at this account for support. Only its owner may do this."))


class InsufficientAuthentication(NotAllowed):
    """The person proved too long ago, or not strongly enough, who they are (RFC 9470 §3). The session goes on.

    Attributes:
        max_age_s: How many seconds ago the proof may be, None if that does not matter.
        acr: The authentication context class that is required, "" for any.
    """

    code = "insufficient_user_authentication"

    def __init__(self, *, max_age_s: int | None = None, acr: str = "") -> None:
        """Create the error from what is required."""
        super().__init__(
            mark("This needs a stronger proof of who you are, such as a passkey or a second factor.")
            if acr
            else mark("You signed in a while ago. Prove again that it is you.")
        )
        self.max_age_s = max_age_s
        self.acr = acr


class SecondFactorRequired(NotAllowed):
    """What was proved is right, and the sign-in needs another step. No session has begun, and no token exists.

    Attributes:
        challenge: What the client sends back with the second factor. It is as secret as a token.
        methods: What completes the sign-in: "totp", "passkey" or "recovery_code".
        enrol: Without methods, the factors of which the person must add one: "totp" or "passkey".
        expires_in_s: For how many seconds the challenge is accepted.
        browser: The secret to which the challenge is bound, for the service alone.
    """

    code = "second_factor_required"

    def __init__(
        self,
        challenge: str = "",
        *,
        methods: tuple[str, ...] = (),
        enrol: tuple[str, ...] = (),
        expires_in_s: int = 0,
        browser: str = "",
    ) -> None:
        """Create the error for a sign-in that is not complete."""
        super().__init__(mark("This sign-in needs another step: a second factor."))
        self.challenge = challenge
        self.methods = methods
        self.enrol = enrol
        self.expires_in_s = expires_in_s
        self.browser = browser


class FactorRequired(NotAllowed):
    """The account must have a second factor, and this is the last one."""

    code = "factor_required"

    def __init__(self) -> None:
        super().__init__(mark("Your account must have a second factor. Add another one first, and then remove this one."))


class LastWay(NotAllowed):
    """This is the last way in which the person can sign in."""

    code = "last_way"

    def __init__(self) -> None:
        super().__init__(mark("This is your only way to sign in. Add another one first, and then remove this one."))


class ProofRequired(NotAllowed):
    """The session is bound to a device, and the request has not proved the device's key. The session goes on.

    Attributes:
        sid: The id of the session, and what a browser has to sign for it (W3C DBSC); "" if the session is not bound to a browser.
        challenge: See `sid`.
    """

    code = "proof_required"
    _SENTENCE: ClassVar[str] = mark(
        "This sign-in is bound to its device, and this request has no proof that it comes from there."
    )

    def __init__(self, sid: str = "", challenge: str = "") -> None:
        """Create the error for a session."""
        super().__init__(self._SENTENCE)
        self.sid = sid
        self.challenge = challenge


class BindingRequired(ProofRequired):
    """Sessions must be bound to their device here, and nothing could bind this one. No session has begun."""

    _SENTENCE = mark("Every sign-in is bound to its device here, and this one cannot be: its tokens do not travel as cookies.")


class NewProofRequired(ProofRequired):
    """An operator's session is bound to a device, whose key must be proved once more for what the operator asks for."""

    _SENTENCE = mark(
        "Your sign-in is bound to its device, and this needs a new proof of that. Do it on the pages of administrators, in the "
        "browser in which you signed in."
    )


class EmailNotVerified(NotAllowed):
    """The password is right, but this service signs people in only once their address is verified. `subject` is the account."""

    code = "email_not_verified"

    def __init__(self, subject: str = "") -> None:
        """Create the error for an account, which the client is not told."""
        super().__init__(mark("Your e-mail address is not verified yet. Use the link or the code of the mail that you got."))
        self.subject = subject


class DeletionBlocked(NotAllowed):
    """The account cannot be deleted yet: its old address may still take a change of the address back."""

    code = "deletion_blocked"

    def __init__(self) -> None:
        super().__init__(
            mark(
                "The address of this account was changed in the last seven days, and the old address can still take that back. "
                "Until then the account cannot be deleted."
            )
        )


class CrossSite(NotAllowed):
    """The request was caused by a page of another site."""

    code = "cross_site"

    def __init__(self, *, names_origin: bool = True) -> None:
        """Refuse a request.

        Args:
            names_origin: False if it has a cookie and neither `Origin` nor `Sec-Fetch-Site`, so that no browser sent it.
        """
        super().__init__(
            mark("This request came from a page of another origin. If that page is yours, add its origin to the trusted origins.")
            if names_origin
            else mark(
                "This request has a cookie, but neither Origin nor Sec-Fetch-Site, which browsers send. "
                'A program signs in with "delivery": "json" and sends its tokens without cookies.'
            )
        )


class InvalidChallenge(HandstampError):
    """The challenge of a sign-in in several steps is not accepted any more. The sign-in begins anew."""

    code = "invalid_challenge"
    _SENTENCES: ClassVar[dict[str, str]] = {
        "expired": mark("This sign-in took too long. Sign in again."),
        "elsewhere": mark("This sign-in was not begun in this browser. Sign in again."),
        "used": mark("This sign-in is complete already, or was used up. Sign in again."),
        "exhausted": mark("Too many codes were wrong. Sign in again."),
        "void": mark("Your account has changed meanwhile. Sign in again."),
    }

    def __init__(self, verdict: str = "", *, detail: str = "") -> None:
        """Create the error from a verdict of `handstamp.domain.attempt`, or "void"; in a client from what the service said."""
        super().__init__(detail or self._SENTENCES[verdict])
        self.verdict = verdict


class NotLinked(HandstampError):
    """Nobody here is known by this sign-in with another service, and no account may be opened by it. `why` is for the log alone.

    The text is the same whether an account has the address or not.
    """

    code = "not_linked"

    def __init__(self, why: str = "", *, detail: str = "") -> None:
        """Create the error; in a client from what the service said."""
        super().__init__(
            detail
            or mark(
                "This sign-in belongs to no account here. Sign in in another way first. "
                "Then add it in your account, under “How you sign in”."
            )
        )
        self.why = why


class IdentityTaken(HandstampError):
    """The sign-in with another service that a person wants to add belongs to another account."""

    code = "identity_taken"

    def __init__(self) -> None:
        super().__init__(mark("This sign-in belongs to another account here. Remove it there first."))


class ProviderRefused(HandstampError):
    """Another service, with which the person wanted to sign in, did not sign them in. Nothing has changed.

    Attributes:
        cause: "cancelled" if the person did not agree, "must_ask" if the service must ask the person and was told not to, else
            "other".
        why: What the service said, for the log alone.
    """

    code = "provider_refused"
    _SENTENCES: ClassVar[dict[str, str]] = {
        "cancelled": mark("The sign-in was cancelled at the other service. Try again, or sign in in another way."),
        "must_ask": mark("The other service must ask you first. Begin the sign-in again."),
        "other": mark("The other service did not sign you in. Try again, or sign in in another way."),
    }

    def __init__(self, cause: str = "other", *, why: str = "", detail: str = "") -> None:
        """Create the error; in a client from what the service said."""
        super().__init__(detail or self._SENTENCES[cause])
        self.cause = cause
        self.why = why


class InvalidProviderAnswer(HandstampError):
    """The answer of the service with which a person signs in is forged, stale, or belongs to another sign-in.

    Nobody was signed in. `why` is for the log alone.
    """

    code = "invalid_provider_answer"

    def __init__(self, why: str = "", *, detail: str = "") -> None:
        """Create the error; in a client from what the service said."""
        super().__init__(detail or mark("The answer of the other service is not accepted here. Begin the sign-in again."))
        self.why = why


class InvalidPasskey(HandstampError):
    """A passkey is not accepted. Nothing has changed.

    Attributes:
        flaw: What is wrong with it.
        why: The reason, for the log alone.
    """

    code = "invalid_passkey"
    _SENTENCES: ClassVar[dict[str, str]] = {
        "unknown": mark("This passkey is not known here any more. Use another one, or sign in in another way."),
        "refused": mark("This passkey was not accepted. Try again, or sign in in another way."),
        "counted_back": mark("This passkey was not accepted: another copy of it has been used. Sign in in another way."),
        "taken": mark("This passkey is in use already."),
    }

    def __init__(self, flaw: str = "", *, why: str = "", detail: str = "") -> None:
        """Create the error from what is wrong; in a client from what the service said."""
        super().__init__(detail or self._SENTENCES[flaw])
        self.flaw = flaw
        self.why = why


class UnknownPasskey(InvalidPasskey):
    """The service has no such passkey. A client may have the authenticator forget it, for good (`signalUnknownCredential`)."""

    code = "unknown_passkey"

    def __init__(self, *, detail: str = "") -> None:
        super().__init__("unknown", detail=detail)


class InvalidCode(HandstampError):
    """A link or a code is not accepted: of a mail, of an authenticator app, or for recovery. Nothing was used up or changed."""

    code = "invalid_code"
    _SENTENCES: ClassVar[dict[str, str]] = {
        "wrong": mark("That code is not right. Look at the newest mail, and try again."),
        "used": mark("This link or code was used already."),
        "expired": mark("This link or code has expired. Ask for another mail."),
        "exhausted": mark("Too many codes were wrong. Use the link of the mail, or ask for another mail."),
        "elsewhere": mark(
            "A code works only in the browser that asked for it. Use the link of the mail, or ask for another mail."
        ),
        "void": mark("This link or code is not valid any more. Ask for another mail."),
        "wrong_app_code": mark(
            "That code is not right. Use the newest code of your authenticator app. Does its device have the right time?"
        ),
        "used_app_code": mark("This code was used already. Wait for the next code of your authenticator app."),
        "wrong_recovery_code": mark("That recovery code is not right, or was used already. Use another one."),
        "enrolment_expired": mark("This took too long. Add the authenticator app again, with the new QR code."),
    }

    def __init__(self, verdict: str = "", *, left: int = 0, subject: str | None = None, detail: str = "") -> None:
        """Create the error.

        Args:
            verdict: A verdict of `handstamp.domain.one_time`, "elsewhere" for a code from another browser, or one of the others
                that have a sentence here. "" in a client.
            left: How many more codes will be looked at.
            subject: The account for which a used one was used, for the service alone.
            detail: What the service said to a client.
        """
        super().__init__(detail or self._SENTENCES["exhausted" if verdict == "wrong" and left == 0 else verdict])
        self.verdict = verdict
        self.left = left
        self.subject = subject


class NotFound(HandstampError):
    """The object does not exist or belongs to another person. Both have the same answer."""

    code = "not_found"


class AccountExists(HandstampError):
    """An account with this address exists already."""

    code = "account_exists"

    def __init__(self) -> None:
        super().__init__(mark("An account with this e-mail address exists already. Sign in instead."))


class TooManyAttempts(HandstampError):
    """Too many attempts failed, or a limit of the service is reached. No session has ended.

    The next request is accepted in `retry_after_s` seconds, unless the account is locked.
    """

    code = "too_many_attempts"

    def __init__(
        self, retry_after_s: int = 3600, *, limit: str = "", is_locked: bool = False, subject: str | None = None
    ) -> None:
        """Create the error.

        Args:
            retry_after_s: The seconds until the next attempt is accepted.
            limit: The name of the limit, for logs only.
            is_locked: True if every attempt is refused until an operator unlocks the account. Whether the account exists makes
                no difference.
            subject: The account that was tried, for logs only.
        """
        super().__init__(
            mark(
                "Too many attempts in a row have failed, so this sign-in is locked. "
                "Ask the people who run this service to unlock it."
            )
            if is_locked
            else mark_plural(
                "Too many attempts. Try again in %(count)s second.",
                "Too many attempts. Try again in %(count)s seconds.",
                count=retry_after_s,
            )
        )
        self.retry_after_s = retry_after_s
        self.limit = limit
        self.is_locked = is_locked
        self.subject = subject


class Unavailable(HandstampError):
    """A dependency of Handstamp does not answer. No session has ended and no access was granted. Try again later."""

    code = "unavailable"
    _SENTENCE: ClassVar[str] = mark("The service cannot answer right now. No session has ended. Try again shortly.")

    def __init__(self, why: str, retry_after_s: int = 1) -> None:
        """Create the error; `why` is for logs only, because it may name files and servers."""
        super().__init__(self._SENTENCE)
        self.why = why
        self.retry_after_s = retry_after_s


class ProviderUnavailable(Unavailable):
    """The service with which a person signs in does not answer as it should. Nobody was signed in, and no session has ended."""

    code = "provider_unavailable"
    _SENTENCE = mark("The other service cannot sign you in right now. Try again shortly, or sign in in another way.")


class NotReady(Unavailable):
    """The process cannot answer requests. `parts` says for holders of a service credential which part fails, and why."""

    def __init__(self, parts: Mapping[str, str]) -> None:
        """Create the error; `parts` is the state of each part, by its name."""
        super().__init__(", ".join(f"{name}: {state}" for name, state in parts.items() if state != "ok"))
        self.parts = parts


class ConfigurationError(HandstampError):
    """The process refuses to start with this configuration. `problems` lists every mistake and how to fix it."""

    code = "configuration_error"

    def __init__(self, *problems: str) -> None:
        """Create the error with one sentence per problem."""
        super().__init__("\n".join(problems))
        self.problems = problems
