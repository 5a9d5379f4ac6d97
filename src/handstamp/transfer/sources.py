"""Where accounts come from: what each system calls the fields of an account in the files that it exports.

The formats are documented at the addresses in docs/how-to/migrate-users.md. Fields that stand for rights, such as Django's
`is_superuser`, are not read: an operator grants roles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..domain.account_record import AccountRecord
from .fields import Ignored, Unusable, get_flag, get_list, get_object, get_objects, get_text, get_time

Values = dict[str, Any]
MakeHash = Callable[[str, str], str]
"""Returns a password hash, given the salt and the digest of an account."""
_OWN_FIELDS = (
    "email", "id", "name", "language", "emailVerified", "roles",
    "createdAt", "createdAtMs", "disabled", "disabledAt", "disabledAtMs", "passwordHash",
)  # fmt: skip
_OWN_NAMES = {name.lower(): name for name in _OWN_FIELDS}


class Help(NamedTuple):
    """What readers need beside a row.

    Attributes:
        now_ms: The time of the import, in milliseconds since 1970.
        find_hash: Returns the password hash that the file of `--hashes` has for an id; "" if none.
        make_hash: Makes hashes with parameters that are the same for all accounts; None if there are none.
    """

    now_ms: int
    find_hash: Callable[[str], str] = lambda _: ""
    make_hash: MakeHash | None = None


def _find_missing_address(columns: Sequence[str]) -> str:
    if "email" in map(str.lower, columns):
        return ""
    return (
        "The file is not JSON, and as CSV it lacks the column email: export it with the names of the columns in its first line."
    )


def _find_unknown_column(columns: Sequence[str]) -> str:
    unknown = [name for name in columns if _own_name(name) is None]
    if unknown:
        return f"There is no field {unknown[0][:40]}: the fields are {', '.join(_OWN_FIELDS)}."
    return _find_missing_address(columns)


def _own_name(name: str) -> str | None:
    return _OWN_NAMES.get(name.lower().replace("_", ""))


class Source(NamedTuple):
    """How to read the export of a system.

    Attributes:
        read: Returns the account of a row. Raises `Unusable`, or `Ignored` for a row about something else.
        list_name: The member that holds the accounts, if the export is one JSON object.
        find_problem: Returns why a CSV file with these columns cannot be read, "" if it can.
        read_hash: Returns an id and its hash from a row of the file of `--hashes`. None if there is no such file.
    """

    read: Callable[[Values, Help], AccountRecord]
    list_name: str = ""
    find_problem: Callable[[Sequence[str]], str] = _find_missing_address
    read_hash: Callable[[Values], tuple[str, str]] | None = None


def _read_own(row: Values, context: Help) -> AccountRecord:
    """Read a row of our own format. Underscores and case in names make no difference."""
    fields: Values = {}
    for name, value in row.items():
        known = _own_name(name)
        if known is None:
            raise Unusable(f"there is no field {name[:40]}: the fields are {', '.join(_OWN_FIELDS)}")
        fields[known] = value
    disabled_at_ms = get_time(fields, "disabledAtMs", "disabledAt")
    if disabled_at_ms is None and get_flag(fields, "disabled"):
        disabled_at_ms = context.now_ms
    return AccountRecord(
        email=get_text(fields, "email"),
        id=get_text(fields, "id"),
        name=get_text(fields, "name"),
        language=get_text(fields, "language"),
        email_verified=get_flag(fields, "emailVerified"),
        roles=get_list(fields, "roles"),
        created_at_ms=get_time(fields, "createdAtMs", "createdAt"),
        disabled_at_ms=disabled_at_ms,
        password_hash=get_text(fields, "passwordHash"),
    )


def _read_auth0(row: Values, context: Help) -> AccountRecord:
    """Read a row of a bulk user export, or of the file with password hashes that Auth0's support sends."""
    email, verified = get_text(row, "email", "Email"), get_flag(row, "email_verified", "Email Verified")
    for other in get_objects(row, "identifiers"):  # where the hashes have no address of their own
        if not email and other.get("type") == "email":
            email, verified = get_text(other, "value"), get_flag(other, "verified")
    account_id = get_text(row, "user_id", "Id") or _auth0_id(row)
    name = get_text(row, "name", "Name")
    return AccountRecord(
        email=email,
        id=account_id,
        name="" if name == email else name,  # what Auth0 writes for people without a name
        email_verified=verified,
        created_at_ms=get_time(row, "created_at", "Created At"),
        disabled_at_ms=context.now_ms if get_flag(row, "blocked") else None,
        password_hash=get_text(row, "passwordHash") or context.find_hash(account_id),
    )


