"""A revocation: "the tokens of this session are void", or those that this key signed.

It is written with the end of the session, in the same transaction, and lives only as long as a token that it can concern. So the
set holds the sign-outs of the last hour, whatever the number of sessions, and a verifier can keep it in memory.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .policy import MAX_ACCESS_LIFETIME_MS, MAX_LEEWAY_S

RevocationKind = Literal["sid", "kid"]


class Revocation(msgspec.Struct, frozen=True):
    """What is void, and the second since 1970 from which nobody needs to be told any more.

    `seq` grows in the order in which revocations become visible to readers; it is 0 until the store has given it.
    """

    kind: RevocationKind
    name: str
    exp_s: int
    seq: int = 0


def forgotten_at_s(now_ms: int) -> int:
    """Return when a revocation of now may be forgotten: every token that it concerns is over then, for any verifier.

    It goes by the longest life that any access token can have, not by this process's setting, which another may not share.
    """
    return -(-(now_ms + MAX_ACCESS_LIFETIME_MS) // 1000) + MAX_LEEWAY_S
