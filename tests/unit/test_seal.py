"""The master secret: only it decrypts what it has encrypted, and derived keys reveal nothing about it."""

from __future__ import annotations

import pytest

from handstamp.crypto.seal import MasterSecret, Pseudonyms
from handstamp.errors import ConfigurationError

TEXT = b"kJ8v_Zq3Wm1xT7yB4nR0pL6sD9fG2hCa"
SECRET = MasterSecret(TEXT)
OTHER = MasterSecret(TEXT[::-1])
PLAIN = b"the private part of a signing key"


def test_sealed_data_can_be_opened() -> None:
    """Every byte is preserved, for an empty text and for a long one too."""
    for plain in (PLAIN, b"", bytes(range(256)) * 40):
        assert SECRET.open(SECRET.seal(plain, context="kid"), context="kid") == plain


def test_another_process_can_open_it() -> None:
    """Only the secret is needed, because the key is derived and not stored."""
    assert MasterSecret(bytes(TEXT)).open(SECRET.seal(PLAIN, context="kid"), context="kid") == PLAIN


def test_a_wrong_secret_is_explained() -> None:
    """The database is useless without its secret, and the error names the setting."""
    with pytest.raises(ConfigurationError, match="HANDSTAMP_SECRET"):
        OTHER.open(SECRET.seal(PLAIN, context="kid"), context="kid")


@pytest.mark.parametrize("context", ["", "kid2", "KID", "kid "])
def test_data_sealed_for_one_key_cannot_be_opened_as_another(context: str) -> None:
    """Rows of the key table cannot be swapped, because the key id is authenticated."""
    with pytest.raises(ConfigurationError):
        SECRET.open(SECRET.seal(PLAIN, context="kid"), context=context)


@pytest.mark.parametrize("position", [0, 1, 12, 13, 20, -17, -16, -1])
@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_one_changed_bit_is_detected(position: int, bit: int) -> None:
    """The version, the nonce, the ciphertext and the tag are all authenticated."""
    sealed = bytearray(SECRET.seal(PLAIN, context="kid"))
    sealed[position] ^= bit
    with pytest.raises(ConfigurationError):
        SECRET.open(bytes(sealed), context="kid")


@pytest.mark.parametrize("length", [0, 1, 2, 12, 13, 28, -1])
def test_a_shortened_seal_is_refused(length: int) -> None:
    """A shortened text is refused with the same message as a wrong one, even if it is cut within the nonce."""
    with pytest.raises(ConfigurationError):
        SECRET.open(SECRET.seal(PLAIN, context="kid")[:length], context="kid")


def test_a_lengthened_seal_is_refused() -> None:
    """Added bytes are refused too."""
    with pytest.raises(ConfigurationError):
        SECRET.open(SECRET.seal(PLAIN, context="kid") + b"\x00", context="kid")


def test_seals_are_randomised() -> None:
    """Two ciphertexts of one plaintext have nothing in common, and do not contain it."""
    seals = {SECRET.seal(PLAIN, context="kid") for _ in range(200)}
    assert len(seals) == 200
    assert len({sealed[1:13] for sealed in seals}) == 200
    assert all(PLAIN not in sealed and TEXT not in sealed for sealed in seals)


@pytest.mark.parametrize(
    "weak",
    [
        b"",
        b"secret",
        TEXT[:31],
        b"a" * 32,
        b"a" * 1000,
        b"abcabcabcabcabcabcabcabcabcabcabcabc",
        b"0123456789" * 4,
        b"changeme" * 8,
        b"passwordpasswordpasswordpassword",
    ],
)
def test_a_weak_secret_is_refused_with_a_hint(weak: bytes) -> None:
    """Short and repetitive secrets stop the start. The message says what to do and does not contain the secret (R28)."""
    with pytest.raises(ConfigurationError, match="python3 -c") as refused:
        MasterSecret(weak)
    assert len(weak) < 12 or weak.decode() not in str(refused.value)


