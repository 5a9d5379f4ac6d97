"""Files with accounts: what is read from each system's export, and what hostile files cannot do."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from handstamp.crypto.foreign_hashes import read_foreign_hash
from handstamp.domain.account_record import AccountRecord
from handstamp.errors import ConfigurationError
from handstamp.transfer.fields import Ignored, Unusable, get_flag, get_time
from handstamp.transfer.hashes import note_hashes, read_firebase_parameters
from handstamp.transfer.notes import Notes
from handstamp.transfer.reading import MAX_RECORD, Row, Skipped, read_rows
from handstamp.transfer.report import open_report, write_skipped
from handstamp.transfer.sources import SOURCES, Help
from tests.builders import NOW_MS

BCRYPT = "$2b$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"


def rows_of(text: str | bytes, list_name: str = "") -> list[Row | Skipped]:
    """Return what is read from a file with this content."""
    return list(read_rows(io.BytesIO(text.encode() if isinstance(text, str) else text), list_name=list_name))


def read_one(source: str, row: dict[str, Any], **help_with: Any) -> AccountRecord:
    """Return the account of one row."""
    return SOURCES[source].read(row, Help(NOW_MS, **help_with))


def test_json_lines_json_lists_and_csv_say_the_same() -> None:
    """The first character tells them apart. A byte order mark, empty lines and the ends of lines of Windows do not matter."""
    expected = [{"email": "ada@example.com", "name": "Ada"}, {"email": "bob@example.com", "name": "Bob, B."}]
    lines = "\r\n\r\n".join(map(json.dumps, expected))
    listed = json.dumps(expected, indent=2)
    table = '\ufeffemail,name\r\nada@example.com,Ada\r\n\r\nbob@example.com,"Bob, B."'
    semicolons = table.replace(",", ";").replace("Bob;", "Bob,")
    for text in (lines, "\ufeff" + lines, listed, table, semicolons, semicolons.replace(";", "\t")):
        assert [row.values for row in rows_of(text) if isinstance(row, Row)] == expected
    assert [row.values for row in rows_of(f'{{"kind": "x", "users": {listed}}}', "users") if isinstance(row, Row)] == expected


def test_rows_know_their_lines() -> None:
    """A report names the line where a row begins, also behind a cell that contains a line break."""
    assert [row.line for row in rows_of('email,name\na@b.c,"two\nlines"\nd@e.f,x\n')] == [2, 4]
    assert [row.line for row in rows_of('{"a":1}\n\n{"a":2}')] == [1, 3]
    assert [row.line for row in rows_of('[\n{"a":\n1},\n\n{"a":2}]')] == [2, 5]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('{"email": "a"}\n{"email": \n{"email": "b"}', [2]),
        ('{"email": "a"}\n[1]\n{"email": "b"}', [2]),
        ('{"email": "a"}\n' + "[" * 50_000 + '\n{"email": "b"}', [2]),
        ('{"email": "a"}\n{"email": "' + "x" * 3 * MAX_RECORD + '"}\n{"email": "b"}', [2]),
        ('email,name\na,x\n"q,x\n' + "y\n" * MAX_RECORD + "b,x\n", [3]),
        ('email,name\na,x\n"q"r,x\nb,x\n', [3]),
        ("email,name\na,x\nq,x,y\nb,x\n", [3]),
        ("email,name\na,x\n" + "q" * 3 * MAX_RECORD + ",x\nb,x\n", [3]),
        ("email,name\na,x\n" + '"\n' + '","\n' * MAX_RECORD + "b,x\n", [3]),
        ('[{"email": "a"}, 7, {"email": "b"}]', [1]),
    ],
    ids=[
        "broken JSON",
        "no object",
        "deep JSON",
        "long line",
        "open quote",
        "stray quote",
        "cells",
        "long row",
        "endless row",
        "element",
    ],
)
def test_one_bad_row_costs_no_other(text: str, lines: list[int]) -> None:
    """It is skipped with its line, and the rows before and after it are read."""
    rows = rows_of(text)
    skipped = [row for row in rows if isinstance(row, Skipped)]
    assert [row.line for row in skipped][:1] == lines
    emails = [row.values["email"] for row in rows if isinstance(row, Row)]
    assert emails[0] == "a"
    assert emails[-1] == "b"


@pytest.mark.parametrize(
    ("start", "advice"),
    [
        (b"\x1f\x8b\x08", "zcat"),
        (b"PK\x03\x04", "spreadsheet"),
        (b"\xff\xfee\x00", "UTF-8"),
        (b"SQLite format 3\x00", "database"),
        (b"", "neither JSON nor CSV"),
        (b"email,email\n", "same name"),
        (b'[{"email": "a"}, {"email": ', "line 1"),
        (b'[{"email": "a"} oops', "line 1"),
        (b'{"people": [1]}', '"users"'),
    ],
)
def test_a_file_of_another_kind_is_refused_with_words(start: bytes, advice: str) -> None:
    """The message says what the file is and what to do."""
    with pytest.raises(ConfigurationError) as refused:
        rows_of(start, "users" if b"people" in start else "")
    assert advice in str(refused.value)


class EndlessLine(io.RawIOBase):
    """A file whose only line has so many bytes."""

    def __init__(self, size: int, start: bytes) -> None:
        self._left = size
        self._start = start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(self._left, len(buffer))
        buffer[:size] = (self._start + b"x" * size)[:size]
        self._left -= size
        self._start = b""
        return size


@pytest.mark.parametrize("start", [b'{"email": "', b'email,name\n"', b"[[", b'[{"email": "'], ids=["JSON", "CSV", "deep", "list"])
def test_a_line_of_a_hundred_megabytes_takes_little_memory(start: bytes) -> None:
    """It is passed over in pieces, however long it is."""
    tracemalloc.start()
    with suppress(ConfigurationError):  # a list ends there
        assert all(isinstance(row, Skipped) for row in read_rows(EndlessLine(100_000_000, start)))  # type: ignore[arg-type]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 * MAX_RECORD


def test_bytes_that_are_no_text_cost_one_row() -> None:
    """Latin-1 in one row, and half a surrogate pair in JSON."""
    first, second = rows_of(b"email,name\nada@example.com,Ren\xe9\nbob@example.com,Bob\n")
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    with pytest.raises(Unusable, match="name is not UTF-8 text"):
        read_one("handstamp", first.values)
    assert read_one("handstamp", second.values).name == "Bob"
    with pytest.raises(Unusable, match="UTF-8"):
        read_one("handstamp", json.loads('{"email": "\\ud800@example.com"}'))


def test_our_own_format_has_every_field_in_json_and_csv() -> None:
    """Names may have underscores, and a name that is misspelt is refused rather than left out."""
    wanted = AccountRecord(
        email="ada@example.com", id="42", name="Ada", language="en", email_verified=True, roles=("admin", "ops"),
        created_at_ms=1_614_962_176_775, disabled_at_ms=NOW_MS, password_hash=BCRYPT,
    )  # fmt: skip
    row = {"email": "ada@example.com", "id": 42, "name": "Ada", "language": "en", "emailVerified": True, "disabled": True,
           "roles": ["admin", "ops"], "createdAt": "2021-03-05T16:36:16.775Z", "passwordHash": BCRYPT}  # fmt: skip
    assert read_one("handstamp", row) == wanted
    cells = "ada@example.com,42,Ada,en,t,admin ops,1614962176775,yes," + BCRYPT
    (found,) = rows_of(f"email,id,name,language,email_verified,roles,created_at,disabled,password_hash\n{cells}\n")
    assert isinstance(found, Row)
    assert read_one("handstamp", found.values) == wanted
    with pytest.raises(Unusable, match="no field emailverfied"):
        read_one("handstamp", {"email": "ada@example.com", "emailverfied": True})


@pytest.mark.parametrize(
    ("value", "at_ms"),
    [
        ("2019-12-06T18:36:12.412Z", 1_575_657_372_412),
        ("2019-12-06 18:36:12.412345+00", 1_575_657_372_412),
        ("2019-12-06T19:36:12+01:00", 1_575_657_372_000),
        ("2019-12-06T18:36:12", 1_575_657_372_000),
        ("1508893925000", 1_508_893_925_000),
        (1_587_604_032.123, 1_587_604_032_123),
        (None, None),
        ("", None),
    ],
)
def test_times_are_read_as_each_system_writes_them(value: object, at_ms: int | None) -> None:
    """ISO 8601 with and without a zone, as PostgreSQL writes it, and numbers of seconds and of milliseconds."""
    assert get_time({"at": value}, "at") == at_ms


@pytest.mark.parametrize(
    "value", ["yesterday", "1950-01-01", -1, True, [], 1e300, float("nan"), float("inf"), 10**400, "9" * 5000]
)
def test_other_times_are_refused(value: object) -> None:
    """With words, and without an exception of the library."""
    with pytest.raises(Unusable, match="at is not a time"):
        get_time({"at": value}, "at")


@pytest.mark.parametrize("value", ["maybe", 2, [], {}, 0.5])
def test_flags_are_true_or_false(value: object) -> None:
    """Nothing else is taken for one of them."""
    with pytest.raises(Unusable, match="neither true nor false"):
        get_flag({"on": value}, "on")


def test_auth0_hashes_are_enough_and_add_to_an_export() -> None:
    """Ids are those in Auth0's tokens. The address may be in `identifiers` alone."""
    hashed = {
        "_id": {"$oid": "5dea9f9c82dd7c0e76e4ec93"}, "email_verified": True, "email": "ada@example.com", "passwordHash": BCRYPT,
        "password_set_date": {"$date": "2019-12-06T18:36:12.412Z"}, "tenant": "t", "connection": "Main",
    }  # fmt: skip
    expected = AccountRecord(
        email="ada@example.com", id="auth0|5dea9f9c82dd7c0e76e4ec93", email_verified=True, password_hash=BCRYPT
    )
    assert read_one("auth0", hashed) == expected
    identifiers = [{"type": "phone", "value": "1"}, {"type": "email", "value": "ada@example.com", "verified": True}]
    assert read_one("auth0", {"_id": hashed["_id"], "passwordHash": BCRYPT, "identifiers": identifiers}) == expected
    assert read_one("auth0", hashed | {"alt_id": "euclid"}).id == "auth0|euclid"
    exported = {"user_id": expected.id, "email": "ada@example.com", "email_verified": True, "name": "ada@example.com",
                "created_at": "2019-12-06T18:36:12.412Z", "blocked": True}  # fmt: skip
    found = read_one("auth0", exported, find_hash={expected.id: BCRYPT}.__getitem__)
    assert (found.password_hash, found.name, found.disabled_at_ms) == (BCRYPT, "", NOW_MS)
    assert found.created_at_ms == 1_575_657_372_412


