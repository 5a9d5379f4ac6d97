"""The ceremonies of passkeys (Web Authentication Level 3). The only file that uses the library `webauthn`.

The library takes a third of a second to import, so that is done at the first ceremony. It judges on a thread: strangers choose
what it parses. What it sees is bounded first: a thread that decodes CBOR lets no other one run.
"""

from __future__ import annotations

import asyncio
import functools
import hmac
import json
import re
import secrets
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, TypeVar

import msgspec

from ..domain.issuer import Issuer
from ..domain.passkey import Passkey
from ..errors import InvalidPasskey
from .cbor import require_plain, require_plain_authenticator_data
from .cose import require_known_key
from .seal import MasterSecret
from .strict import base64url_decode, base64url_encode

T = TypeVar("T")
CHALLENGE_BYTES = 32
TIMEOUT_MS = 300_000
MAX_ANSWER = 16 * 1024
"""Characters of an answer as JSON. Those of real authenticators have one to three thousand."""
MAX_ID_BYTES = 1023
"""Bytes of a credential id (Web Authentication Level 3 §4)."""
ALGORITHMS = (-8, -7, -257)
"""EdDSA, ES256 and RS256 (RFC 9053), the best first."""
_FORMATS = frozenset({"none", "packed"})
"""Attestation is not asked for. Others, and `packed` with x5c, bring certificates of the client's choice to be parsed."""
_TRANSPORT = re.compile(r"[a-z-]{1,16}", re.ASCII)
_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{-(-4 * MAX_ID_BYTES // 3)}}}", re.ASCII)


class NewPasskey(msgspec.Struct, frozen=True):
    """What an authenticator has made. Fields are those of `Passkey`."""

    id: str
    public_key: bytes
    sign_count: int
    aaguid: str
    transports: tuple[str, ...]
    is_backed_up: bool
    is_verified: bool


class Signed(msgspec.Struct, frozen=True):
    """What an authenticator has signed."""

    sign_count: int
    is_backed_up: bool
    is_verified: bool


class Passkeys:
    """Writes the options of ceremonies, and judges their answers, for one service."""

    def __init__(self, issuer: Issuer, origins: Sequence[str], secret: MasterSecret, *, service_name: str) -> None:
        """Create it.

        Args:
            issuer: Its host is the id of the relying party. Passkeys are made for it, and are of no use on another one.
            origins: Other origins whose pages may run ceremonies (related origins, Web Authentication Level 3 §5.11).
            secret: Makes user handles.
            service_name: What authenticators call the service.
        """
        self.rp_id: str = issuer.host
        self.related: tuple[str, ...] = tuple(origin for origin in origins if origin.startswith("https://"))
        self._origins = [issuer.origin, *origins]  # also http, which browsers allow on localhost alone
        self._handles = secret.derive("passkey user handle v1")
        self._name = service_name

    @staticmethod
    def generate_challenge() -> str:
        """Return 256 random bits as URL-safe text."""
        return base64url_encode(secrets.token_bytes(CHALLENGE_BYTES))

    def make_handle(self, account_id: str) -> str:
        """Return the user handle of an account as URL-safe text: 32 bytes that reveal nothing (WebAuthn Level 3 §14.6.1).

        It is always the same, so that two passkeys that are made at once have one, and that browsers can be told that the last
        passkey is gone. Another master secret makes another one, for accounts without a passkey.
        """
        return base64url_encode(hmac.digest(self._handles, account_id.encode(), "sha256"))

    def write_creation(self, challenge: str, handle: str, email: str, name: str, known: Sequence[Passkey]) -> dict[str, Any]:
        """Return the options for making a passkey, as `PublicKeyCredential.parseCreationOptionsFromJSON` takes them.

        Args:
            challenge: What the authenticator is to sign.
            handle: The user handle of the account.
            email: What the authenticator shows beside the passkey.
            name: The name of the person, "" if unknown.
            known: The passkeys of the account: an authenticator that holds one makes no second.
        """
        return {
            "rp": {"id": self.rp_id, "name": self._name},
            "user": {"id": handle, "name": email, "displayName": name or email},
            "challenge": challenge,
            "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in ALGORITHMS],
            "timeout": TIMEOUT_MS,
            "excludeCredentials": [_describe(each) for each in known],
            "authenticatorSelection": {
                "residentKey": "required",
                "requireResidentKey": True,
                "userVerification": "preferred",
            },
            "attestation": "none",
        }

    def write_request(self, challenge: str, allowed: Sequence[Passkey] | None) -> dict[str, Any]:
        """Return the options for using a passkey, as `PublicKeyCredential.parseRequestOptionsFromJSON` takes them.

        Args:
            challenge: What the authenticator is to sign.
            allowed: The passkeys of the account; None to sign in with any that the person chooses, which is then verified.
        """
        return {
            "challenge": challenge,
            "timeout": TIMEOUT_MS,
            "rpId": self.rp_id,
            "allowCredentials": [_describe(each) for each in allowed or ()],
            "userVerification": "required" if allowed is None else "preferred",
        }

    async def read_creation(self, answer: str, challenge: str, *, may_be_silent: bool = False) -> NewPasskey:
        """Return the passkey that an authenticator has made.

        Args:
            answer: What the browser returned, as JSON.
            challenge: What was to be signed.
            may_be_silent: True if the browser made it by itself after a sign-in, without a gesture (conditional create).

        Raises:
            InvalidPasskey: If it is not accepted.
        """
        _require_bounded(answer)
        return await _judge(lambda: self._read_creation(answer, challenge, may_be_silent=may_be_silent))

    async def read_request(self, answer: str, challenge: str, passkey: Passkey, *, needs_verification: bool) -> Signed:
        """Return what an authenticator has signed.

        Args:
            answer: What the browser returned, as JSON.
            challenge: What was to be signed.
            passkey: The passkey that `find_id` names.
            needs_verification: Whether the authenticator must have verified the person, by a fingerprint or a PIN.

        Raises:
            InvalidPasskey: If it is not accepted. The caller compares the counter, in the transaction that stores it.
        """
        _require_bounded(answer)
        return await _judge(lambda: self._read_request(answer, challenge, passkey, needs_verification=needs_verification))

    def _read_creation(self, answer: str, challenge: str, *, may_be_silent: bool) -> NewPasskey:
        from webauthn import verify_registration_response  # noqa: PLC0415 - see the file
        from webauthn.helpers import parse_authenticator_data, parse_cbor  # noqa: PLC0415
        from webauthn.helpers.cose import COSEAlgorithmIdentifier  # noqa: PLC0415

        parsed = _parse(answer)
        response = parsed["response"]
        attestation = base64url_decode(response["attestationObject"])
        require_plain(attestation)
        parts = parse_cbor(attestation)
        require_plain_authenticator_data(parts["authData"])
        if parts["fmt"] not in _FORMATS or "x5c" in parts["attStmt"]:
            raise InvalidPasskey("refused", why="an attestation that was not asked for")
        attested = parse_authenticator_data(parts["authData"]).attested_credential_data
        if attested is None or len(attested.credential_id) > MAX_ID_BYTES:
            raise InvalidPasskey("refused", why="no credential, or a long id")
        require_known_key(parse_cbor(attested.credential_public_key))
        made = verify_registration_response(
            credential=parsed,
            expected_challenge=base64url_decode(challenge),
            expected_rp_id=self.rp_id,
            expected_origin=self._origins,
            require_user_presence=not may_be_silent,
            supported_pub_key_algs=[COSEAlgorithmIdentifier(algorithm) for algorithm in ALGORITHMS],
        )
        sent = response.get("transports")
        transports = [each for each in sent[:8] if isinstance(each, str) and _TRANSPORT.fullmatch(each)] if sent else []
        return NewPasskey(
            base64url_encode(made.credential_id),
            made.credential_public_key,
            made.sign_count,
            made.aaguid,
            tuple(transports),
            made.credential_backed_up,
            made.user_verified,
        )

    def _read_request(self, answer: str, challenge: str, passkey: Passkey, *, needs_verification: bool) -> Signed:
        from webauthn import verify_authentication_response  # noqa: PLC0415 - see the file

        parsed = _parse(answer)
        handle = parsed["response"].get("userHandle")
        if handle != passkey.handle and (handle or needs_verification):  # one that signs in alone names its account (§7.2)
            raise InvalidPasskey("refused", why="another user handle")
        require_plain_authenticator_data(base64url_decode(parsed["response"]["authenticatorData"]))
        signed = verify_authentication_response(
            credential=parsed,
            expected_challenge=base64url_decode(challenge),
            expected_rp_id=self.rp_id,
            expected_origin=self._origins,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=0,
            require_user_verification=needs_verification,
        )
        return Signed(signed.new_sign_count, signed.credential_backed_up, signed.user_verified)


@functools.cache
def _models() -> dict[str, str]:
    lines = files(__package__).joinpath("passkey_models.txt").read_text("utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines if not line.startswith("#"))


def name_model(aaguid: str) -> str:
    """Return what people call the model of an authenticator, such as "iCloud Keychain"; "" if it is not in our list."""
    return _models().get(aaguid, "")


def find_id(answer: str) -> str:
    """Return the credential id of an answer, as the client says. Raises `InvalidPasskey` if it is none."""
    _require_bounded(answer)
    try:
        parsed = json.loads(answer)
    except (ValueError, RecursionError):  # forms bring it as it was typed
        raise InvalidPasskey("refused") from None
    found = parsed.get("id") if isinstance(parsed, dict) else None
    if not isinstance(found, str) or _ID.fullmatch(found) is None:
        raise InvalidPasskey("refused")
    return found


async def _judge(work: Callable[[], T]) -> T:
    """Run `work` on a thread. Whatever the library raises about an answer means that it is not accepted."""

    def run() -> T:
        try:
            return work()
        except (InvalidPasskey, MemoryError):
            raise
        except Exception as problem:  # noqa: BLE001 - a dozen classes, of the library and of those below it
            raise InvalidPasskey("refused", why=f"{type(problem).__name__}: {problem}") from None

    return await asyncio.to_thread(run)


def _parse(answer: str) -> dict[str, Any]:
    """Return an answer as the library takes it. A ceremony within a frame of another site is refused."""
    parsed = json.loads(answer)
    if not isinstance(parsed, dict) or not isinstance(parsed.get("response"), dict):
        raise InvalidPasskey("refused")
    client_data = parsed["response"].get("clientDataJSON")
    if not isinstance(client_data, str) or json.loads(base64url_decode(client_data)).get("crossOrigin") not in (None, False):
        raise InvalidPasskey("refused")
    return parsed


def _require_bounded(answer: str) -> None:
    if len(answer) > MAX_ANSWER:
        raise InvalidPasskey("refused")


def _describe(passkey: Passkey) -> dict[str, Any]:
    described: dict[str, Any] = {"type": "public-key", "id": passkey.id}
    return described | {"transports": list(passkey.transports)} if passkey.transports else described
