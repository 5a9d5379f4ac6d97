"""An authenticator in software. Its ceremonies are made by `fido2`, not by the library that judges them."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2.cose import ES256
from fido2.webauthn import (
    Aaguid,
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
)

ONE_PASSWORD = "bada5566-a7aa-401f-bd96-45619a55120d"
_FLAG = AuthenticatorData.FLAG


def encode(data: bytes) -> str:
    """Return URL-safe text."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes of URL-safe text."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Authenticator:
    """Holds one passkey, which it makes for one service."""

    def __init__(self, origin: str, *, counts: bool = False, aaguid: str = ONE_PASSWORD) -> None:
        """Make ceremonies for a page of an origin. A hardware key counts; a synced passkey does not."""
        self.origin = origin
        self.counts = counts
        self.aaguid = aaguid
        self.id = secrets.token_bytes(32)
        self.handle = ""
        self.count = 0
        self._key = ec.generate_private_key(ec.SECP256R1())

    def make(self, options: dict[str, Any], *, verified: bool = True, present: bool = True, **client: Any) -> dict[str, Any]:
        """Return what a browser returns for creation options."""
        self.handle = options["user"]["id"]
        data = AuthenticatorData.create(
            self._hash(options["rp"]["id"]),
            self._flags(verified=verified, present=present) | _FLAG.AT,
            self._next(),
            AttestedCredentialData.create(
                Aaguid.parse(self.aaguid),
                self.id,
                ES256.from_cryptography_key(self._key.public_key()),  # type: ignore[no-untyped-call]
            ),
        )
        response = {
            "clientDataJSON": encode(self._client_data("webauthn.create", options, client)),
            "attestationObject": encode(bytes(AttestationObject.create("none", data, {}))),
            "transports": ["internal", "hybrid"],
        }
        return self._credential(response)

    def use(self, options: dict[str, Any], *, verified: bool = True, present: bool = True, **client: Any) -> dict[str, Any]:
        """Return what a browser returns for request options."""
        data = AuthenticatorData.create(
            self._hash(options["rpId"]), self._flags(verified=verified, present=present), self._next()
        )
        signed = self._client_data("webauthn.get", options, client)
        signature = self._key.sign(bytes(data) + self._sha256(signed), ec.ECDSA(SHA256()))
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
