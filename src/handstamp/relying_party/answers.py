"""What the browser brings back from a provider, before any of it is believed (RFC 6749 §4.1.2, RFC 9207)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ..domain.provider import ProviderRequest
from ..errors import InvalidProviderAnswer, ProviderRefused, ProviderUnavailable

MAX_CODE_LENGTH = 4096
_CODE = re.compile(r"[ -~]+", re.ASCII)
_ERROR = re.compile(r"[a-z_]{1,64}", re.ASCII)
_CANCELLED = frozenset({"access_denied", "user_cancelled_authorize", "user_cancelled_login", "consent_declined"})
_MUST_ASK = frozenset({"login_required", "interaction_required", "consent_required", "account_selection_required"})
_AWAY = frozenset({"temporarily_unavailable", "server_error"})


def read_code(
    request: ProviderRequest,
    answer: Mapping[str, str],
    *,
    provider: str,
    accepts_issuer: Callable[[str], bool],
    names_issuer: bool,
) -> str:
    """Return the code of an answer.

    Args:
        request: The request to which it should be an answer.
        answer: Its fields.
        provider: The name of the provider at whose address it has arrived.
        accepts_issuer: Tells whether the answer may come from an issuer.
        names_issuer: True if the provider says that all its answers name their issuer.

    Raises:
        InvalidProviderAnswer: If it is an answer to another request or of another provider (mix-up), or has no code.
        ProviderRefused: If it says that the person was not signed in.
        ProviderUnavailable: If it says that the provider cannot do it now.
    """
    if request.provider != provider:
        raise InvalidProviderAnswer("the sign-in was begun with another provider")
    if not request.state or answer.get("state") != request.state:
        raise InvalidProviderAnswer("state is not that of the request")
    issuer = answer.get("iss")
    if (issuer is None and names_issuer) or (issuer is not None and not accepts_issuer(issuer)):
        raise InvalidProviderAnswer("iss is missing or names another provider (RFC 9207)")
    if "error" in answer:
        raise _error_of(answer["error"])
    code = answer.get("code", "")
    if len(code) > MAX_CODE_LENGTH or _CODE.fullmatch(code) is None:
        raise InvalidProviderAnswer("there is no code, or it is malformed")
    return code


def _error_of(error: str) -> Exception:
    named = error if _ERROR.fullmatch(error) else "an error of another form"
    if error in _AWAY:
        return ProviderUnavailable(f"the provider answered {named}")
    return ProviderRefused("cancelled" if error in _CANCELLED else "must_ask" if error in _MUST_ASK else "other", why=named)
