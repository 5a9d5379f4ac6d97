"""`POST /login`: people sign in with address and password."""

from __future__ import annotations

from starlette.responses import Response

from ...domain.delivery import DELIVERIES, Delivery
from ...errors import CrossSite, InvalidCredentials, InvalidFields
from ...text import mark
from ...wire.cross_site import is_from_browser
from ..body import require_body
from ..cookies import clear_cookies
from ..edge import Call
from ..operation import BODY_ERRORS, Operation, UseCases
from ..repeatable import read_repeatable
from .shapes import Email, How, Password, RequestShape, Token
from .tokens import TokenAnswer, write_pair

NO_BROWSER = mark(
    "needs a browser: this request has neither Origin nor Sec-Fetch-Site, and later ones with cookies need one of them. "
    'A program uses "json". A server that signs a browser in passes on the Origin that the browser sent'
)


class LoginRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Sign in. `delivery` says how the session's tokens travel; the default is `split` for browsers and `json` for others.

    A client that keeps its tokens sends its last `refreshToken`, even an expired one, or an access token as `Authorization:
    Bearer`. The failed sign-ins of other people then do not delay it. That session neither ends nor goes on.
    """

    email: Email
    password: Password
    delivery: How | None = None
    refresh_token: Token | None = None


async def login(use: UseCases, call: Call, body: LoginRequest | None) -> Response:
    """Sign in, always with a new session. A session whose cookies came along is ended, so its cookies are replaced or deleted."""
    body = require_body(body)
    presented = call.tokens_in_cookies()
    delivery = _choose_delivery(body.delivery, call)
    request = read_repeatable(call, "login", body.email, body.password, delivery)
    pair = await use.sign_in(
        body.email,
        body.password,
        delivery=delivery,
        caller=call.caller,
        presented=presented,
        earlier=call.earlier_sign_ins(body.refresh_token),
        request=request,
    )
    response = write_pair(pair, call.cookies)
    use.remember_device(response, call, pair)
    return clear_cookies(response, call.cookies, but_for=pair) if presented else response


def _choose_delivery(wanted: Delivery | None, call: Call) -> Delivery:
    """Return how the tokens travel. Raises `InvalidFields` if they would travel as cookies of a client that is no browser."""
    if is_from_browser(call.headers.getlist):
        return wanted or "split"
    if wanted is not None and DELIVERIES[wanted].refresh_is_cookie:
        raise InvalidFields([("delivery", NO_BROWSER)])
    return "json"


OPERATIONS = (
    Operation(
        method="POST",
        path="/login",
        run=login,
        summary="Sign in",
        body=LoginRequest,
        answer=TokenAnswer,
        errors=(*BODY_ERRORS, InvalidCredentials, CrossSite),
        signs_in=True,
        is_repeatable=True,
    ),
)
