"""`POST /register`: people create accounts."""

from __future__ import annotations

from starlette.responses import Response

from ...domain.account import Account
from ...errors import AccountExists, CrossSite, NotFound
from ...text import mark
from ..answers import write_json
from ..body import require_body
from ..edge import Call
from ..operation import BODY_ERRORS, Operation, UseCases
from ..repeatable import read_repeatable
from .shapes import AnswerShape, Email, Name, NewPassword, RequestShape, Time, utc


class RegisterRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Create an account."""

    email: Email
    password: NewPassword
    name: Name = ""


class User(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """A person's account."""

    id: str
    email: str
    email_verified: bool
    name: str
    roles: tuple[str, ...]
    created_at: Time


class RegisterAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """The account that was created."""

    user: User


async def register(use: UseCases, call: Call, body: RegisterRequest | None) -> Response:
    """Create an account. Raises `NotFound` if registration is closed."""
    if not use.registration_open:
        raise NotFound(mark("Registration is closed. The people who run this service create accounts."))
    body = require_body(body)
    request = read_repeatable(call, "register", body.email, body.password, body.name)
    account = await use.register(
        body.email, body.password, call.caller, name=body.name, language=call.person_language, request=request
    )
    return write_json(RegisterAnswer(user=_user(account)), status=201)


def _user(account: Account) -> User:
    return User(
        id=account.id,
        email=account.email,
        email_verified=account.email_verified,
        name=account.name,
        roles=account.roles,
        created_at=utc(account.created_at_ms),
    )


OPERATIONS = (
    Operation(
        method="POST",
        path="/register",
        run=register,
        summary="Create an account",
        body=RegisterRequest,
        answer=RegisterAnswer,
        status=201,
        errors=(*BODY_ERRORS, CrossSite, NotFound, AccountExists),
        is_repeatable=True,
    ),
)
