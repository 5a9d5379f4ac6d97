"""`POST /register` and `POST /register/confirm`: people create accounts."""

from __future__ import annotations

from starlette.responses import Response

from ...domain.account import Account
from ...errors import AccountExists, CrossSite, InvalidCode, InvalidCredentials, NotFound
from ..answers import write_json
from ..body import require_body
from ..edge import Call
from ..operation import BODY_ERRORS, Operation, UseCases
from ..repeatable import read_repeatable
from .mailed import ConfirmRequest, MailAnswer, browser_of, read_shown, write_mail_sent
from .shapes import AnswerShape, Email, How, Name, NewPassword, RequestShape, Time, utc
from .tokens import TokenAnswer, choose_delivery, write_signed_in


class RegisterRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Create an account."""

    email: Email
    password: NewPassword
    name: Name = ""


class RegisterConfirmRequest(ConfirmRequest, frozen=True, kw_only=True, rename="camel"):
    """Create the account with the link or the code of the mail.

    A link that is opened in another browser than the one that asked needs a `password`: the first one is not the owner's then.
    """

    password: NewPassword | None = None
    delivery: How | None = None


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
    """Create an account, or with mail ask for the proof of its address first. Raises `NotFound` if registration is closed."""
    use.require_open_registration()
    body = require_body(body)
    if use.confirms_sign_up:
        browser = browser_of(call)
        email = await use.sign_up.ask(
            body.email, body.password, call.caller, browser=browser, name=body.name, language=call.person_language
        )
        return write_mail_sent(call, email, browser)
    request = read_repeatable(call, "register", body.email, body.password, body.name)
    account = await use.register(
        body.email, body.password, call.caller, name=body.name, language=call.person_language, request=request
    )
    return write_json(RegisterAnswer(user=_user(account)), status=201)


async def register_confirm(use: UseCases, call: Call, body: RegisterConfirmRequest | None) -> Response:
    """Create the account and sign in, as `/login` does. Raises `NotFound` if strangers do not sign up by mail here."""
    use.require_sign_up()
    body = require_body(body)
    presented, delivery = call.tokens_in_cookies(), choose_delivery(body.delivery, call)
    content = (body.token or "", body.code or "", body.password or "", delivery)
    pair = await use.sign_up.confirm(
        read_shown(call, body),
        call.caller_with_browser(body.ticket),
        password=body.password,
        delivery=delivery,
        presented=presented,
        request=read_repeatable(call, "register/confirm", *content),
    )
    return write_signed_in(use, call, pair, presented)


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
        accepted=MailAnswer,
        errors=(*BODY_ERRORS, CrossSite, NotFound, AccountExists),
        is_repeatable=True,
    ),
    Operation(
        method="POST",
        path="/register/confirm",
        run=register_confirm,
        summary="Create the account with the link or the code of the mail, and sign in",
        body=RegisterConfirmRequest,
        answer=TokenAnswer,
        errors=(*BODY_ERRORS, InvalidCode, InvalidCredentials, CrossSite, NotFound),
        signs_in=True,
        is_repeatable=True,
    ),
)
