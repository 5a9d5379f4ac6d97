"""An authenticator in software, which tests can make lie. Its data is written by `fido2`, not by the library that judges it."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from fido2 import cbor
from fido2.cose import ES256, RS256, CoseKey, EdDSA
from fido2.webauthn import (
    Aaguid,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
)

ONE_PASSWORD = "bada5566-a7aa-401f-bd96-45619a55120d"
_FLAG = AuthenticatorData.FLAG
_KEYS: dict[type[CoseKey], Callable[[], Any]] = {
    ES256: lambda: ec.generate_private_key(ec.SECP256R1()),
    EdDSA: Ed25519PrivateKey.generate,
    RS256: lambda: rsa.generate_private_key(65537, 2048),
}
_HOW: dict[type[CoseKey], tuple[Any, ...]] = {ES256: (ec.ECDSA(SHA256()),), EdDSA: (), RS256: (PKCS1v15(), SHA256())}


def encode(data: bytes) -> str:
    """Return URL-safe text."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes of URL-safe text."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Authenticator:
    """Holds one passkey, which it makes for one service."""

    def __init__(
        self, origin: str, *, counts: bool = False, aaguid: str = ONE_PASSWORD, algorithm: type[CoseKey] = ES256
    ) -> None:
        """Make ceremonies for a page of an origin. A hardware key counts; a synced passkey does not."""
        self.origin = origin
        self.counts = counts
        self.aaguid = aaguid
        self.id = secrets.token_bytes(32)
        self.handle = ""
        self.count = 0
        self._key = _KEYS[algorithm]()
        self.public_key: CoseKey = algorithm.from_cryptography_key(self._key.public_key())

    def make(
        self,
        options: dict[str, Any],
        *,
        verified: bool = True,
        present: bool = True,
        attestation: dict[str, Any] | None = None,
        **client: Any,
    ) -> dict[str, Any]:
        """Return what a browser returns for creation options. `attestation` replaces parts of the attestation object."""
        self.handle = options["user"]["id"]
        data = AuthenticatorData.create(
            self._hash(options["rp"]["id"]),
            self._flags(verified=verified, present=present) | _FLAG.AT,
            self._next(),
            AttestedCredentialData.create(
                Aaguid.parse(self.aaguid),
                self.id,
                self.public_key,
            ),
        )
        parts = {"fmt": "none", "attStmt": {}, "authData": bytes(data)}
        response = {
            "clientDataJSON": encode(self._client_data("webauthn.create", options, client)),
            "attestationObject": encode(cbor.encode(parts | (attestation or {}))),
            "transports": ["internal", "hybrid"],
        }
        return self._credential(response)

    def use(self, options: dict[str, Any], *, verified: bool = True, present: bool = True, **client: Any) -> dict[str, Any]:
        """Return what a browser returns for request options."""
        data = AuthenticatorData.create(
            self._hash(options["rpId"]), self._flags(verified=verified, present=present), self._next()
        )
        signed = self._client_data("webauthn.get", options, client)
        signature = self._key.sign(bytes(data) + self._sha256(signed), *_HOW[type(self.public_key)])
        return self._credential(
            {
                "clientDataJSON": encode(signed),
                "authenticatorData": encode(bytes(data)),
                "signature": encode(signature),
                "userHandle": self.handle,
            }
        )

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        name = encode(self.id)
        return {
            "id": name,
            "rawId": name,
            "type": "public-key",
            "response": response,
            "clientExtensionResults": {},
            "authenticatorAttachment": "platform",
        }

    def _client_data(self, kind: str, options: dict[str, Any], changed: dict[str, Any]) -> bytes:
        data = CollectedClientData.create(kind, decode(options["challenge"]), self.origin)
        return json.dumps(json.loads(bytes(data)) | changed).encode() if changed else bytes(data)

    def _flags(self, *, verified: bool, present: bool) -> _FLAG:
        flags = _FLAG(0) if self.counts else _FLAG.BE | _FLAG.BS
        return flags | (_FLAG.UP if present else _FLAG(0)) | (_FLAG.UV if verified else _FLAG(0))

    def _next(self) -> int:
        self.count += self.counts
        return self.count

    def _hash(self, rp_id: str) -> bytes:
        return self._sha256(rp_id.encode())

    @staticmethod
    def _sha256(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()
