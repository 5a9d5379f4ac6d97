"""Sets and deletes the cookies."""

from __future__ import annotations

from collections.abc import Collection

from starlette.responses import Response

from ..domain.delivery import DELIVERIES, Delivery
from ..domain.issuer import Issuer
from ..domain.policy import HOUR_MS
from ..service.parts.provider_trips import Away
from ..service.parts.tokens import TokenPair
from ..wire.cookies import cookie_name
from ..wire.device import CHALLENGE, REGISTRATION, START_PATH, write_challenge, write_registration

DEVICE_MAX_AGE_S = 400 * 24 * 60 * 60
"""The longest that browsers keep a cookie (RFC 6265bis §5.5)."""
GRANT_MAX_AGE_S = HOUR_MS // 1000
"""As long as the links of mails."""
TRIP_LENGTH = 8
"""Characters of the `state` in the name of a cookie."""
MAX_TRIPS = 3
"""Sign-ins at providers that one browser may have begun. Each has a cookie of up to four kilobytes."""
LATER_MAX_AGE_S = 30 * 24 * 60 * 60
DECLINED_MAX_AGE_S = DEVICE_MAX_AGE_S
_LANGUAGE_MAX_AGE_S = 24 * 60 * 60
_EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"


class Cookies:
    """The names and attributes of the cookies."""

    def __init__(self, issuer: Issuer) -> None:
        """Create it for an issuer. With https, browsers send the cookies over https alone."""
        self._secure = issuer.is_https
        self.access: str = cookie_name("access", issuer)
        """The name of the access token's cookie."""
        self.refresh: str = cookie_name("refresh", issuer)
        """The name of the refresh token's cookie."""
        self.device: str = cookie_name("device", issuer)
        """The name of the cookie of a known device."""
        self.grant: str = cookie_name("grant", issuer)
        """The name of the cookie of a browser that has asked for a mail with a code."""
        self.attempt: str = cookie_name("attempt", issuer)
        """The name of the cookie of a sign-in that waits for its second step on a page."""
        self.offer: str = cookie_name("offer", issuer)
        """The name of the cookie of a browser in which a person has declined to create a passkey."""
        self.language: str = cookie_name("language", issuer)
        """The name of the cookie of the language that an application has asked for."""
        self.bound: str = cookie_name("bound", issuer)
        """The name of the short-lived cookie of a session that is bound to its device."""
        self.trip: str = cookie_name("trip", issuer)
        """What the names of the cookies of sign-ins begin with for which the browser is at a provider. See `trip_of`."""
        self._start_path = f"{issuer.path}{START_PATH}"

    def trip_of(self, state: str) -> str:
        """Return the name of the cookie of one sign-in at a provider: two tabs can have one each."""
        return f"{self.trip}-{state[:TRIP_LENGTH]}"

    def header(self, name: str, value: str, max_age_s: int) -> str:
        """Return a `Set-Cookie` value (RFC 6265 §4.1).

        Args:
            name: `access`, `refresh`, `device`, `grant`, `attempt`, `offer`, `language` or `bound`; or that of `trip_of`.
            value: The value, or empty to delete the cookie.
            max_age_s: Seconds that the browser keeps the cookie. 0 deletes it; the other attributes must then be the same.
        """
        # Lax: the page behind a link from another site finds the visitor signed in. A navigation never refreshes.
        same_site = "Strict" if name == self.refresh else "Lax"
        secure = "Secure; " if self._secure else ""
        expires = f"; Expires={_EPOCH}" if max_age_s == 0 else ""
        return f"{name}={value}; Path=/; Max-Age={max_age_s}{expires}; {secure}HttpOnly; SameSite={same_site}"

    def describe_bound(self, delivery: Delivery) -> dict[str, str]:
        """Return the cookie that the browser renews for a session that is bound to its device (W3C DBSC §9.10)."""
        name = self.access if DELIVERIES[delivery].access_is_cookie else self.bound
        return {"type": "cookie", "name": name, "attributes": "Path=/; Secure; HttpOnly; SameSite=Lax"}

    def registration(self, challenge: str) -> str:
        """Return what invites a browser to bind the session whose challenge this is."""
        return write_registration(self._start_path, challenge)


