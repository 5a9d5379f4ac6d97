"""Which names and passwords a person can choose, and what the text form of an account shows."""

from __future__ import annotations

import time
import unicodedata

import pytest

from handstamp.crypto.passwords import common_passwords
from handstamp.domain.account import (
    MAX_COMBINING,
    NAME_MAX_LENGTH,
    NAME_MAX_TYPED,
    PASSWORD_MAX_BYTES,
    PASSWORD_MAX_LENGTH,
    find_password_problem,
    is_hashable_password,
    normalise_name,
    normalise_password,
)
from handstamp.errors import InvalidFields
from tests.builders import an_account

PERSONAL = ("ada@example.com", "ada", "example.com", "handstamp", "auth.example.net")
VARIED = "kv7 wq2-Zr9 lm4_Xt6 pb8 "
"""A text without a pattern that the rules know. Longer texts repeat it with a counter."""


def problem(password: str, *, min_length: int = 15) -> str | None:
    """Return why a password cannot be chosen by Ada, or None."""
    return find_password_problem(
        normalise_password(password), min_length=min_length, common=common_passwords(), personal=PERSONAL
    )


def of_length(length: int) -> str:
    """Return a password of `length` code points without a pattern."""
    return "".join(f"{VARIED}{number}" for number in range(length // 24 + 1))[:length]


@pytest.mark.parametrize(
    "passphrase",
    [
        "proper donkey charger clip",
        "kelp lantern rivet 41 of the tests",
        "properdonkeychargerclip",
        "velvet-otter-Tuesday-9-maps",
        "Mississippi river steamboat",
        "to be or not to be, that is it",
        "k9#Vt!2pLq_8ZrWm",
        "ninety-nine bottles of beer",
        "December 25 is when Ada bakes",
        "Der Hund frisst gern Äpfel im Regen",
        "mon chat dort sur le radiateur",
        "el perro verde salta la valla",
        "Trois-Rivières, août 1987, pluie",
        "собака любит яблоки зимой",
        "η γάτα κοιμάται στο παράθυρο",
        "我家的猫每天早上五点就叫醒我真烦人",
        "うちのねこはいつもあさごはんをたべる",
        "우리집 고양이는 새벽마다 나를 깨운다",
        "القطة تنام فوق الثلاجة كل ليلة",
        "सुबह की चाय के बिना दिन नहीं",
        "🦊🎻☔🌋🧊🪁🥑🚲🦉🧵🎈🐙🗻🧭🪐",
        "the handstamp that ada got at the park",
        "my password is a secret of mine",
    ],
)
def test_a_personal_sentence_is_accepted(passphrase: str) -> None:
    """Long passphrases of real people, in any script, are never refused (NIST SP 800-63B-4 §3.1.1.2)."""
    assert problem(passphrase) is None


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (0, "too short"),
        (1, "too short"),
        (14, "use at least 15 characters"),
        (15, None),
        (16, None),
        (256, None),
        (257, "at most 256 characters"),
        (10_000, "at most 256 characters"),
    ],
)
def test_length_is_fifteen_to_256(length: int, words: str | None) -> None:
    """The bounds are inclusive, and the message names the one that was missed."""
    found = problem(of_length(length))
    assert found is None if words is None else words in (found or "")


@pytest.mark.parametrize("character", ["é", "字", "🦊", "\u20dd"])
def test_length_counts_code_points_and_not_bytes(character: str) -> None:
    """Fourteen characters are too few and 256 are enough, whatever their size in bytes."""
    assert "too short" in (problem(of_length(13) + "🦊") or "")
    assert problem(of_length(14) + character) is None
    longest = "".join(chr(0x1F300 + (37 * number) % 500) for number in range(PASSWORD_MAX_LENGTH))
    assert len(longest.encode()) == PASSWORD_MAX_BYTES
    assert problem(longest) is None
    assert "at most" in (problem(longest + character) or "")


def test_the_message_names_the_configured_minimum() -> None:
    """The message names the minimum that the operator has set."""
    assert "at least 20 characters" in (problem(of_length(19), min_length=20) or "")
    assert problem(of_length(20), min_length=20) is None
    assert problem(of_length(8), min_length=8) is None


def test_unicode_normalisation_makes_equal_input_equal() -> None:
    """Composed and decomposed spellings have one normalised form, and length counts that form (NIST SP 800-63B-4 §3.1.1.2)."""
    composed = "Äpfel und Öl für"
    decomposed = unicodedata.normalize("NFD", composed)
    assert decomposed != composed
    assert normalise_password(decomposed) == normalise_password(composed) == composed
    fourteen = "é" * 7 + "kv7wq2z"
    assert "too short" in (problem(unicodedata.normalize("NFD", fourteen)) or "")


def test_normalisation_keeps_distinct_characters() -> None:
    """NFC is not NFKC: ligatures, wide letters, capitals and spaces at either end stay what was typed."""
    for password in ("ﬁne sentence of mine", "\uff21da", "ADA", " ada ", "ada  ada"):
        assert normalise_password(password) == password


