"""Writes what the handlers of the pages answer: a page, a redirect, or a page about an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import jinja2
from starlette.responses import RedirectResponse, Response

from ...crypto.identifiers import new_id
from ...domain.brand import ACCENT, Brand
from ...domain.delivery import Delivery
from ...domain.provider import ProviderSettings
from ...errors import (
    HandstampError,
    InsufficientAuthentication,
    InvalidToken,
    MissingToken,
    NewProofRequired,
    ProofRequired,
    SessionEnded,
    TooManyAttempts,
    Unavailable,
)
from ...languages.templates import install_translations
from ...wire.device import SKIPPED
from ...wire.headers import FORGET_COPIES, OPENED_ALONE
from ...wire.problems import detail_of, headers_of, row_of
from ..answers import language_headers, log_refusal
from ..cookies import clear_cookies, expire_bound
from ..edge import Call, Edge
from .forms import FieldErrors, describe_error
from .visitor import describe_support

SECOND_REQUEST = "here"
"""In the query of a page that has loaded itself again."""
TAG = "proof"
"""In the query of a form that the browser sends again once it has proved the key of its session."""
CONFIRM_PAGE = "/confirm"


class PageWriter:
    """Renders templates with the headers that pages need. Its `write_error` is the edge's `ErrorWriter` for pages."""

    def __init__(
        self,
        edge: Edge,
        *,
        registration_open: bool,
        sign_in_by_code: bool,
        password_min_length: int,
        brand: Brand,
        providers: Sequence[ProviderSettings] = (),
    ) -> None:
        """Write the pages of a service.

        Args:
            edge: For the address that links and forms start with, and for the origins that forms may lead back to.
            registration_open: True to offer visitors to create an account.
            sign_in_by_code: True to offer visitors to sign in by mail.
            password_min_length: In characters, for the help beside fields for new passwords.
            brand: The look of the deployment.
            providers: The other services with which people can sign in.
        """
        self.service_name: str = brand.name or edge.issuer.host
        """What people call this service."""
        self._base = edge.issuer.path
        self._headers = _page_headers(edge.trusted_origins)
        self._defaults = {
            "base": self._base,
            "visitor": "",
            "email": "",
            "name": "",
            "errors": FieldErrors(),
            "notice": "",
            "notice_kind": "",
            "again": False,
            "return_to": "",
            "delivery": "",
            "query": "",
            "signals": "",
            "is_offer": False,
            "quietly": False,
            "registration_open": registration_open,
            "sign_in_by_code": sign_in_by_code,
            "password_min_length": password_min_length,
            "brand": brand,
            "providers": [{"name": each.name, "label": each.label} for each in providers],
            "accent": ACCENT,
        }

    def write_page(self, template: str, call: Call, *, status: int = 200, **values: Any) -> Response:
        """Return a page in the language of the call. `values` are for the template, in addition to the defaults."""
        made = {"idempotency_key": new_id(), "language": call.language, "looking": describe_support(call)}
        text = _TEMPLATES.get_template(template).render(self._defaults | made | values)
        return Response(text, status, self._headers | language_headers(call.language), "text/html")

    def redirect(self, path: str) -> Response:
        """Return a redirect to a page of this service, which the browser gets with GET (RFC 9110 §15.4.4)."""
        return self.redirect_to_url(self._base + path)

    def redirect_to_url(self, url: str) -> Response:
        """Return a redirect to a URL, which the caller must have checked."""
        return RedirectResponse(url, 303, {"cache-control": "no-store", **OPENED_ALONE})

    def load_again(self, call: Call) -> Response:
        """Return a page that loads the requested page again at once, from this site, so that the browser sends its cookies."""
        path = call.request.scope["path"].removeprefix(call.request.scope.get("root_path", ""))
        query = urlencode({**call.request.query_params, SECOND_REQUEST: ""})
        return self.write_page("arriving.html", call, there=f"{self._base}{path}?{query}")

    def send_again(self, call: Call, tag: str, delivery: Delivery) -> Response:
        """Return what has the browser prove the key of its session, and send the form of this call again with a tag.

        Without the cookie of a bound session, it does so before its next request (W3C DBSC §8.5). 307 keeps the form.
        """
        response = RedirectResponse(f"{self._base}{call.request.scope['route'].path}?{urlencode({TAG: tag})}", 307)
        response.headers["cache-control"] = "no-store"
        expire_bound(response, delivery, call.cookies)
        return response

    def _ask_for_cookie(self, call: Call) -> Response:
        """Return the answer to a visitor whose session is bound to a device, without the cookie that shows it.

        The browser renews the cookie when the page is loaded again from this site. If it could not be renewed, this is not the
        device, and its visitor can only sign in.
        """
        if SKIPPED in call.headers:  # the browser could not reach us, or we had answered 503
            return self.write_error(Unavailable("the browser could not renew its cookie"), call)
        if call.request.method == "GET" and SECOND_REQUEST not in call.request.query_params:
            return self.load_again(call)
        return self.redirect("/sign-in")

    def end_visit(self, response: Response, call: Call) -> Response:
        """Return the answer after which the browser has no cookies and no copies of pages of the session that has ended."""
        response.headers.update(FORGET_COPIES)
        return clear_cookies(response, call.cookies, bound=call.bound_cookie)

    def write_form_again(self, template: str, error: HandstampError, call: Call, **values: Any) -> Response:
        """Return a form with what was typed and what is wrong with it. `values` are for the template."""
        log_refusal(error, call.request.scope)
        response = self.write_page(template, call, **values, **describe_error(error, call.language))
        if isinstance(error, TooManyAttempts | Unavailable):
            response.headers["retry-after"] = str(error.retry_after_s)
        return response

    def write_error(self, error: HandstampError, call: Call) -> Response:
        """Return a page about an error. A visitor who is not signed in is sent to the sign-in page, which says why."""
        instance = log_refusal(error, call.request.scope)
        if isinstance(error, MissingToken | InvalidToken | SessionEnded):
            return self.redirect("/sign-in")
        if isinstance(error, ProofRequired) and not isinstance(error, NewProofRequired):
            return self._ask_for_cookie(call)
        if isinstance(error, InsufficientAuthentication):
            query = {name: value for name, value in call.request.query_params.items() if name != SECOND_REQUEST}
            return_to = self._base + call.request.scope["route"].path
            if query and call.request.method == "GET":
                return_to += f"?{urlencode(query)}"
            return self.redirect(f"{CONFIRM_PAGE}?{urlencode({'return_to': return_to})}")
        status, title = row_of(type(error))
        translate = call.language.translate
        response = self.write_page(
            "problem.html",
            call,
            status=status,
            title=translate(title),
            detail=detail_of(error, translate),
            may_retry=status >= 500 or isinstance(error, TooManyAttempts),
            instance=instance,
        )
        response.headers.update(headers_of(error))
        return response


def _page_headers(trusted_origins: frozenset[str]) -> dict[str, str]:
    form_action = " ".join(["'self'", *sorted(trusted_origins)])
    return {
        "cache-control": "no-store",
        **OPENED_ALONE,
        # Browsers apply form-action to the redirect after a form, too, and that may lead back to an application.
        "content-security-policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            f"form-action {form_action}; base-uri 'none'; frame-ancestors 'none'"
        ),
        # With no-referrer, browsers send forms with "Origin: null", and those without Fetch Metadata would be refused.
        "referrer-policy": "same-origin",
    }


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("handstamp.web.pages"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
install_translations(_TEMPLATES)