def test_supabase_users_are_read_as_csv_and_json() -> None:
    """A banned user is disabled, a deleted one is left out. Metadata are text in CSV."""
    row = {
        "id": "6f1b", "email": "ada@example.com", "encrypted_password": BCRYPT, "email_confirmed_at": "2023-01-01 12:00:00+00",
        "raw_user_meta_data": '{"full_name": "Ada Example"}', "created_at": "2023-01-01 12:00:00.5+00", "banned_until": "",
        "deleted_at": "", "is_sso_user": "f",
    }  # fmt: skip
    found = read_one("supabase", row)
    assert (found.id, found.name, found.email_verified, found.password_hash) == ("6f1b", "Ada Example", True, BCRYPT)
    assert found.disabled_at_ms is None
    as_json = row | {"raw_user_meta_data": {"name": "Ada"}, "email_confirmed_at": None, "banned_until": "2999-01-01T00:00:00Z"}
    found = read_one("supabase", as_json)
    assert (found.name, found.email_verified, found.disabled_at_ms) == ("Ada", False, NOW_MS)
    with pytest.raises(Ignored):
        read_one("supabase", row | {"deleted_at": "2023-01-01 12:00:00+00"})


def test_cognito_users_have_no_password() -> None:
    """They come from list-users, or from CSV with the header of Cognito's import."""
    attributes = [{"Name": "sub", "Value": "eaad0219"}, {"Name": "email_verified", "Value": "true"},
                  {"Name": "email", "Value": "ada@example.com"}, {"Name": "locale", "Value": "de_CH"}]  # fmt: skip
    user = {"Username": "ada", "Enabled": False, "UserStatus": "CONFIRMED", "Attributes": attributes,
            "UserCreateDate": "2023-02-09T01:02:03.004000-08:00"}  # fmt: skip
    (row,) = rows_of(json.dumps({"Users": [user]}), "Users")
    assert isinstance(row, Row)
    found = read_one("cognito", row.values)
    assert found == AccountRecord(
        email="ada@example.com", id="eaad0219", language="de_CH", email_verified=True, created_at_ms=1_675_933_323_004,
        disabled_at_ms=NOW_MS,
    )  # fmt: skip
    table = "cognito:username,name,email,email_verified,cognito:mfa_enabled\nada,Ada,ada@example.com,TRUE,FALSE\n"
    (cells,) = rows_of(table, "Users")
    assert isinstance(cells, Row)
    expected = AccountRecord(email="ada@example.com", id="ada", name="Ada", email_verified=True)
    assert read_one("cognito", cells.values) == expected
    assert read_one("cognito", cells.values | {"cognito:username": "ada@example.com"}).id == ""


