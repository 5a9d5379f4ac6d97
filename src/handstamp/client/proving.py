"""Proofs of the key to which a session is bound (DPoP, RFC 9449). The key is stored beside the tokens."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

from ..clock import Clock

_REFUSED = re.compile(r'(?:^|,\s*)dpop\s.*?\berror\s*=\s*"?(?:invalid_dpop_proof|use_dpop_nonce)\b', re.IGNORECASE | re.ASCII)
_WRONG_S = 60
"""By how many seconds a clock may be wrong before proofs are made by the servers' time. They accept five minutes."""


class Proofs:
    """Makes proofs, by a clock that follows the servers' once they have refused one."""

    def __init__(self, clock: Clock, *, binds: bool) -> None:
        """Create it. `binds` is True to bind new sessions to new keys. A session that is bound stays so without it."""
        self._binds = binds
        self._clock = clock
        self._offset_s = 0

    def make_key(self) -> str:
        """Return a new private key for a new session, "" if sessions are not to be bound."""
        if not self._binds:
            return ""
        from ..crypto.dpop import make_dpop_key  # noqa: PLC0415 - loads `cryptography`, which most clients do not need

        return make_dpop_key()

    def make(self, key: str, *, method: str, url: str, access_token: str = "", nonce: str = "") -> str:
        """Return the proof for one request, by the key of its session (RFC 9449 §4.2)."""
        from ..crypto.dpop import load_dpop_key, make_dpop_proof  # noqa: PLC0415 - as above

        now_s = self._clock() // 1000 + self._offset_s
        return make_dpop_proof(load_dpop_key(key), method=method, url=url, now_s=now_s, access_token=access_token, nonce=nonce)

    def learn(self, challenges: str, *, nonce: str, date: str) -> bool:
        """Return whether another proof may be accepted where one was refused: there is a nonce, or the clock was wrong.

        Args:
            challenges: The fields `WWW-Authenticate` of the refusal.
            nonce: Its field `DPoP-Nonce`.
            date: Its field `Date`, by which the next proofs are made if this machine's clock is wrong.
        """
        if not _REFUSED.search(challenges):
            return False
        try:
            wrong_s = int(parsedate_to_datetime(date).timestamp()) - (self._clock() // 1000 + self._offset_s)
        except (ValueError, OverflowError):
            wrong_s = 0
        if abs(wrong_s) > _WRONG_S:
            self._offset_s += wrong_s
        return bool(nonce) or abs(wrong_s) > _WRONG_S