@pytest.mark.parametrize("character", ["\x00", "\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\ud83d"])
def test_control_characters_are_refused(character: str) -> None:
    """Control characters and lone surrogates are mistakes of a client, and other software would cut or garble them."""
    password = f"kv7 wq2-Zr9 {character} lm4_Xt6"
    assert not is_hashable_password(password)
    assert "no control characters" in (problem(password) or "")


@pytest.mark.parametrize("password", ["\u200d🦊 kv7 wq2-Zr9 lm4", "\u00a0kv7 wq2-Zr9 lm4 Xt6", "\u202ekv7 wq2-Zr9 lm4"])
def test_printable_characters_are_accepted(password: str) -> None:
    """Real keyboards produce emoji joiners, hard spaces and direction marks."""
    assert is_hashable_password(password)
    assert problem(password) is None


def test_an_empty_or_endless_password_is_never_hashed() -> None:
    """At sign-in too the length is bounded before any work is done (T25)."""
    assert not is_hashable_password("")
    assert is_hashable_password("x")
    assert is_hashable_password("x" * 256)
    assert not is_hashable_password("x" * 257)
    assert not is_hashable_password("x" * 10_000_000)


@pytest.mark.parametrize(
    "password",
    [
        # repeats
        "aaaaaaaaaaaaaaa",
        "aaaaaaaaaaaaaab",
        "abcabcabcabcabcabc",
        "asdfasdfasdfasdf",
        "P@ssw0rdP@ssw0rd",
        "111111222222333333",
        "password password password",
        # walks along the alphabet and the digits
        "123456789012345",
        "987654321098765",
        "abcdefghijklmnop",
        "zyxwvutsrqponmlk",
        "112233445566778899",
        # walks along the keyboard
        "1q2w3e4r5t6y7u8i",
        "qwertyuiopasdfgh",
        "qwertyuiopasdfghjkl",
        # common ones, doubled, paired, lengthened
        "sunshineprincess",
        "iloveyouforever1",
        "passwordpassword1",
        "PasswordPassword!",
        "password12345678!",
        "password1234567890",
    ],
)
def test_common_passwords_are_refused(password: str) -> None:
    """Common passwords, pairs of them, runs and repeats are refused with a reason (NIST SP 800-63B-4 §3.1.1.2, R68)."""
    assert len(password) >= 15
    assert "attackers try first" in (problem(password) or "")


@pytest.mark.parametrize(
    "password",
    [
        "ada@example.com",
        "ADA@EXAMPLE.COM",
        "ada@example.com1",
        "ada@example.com123",
        "adaadaadaadaada",
        "example.comexample.com",
        "handstamphandstamp",
        "HandstampHandstamp1",
        "auth.example.net",
        "handstamp123456",
    ],
)
def test_address_and_service_name_are_refused(password: str) -> None:
    """A password that consists of the address or of the service's name is easy to guess (NIST §3.1.1.2, R68)."""
    assert problem(password) is not None


def test_a_personal_word_within_a_sentence_is_fine() -> None:
    """Only what consists of personal words is refused: a sentence may name its author."""
    assert problem("ada paints handstamp red on example.com") is None


def test_an_address_of_one_letter_forbids_nothing_else() -> None:
    """Short or empty personal words do not swallow other people's passwords."""
    personal = ("a@b.example", "a", "", "b.example")
    assert find_password_problem("banana bread at noon", min_length=15, common=common_passwords(), personal=personal) is None


def test_no_refusal_repeats_the_password() -> None:
    """The message appears in answers and logs, so it must not contain the password."""
    for password in ("hunter2", "passwordpassword1", "ada@example.com", "kv7\x00" * 5, of_length(300)):
        sentence = problem(password)
        assert sentence is not None
        assert password not in sentence


@pytest.mark.parametrize("piece", ["a", "ab", "abcdefgh", "abcdefghi", "a1", "é", "🦊"])
def test_judging_a_hostile_password_is_fast(piece: str) -> None:
    """Passwords that cause backtracking in regular expressions are judged quickly too."""
    nasty = (piece * 256)[:251] + "!kv7w"
    started_s = time.thread_time()
    problem(nasty)
    assert time.thread_time() - started_s < 0.5


def test_the_list_of_common_passwords_is_what_the_rules_expect() -> None:
    """Every entry is in the form that is compared, and neither comments nor blanks are among them."""
    common = common_passwords()
    assert len(common) >= 10_000
    assert "123456789" in common
    assert all(entry == entry.casefold().strip() != "" for entry in common)


def test_an_account_does_not_show_its_hash_or_address() -> None:
    """In a log or a traceback an account shows its id, and nothing that helps to sign in (R4, R32)."""
    shown = repr(an_account(password_hash="$argon2id$v=19$secret", email="ada@example.com"))
    assert "ada-id" in shown
    assert "argon2" not in shown
    assert "example.com" not in shown