def test_firebase_hashes_carry_the_parameters_of_the_project() -> None:
    """The published vector, as `auth:export` and the console write it (https://github.com/firebase/scrypt)."""
    block = """hash_config {
      algorithm: SCRYPT,
      base64_signer_key: jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==,
      base64_salt_separator: Bw==,
      rounds: 8,
      mem_cost: 14,
    }"""
    user = {
        "localId": "kYi4EvWQlQTKSfnJ3dRSP6IH3ed2", "email": "user1@test.com", "emailVerified": False, "salt": "42xEC-ixf3L2lw==",
        "passwordHash": "lSrfV15cpx95_sZS2W9c9Kp6i_LVgQNDNC_qzrCnh1SAyZvqmZqAjTdn3aoItz-VHjoZilo78198JAdRuid5lQ==",
        "displayName": "Test User 1", "createdAt": "1508893925000", "providerUserInfo": [],
    }  # fmt: skip
    found = read_one("firebase", user, make_hash=read_firebase_parameters(block))
    assert read_foreign_hash(found.password_hash).matches("user1password")
    assert (found.id, found.name, found.created_at_ms) == ("kYi4EvWQlQTKSfnJ3dRSP6IH3ed2", "Test User 1", 1_508_893_925_000)
    with pytest.raises(Unusable, match="--hashes"):
        read_one("firebase", user)
    with pytest.raises(ConfigurationError, match="lacks mem_cost"):
        read_firebase_parameters(block.replace("mem_cost", "memory"))


