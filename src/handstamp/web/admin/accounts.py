"""Operators look after accounts: `/admin/accounts`."""

from __future__ import annotations

from typing import Annotated, Any

from starlette.responses import Response

from ...domain.account import Account
from ...errors import AccountExists, AdministratorProtected, InvalidFields, NewProofRequired, NotFound
from ...service.accounts.administer import FactorsOf
from ..answers import write_json, write_nothing
from ..api.own_data import ExportAnswer, write_export
from ..api.shapes import AnswerShape, Email, Language, Name, NewPassword, RequestShape, Time, described, utc
from ..body import require_body
from ..edge import Call
from ..operation import Operation, UseCases
from .shapes import AFTER, Next, Word, declare, read_cursor, read_id, read_limit, write_cursor

Role = Annotated[str, described("A role of the account, which its access tokens contain", max_length=256, examples=["editor"])]


class AdminAccount(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """An account, as operators see it."""

    id: str
    email: str
    email_verified: bool
    name: str
    language: str
    roles: tuple[str, ...]
    created_at: Time
    disabled_at: Time | None
    locked: Annotated[bool, described("Whether too many sign-ins failed, so that unknown devices are refused")]


class AdminAccountsAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """Some accounts, in the order of their addresses."""

    accounts: tuple[AdminAccount, ...]
    next: Next


class AdminPasskey(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """A passkey of an account."""

    name: str
    created_at: Time
    used_at: Time
    backed_up: bool


class AdminIdentity(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """Whom the person is at another provider."""

    provider: str
    created_at: Time
    used_at: Time


class AdminAccountAnswer(AdminAccount, frozen=True, kw_only=True, rename="camel"):
    """An account, with how its person signs in."""

    has_password: bool
    has_totp: bool
    recovery_codes: Annotated[int, described("How many are left")]
    passkeys: tuple[AdminPasskey, ...]
    identities: tuple[AdminIdentity, ...]
    totp_locked: Annotated[bool, described("Whether codes of the app are refused on unknown devices")]


class AdminCreateRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Create an account. Without a password, the person chooses one by mail."""

    email: Email
    password: NewPassword | None = None
    name: Name = ""
    language: Language = ""
    roles: Annotated[tuple[Role, ...], described("Its roles", max_length=32)] = ()


class AdminProfileRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Change the name or the language of an account; "" removes it."""

    name: Name | None = None
    language: Language | None = None


class AdminEmailRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Give an account another address."""

    email: Email


class AdminPasswordRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Set the password of an account."""

    password: NewPassword


class AdminRoleRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Give an account a role, or take it away."""

    role: Role


async def admin_list_accounts(use: UseCases, call: Call, _: None) -> Response:
    """List the accounts, or those whose address begins with `email`."""
    limit, place = read_limit(call), read_cursor(call, tuple[Word])
    prefix = call.request.query_params.get("email", "")
    found = await use.accounts.list_page(prefix=prefix, after=place[0] if place else "", limit=limit)
    locked = await use.accounts.find_locked(found, call.operator)
    following = write_cursor(found[-1].email) if len(found) == limit else None
    return write_json(
        AdminAccountsAnswer(accounts=tuple(AdminAccount(**_describe(each, locked)) for each in found), next=following)
    )


async def admin_create_account(use: UseCases, call: Call, body: AdminCreateRequest | None) -> Response:
    """Create an account."""
    body = require_body(body)
    account = await use.accounts.create(
        body.email,
        body.password,
        call.operator,
        name=body.name,
        language=body.language,
        roles=body.roles,
    )
    return write_json(AdminAccount(**_describe(account, set())), status=201)


async def admin_get_account(use: UseCases, call: Call, _: None) -> Response:
    """Return an account."""
    found = await use.accounts.list_factors(read_id(call), call.operator)
    return write_json(_answer(found, await use.accounts.find_locked([found.account], call.operator)))


async def admin_export_account(use: UseCases, call: Call, _: None) -> Response:
    """Return all that is stored about the person of an account, but for secrets, as a file. It is recorded."""
    account = await use.accounts.get(read_id(call))
    return write_export(account.id, await use.export_data.of(account, call.operator), call, name="person.json")


async def admin_change_account(use: UseCases, call: Call, body: AdminProfileRequest | None) -> Response:
    """Change the name or the language of an account."""
    body = require_body(body)
    await use.accounts.change_profile(read_id(call), call.operator, name=body.name, language=body.language)
    return write_nothing()


async def admin_delete_account(use: UseCases, call: Call, _: None) -> Response:
    """Delete an account and its sessions for good."""
    await use.accounts.delete(read_id(call), call.operator)
    return write_nothing()


async def admin_rename_account(use: UseCases, call: Call, body: AdminEmailRequest | None) -> Response:
    """Give an account another address, which counts as not verified, and unlock it."""
    await use.accounts.rename(read_id(call), require_body(body).email, call.operator)
    return write_nothing()


async def admin_set_password(use: UseCases, call: Call, body: AdminPasswordRequest | None) -> Response:
    """Set the password of an account, unlock it, and end all its sessions."""
    await use.accounts.set_password(read_id(call), require_body(body).password, call.operator)
    return write_nothing()


async def admin_grant_role(use: UseCases, call: Call, body: AdminRoleRequest | None) -> Response:
    """Give an account a role. Its access tokens contain it from their next refresh on."""
    await use.accounts.grant_role(read_id(call), require_body(body).role, call.operator)
    return write_nothing()


async def admin_revoke_role(use: UseCases, call: Call, body: AdminRoleRequest | None) -> Response:
    """Take a role from an account."""
    await use.accounts.revoke_role(read_id(call), require_body(body).role, call.operator)
    return write_nothing()


async def admin_disable_account(use: UseCases, call: Call, _: None) -> Response:
    """Disable an account, and end all its sessions at once."""
    await use.accounts.disable(read_id(call), call.operator)
    return write_nothing()


async def admin_enable_account(use: UseCases, call: Call, _: None) -> Response:
    """Enable an account again, and unlock it."""
    await use.accounts.enable(read_id(call), call.operator)
    return write_nothing()


async def admin_unlock_account(use: UseCases, call: Call, _: None) -> Response:
    """Forget the failed attempts on an account."""
    await use.accounts.unlock(read_id(call), call.operator)
    return write_nothing()


async def admin_reset_factors(use: UseCases, call: Call, _: None) -> Response:
    """Remove all second factors and recovery codes of an account. Its person is told by mail."""
    await use.accounts.reset_factors(read_id(call), call.operator)
    return write_nothing()


def _describe(account: Account, locked: set[str]) -> dict[str, Any]:
    return {
        "id": account.id,
        "email": account.email,
        "email_verified": account.email_verified,
        "name": account.name,
        "language": account.language,
        "roles": account.roles,
        "created_at": utc(account.created_at_ms),
        "disabled_at": None if account.disabled_at_ms is None else utc(account.disabled_at_ms),
        "locked": account.email in locked,
    }


def _answer(found: FactorsOf, locked: set[str]) -> AdminAccountAnswer:
    return AdminAccountAnswer(
        **_describe(found.account, locked),
        has_password=found.account.password_hash != "",
        has_totp=found.factors.has_totp,
        totp_locked=found.is_locked,
        recovery_codes=found.factors.recovery_codes,
        passkeys=tuple(
            AdminPasskey(
                name=each.name, created_at=utc(each.created_at_ms), used_at=utc(each.used_at_ms), backed_up=each.is_backed_up
            )
            for each in found.passkeys
        ),
        identities=tuple(
            AdminIdentity(provider=each.provider, created_at=utc(each.created_at_ms), used_at=utc(each.used_at_ms))
            for each in found.identities
        ),
    )


_CHANGES = (AdministratorProtected, NotFound)
_WAYS_IN = (*_CHANGES, NewProofRequired)

OPERATIONS: tuple[Operation, ...] = (
    declare(
        method="GET",
        path="/admin/accounts",
        run=admin_list_accounts,
        summary="The accounts, in the order of their addresses",
        query={"email": "Only those whose address begins so", **AFTER},
        answer=AdminAccountsAnswer,
        errors=(InvalidFields,),
    ),
    declare(
        method="POST",
        path="/admin/accounts",
        run=admin_create_account,
        summary="Create an account",
        body=AdminCreateRequest,
        answer=AdminAccount,
        status=201,
        errors=(AdministratorProtected, NewProofRequired, AccountExists),
    ),
    declare(
        method="GET",
        path="/admin/accounts/{id}",
        run=admin_get_account,
        summary="An account, with how its person signs in",
        answer=AdminAccountAnswer,
        errors=(NotFound,),
    ),
    declare(
        method="GET",
        path="/admin/accounts/{id}/export",
        run=admin_export_account,
        summary="All that is stored about a person, as a file",
        answer=ExportAnswer,
        errors=(NotFound,),
    ),
    declare(
        method="PATCH",
        path="/admin/accounts/{id}",
        run=admin_change_account,
        summary="Change the name or the language of an account",
        body=AdminProfileRequest,
        status=204,
        errors=_CHANGES,
    ),
    declare(
        method="DELETE",
        path="/admin/accounts/{id}",
        run=admin_delete_account,
        summary="Delete an account and all that belongs to it",
        status=204,
        errors=_CHANGES,
    ),
    declare(
        method="POST",
        path="/admin/accounts/{id}/email",
        run=admin_rename_account,
        summary="Give an account another address",
        body=AdminEmailRequest,
        status=204,
        errors=(*_WAYS_IN, AccountExists),
    ),
    declare(
        method="POST",
        path="/admin/accounts/{id}/password",
        run=admin_set_password,
        summary="Set the password of an account",
        body=AdminPasswordRequest,
        status=204,
        errors=_WAYS_IN,
    ),
    declare(
        method="POST",
        path="/admin/accounts/{id}/grant",
        run=admin_grant_role,
        summary="Give an account a role",
        body=AdminRoleRequest,
        status=204,
        errors=_WAYS_IN,
    ),
    declare(
        method="POST",
        path="/admin/accounts/{id}/revoke",
        run=admin_revoke_role,
        summary="Take a role from an account",
        body=AdminRoleRequest,
        status=204,
        errors=_CHANGES,
    ),
    *(
        declare(method="POST", path=f"/admin/accounts/{{id}}/{word}", run=run, summary=summary, status=204, errors=errors)
        for word, run, summary, errors in (
            ("disable", admin_disable_account, "Disable an account, and sign it out everywhere", _CHANGES),
            ("enable", admin_enable_account, "Enable an account again", _WAYS_IN),
            ("unlock", admin_unlock_account, "Forget the failed attempts on an account", _CHANGES),
            ("reset-factors", admin_reset_factors, "Remove all second factors of an account", _WAYS_IN),
        )
    ),
)