def _auth0_id(row: Values) -> str:
    own = get_text(row, "alt_id") or get_text(get_object(row, "_id"), "$oid")
    return f"auth0|{own}" if own else ""


def _read_supabase(row: Values, context: Help) -> AccountRecord:
    """Read a row of the table auth.users."""
    if get_time(row, "deleted_at") is not None:
        raise Ignored
    about = get_object(row, "raw_user_meta_data")
    banned_until_ms = get_time(row, "banned_until")
    return AccountRecord(
        email=get_text(row, "email"),
        id=get_text(row, "id"),
        name=get_text(about, "full_name", "name"),
        email_verified=get_time(row, "email_confirmed_at", "confirmed_at") is not None,
        created_at_ms=get_time(row, "created_at"),
        disabled_at_ms=context.now_ms if banned_until_ms is not None and banned_until_ms > context.now_ms else None,
        password_hash=get_text(row, "encrypted_password"),
    )


def _read_cognito(row: Values, context: Help) -> AccountRecord:
    """Read a user of `aws cognito-idp list-users`, or a row of CSV with the header that Cognito's own import takes."""
    about = dict(row)
    about |= {str(attribute.get("Name")): attribute.get("Value") for attribute in get_objects(row, "Attributes")}
    return AccountRecord(
        email=get_text(about, "email"),
        id=get_text(about, "sub") or _unless_address(get_text(about, "Username", "cognito:username")),
        name=get_text(about, "name"),
        language=get_text(about, "locale"),
        email_verified=get_flag(about, "email_verified"),
        created_at_ms=get_time(about, "UserCreateDate"),
        disabled_at_ms=None if get_flag(about, "Enabled", default=True) else context.now_ms,
    )


def _unless_address(username: str) -> str:
    return "" if "@" in username else username


def _read_firebase(row: Values, context: Help) -> AccountRecord:
    """Read a user of `firebase auth:export`."""
    digest, password_hash = get_text(row, "passwordHash"), ""
    if digest:
        if context.make_hash is None:
            raise Unusable("it has a password: name the file with the hash parameters of the project with --hashes")
        password_hash = context.make_hash(get_text(row, "salt"), digest)
    return AccountRecord(
        email=get_text(row, "email"),
        id=get_text(row, "localId"),
        name=get_text(row, "displayName"),
        email_verified=get_flag(row, "emailVerified"),
        created_at_ms=get_time(row, "createdAt"),
        disabled_at_ms=context.now_ms if get_flag(row, "disabled") else None,
        password_hash=password_hash,
    )


def _read_django(row: Values, context: Help) -> AccountRecord:
    """Read an object of `manage.py dumpdata`, or a row of the table of users as CSV or JSON."""
    fields = row
    if "model" in row:
        fields = get_object(row, "fields")
        if "password" not in fields:
            raise Ignored
    username = get_text(fields, "username")
    password_hash = get_text(fields, "password")
    return AccountRecord(
        email=get_text(fields, "email") or (username if "@" in username else ""),
        id=get_text(row, "pk") or get_text(fields, "id"),
        name=f"{get_text(fields, 'first_name')} {get_text(fields, 'last_name')}".strip(),
        created_at_ms=get_time(fields, "date_joined"),
        disabled_at_ms=None if get_flag(fields, "is_active", default=True) else context.now_ms,
        password_hash="" if password_hash.startswith("!") else password_hash,  # "!" is no password (set_unusable_password)
    )


def _read_better_auth(row: Values, context: Help) -> AccountRecord:
    """Read a row of the table `user`. The passwords are in the table `account`."""
    account_id = get_text(row, "id")
    return AccountRecord(
        email=get_text(row, "email"),
        id=account_id,
        name=get_text(row, "name"),
        email_verified=get_flag(row, "emailVerified", "email_verified"),
        created_at_ms=get_time(row, "createdAt", "created_at"),
        disabled_at_ms=context.now_ms if get_flag(row, "banned") else None,
        password_hash=context.find_hash(account_id),
    )


def _read_better_auth_hash(row: Values) -> tuple[str, str]:
    return get_text(row, "userId", "user_id"), get_text(row, "password")


SOURCES: dict[str, Source] = {
    "handstamp": Source(_read_own, find_problem=_find_unknown_column),
    "auth0": Source(_read_auth0, read_hash=lambda row: (_auth0_id(row), get_text(row, "passwordHash"))),
    "better-auth": Source(_read_better_auth, read_hash=_read_better_auth_hash),
    "cognito": Source(_read_cognito, list_name="Users"),
    "django": Source(_read_django, find_problem=lambda _: ""),
    "firebase": Source(_read_firebase, list_name="users"),
    "supabase": Source(_read_supabase),
}
"""The systems by their names on the command line. `handstamp` is our own format."""