def test_django_users_come_from_dumpdata_or_a_table() -> None:
    """Objects of other models are left out, an unusable password is none, and rights are not read."""
    fields: dict[str, Any] = {
        "password": "pbkdf2_sha256$600000$seasalt$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g=", "last_login": None,
        "is_superuser": True, "username": "ada", "first_name": "Ada", "last_name": "Example", "email": "ada@example.com",
        "is_staff": True, "is_active": False, "date_joined": "2020-05-01T10:00:00.123Z", "groups": [], "user_permissions": [],
    }  # fmt: skip
    expected = AccountRecord(
        email="ada@example.com", id="7", name="Ada Example", created_at_ms=1_588_327_200_123, disabled_at_ms=NOW_MS,
        password_hash=str(fields["password"]),
    )  # fmt: skip
    assert read_one("django", {"model": "auth.user", "pk": 7, "fields": fields}) == expected
    table = {name: str(value) for name, value in fields.items()} | {"id": "7", "last_login": "", "is_active": "f"}
    assert read_one("django", table) == expected
    unusable = {
        "model": "auth.user",
        "pk": 8,
        "fields": fields | {"password": "!abc", "email": "", "username": "bob@example.com"},
    }
    assert (read_one("django", unusable).password_hash, read_one("django", unusable).email) == ("", "bob@example.com")
    with pytest.raises(Ignored):
        read_one("django", {"model": "auth.group", "pk": 1, "fields": {"name": "editors"}})


