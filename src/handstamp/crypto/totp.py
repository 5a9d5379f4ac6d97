"""Time-based one-time passwords (RFC 6238), as authenticator apps make them: six digits, SHA-1, a step of 30 seconds.

`pyotp` computes the codes. It is imported when the first one is needed. Nothing that a client sends reaches it.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets

from ..domain.totp import DIGITS, STEP_MS, WINDOW
from ..errors import ConfigurationError, InvalidToken
from .seal import MasterSecret
from .strict import base64url_decode, base64url_encode

SECRET_BYTES = 20
"""160 bits, the length that RFC 4226 §4 recommends."""
_CODE = re.compile(rf"[0-9]{{{DIGITS}}}", re.ASCII)
_GROUP = 4


class TotpSecrets:
    """Makes secrets, and seals them with the master secret, each for its account."""

    __slots__ = ("_secret",)

    def __init__(self, secret: MasterSecret) -> None:
        self._secret = secret

    @staticmethod
    def generate() -> bytes:
        """Return a new secret."""
        return secrets.token_bytes(SECRET_BYTES)

    def seal(self, plain: bytes, account_id: str) -> bytes:
        """Return a secret, sealed for the row of an account."""
        return self._secret.seal(plain, context=f"totp {account_id}")

    def open(self, sealed: bytes, account_id: str) -> bytes:
        """Return the secret of an account's row, also if a previous master secret has sealed it.

        Raises:
            ConfigurationError: If none of the master secrets opens it.
        """
        return self._secret.open(sealed, context=f"totp {account_id}")

    def is_current(self, sealed: bytes, account_id: str) -> bool:
        """Return whether the current master secret has sealed it, and not a previous one."""
        return self._secret.has_sealed(sealed, context=f"totp {account_id}")

    def seal_enrolment(self, plain: bytes, account_id: str, holder: str, expires_at_ms: int) -> str:
        """Return a secret that is not confirmed yet, as a text for the client to send back.

        Args:
            plain: The secret.
            account_id: The account.
            holder: The session or the attempt that begins the enrolment, which alone can end it.
            expires_at_ms: When it is too late to confirm it, in milliseconds since 1970.
        """
        text = expires_at_ms.to_bytes(8) + plain
        return base64url_encode(self._secret.seal(text, context=f"totp enrolment {account_id} {holder}"))

    def open_enrolment(self, sealed: str, account_id: str, holder: str, now_ms: int) -> bytes | None:
        """Return the secret of an enrolment; None if it has expired, or was not begun by this account and this holder."""
        try:
            text = self._secret.open(base64url_decode(sealed), context=f"totp enrolment {account_id} {holder}")
        except (InvalidToken, ValueError, ConfigurationError):
            return None
        return text[8:] if now_ms < int.from_bytes(text[:8]) else None


def find_steps(secret: bytes, code: str, now_ms: int) -> tuple[int, ...]:
    """Return the steps around now whose code this is, oldest first; none if the code is wrong or has no six ASCII digits.

    The time that it takes does not depend on the digits.

    Args:
        secret: The secret of the account, not sealed.
        code: The digits, without white space.
        now_ms: Milliseconds since 1970.
    """
    if _CODE.fullmatch(code) is None:
        return ()
    now = now_ms // STEP_MS
    steps = range(max(0, now - WINDOW), now + WINDOW + 1)
    return tuple(step for step in steps if hmac.compare_digest(make_code(secret, step), code))


def make_code(secret: bytes, step: int) -> str:
    """Return the six digits of a step, which is a number of 30 seconds since 1970."""
    from pyotp import TOTP  # noqa: PLC0415 - see the module

    return TOTP(write_base32(secret), digits=DIGITS, interval=STEP_MS // 1000).generate_otp(step)


def write_base32(secret: bytes) -> str:
    """Return a secret as apps take it: base32 without padding."""
    return base64.b32encode(secret).decode().rstrip("=")


def group(text: str) -> str:
    """Return a text in groups of four characters, for people who type it."""
    return " ".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def write_uri(secret: bytes, *, account: str, issuer: str) -> str:
    """Return the `otpauth` URI that a QR code holds (the key URI format of Google Authenticator).

    Args:
        secret: The secret, not sealed.
        account: The name of the account, such as its address.
        issuer: The name of the service. A colon would end it, so it is left out.
    """
    from pyotp import TOTP  # noqa: PLC0415 - see the module

    made = TOTP(write_base32(secret), digits=DIGITS, interval=STEP_MS // 1000)
    return made.provisioning_uri(name=account.replace(":", ""), issuer_name=issuer.replace(":", ""))
