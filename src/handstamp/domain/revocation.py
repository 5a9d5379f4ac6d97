"""A revocation: the tokens of one session, or those that one key signed, are revoked.

It is written in the transaction that ends the session, and kept only until the last token that it concerns has expired. So the
set holds the sign-outs of about the last hour, whatever the number of sessions, and a verifier can keep it in memory.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .policy import MAX_ACCESS_LIFETIME_MS, MAX_LEEWAY_S

RevocationKind = Literal["sid", "kid"]


class Revocation(msgspec.Struct, frozen=True):
    """A session (`sid`) or a key (`kid`) whose tokens are revoked. From `exp_s`, in seconds since 1970, all of them have expired.

    `seq` grows in the order in which revocations become visible to readers. It is 0 until the store has assigned it.
    """

    kind: RevocationKind
    name: str
    exp_s: int
    seq: int = 0


def forgotten_at_s(now_ms: int) -> int:
    """Return the time, in seconds since 1970, at which every token revoked at `now_ms` has expired for every verifier.

    It is based on the longest possible life of an access token, because another process may have another setting.
    """
    return -(-(now_ms + MAX_ACCESS_LIFETIME_MS) // 1000) + MAX_LEEWAY_S
