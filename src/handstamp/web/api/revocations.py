"""`GET /revocations`: the feed that tells verifiers which sessions and keys are no longer valid."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from starlette.responses import Response

from ...errors import CredentialLacksScope, InvalidClient, InvalidFields, TooManyAttempts
from ...service.sessions.revocations import HEARTBEAT_S, FeedPage
from ...text import mark
from ...wire.basic import basic_credential
from ..answers import write_json
from ..edge import Call
from ..operation import Operation, UseCases
from .shapes import described


class RevocationEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A session or a signing key whose tokens are void until `exp`, seconds since 1970. It has `sid` or `kid`."""

    sid: str = ""
    kid: str = ""
    exp: int


class RevocationsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was revoked since the cursor of the request."""

    entries: tuple[RevocationEntry, ...]
    cursor: Annotated[str, described("Send it as `after` next time")]
    snapshot: Annotated[bool, described("All entries from the beginning: the cursor was unknown")]
    more: Annotated[bool, described("There are more entries already: ask again at once")]
    now: Annotated[int, described("The service's time, seconds since 1970")]


async def revoked(use: UseCases, call: Call, _: None) -> Response:
    """Return what was revoked since the cursor `after`; wait up to `wait` seconds for the next revocation."""
    caller = call.ending_caller
    presented = basic_credential(call.headers.getlist("authorization"))
    credential = await use.credentials.authenticate(presented, caller, scope="read")
    after, wait = (call.request.query_params.get(name, "") for name in ("after", "wait"))
    if not (re.fullmatch("[0-9]?", wait, re.ASCII) and int(wait or 0) <= HEARTBEAT_S):
        raise InvalidFields([("wait", mark("must be whole seconds from 0 to %(limit)s", limit=HEARTBEAT_S))])
    page = await use.revocations.read_after(after, wait_s=int(wait or 0), reader=credential.name, caller=caller)
    return write_json(_answer(page, caller.now_ms))


def _answer(page: FeedPage, now_ms: int) -> RevocationsAnswer:
    return RevocationsAnswer(
        entries=tuple(RevocationEntry(exp=entry.exp_s, **{entry.kind: entry.name}) for entry in page.entries),
        cursor=page.cursor,
        snapshot=page.is_snapshot,
        more=page.has_more,
        now=now_ms // 1000,
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/revocations",
        run=revoked,
        summary="Revoked sessions and keys, for other services that verify tokens",
        query={
            "after": "The cursor of the last answer; without it, all entries are returned",
            "wait": "How many seconds to wait for the next revocation, 0 to 5",
        },
        answer=RevocationsAnswer,
        errors=(InvalidFields, InvalidClient, CredentialLacksScope, TooManyAttempts),
        credential="client",
        budget=None,
    ),
)
