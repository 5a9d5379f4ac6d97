"""What authenticators may write as CBOR, and what never reaches the library that decodes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from webauthn.helpers import encode_cbor, parse_cbor

from handstamp.crypto.cbor import MAX_DEPTH, MAX_ITEMS, require_plain, require_plain_authenticator_data
from handstamp.crypto.passkeys import Passkeys, find_id
from handstamp.crypto.seal import MasterSecret
from handstamp.domain.issuer import Issuer
from handstamp.domain.passkey import Passkey
from handstamp.errors import InvalidPasskey
from tests.authenticator import Authenticator, decode, encode

ISSUER = "https://auth.example.com"
HEADER = bytes(32) + b"\x05" + bytes(4)
WITH_KEY, WITH_EXTENSIONS = bytes(32) + b"\x45" + bytes(4), bytes(32) + b"\x85" + bytes(4)
CREATION: dict[str, Any] = {"rp": {"id": "auth.example.com"}, "user": {"id": encode(b"h" * 32)}, "challenge": encode(b"c" * 32)}
REQUEST = {"rpId": "auth.example.com", "challenge": encode(b"c" * 32)}
SHORT_EDDSA = bytes.fromhex("a301634f4b500327206745643235353139") + b"\x21\x58\x20" + bytes(32)


def shared(levels: int) -> bytes:
    """Return an array of some bytes a level, each with two references to the one before: 2^levels items if they are followed."""
    items = b"\xd8\x1c\x82\x00\x00"
    for level in range(1, levels):
        items += b"\xd8\x1c\x82" + 2 * (b"\xd8\x1d" + encode_cbor(level - 1))
    return (bytes([0x98, levels]) if levels >= 24 else bytes([0x80 + levels])) + items


@pytest.mark.parametrize(
    "value", [{}, {"fmt": "none", "attStmt": {}}, {1: 2, 3: -7, -257: b"x" * 300}, [True, None, [[[1]]]], "ä" * 30]
)
def test_plain_values(value: object) -> None:
    """Maps, arrays, text, bytes, whole numbers, true, false and null."""
    require_plain(encode_cbor(value))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        shared(40),
        b"\xa1" + shared(40) + b"\x00",
        b"\xc2\x49" + b"\xff" * 9,  # a big number
        b"\xd8\x23\x61a",  # a regular expression
        b"\xc5\x82\x1a\x7f\xff\xff\xff\x03",  # 3 * 2^2147483647
        b"\x9f\x01\xff",
        b"\x5f\x41a\xff",
        b"\xff",
        b"\xfb" + bytes(8),
        b"\x1b" + b"\xff" * 8,
        b"\x9a\xff\xff\xff\xff",
        b"\x5a\x7f\xff\xff\xff",
        b"\x18\x01",  # 1, one byte too long
        b"\x19\x00\xff",
        b"\x1a\x00\x00\xff\xff",
        b"\x18",
        b"\x43ab",
        b"\x81" * (MAX_DEPTH + 1) + b"\x00",
        encode_cbor([0] * MAX_ITEMS),
        b"\x00\x00",
    ],
)
def test_other_values(data: bytes) -> None:
    """Tags, floats, open or long forms, too deep, too many, cut off, or with something behind."""
    with pytest.raises(ValueError, match="CBOR"):
        require_plain(data)


@given(st.binary(max_size=40))
@example(b"\xa2\x01\x00\x03\xf5")
def test_the_library_finds_the_same_end(data: bytes) -> None:
    """It takes the length of what it would write. If that were another one, it would decode bytes that were not looked at."""
    try:
        require_plain(data)
        value = parse_cbor(data)
    except Exception:  # noqa: BLE001 - what either refuses is refused
        return
    assert len(encode_cbor(value)) == len(data)


@pytest.mark.parametrize(
    "data",
    [
        HEADER,
        WITH_KEY + bytes(16) + b"\x00\x02id" + encode_cbor({1: 2}),
        WITH_KEY + bytes(16) + b"\x00\x02id" + SHORT_EDDSA,
        WITH_EXTENSIONS + encode_cbor({"credProtect": 2}),
    ],
)
def test_plain_authenticator_data(data: bytes) -> None:
    """With a key, with one that begins wrongly as some authenticators write it, with extensions."""
    require_plain_authenticator_data(data)
    with pytest.raises(ValueError, match="after the values"):
        require_plain_authenticator_data(data + b"\x00")


@pytest.mark.parametrize("data", [HEADER[:-1], WITH_KEY, WITH_KEY + bytes(17), WITH_EXTENSIONS, WITH_EXTENSIONS + shared(40)])
def test_other_authenticator_data(data: bytes) -> None:
    """Cut off anywhere, or with what is not plain."""
    with pytest.raises(ValueError, match=r"CBOR|too short"):
        require_plain_authenticator_data(data)


@pytest.mark.anyio
async def test_shared_values_never_reach_the_library() -> None:
    """Neither as a creation, where it would hash them, nor as the extensions of a use, which it reads before the signature."""
    passkeys, device = (
        Passkeys(Issuer(ISSUER), [], MasterSecret(b"a master secret for the tests of CBOR"), service_name="Example"),
        Authenticator(ISSUER),
    )
    made = device.make(CREATION)
    kept = await passkeys.read_creation(json.dumps(made), CREATION["challenge"])
    passkey = Passkey(
        id=kept.id,
        account_id="a",
        handle=device.handle,
        public_key=kept.public_key,
        sign_count=0,
        name="Phone",
        aaguid=kept.aaguid,
        transports=(),
        is_backed_up=True,
        created_at_ms=0,
        used_at_ms=0,
    )
    used = device.use(REQUEST)
    await passkeys.read_request(json.dumps(used), REQUEST["challenge"], passkey, needs_verification=True)
    made["response"]["attestationObject"] = encode(b"\xa1" + shared(20) + b"\x00")
    with pytest.raises(InvalidPasskey) as creation:
        await passkeys.read_creation(json.dumps(made), CREATION["challenge"])
    signed = decode(used["response"]["authenticatorData"])
    used["response"]["authenticatorData"] = encode(signed[:32] + bytes([signed[32] | 0x80]) + signed[33:] + shared(12))
    with pytest.raises(InvalidPasskey) as request:
        await passkeys.read_request(json.dumps(used), REQUEST["challenge"], passkey, needs_verification=True)
    assert [creation.value.why, request.value.why] == ["ValueError: CBOR: a tag, a float or a break"] * 2


@pytest.mark.parametrize("typed", ["", "rubbish", "[" * 16_000, "[]", '{"id": 7}', '{"id": "a b"}', "7" * 20_000])
def test_forms_may_bring_anything_as_an_answer(typed: str) -> None:
    """It is a passkey that is not accepted, not a fault of the service."""
    with pytest.raises(InvalidPasskey):
        find_id(typed)