@pytest.mark.parametrize(
    "good",
    [
        TEXT,
        bytes(range(60, 92)),
        b"ab5db0f2d41d46250db71d87402184d31e3ceee7ff8a3b8f9030d26327ec0654",
        b"correct horse battery staple, twice a day",
    ],
)
def test_a_varied_secret_of_32_bytes_is_accepted(good: bytes) -> None:
    """Raw bytes, hexadecimal digits or a long sentence are accepted."""
    assert MasterSecret(good).derive("x") != MasterSecret(TEXT + b"!").derive("x")


def test_generated_secrets_are_strong_and_never_the_same() -> None:
    """The secret that the first start writes has 256 bits and is accepted."""
    made = {MasterSecret.generate_text() for _ in range(200)}
    assert len(made) == 200
    for text in made:
        MasterSecret(text.encode())
        assert len(text) == 43
        assert text.isascii()


def test_purposes_have_independent_keys() -> None:
    """Each purpose has its own 32 bytes, the same in every process."""
    derived = {purpose: SECRET.derive(purpose) for purpose in ("seal v1", "refresh token v1", "pseudonyms v1", "")}
    assert len(set(derived.values())) == 4
    assert all(len(value) == 32 for value in derived.values())
    assert derived == {purpose: MasterSecret(bytes(TEXT)).derive(purpose) for purpose in derived}
    assert SECRET.derive("seal v1") != OTHER.derive("seal v1")


def test_the_refresh_key_is_derived_from_the_secret() -> None:
    """All processes derive the same refresh key; its id has a prefix and does not reveal the key (R22, T19)."""
    key, again, other = SECRET.derive_refresh_key(), MasterSecret(bytes(TEXT)).derive_refresh_key(), OTHER.derive_refresh_key()
    assert (key.kid, key.algorithm) == (again.kid, "HS256")
    assert key.sign(b"x") == again.sign(b"x") != other.sign(b"x")
    assert key.kid.startswith("rt-")
    assert key.kid != other.kid


def test_a_previous_secret_still_opens_what_it_sealed() -> None:
    """While the secret is changed nothing is lost: old seals open, new ones are of the new secret alone."""
    both = OTHER.beside([SECRET])
    old = SECRET.seal(PLAIN, context="kid")
    assert both.open(old, context="kid") == PLAIN
    assert not both.has_sealed(old, context="kid")
    new = both.seal(PLAIN, context="kid")
    assert both.has_sealed(new, context="kid")
    assert OTHER.open(new, context="kid") == PLAIN
    with pytest.raises(ConfigurationError):
        SECRET.open(new, context="kid")


def test_refresh_tokens_of_a_previous_secret_are_verified_and_no_longer_signed() -> None:
    """The set of verifying keys has one for each secret; the signing key is that of the current one."""
    both = OTHER.beside([SECRET, OTHER])
    assert both.derive_refresh_key().kid == OTHER.derive_refresh_key().kid
    keys = both.derive_refresh_keys()
    assert len(keys) == 2
    for secret in (SECRET, OTHER):
        key = secret.derive_refresh_key()
        found = keys.find(key.kid)
        assert found is not None
        assert found.verifies(b"x", key.sign(b"x"))


def test_nothing_shows_the_secret() -> None:
    """Neither `repr` nor `str` contains the secret or a derived key (R32)."""
    key = SECRET.derive_refresh_key()
    shown = f"{SECRET!r} {SECRET} {key!r} {key.public!r} {Pseudonyms(SECRET)!r}"
    assert TEXT.decode() not in shown
    assert key.to_bytes().hex() not in shown
    assert repr(key.to_bytes())[2:-1] not in shown


def test_pseudonyms_are_equal_for_equal_parts_alone() -> None:
    """Equal parts have equal names; joined or split parts have different ones."""
    names = Pseudonyms(SECRET)
    assert names.make("pair", "ada@example.com", "192.0.2.1") == names.make("pair", "ada@example.com", "192.0.2.1")
    different = {
        names.make("pair", "ada@example.com", "192.0.2.1"),
        names.make("pair", "ada@example.com192.0.2.1"),
        names.make("pair", "ada@example.com", "192.0.2", ".1"),
        names.make("account", "ada@example.com"),
        names.make("network", "ada@example.com"),
        Pseudonyms(OTHER).make("account", "ada@example.com"),
    }
    assert len(different) == 6
    assert not any("ada" in name for name in different)