def test_better_auth_passwords_are_in_the_other_table(tmp_path: Path) -> None:
    """They are joined by the id of the user, whether columns are in camel or in snake case."""
    file = tmp_path / "accounts.csv"
    file.write_text("id,account_id,provider_id,user_id,password\na1,u1,credential,u1,salt:key\na2,9,github,u2,\n")
    notes, read_hash = Notes(), SOURCES["better-auth"].read_hash
    assert read_hash is not None
    note_hashes(file, read_hash, notes)
    row = {"id": "u1", "name": "Ada", "email": "ada@example.com", "email_verified": "t", "created_at": "2024-01-02 03:04:05"}
    found = read_one("better-auth", row, find_hash=notes.find_hash)
    assert (found.password_hash, found.email_verified, found.id) == ("salt:key", True, "u1")
    assert notes.find_hash("u2") == ""
    notes.close()


def test_a_report_contains_no_formula_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    """A spreadsheet would compute a cell that begins with "=". Control characters are replaced."""
    file = tmp_path / "skipped.csv"
    for _ in range(2):  # an older report is replaced
        with open_report(file) as report:
            write_skipped(report, Skipped(3, "@reason", '=HYPERLINK("http://evil.example","click")'))
            write_skipped(report, Skipped(4, "two\nlines", "\t+1"))
    assert file.stat().st_mode & 0o777 == 0o600
    rows = list(csv.reader(io.StringIO(file.read_text())))
    assert rows == [
        ["line", "email", "reason"],
        ["3", '\'=HYPERLINK("http://evil.example","click")', "'@reason"],
        ["4", "?+1", "two?lines"],
    ]


def test_a_report_never_replaces_another_file(tmp_path: Path) -> None:
    """Above all not the file that is imported."""
    file = tmp_path / "accounts.csv"
    file.write_text("email\nada@example.com\n")
    with pytest.raises(ConfigurationError, match="no report of an earlier import"):
        open_report(file)
    assert file.read_text() == "email\nada@example.com\n"


def test_notes_tell_the_first_line_of_a_key() -> None:
    """Also when it is asked about again."""
    notes = Notes()
    assert [notes.find_first("address ada@example.com", line) for line in (3, 9, 3)] == [3, 3, 3]
    assert notes.find_first("address bob@example.com", 9) == 9
    notes.close()


def test_records_show_nothing_secret_in_their_text() -> None:
    """Neither hash nor address nor name."""
    text = repr(AccountRecord(email="ada@example.com", id="7", name="Ada", password_hash=BCRYPT))
    assert "ada" not in text.lower()
    assert BCRYPT not in text


def test_columns_that_cannot_be_right_are_refused_before_any_row() -> None:
    """A misspelt column of our own format, and the export of Firebase as CSV, which has no names of columns."""
    assert "no field emial" in SOURCES["handstamp"].find_problem(["email", "emial"])
    assert "lacks the column email" in SOURCES["handstamp"].find_problem(["name"])
    assert SOURCES["handstamp"].find_problem(["Email", "password_hash", "createdAt"]) == ""
    with pytest.raises(ConfigurationError, match="lacks the column email"):
        list(read_rows(io.BytesIO(b"kYi4EvWQ,user1@test.com,false,,\n"), find_problem=SOURCES["firebase"].find_problem))
    with pytest.raises(ConfigurationError, match="lacks the column email"):
        list(read_rows(io.BytesIO(b"no table at all\n"), find_problem=SOURCES["supabase"].find_problem))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("value", [None, "", 0, 1.5, True, [], {}, [[]], {"a": 1}, "x\0y", "\ud800", 10**30])
def test_readers_refuse_fields_of_every_wrong_kind_with_words(source: str, value: object) -> None:
    """Whatever JSON contains, the row is read, skipped with a reason, or left out: nothing else is raised."""
    names = ("email", "id", "name", "roles", "emailVerified", "createdAt", "disabled", "passwordHash", "identifiers", "_id", "pk",
             "model", "fields", "Attributes", "raw_user_meta_data", "banned_until", "password", "salt", "blocked")  # fmt: skip
    for name in names:
        for row in ({name: value}, {"email": "ada@example.com", name: value}):
            try:
                read_one(source, row)
            except (Unusable, Ignored) as refused:
                assert len(str(refused)) < 300  # noqa: PT017
