"""Recovery codes: how they are made, read and hashed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handstamp.crypto.recovery_codes import RecoveryCodes, hash_code, normalise_code
from handstamp.crypto.seal import MasterSecret

OLD, NEW = MasterSecret(b"kJ8v_Zq3Wm1xT7yB4nR0pL6sD9fG2hCa"), MasterSecret(b"w3Vt-Yb7Qe9sA1uX5oM2kJ6rH8cN4dZf")
CODES = RecoveryCodes(OLD)


def test_ten_codes_of_120_bits_in_groups() -> None:
    """Six groups of four characters without look-alikes. All are different, and each character has five bits."""
    made = [code for number in range(200) for code in CODES.make("ada-id", f"batch {number}", "a key of the client")]
    assert len(set(made)) == 2000
    assert all(len(code) == 29 and [len(part) for part in code.split("-")] == [4] * 6 for code in made)
    assert set("".join(made)) == set("0123456789abcdefghjkmnpqrstvwxyz-")


def test_the_same_request_gets_the_same_codes() -> None:
    """And no other account, batch, key or master secret does."""
    first = CODES.make("ada-id", "batch", "key")
    assert CODES.make("ada-id", "batch", "key") == first
    others = [
        CODES.make("eve-id", "batch", "key"),
        CODES.make("ada-id", "other", "key"),
        CODES.make("ada-id", "batch", "other"),
        RecoveryCodes(NEW).make("ada-id", "batch", "key"),
    ]
    assert all(set(codes).isdisjoint(first) for codes in others)
    assert first in RecoveryCodes(NEW.beside([OLD])).make_again("ada-id", "batch", "key")


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        lambda code: code.replace("-", ""),
        lambda code: code.replace("-", " "),
        lambda code: code.replace("-", " \u2013 "),
        lambda code: f"  {code}\t",
        lambda code: code.replace("0", "O").replace("1", "l"),
        lambda code: code.replace("0", "o").replace("1", "I"),
    ],
)
def test_a_code_is_read_as_people_type_it(change: object) -> None:
    """In any case, with any gaps, and with look-alikes."""
    assert callable(change)
    for code in CODES.make("ada-id", "batch", "key"):
        assert normalise_code(change(code)) == code.replace("-", "")


@pytest.mark.parametrize(
    "text", ["", "123456", "u" * 24, "0" * 23, "0" * 25, "\uff10" * 24, "0" * 12 + "\n" + "0" * 12, "0" * 10**6]
)
def test_other_texts_are_no_codes(text: str) -> None:
    """Neither too short or long ones, nor other characters."""
    assert normalise_code(text) == ""


@given(st.text(max_size=100))
def test_what_is_read_is_always_a_code(text: str) -> None:
    """So only texts of one form are hashed."""
    read = normalise_code(text)
    assert read == "" or (len(read) == 24 and set(read) <= set("0123456789abcdefghjkmnpqrstvwxyz"))


def test_a_hash_belongs_to_an_account_and_depends_on_no_master_secret() -> None:
    """So a change of the master secret loses no code, and codes of all accounts cannot be searched at once."""
    assert hash_code("ada-id", "0" * 24) != hash_code("eve-id", "0" * 24)
    assert hash_code("ada-id", "0" * 24).hex() == "846f27e618e5c36c186531cb00b147f9be727308b4a42c36e47eea0d8fb7d03c"
