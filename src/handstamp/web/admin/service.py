"""Operators read the audit trail, and look after service credentials and signing keys."""

from __future__ import annotations

from typing import Annotated, Any

from starlette.responses import Response

from ...domain.credential import Credential, CredentialScope
from ...domain.keyring import KeyState
from ...errors import AdministratorProtected, ConfigurationError, InvalidFields, NewProofRequired, NotFound
from ...service.operating.audit_trail import describe_events
from ...text import mark
from ..answers import write_json, write_nothing
from ..api.shapes import AnswerShape, RequestShape, Time, described, utc
from ..body import require_body
from ..edge import Call
from ..operation import UseCases
from .shapes import AFTER, Place, declare, read_cursor, read_limit, write_cursor

WRONG_NAME = mark("is taken, or is not 1 to 64 characters of A-Z a-z 0-9 . _ - that begin with a letter or a digit")


class AdminEventsAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """Some events of the audit trail, as `handstamp audit export` writes them, in the order of their numbers."""

    events: tuple[dict[str, Any], ...]
    next: Annotated[str | None, described("The place after the last event: send it as `after`, now or later")]


class AdminCredential(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """A service credential, without its secret."""

    id: str
    name: str
    scopes: tuple[CredentialScope, ...]
    created_at: Time


class AdminCredentialsAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """All service credentials, in the order of their names."""

    credentials: tuple[AdminCredential, ...]


class AdminNewCredential(AdminCredential, frozen=True, kw_only=True, rename="camel"):
    """A new service credential. The secret is shown this once."""

    secret: str


class AdminCredentialRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Create a service credential."""

    name: Annotated[str, described("1 to 64 characters of A-Z a-z 0-9 . _ -", max_length=64, examples=["orders"])]
    scopes: Annotated[tuple[CredentialScope, ...], described("What it may be used for", min_length=1, max_length=2)] = ("read",)


class AdminKey(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """A signing key and its timetable. What has not happened yet is planned."""

    kid: str
    algorithm: str
    state: KeyState
    published_at: Time
    signs_at: Time
    retires_at: Time
    removed_at: Time


class AdminKeysAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """The signing keys, in the order in which they sign."""

    keys: tuple[AdminKey, ...]


async def admin_list_events(use: UseCases, call: Call, _: None) -> Response:
    """Read the audit trail. A reader that goes on after `next` misses no event and repeats none."""
    limit, place = read_limit(call), read_cursor(call, tuple[Place])
    end = await use.audit_trail.find_end()
    after = place[0] if place else end - limit if call.request.query_params.get("last") == "true" else 0
    page = await use.audit_trail.read_page(after, end, limit=limit)
    last = page[-1][0] if page else after
    following = write_cursor(last) if last > 0 else None
    return write_json(AdminEventsAnswer(events=tuple(await describe_events(page)), next=following))


async def admin_list_credentials(use: UseCases, call: Call, _: None) -> Response:  # noqa: ARG001 - as all handlers
    """List the service credentials."""
    return write_json(AdminCredentialsAnswer(credentials=tuple(map(_describe, await use.credentials.list_all()))))


async def admin_create_credential(use: UseCases, call: Call, body: AdminCredentialRequest | None) -> Response:
    """Create a service credential."""
    body = require_body(body)
    try:
        made, secret = await use.credentials.create(
            body.name, call.operator, scopes=tuple[CredentialScope, ...](dict.fromkeys(body.scopes))
        )
    except ConfigurationError:
        raise InvalidFields([("name", WRONG_NAME)]) from None
    fields = {name: getattr(_describe(made), name) for name in AdminCredential.__struct_fields__}
    return write_json(AdminNewCredential(secret=secret, **fields), status=201)


async def admin_remove_credential(use: UseCases, call: Call, _: None) -> Response:
    """Remove a service credential. It is refused from the next request on."""
    await use.credentials.remove(call.request.path_params["id"], call.operator)
    return write_nothing()


async def admin_list_keys(use: UseCases, call: Call, _: None) -> Response:
    """List the signing keys with their timetable."""
    found = await use.keys.read_timetable(call.now_ms)
    keys = (
        AdminKey(
            kid=key.kid,
            algorithm=key.algorithm,
            state=key.state,
            published_at=utc(key.published_ms),
            signs_at=utc(key.signs_ms),
            retires_at=utc(key.retires_ms),
            removed_at=utc(key.removed_ms),
        )
        for key in found
    )
    return write_json(AdminKeysAnswer(keys=tuple(keys)))


async def admin_rotate_keys(use: UseCases, call: Call, _: None) -> Response:
    """Publish a new signing key now. It signs when every verifier has had time to fetch it."""
    await use.keys.rotate(call.operator)
    return write_nothing()


async def admin_retire_key(use: UseCases, call: Call, _: None) -> Response:
    """Stop signing with a key as soon as its successor has been published for long enough. No session ends."""
    await use.keys.retire(call.request.path_params["id"], call.operator)
    return write_nothing()


async def admin_void_key(use: UseCases, call: Call, _: None) -> Response:
    """Revoke at once all that a leaked key has signed. No session ends."""
    await use.keys.void(call.request.path_params["id"], call.operator)
    return write_nothing()


def _describe(credential: Credential) -> AdminCredential:
    return AdminCredential(
        id=credential.id, name=credential.name, scopes=credential.scopes, created_at=utc(credential.created_at_ms)
    )


OPERATIONS = (
    declare(
        method="GET",
        path="/admin/events",
        run=admin_list_events,
        summary="The audit trail, in the order of the numbers",
        query={"last": "`true`: begin with the newest events, as many as fit in a page", **AFTER},
        answer=AdminEventsAnswer,
        errors=(InvalidFields,),
    ),
    declare(
        method="GET",
        path="/admin/credentials",
        run=admin_list_credentials,
        summary="The service credentials",
        answer=AdminCredentialsAnswer,
    ),
    declare(
        method="POST",
        path="/admin/credentials",
        run=admin_create_credential,
        summary="Create a service credential, whose secret is shown once",
        body=AdminCredentialRequest,
        answer=AdminNewCredential,
        status=201,
        errors=(AdministratorProtected, NewProofRequired),
    ),
    declare(
        method="DELETE",
        path="/admin/credentials/{id}",
        run=admin_remove_credential,
        summary="Remove a service credential",
        status=204,
        errors=(AdministratorProtected, NotFound),
    ),
    declare(
        method="GET",
        path="/admin/keys",
        run=admin_list_keys,
        summary="The signing keys with their timetable",
        answer=AdminKeysAnswer,
    ),
    declare(method="POST", path="/admin/keys", run=admin_rotate_keys, summary="Publish a new signing key", status=204),
    declare(
        method="POST",
        path="/admin/keys/{id}/retire",
        run=admin_retire_key,
        summary="Stop signing with a key",
        status=204,
        errors=(NotFound,),
    ),
    declare(
        method="POST",
        path="/admin/keys/{id}/void",
        run=admin_void_key,
        summary="Revoke all that a leaked key has signed",
        status=204,
        errors=(NotFound,),
    ),
)
