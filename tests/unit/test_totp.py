"""Codes of authenticator apps: the vectors of RFC 6238, what a client may send, clocks, and which code is accepted once."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handstamp.crypto.seal import MasterSecret
from handstamp.crypto.totp import TotpSecrets, find_steps, group, make_code, write_base32, write_uri
from handstamp.domain.totp import STEP_MS, Totp, use
from handstamp.errors import ConfigurationError
from tests.builders import NOW_MS, SECOND_MS

SECRET = b"12345678901234567890"
NOW = NOW_MS // STEP_MS
OLD, NEW = MasterSecret(b"kJ8v_Zq3Wm1xT7yB4nR0pL6sD9fG2hCa"), MasterSecret(b"w3Vt-Yb7Qe9sA1uX5oM2kJ6rH8cN4dZf")


def an_app(**fields: int) -> Totp:
    """Return a row whose last code was used long ago."""
    return Totp(account_id="ada-id", sealed=b"sealed", created_at_ms=NOW_MS, **{"last_step": 0, "used_at_ms": 0} | fields)


@pytest.mark.parametrize(
    ("at_s", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_vectors_of_rfc_6238(at_s: int, code: str) -> None:
    """Appendix B, SHA-1. Its codes have eight digits, of which ours are the last six (RFC 4226 §5.3)."""
    assert make_code(SECRET, at_s // 30) == code[-6:]
    assert at_s // 30 in find_steps(SECRET, code[-6:], at_s * 1000)


@pytest.mark.parametrize(
    ("counter", "code"),
    list(enumerate(["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"])),
)
def test_the_vectors_of_rfc_4226(counter: int, code: str) -> None:
    """Appendix D, on which RFC 6238 builds."""
    assert make_code(SECRET, counter) == code


@pytest.mark.parametrize("late_s", [-30, -20, -1, 0, 1, 20, 29])
def test_clocks_may_differ_by_half_a_minute(late_s: int) -> None:
    """A code of a clock that is up to 30 seconds off is accepted, wherever in its step it is shown."""
    for within_s in range(30):
        now_ms = NOW * STEP_MS + within_s * SECOND_MS
        shown = make_code(SECRET, (now_ms + late_s * SECOND_MS) // STEP_MS)
        assert find_steps(SECRET, shown, now_ms), within_s


@pytest.mark.parametrize("off", [-3, -2, 2, 3, 100])
def test_codes_of_other_times_are_wrong(off: int) -> None:
    """One step before and one after are accepted, and no more."""
    assert find_steps(SECRET, make_code(SECRET, NOW + off), NOW_MS) == ()


@pytest.mark.parametrize(
    "change", ["{}\n", " {}", "{} ", "0{}", "+{}", "{}0", "{}\0", "{0}{0}", "0" * 10_000 + "{}", "\u200b{}"], ids=range(10)
)
def test_nothing_but_six_digits_is_a_code(change: str) -> None:
    """Whatever surrounds the right digits. The use case removes the gaps that people type."""
    assert find_steps(SECRET, change.format(make_code(SECRET, NOW)), NOW_MS) == ()


@pytest.mark.parametrize("zero", ["\u0660", "\u06f0", "\u0966", "\uff10", "\U0001d7ce"])
def test_digits_of_other_scripts_are_no_code(zero: str) -> None:
    """`pyotp` alone would accept full-width and mathematical digits, which make more texts for each code."""
    code = "".join(chr(ord(zero) + int(digit)) for digit in make_code(SECRET, NOW))
    assert find_steps(SECRET, code, NOW_MS) == ()


@given(st.text(max_size=50) | st.text("0123456789", min_size=5, max_size=7))
def test_other_texts_match_no_step(text: str) -> None:
    """No text raises, and a step matches only its own code."""
    assert find_steps(SECRET, text, NOW_MS) == tuple(step for step in (NOW - 1, NOW, NOW + 1) if make_code(SECRET, step) == text)


@given(st.lists(st.sampled_from([NOW - 1, NOW, NOW + 1]), max_size=12))
def test_a_used_step_and_all_before_it_are_refused(sent: list[int]) -> None:
    """In whatever order codes arrive, each step is accepted at most once, and steps only grow."""
    row: Totp = an_app()
    accepted = []
    for step in sent:
        after = use(row, [step], NOW_MS)
        if after is not None:
            accepted.append(step)
            row = after
    assert accepted == sorted(set(accepted))
    assert row.last_step == max(sent, default=0)


def test_a_wrong_code_uses_nothing() -> None:
    """There is no row to write then."""
    assert use(an_app(), (), NOW_MS) is None
    assert use(an_app(last_step=NOW), [NOW - 1, NOW], NOW_MS) is None


def test_a_code_of_two_steps_uses_both() -> None:
    """Two steps have the same code once in a million. The later one counts, so that the code is not accepted again."""
    after = use(an_app(last_step=NOW - 1), [NOW - 1, NOW + 1], NOW_MS)
    assert after is not None
    assert (after.last_step, after.used_at_ms) == (NOW + 1, NOW_MS)


def test_a_sealed_secret_belongs_to_its_account_and_survives_a_change_of_the_master_secret() -> None:
    """A row moved to another account opens nothing, and a previous master secret opens what it sealed."""
    sealed = TotpSecrets(OLD).seal(SECRET, "ada-id")
    assert SECRET not in sealed
    both = TotpSecrets(NEW.beside([OLD]))
    assert both.open(sealed, "ada-id") == SECRET
    assert not both.is_current(sealed, "ada-id")
    assert both.is_current(both.seal(SECRET, "ada-id"), "ada-id")
    for secrets, account in ((both, "eve-id"), (TotpSecrets(NEW), "ada-id")):
        with pytest.raises(ConfigurationError):
            secrets.open(sealed, account)


def test_a_new_secret_has_160_random_bits() -> None:
    """And two are never the same."""
    made = {TotpSecrets.generate() for _ in range(50)}
    assert len(made) == 50
    assert {len(secret) for secret in made} == {20}


def test_the_secret_is_written_in_groups() -> None:
    """Base32 without padding, four characters a group, for people who cannot scan."""
    assert write_base32(SECRET) == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    assert group(write_base32(SECRET)) == "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ"


@pytest.mark.parametrize("issuer", ["Handstamp", "Büro & Söhne: 100 %", "a?secret=AAAA&issuer=b#c/d"])
def test_the_uri_names_service_and_account(issuer: str) -> None:
    """Whatever the service is called, the label and the issuer are one field each, and no field can be added."""
    uri = write_uri(SECRET, account="ada+x@example.com", issuer=issuer)
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    name = issuer.replace(":", "")
    assert unquote(parts.path) == f"/{name}:ada+x@example.com"
    assert parse_qs(parts.query) == {"secret": [write_base32(SECRET)], "issuer": [name]}
