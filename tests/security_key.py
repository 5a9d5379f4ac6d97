"""A security key in software that speaks CTAP 2. `fido2.client.Fido2Client` makes the ceremonies with it, as a browser does."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2 import cbor
from fido2.client import DefaultClientDataCollector, Fido2Client
from fido2.cose import ES256, CoseKey
from fido2.ctap import STATUS, CtapDevice, CtapError
from fido2.ctap2.base import Ctap2
from fido2.hid import CAPABILITY, CTAPHID
from fido2.webauthn import Aaguid, AttestedCredentialData, AuthenticatorData

_FLAG = AuthenticatorData.FLAG
_ES256: type[CoseKey] = ES256
_ECDSA = ec.ECDSA(SHA256())
Asked = Mapping[int, Any]


class _Credential(NamedTuple):
    """A passkey on the key, with the id of its service and the handle of its user."""

    rp_id: str
    user: bytes
    key: ec.EllipticCurvePrivateKey


class SecurityKey(CtapDevice):
    """Holds passkeys and counts their uses. It is touched at once; with `verifies` it also looks at a finger."""

    def __init__(self, *, verifies: bool) -> None:
        """Make a key without a passkey."""
        self.verifies = verifies
        self.count = 0
        self._credentials: dict[bytes, _Credential] = {}

    def client(self, origin: str, *, checks_domain: bool = True) -> Fido2Client:
        """Return a browser that shows a page of `origin`. With `checks_domain=False` it makes ceremonies for other domains."""
        options: dict[str, Any] = {} if checks_domain else {"verify": lambda *_: True}
        return Fido2Client(self, DefaultClientDataCollector(origin, **options))

    @property
    def capabilities(self) -> int:
        """Say that it speaks CTAP 2."""
        return CAPABILITY.CBOR

    @classmethod
    def list_devices(cls) -> Iterator[CtapDevice]:
        """Find none: a test makes its own."""
        return iter(())

    def call(
        self,
        cmd: int,
        data: bytes = b"",
        event: threading.Event | None = None,  # noqa: ARG002 - as `CtapDevice`
        on_keepalive: Callable[[STATUS], None] | None = None,  # noqa: ARG002
    ) -> bytes:
        """Carry out a command (CTAP 2.1 §6)."""
        assert cmd == CTAPHID.CBOR
        commands: dict[Ctap2.CMD, Callable[[Any], dict[int, Any]]] = {
            Ctap2.CMD.GET_INFO: self._describe,
            Ctap2.CMD.MAKE_CREDENTIAL: self._make,
            Ctap2.CMD.GET_ASSERTION: self._assert,
        }
        try:
            return b"\0" + cbor.encode(commands[Ctap2.CMD(data[0])](cbor.decode(data[1:]) if data[1:] else {}))
        except CtapError as error:
            return bytes([error.code])

    def _describe(self, _: Asked) -> dict[int, Any]:
        options = {"rk": True, "up": True} | ({"uv": True} if self.verifies else {})
        return {1: ["FIDO_2_0"], 3: bytes(Aaguid.NONE), 4: options, 6: [2]}

    def _make(self, asked: Asked) -> dict[int, Any]:
        """Make a passkey, and attest it with itself (Web Authentication Level 3 §8.2)."""
        rp_id = asked[2]["id"]
        if self._find(rp_id, asked.get(5)):
            raise CtapError(CtapError.ERR.CREDENTIAL_EXCLUDED)
        assert {"type": "public-key", "alg": ES256.ALGORITHM} in asked[4]
        assert asked[7]["rk"]
        name, key = secrets.token_bytes(32), ec.generate_private_key(ec.SECP256R1())
        self._credentials[name] = _Credential(rp_id, asked[3]["id"], key)
        attested = AttestedCredentialData.create(Aaguid.NONE, name, _ES256.from_cryptography_key(key.public_key()))
        data = self._write(rp_id, asked[7], attested)
        return {1: "packed", 2: data, 3: {"alg": ES256.ALGORITHM, "sig": key.sign(data + asked[1], _ECDSA)}}

    def _assert(self, asked: Asked) -> dict[int, Any]:
        found = self._find(asked[1], asked.get(3, None) or list(map(_describe, self._credentials)))
        if not found:
            raise CtapError(CtapError.ERR.NO_CREDENTIALS)
        credential = self._credentials[found[0]]
        data = self._write(asked[1], asked.get(5, {}))
        return {
            1: _describe(found[0]),
            2: data,
            3: credential.key.sign(data + asked[2], _ECDSA),
            4: {"id": credential.user},
        }

    def _find(self, rp_id: str, named: list[dict[str, Any]] | None) -> list[bytes]:
        """Return the ids of those of the named passkeys that are here."""
        held = self._credentials
        return [each["id"] for each in named or () if each["id"] in held and held[each["id"]].rp_id == rp_id]

    def _write(self, rp_id: str, options: Mapping[str, bool], attested: AttestedCredentialData | None = None) -> bytes:
        """Return the authenticator data."""
        self.count += 1
        flags = _FLAG.UP if options.get("up", True) else _FLAG(0)
        flags |= _FLAG.UV if options.get("uv") else _FLAG(0)
        flags |= _FLAG.AT if attested else _FLAG(0)
        return bytes(AuthenticatorData.create(hashlib.sha256(rp_id.encode()).digest(), flags, self.count, attested or b""))


def _describe(name: bytes) -> dict[str, Any]:
    return {"id": name, "type": "public-key"}
