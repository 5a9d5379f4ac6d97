"""Public keys of passkeys (COSE_Key, RFC 9052 §7, RFC 9053 §7): which ones are accepted.

The key is of the client's choice. Verifying with an RSA key of a large exponent takes ten milliseconds, and a key that is no
point of its curve would be stored as a factor that never works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

_COORDINATE_BYTES = 32
_RSA_BITS = range(2048, 4097)
_RSA_EXPONENTS = range(65537, 1 << 32, 2)


def require_known_key(key: Mapping[Any, Any]) -> None:
    """Check a decoded key: Ed25519, a point of P-256, or RSA of 2048 to 4096 bits with a small exponent.

    Members are the key type, the algorithm, and the parameters. Others are not allowed (Web Authentication Level 3 §6.5.1.1).

    Raises:
        ValueError: If it is another one, or malformed.
    """
    match key:
        case {1: 1, 3: -8, -1: 6, -2: bytes(point)} if len(key) == 4:
            Ed25519PublicKey.from_public_bytes(point)
        case {1: 2, 3: -7, -1: 1, -2: bytes(x), -3: bytes(y)} if len(key) == 5 and len(x) == len(y) == _COORDINATE_BYTES:
            EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), SECP256R1()).public_key()
        case {1: 3, 3: -257, -1: bytes(n), -2: bytes(e)} if len(key) == 4:
            modulus, exponent = int.from_bytes(n), int.from_bytes(e)
            if modulus.bit_length() not in _RSA_BITS or modulus % 2 == 0 or exponent not in _RSA_EXPONENTS:
                raise ValueError("COSE: an RSA key of another size")
            RSAPublicNumbers(exponent, modulus).public_key()
        case _:
            raise ValueError("COSE: a key of another type")
