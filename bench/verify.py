"""Measure the verification of an access token beside the bare signature check, PyJWT, joserfc and Authlib.

Tokens and keys come from a real service, by sign-in and refresh.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import jwt
import msgspec
import typer

from handstamp import Verifier

from .bound import measure_bound
from .libraries import (
    AUTHLIB,
    BARE,
    JOSERFC,
    PYJWT,
    authlib_verifies,
    bare_verifies,
    expect_refusals,
    handstamp_verifies,
    joserfc_verifies,
    pyjwt_verifies,
)
from .report import AsJson, Promise, Table, progress, show
from .service import Service, temporary_folder
from .timing import COLUMNS, Prepare, Times, compare_to, join_times, ratio, take_turns

OFFLINE, FEED = "Handstamp, offline", "Handstamp, feed"
_BATCH = 100
_AGAIN_BATCH, _AGAIN_ROUNDS = 500, 10
_READY_S = 30


@dataclass(frozen=True, slots=True)
class Issuer:
    """The issuer of the tokens, and its keys."""

    url: str
    credential: str
    jwk: Mapping[str, Any]


def main(
    *,
    tokens: Annotated[int, typer.Option(help="How many different tokens to verify.", min=800)] = 2000,
    passes: Annotated[int, typer.Option(help="How often, each time with new verifiers.", min=1)] = 3,
    as_json: AsJson = False,
) -> None:
    """Print the cost of a first verification and of a cached one."""
    with temporary_folder() as folder, Service(folder) as service:
        progress(f"getting {tokens} tokens from a service")
        issuer, minted = _tokens_of(service, tokens)
        bound = measure_bound(service, issuer.url, tokens // 4, _BATCH, passes)
        batches = [minted[start : start + _BATCH] for start in range(0, tokens - _BATCH + 1, _BATCH)]
        first, again = [], []
        for number in range(1, passes + 1):
            progress(f"pass {number} of {passes}")
            with _contenders(issuer) as contenders:
                expect_refusals(contenders, minted[0])
                first.append(take_turns(contenders, batches))
                known = {name: verify for name, verify in contenders.items() if name != BARE}
                again.append(take_turns(known, [[minted[-1]] * _AGAIN_BATCH] * _AGAIN_ROUNDS))
    show(
        "verify",
        notes=("Processor time of the thread, µs a token; all take turns at the same tokens.",),
        tables=(
            Table("First verification, ES256", ("µs", *COLUMNS, f"x {BARE}"), compare_to(join_times(first), BARE)),
            Table(
                "The same token again, each time as a new string",
                ("µs", *COLUMNS, f"x {OFFLINE}"),
                compare_to(join_times(again), OFFLINE),
            ),
            *bound.tables(),
        ),
        promises=[*_promises(join_times(first), join_times(again)), *bound.promises()],
        packages=("pyjwt", "joserfc", "authlib", "msgspec"),
        as_json=as_json,
    )


def _promises(first: Times, again: Times) -> list[Promise]:
    kept = []
    for ours in (OFFLINE, FEED):
        times = ratio(first, ours, BARE)
        kept.append(Promise(f"first: {ours}", f"{times:.2f} x bare", "≤ 1.25 x", times <= 1.25))
    for ours in (OFFLINE, FEED):
        for theirs in (PYJWT, JOSERFC):
            times = ratio(first, theirs, ours)
            kept.append(Promise(f"first: {ours}", f"{times:.2f} x as fast as {theirs}", "≥ 1.7 x", times >= 1.7))
    for ours in (OFFLINE, FEED):
        median, times = sorted(again[ours])[len(again[ours]) // 2], ratio(again, PYJWT, ours)
        kept.append(Promise(f"again: {ours}", f"{median:.2f} µs", "≤ 2 µs", median <= 2))
        kept.append(Promise(f"again: {ours}", f"{times:.0f} x as fast as {PYJWT}", "≥ 50 x", times >= 50))
    return kept


def _tokens_of(service: Service, count: int) -> tuple[Issuer, list[bytes]]:
    credential = service.credential("bench")
    with service.client() as client:
        client.register()
        pair = client.sign_in()
        minted: list[bytes] = []
        while len(minted) < count:
            pair = client.refresh(pair["refreshToken"])
            minted.append(pair["accessToken"].encode("ascii"))
        (jwk,) = msgspec.json.decode(client.ask("GET", "/.well-known/jwks.json")[1])["keys"]
    return Issuer(service.url, credential, jwk), minted


@contextmanager
def _contenders(issuer: Issuer) -> Iterator[dict[str, Prepare[bytes]]]:
    """Yield all libraries; Handstamp's verifier has an empty cache."""
    with ExitStack() as closed_after:
        offline = closed_after.enter_context(Verifier(issuer.url, audience=issuer.url, check="offline"))
        feed = closed_after.enter_context(Verifier(issuer.url, audience=issuer.url, credential=issuer.credential))
        if not (offline.wait_until_ready(_READY_S) and feed.wait_until_ready(_READY_S)):
            raise RuntimeError(f"the verifiers do not get ready: {offline.status()}, {feed.status()}")
        key = jwt.PyJWK(dict(issuer.jwk)).key
        yield {
            BARE: bare_verifies(key),
            OFFLINE: handstamp_verifies(offline),
            FEED: handstamp_verifies(feed),
            PYJWT: pyjwt_verifies(key, "ES256", issuer.url),
            JOSERFC: joserfc_verifies(key, "ES256", issuer.url),
            AUTHLIB: authlib_verifies(key, "ES256", issuer.url),
        }


if __name__ == "__main__":
    typer.run(main)