def test_overlong_text_is_not_normalised() -> None:
    """Composing 64 KiB of combining marks takes seconds; a text of more than 1,024 code points is too long in any form (R67)."""
    hostile = "a" + "\u0301\u0316" * 512
    assert normalise_password(hostile) == hostile
    assert not is_hashable_password(hostile)
    longest = "\u1f82" * 256
    assert normalise_password(unicodedata.normalize("NFD", longest)) == longest
    assert len(unicodedata.normalize("NFD", longest)) == 1024


def test_more_combining_characters_in_a_row_than_any_language_has_are_not_sorted() -> None:
    """The time for that grows as their square: a millisecond for as many as a password may have (R67, Unicode UAX #15 §13)."""
    longest = "a" + "\u0301\u0316" * (MAX_COMBINING // 2)
    assert normalise_password(longest) == unicodedata.normalize("NFC", longest) != longest
    longer = longest + "\u0316"
    assert normalise_password(longer) == longer != unicodedata.normalize("NFC", longer)
    assert normalise_password(longest * 8) == unicodedata.normalize("NFC", longest * 8)


def test_thousands_of_common_passwords_have_the_length_that_is_allowed() -> None:
    """A list of short passwords refuses nothing where fifteen characters are the minimum (R68)."""
    assert sum(len(entry) >= 15 for entry in common_passwords()) >= 3_000


@pytest.mark.parametrize(
    "password",
    [
        "a sentence only ada would say",
        "A-Sentence-Only-Ada-Would-Say",
        "correct horse battery staple",
        "CorrectHorseBatteryStaple",
        "correct-horse-battery-staple",
        "c0rr3ct h0r5e b4tt3ry st4pl3",
        "The quick brown fox jumps over the lazy dog!",
        "p4$$w0rdp4$$w0rd",
        "P@ssw0rd1234567",
        "qwertyuiop12345",
    ],
)
def test_a_common_password_in_another_spelling_is_refused(password: str) -> None:
    """Spaces, punctuation, capitals and look-alikes are tried by every attacker (R68)."""
    assert find_password_problem(password, min_length=15, common=common_passwords(), personal=()) is not None


@pytest.mark.parametrize("password", ["blue kettle on the third shelf", "vier Katzen tanzen am Montag", "gR7-xw2Lq9_Tz0pVb"])
def test_an_uncommon_password_is_accepted(password: str) -> None:
    """The transformations refuse nothing that is not common."""
    assert find_password_problem(password, min_length=15, common=common_passwords(), personal=()) is None


def test_the_longest_password_is_judged_in_bounded_work() -> None:
    """What is looked up grows with the length of the password, which is bounded."""
    looked_up = 0

    class Counting(frozenset[str]):
        def __contains__(self, entry: object) -> bool:
            nonlocal looked_up
            looked_up += 1
            return False

    find_password_problem("aZ1! " * 51, min_length=15, common=Counting(), personal=("ada@example.com",))
    assert looked_up < 5_000


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("", ""),
        ("   ", ""),
        (" Ada \u00a0  Lovelace\u3000", "Ada Lovelace"),
        ("Zoe\u0308 \u00c5ngstr\u00f6m", "Zo\u00eb \u00c5ngstr\u00f6m"),
        ("O'Neill-Smith, Jr.", "O'Neill-Smith, Jr."),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("\U0001f469\u200d\U0001f680", "\U0001f469\u200d\U0001f680"),
        ("n" * NAME_MAX_LENGTH, "n" * NAME_MAX_LENGTH),
        ("e\u0301" * NAME_MAX_LENGTH, "\u00e9" * NAME_MAX_LENGTH),
    ],
)
def test_a_name_is_stored_in_one_form(typed: str, stored: str) -> None:
    """The form has single spaces and composed characters. Joiners, which some scripts and symbols need, stay."""
    assert normalise_name(typed) == stored
    assert normalise_name(stored) == stored


@pytest.mark.parametrize(
    "typed",
    [
        "Ada\r\nBcc: all@example.com",
        "Ada\tLovelace",
        "Ada\0",
        "Ada\x1b[2J",
        "Ada\x7f",
        "Ada\x85",
        "Ada\u2028Lovelace",
        "\u202eadA",
        "\u2066Ada",
        "\u200fAda",
        "Ada\ud800",
        "Ada\ue000",
        "Ada\ufdd0",
        "n" * (NAME_MAX_LENGTH + 1),
        "n" * (NAME_MAX_TYPED + 1),
        "\u0301" * 65536,
    ],
)
def test_a_name_has_one_line_and_changes_no_text_around_it(typed: str) -> None:
    """A name that could end a header, a line of a log or a direction of writing is refused, and so is a long one."""
    with pytest.raises(InvalidFields) as refused:
        normalise_name(typed)
    assert [name for name, _ in refused.value.fields] == ["name"]
