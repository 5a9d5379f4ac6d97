"""Measure verifying and signing an access token by algorithm, beside PyJWT, joserfc, Authlib and the bare primitive.

Each is measured for new and for cached tokens, on one thread and on two.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from handstamp import AccessClaims, KeySet, Verifier
from handstamp.crypto import jws
from handstamp.crypto.algorithms import ALGORITHMS, MIN_RSA_BITS, Algorithm
from handstamp.crypto.identifiers import new_id
from handstamp.crypto.jwk import SigningKey
from handstamp.domain.claims import ACCESS_TYPE

from .libraries import (
    AUTHLIB,
    BARE,
    HANDSTAMP,
    JOSERFC,
    PYJWT,
    authlib_signs,
    authlib_verifies,
    bare_signs,
    bare_verifies,
    expect_refusals,
    expect_tokens,
    handstamp_signs,
    handstamp_verifies,
    joserfc_signs,
    joserfc_verifies,
    pyjwt_signs,
    pyjwt_verifies,
)
from .plot import Series, bars
from .report import AsJson, Cell, Table, progress, quartiles, show
from .timing import OnThreads, ratio, take_turns_on_threads

_NAMES = (BARE, HANDSTAMP, PYJWT, JOSERFC, AUTHLIB)
_BATCHES: Mapping[Algorithm, int] = {"ES256": 100, "Ed25519": 100, "RS256": 25, "HS256": 400}
"""The size of a batch: enough for two threads to compete."""
_ISSUER = "https://auth.example.com"
_THREADS = 2


class Measured(NamedTuple):
    """All times of one algorithm."""

    first: OnThreads
    again: OnThreads
    signing: OnThreads


def main(
    *,
    rounds: Annotated[int, typer.Option(help="How often each library has a turn.", min=3)] = 15,
    plot: Annotated[Path | None, typer.Option(help="Draw the figures into this SVG file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the cost of verifying and signing by algorithm."""
    measured: dict[Algorithm, Measured] = {}
    for algorithm in ALGORITHMS:
        progress(algorithm)
        measured[algorithm] = _measure(algorithm, rounds)
    if plot is not None:
        plot.write_text(_draw(measured), encoding="utf-8")
    show(
        "algorithms",
        notes=(
            "On one thread: processor time of the thread, medians, and ratios within one turn.",
            "On two threads at once: by the clock on the wall, and how many times as many a second as on one.",
        ),
        tables=[
            shown(title, {algorithm: one[kind] for algorithm, one in measured.items()})
            for shown in (_on_one_thread, _on_two_threads)
            for kind, title in enumerate(("Verifying, the first time", "Verifying the same token again", "Signing"))
        ],
        promises=(),
        packages=("pyjwt", "joserfc", "authlib", "msgspec"),
        as_json=as_json,
    )


def _measure(algorithm: Algorithm, rounds: int) -> Measured:
    private = _private(algorithm)
    public = private if isinstance(private, bytes) else private.public_key()
    key, size = SigningKey(private, algorithm=algorithm), _BATCHES[algorithm]
    claims = [[[_claims() for _ in range(size)] for _ in range(1 + _THREADS)] for _ in range(rounds)]
    tokens = [[[_token(one, key) for one in batch] for batch in batches] for batches in claims]
    signing = {
        BARE: bare_signs(private, key),
        HANDSTAMP: handstamp_signs(key),
        PYJWT: pyjwt_signs(private, key),
        JOSERFC: joserfc_signs(private, key),
        AUTHLIB: authlib_signs(private, key),
    }
    with Verifier(_ISSUER, audience=_ISSUER, keys=KeySet([key.public]), check="offline", cache_size=10**6) as verifier:
        verifying = {
            BARE: bare_verifies(public),
            HANDSTAMP: handstamp_verifies(verifier),
            PYJWT: pyjwt_verifies(public, algorithm, _ISSUER),
            JOSERFC: joserfc_verifies(public, algorithm, _ISSUER),
            AUTHLIB: authlib_verifies(public, algorithm, _ISSUER),
        }
        expect_refusals(verifying, tokens[0][0][0])
        expect_tokens(signing, claims[0][0][0], verifier)
        first = take_turns_on_threads(verifying, tokens)
        again = take_turns_on_threads(verifying, [[[tokens[0][0][0]] * size] * (1 + _THREADS)] * rounds)
        return Measured(first, again, take_turns_on_threads(signing, claims))


def _private(algorithm: Algorithm) -> Any:
    match algorithm:
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "Ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=MIN_RSA_BITS)
        case "HS256":
            return bytes(range(64))


def _claims() -> AccessClaims:
    """Return claims like those of the service."""
    now_s = time.time_ns() // 10**9
    return AccessClaims(
        iss=_ISSUER,
        aud=_ISSUER,
        sub=new_id(),
        client_id="handstamp",
        iat=now_s,
        exp=now_s + 3600,
        jti=new_id(),
        sid=new_id(),
        auth_time=now_s,
    )


def _token(claims: AccessClaims, key: SigningKey) -> bytes:
    return jws.sign(claims, key, typ=ACCESS_TYPE).encode("ascii")


def _on_one_thread(title: str, measured: Mapping[Algorithm, OnThreads]) -> Table:
    """Return the medians in µs, and their ratios to the bare primitive."""
    rows: list[tuple[Cell, ...]] = [
        (name, *(cell for one in measured.values() for cell in (_median(one.processor[name]), ratio(one.processor, name, BARE))))
        for name in _NAMES
    ]
    return Table(f"{title}, µs", ("", *(column for algorithm in measured for column in (algorithm, "x bare"))), rows)


def _on_two_threads(title: str, measured: Mapping[Algorithm, OnThreads]) -> Table:
    """Return the rates per second, and their ratios to one thread."""
    rows: list[tuple[Cell, ...]] = [
        (name, *(cell for one in measured.values() for cell in (1e6 / _median(one.together[name]), _gained(one, name))))
        for name in _NAMES
    ]
    return Table(
        f"{title}, {_THREADS} threads: a second", ("", *(c for algorithm in measured for c in (algorithm, "x one"))), rows
    )


def _gained(measured: OnThreads, name: str) -> float:
    return _median([one / two for one, two in zip(measured.alone[name], measured.together[name], strict=True)])


def _median(values: Sequence[float]) -> float:
    return quartiles(values)[1]


def _draw(measured: Mapping[Algorithm, Measured]) -> str:
    def series(name: str, times: OnThreads) -> Series:
        return Series(name, [_median(times.processor[library]) for library in _NAMES])

    panels: dict[str, list[Series]] = {}
    for algorithm, one in measured.items():
        panels[f"{algorithm}: verifying, µs"] = [series("verifying, the first time", one.first), series("again", one.again)]
        panels[f"{algorithm}: signing, µs"] = [series("signing", one.signing)]
    return bars("One access token, beside other libraries", groups=_NAMES, panels=panels)


if __name__ == "__main__":
    typer.run(main)
