"""Requests to providers, in the thread that calls: what is the same for all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from ..clock import monotonic_ms
from ..crypto.strict import json_decode
from ..errors import InvalidProviderAnswer, InvalidToken, ProviderUnavailable, Unavailable
from ..outbound.client import Outbound
from ..outbound.response import Response

DEADLINE_S = 10.0
"""Seconds for all requests of one call."""
REQUEST_S = 5.0
"""Seconds for a request whose result others wait for."""
AGENT = "Handstamp"
MAX_TOKENS_BYTES = 256 * 1024
_ERROR = re.compile(r"[a-z_]{1,64}", re.ASCII)
_WRONG_GRANT = frozenset({"invalid_grant", "bad_verification_code", "bad_refresh_token"})
"""By RFC 6749 §5.2, and by GitHub."""
LeftS = Callable[[], float]
"""Returns the seconds that are left."""
_T = TypeVar("_T")


async def run_in_thread(outbound: Outbound, url: str, work: Callable[[LeftS], _T]) -> _T:
    """Run `work`, which sends requests to the host of `url` and to others, in a thread, and return its result.

    Raises:
        ProviderUnavailable: If it takes longer than `DEADLINE_S`, or too many others wait for this host.
        Exception: What the work raises; an `Unavailable` becomes a `ProviderUnavailable`.
    """

    def in_time(deadline_s: float) -> _T:
        ends_at_ms = monotonic_ms() + int(deadline_s * 1000)
        return work(lambda: max((ends_at_ms - monotonic_ms()) / 1000, 0.001))

    try:
        return await outbound.run(in_time, url=url, deadline_s=DEADLINE_S)
    except ProviderUnavailable:
        raise
    except Unavailable as error:
        raise ProviderUnavailable(error.why, error.retry_after_s) from None


def fetch_json(
    outbound: Outbound, url: str, *, deadline_s: float, max_bytes: int, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer with the JSON document at a URL. Raises `Unavailable` if there is none."""
    sent = {"Accept": "application/json", "User-Agent": AGENT, **(headers or {})}
    response = outbound.send("GET", url, sent, deadline_s=deadline_s, max_bytes=max_bytes)
    if response.status != 200:
        raise ProviderUnavailable(f"{url} answered {response.status}")
    require_json(response, url)
    return response


def require_json(response: Response, url: str) -> None:
    """Raise `ProviderUnavailable` if an answer is not JSON by its media type."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise ProviderUnavailable(f"{url} answered with another media type than JSON")


def post_form(
    outbound: Outbound, url: str, form: Mapping[str, str], *, headers: Mapping[str, str], deadline_s: float
) -> Mapping[str, Any]:
    """Return the JSON object that a token endpoint answers (RFC 6749 §5.1).

    Raises:
        InvalidProviderAnswer: If it does not accept the code or the refresh token.
        ProviderUnavailable: If it answers anything else.
        Unavailable: If it does not answer.
    """
    sent = {
        "Accept": "application/json",
        "User-Agent": AGENT,
        "Content-Type": "application/x-www-form-urlencoded",
        **headers,
    }
    body = urlencode(form).encode()
    response = outbound.send("POST", url, sent, body, deadline_s=deadline_s, max_bytes=MAX_TOKENS_BYTES)
    try:
        members = json_decode(response.body, dict[str, Any])
    except InvalidToken:
        members = {}
    if response.status == 200 and "error" not in members:
        require_json(response, url)
        return members
    error = str(members.get("error"))
    if _ERROR.fullmatch(error) is None:
        error = "no error code"
    if error in _WRONG_GRANT and response.status < 500:
        raise InvalidProviderAnswer("the provider does not accept the code: it has expired or was used")
    raise ProviderUnavailable(
        f"{url} answered {response.status} ({error}): check client_id, secret and redirect URI of the provider"
    )