def set_pair(response: Response, pair: TokenPair, cookies: Cookies) -> None:
    """Set those tokens of a pair that travel as cookies, and tell the browser what it needs for binding the session.

    Both cookies live as long as the refresh token: an expired access token is then reported as expired, not as missing. But those
    of a session that is bound to its browser end with the access token: the browser renews a cookie that is missing.
    """
    rule, binding = DELIVERIES[pair.delivery], pair.binding
    if rule.refresh_is_cookie:
        _set(response, cookies.header(cookies.refresh, pair.refresh_token, pair.refresh_expires_in_s))
    if rule.access_is_cookie:
        lifetime_s = pair.expires_in_s if binding.by == "dbsc" else pair.refresh_expires_in_s
        _set(response, cookies.header(cookies.access, pair.access_token, lifetime_s))
    if binding.registration:
        response.headers[REGISTRATION] = cookies.registration(binding.registration)
    if binding.challenge:
        response.headers[CHALLENGE] = write_challenge(binding.challenge, pair.session_id)
    if binding.device_pass:
        _set(response, cookies.header(cookies.bound, binding.device_pass, pair.expires_in_s))


def set_device(response: Response, device: str, cookies: Cookies) -> None:
    """Set the cookie by which a browser is recognised at its next sign-in. It is not deleted when the session ends."""
    _set(response, cookies.header(cookies.device, device, DEVICE_MAX_AGE_S))


def set_grant(response: Response, browser: str, cookies: Cookies) -> None:
    """Set the secret of a browser, in which alone the codes of its mails are accepted."""
    _set(response, cookies.header(cookies.grant, browser, GRANT_MAX_AGE_S))


def set_attempt(response: Response, challenge: str, max_age_s: int, cookies: Cookies) -> None:
    """Set the challenge of a sign-in that waits for its second step; delete it for an empty one."""
    _set(response, cookies.header(cookies.attempt, challenge, max_age_s if challenge else 0))


def set_trip(response: Response, away: Away, trips: Collection[str], cookies: Cookies) -> None:
    """Keep a sign-in for which the browser goes to a provider, and the secret of the browser.

    `trips` are the names of the cookies of others, oldest first. The oldest are deleted if there are many.
    """
    for name in list(trips)[: max(0, len(trips) + 1 - MAX_TRIPS)]:
        _set(response, cookies.header(name, "", 0))
    _set(response, cookies.header(cookies.trip_of(away.state), away.sealed, away.expires_in_s))
    set_grant(response, away.browser, cookies)


def clear_trip(response: Response, state: str, cookies: Cookies) -> None:
    """Delete the cookie of a sign-in that is complete."""
    _set(response, cookies.header(cookies.trip_of(state), "", 0))


def set_offer(response: Response, max_age_s: int, cookies: Cookies) -> None:
    """Keep for so many seconds that a person has declined to create a passkey in this browser."""
    _set(response, cookies.header(cookies.offer, "declined", max_age_s))


def set_language(response: Response, tag: str, cookies: Cookies) -> None:
    """Set the cookie of the language of pages, so that forms and links need not carry it on; delete it for an empty tag."""
    _set(response, cookies.header(cookies.language, tag, _LANGUAGE_MAX_AGE_S if tag else 0))


def clear_cookies(response: Response, cookies: Cookies, *, bound: str, but_for: TokenPair | None = None) -> Response:
    """Delete the cookies, except those that `but_for` has just set. Call this only if the session has ended for good.

    `bound` is the pass that came with the request, if one did. Without it, the browser learns that the session has ended.
    """
    if bound:
        _set(response, cookies.header(cookies.bound, "", 0))
    rule = DELIVERIES[but_for.delivery] if but_for else None
    if rule is None or not rule.refresh_is_cookie:
        _set(response, cookies.header(cookies.refresh, "", 0))
    if rule is None or not rule.access_is_cookie:
        _set(response, cookies.header(cookies.access, "", 0))
    return response


def expire_bound(response: Response, delivery: Delivery, cookies: Cookies) -> None:
    """Delete the cookie that the browser renews for a session that is bound to its device. The session goes on."""
    _set(response, cookies.header(cookies.describe_bound(delivery)["name"], "", 0))


def clear_ended(response: Response, cookies: Cookies, name: str | None, *, bound: str) -> Response:
    """Delete the cookies of a session that has ended for good, given the name of the cookie that identified it.

    An access cookie is deleted alone. A concurrent request may have set the cookies of a new session meanwhile, and with its
    refresh cookie the client recovers (T5).
    """
    if name == cookies.access:
        _set(response, cookies.header(cookies.access, "", 0))
    elif name == cookies.refresh:
        clear_cookies(response, cookies, bound=bound)
    return response


def _set(response: Response, cookie: str) -> None:
    response.headers.append("set-cookie", cookie)
