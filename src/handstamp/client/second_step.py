"""The second step of a sign-in, and a new proof in a session: what the person answers, and where it is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ..errors import ConfigurationError, InsufficientAuthentication, SecondFactorRequired, Unavailable
from ..forking import ProcessLock
from .answers import Answer
from .endpoints import ServiceEndpoints
from .flight import Flight
from .renewal import Renewals
from .session import StoredSession
from .tokens import StoredTokens

ASKING_S = 300.0
"""Seconds that a person has to prove again who they are."""
PROOFS = ("password", "code", "recoveryCode")
PASSKEY_OPTIONS = "/login/passkey/options"
UsePasskey = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Has an authenticator use a passkey, and may take as long as the person needs: it runs in a thread of its own.

It gets the options and returns the answer as JSON (WebAuthn Level 3 §5.1.10, `PublicKeyCredentialRequestOptionsJSON` and
`AuthenticationResponseJSON`). The authenticator's client must check that the service may use the passkey, as a browser does.
"""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What a person answers when they are asked to prove who they are: one of these.

    Attributes:
        password: Their password; accepted if the account has no second factor.
        code: Six digits of their authenticator app.
        recovery_code: One of their recovery codes.
        passkey: A function that has an authenticator use a passkey.
        recorded: True if an application has asked its own user, and its server has recorded the proof (`sessions.step_up`). The
            client then only renews the tokens.
    """

    password: str = ""
    code: str = ""
    recovery_code: str = ""
    passkey: UsePasskey | None = None
    recorded: bool = False

    def __repr__(self) -> str:
        return "Proof(****)"

    def body(self, begin: Callable[[], Answer]) -> dict[str, object]:
        """Return it as the service takes it.

        Args:
            begin: Asks the service for the options of a passkey.

        Raises:
            ConfigurationError: There is not exactly one.
        """
        values = zip(PROOFS, (self.password, self.code, self.recovery_code), strict=True)
        given: dict[str, object] = {name: value for name, value in values if value}
        if len(given) + (self.passkey is not None) != 1 or self.recorded:
            raise ConfigurationError("A proof is one of password, code, recovery_code and passkey, or recorded for a session.")
        return given if self.passkey is None else use_passkey(self.passkey, begin())


AskProof = Callable[[InsufficientAuthentication], Proof | None]
"""Asks the person, and may take as long as they need: it runs in a thread of its own. None if they will not."""


def complete(service: ServiceEndpoints, session: StoredSession, needed: SecondFactorRequired, proof: Proof) -> None:
    """Send the second step of a sign-in, and store the tokens of the new session."""
    bound = {"challenge": needed.challenge, "ticket": needed.browser}
    body = {**proof.body(lambda: service.call("POST", PASSKEY_OPTIONS, bound)), **bound}
    session.begin(lambda former: service.second_factor(body, former=former))


def sign_in_with_passkey(service: ServiceEndpoints, session: StoredSession, use: UsePasskey) -> None:
    """Sign in with a passkey alone, and store the tokens of the new session."""
    used = use_passkey(use, service.call("POST", PASSKEY_OPTIONS, {}))
    body = {"challenge": used.pop("passkeyChallenge"), **used}
    session.begin(lambda _: service.sign_in("/login/passkey", body))


def use_passkey(use: UsePasskey, begun: Answer) -> dict[str, object]:
    """Return what proves a passkey, by the options that the service has answered."""
    try:
        options = msgspec.json.decode(begun.body, type=_PasskeyOptions)
    except msgspec.MsgspecError:
        raise Unavailable(f"{begun.url} answered with something else than options") from None
    return {"passkey": dict(use(options.public_key)), "passkeyChallenge": options.challenge, "ticket": options.ticket}


class _PasskeyOptions(msgspec.Struct, frozen=True, rename="camel"):
    challenge: str
    public_key: dict[str, Any]
    ticket: str = ""


class StepUps:
    """Proves again who the person of a session is: once, however many requests need it."""

    def __init__(self, session: StoredSession, renewals: Renewals, ask: AskProof | None) -> None:
        """Ask the person with `ask`, if it is there."""
        self._session = session
        self._renewals = renewals
        self._ask = ask
        self._lock = ProcessLock()
        self._flights: dict[str, Flight[StoredTokens | None]] = {}

    def join(self, tokens: StoredTokens, needed: InsufficientAuthentication) -> Flight[StoredTokens | None] | None:
        """Return the proof that is under way for these tokens, or begin one; None if nobody can be asked.

        Its result is the tokens that carry the new proof, None if the person has not given one.
        """
        ask = self._ask
        if ask is None:
            return None
        with self._lock:
            flight = self._flights.get(tokens.session_id)
            if flight is None or flight.is_done:
                flight = self._flights[tokens.session_id] = Flight(lambda: self._prove(tokens, needed, ask), daemon=True)
            return flight

    def prove(self, proof: Proof) -> None:
        """Send a proof, unless the application has recorded it, and renew the tokens so that they carry it."""
        if proof != Proof(recorded=True):
            body = proof.body(lambda: self._session.call("POST", PASSKEY_OPTIONS, {}))
            self._session.call("POST", "/login/step-up", body)
        self._renewals.join(self._renewals.current()).wait(self._renewals.patience_s)

    def _prove(self, tokens: StoredTokens, needed: InsufficientAuthentication, ask: AskProof) -> StoredTokens | None:
        proof = ask(needed)
        if proof is None:
            return None
        self.prove(proof)
        renewed = self._renewals.current()
        return renewed if renewed.session_id == tokens.session_id else None
