"""What verifying an access token costs, beside the bare signature check and beside PyJWT and joserfc, in one run.

The tokens come from a real service, by signing in and renewing, and so do the keys.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import jwt
import msgspec
import typer
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc import jwt as joserfc_jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from handstamp import AccessClaims, HandstampError, KeySet, Verifier
from handstamp.crypto import jws
from handstamp.crypto.identifiers import new_id
from handstamp.crypto.jwk import ALGORITHMS, Algorithm, SigningKey
from handstamp.crypto.strict import base64url_decode
from handstamp.domain.claims import ACCESS_TYPE

from .report import AsJson, Promise, Table, progress, show
from .service import Service, temporary_folder
from .timing import COLUMNS, Prepare, Times, compared, joined, ratio, take_turns

BARE, OFFLINE, FEED, PYJWT, JOSERFC = "cryptography alone", "handstamp, offline", "handstamp, feed", "PyJWT", "joserfc"
_LEEWAY_S = 5
_BATCH = 100
_AGAIN_BATCH, _AGAIN_ROUNDS = 500, 10
_READY_S = 30


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who made the tokens, and how to check them."""

    url: str
    credential: str
    jwk: Mapping[str, Any]


def main(
    *,
    tokens: Annotated[int, typer.Option(help="How many different tokens to verify.", min=800)] = 2000,
    passes: Annotated[int, typer.Option(help="How often, each time with new verifiers.", min=1)] = 3,
    as_json: AsJson = False,
) -> None:
    """Print what a verification costs the first time, again, and by algorithm."""
    with temporary_folder() as folder, Service(folder) as service:
        progress(f"getting {tokens} tokens from a service")
        issuer, minted = _tokens_of(service, tokens)
        batches = [minted[start : start + _BATCH] for start in range(0, tokens - _BATCH + 1, _BATCH)]
        first, again = [], []
        for number in range(1, passes + 1):
            progress(f"pass {number} of {passes}")
            with _contenders(issuer) as contenders:
                _expect_refusals(contenders, minted[0])
                first.append(take_turns(contenders, batches))
                known = {name: contenders[name] for name in (OFFLINE, FEED, PYJWT)}
                again.append(take_turns(known, [[minted[-1]] * _AGAIN_BATCH] * _AGAIN_ROUNDS))
    progress("algorithms")
    by_algorithm = {algorithm: _algorithm(algorithm, tokens // 4) for algorithm in ALGORITHMS}
    show(
        "verify",
        notes=("Processor time of the thread, µs a token; everybody takes turns at the same tokens.",),
        tables=(
            Table("First verification, ES256", ("µs", *COLUMNS, f"x {BARE}"), compared(joined(first), BARE)),
            Table(
                "The same token again, each time as a new string",
                ("µs", *COLUMNS, f"x {OFFLINE}"),
                compared(joined(again), OFFLINE),
            ),
            Table(
                "First verification by algorithm, offline",
                ("µs", *COLUMNS, "x bare"),
                [(name, *compared(times, "bare")[1][1:]) for name, times in by_algorithm.items()],
            ),
        ),
        promises=_promises(joined(first), joined(again)),
        packages=("pyjwt", "joserfc", "msgspec"),
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
def _contenders(issuer: Issuer) -> Iterator[dict[str, Prepare]]:
    """Yield everybody who verifies, ours with an empty cache."""
    with ExitStack() as closed_after:
        offline = closed_after.enter_context(Verifier(issuer.url, audience=issuer.url, check="offline"))
        feed = closed_after.enter_context(Verifier(issuer.url, audience=issuer.url, credential=issuer.credential))
        if not (offline.wait_until_ready(_READY_S) and feed.wait_until_ready(_READY_S)):
            raise RuntimeError(f"the verifiers do not get ready: {offline.status()}, {feed.status()}")
        key = jwt.PyJWK(dict(issuer.jwk)).key
        yield {
            BARE: _bare(key),
            OFFLINE: _handstamp(offline),
            FEED: _handstamp(feed),
            PYJWT: _pyjwt(key, issuer.url),
            JOSERFC: _joserfc(ECKey.import_key(dict(issuer.jwk)), issuer.url),
        }


def _expect_refusals(contenders: Mapping[str, Prepare], token: bytes) -> None:
    """Whoever takes a forged token is not in the same race."""
    head, payload, signature = token.decode("ascii").split(".")
    forged = f"{head}.{payload}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
    for name, prepare in contenders.items():
        try:
            prepare([forged])()
        except (InvalidSignature, HandstampError, jwt.InvalidTokenError, JoseError):
            continue
        raise RuntimeError(f"{name} took a forged token")


def _handstamp(verifier: Verifier) -> Prepare:
    def prepare(tokens: Sequence[str]) -> Any:
        def go_through(verify: Any = verifier.verify) -> None:
            for token in tokens:
                verify(token)

        return go_through

    return prepare


def _bare(key: Any) -> Prepare:
    """Return the ruler: the one call of `cryptography`, with everything that it needs made beforehand."""

    def prepare(tokens: Sequence[str]) -> Any:
        prepared = [_signed_parts(token) for token in tokens]
        calls: Sequence[tuple[Any, ...]] = prepared
        match key:
            case ec.EllipticCurvePublicKey():
                calls = [(_to_der(signature), data, ec.ECDSA(hashes.SHA256())) for signature, data in prepared]
            case rsa.RSAPublicKey():
                calls = [(signature, data, padding.PKCS1v15(), hashes.SHA256()) for signature, data in prepared]

        def go_through(verify: Any = key.verify) -> None:
            for call in calls:
                verify(*call)

        return go_through

    return prepare


def _bare_hmac(secret: bytes) -> Prepare:
    def prepare(tokens: Sequence[str]) -> Any:
        prepared = [_signed_parts(token) for token in tokens]

        def go_through() -> None:
            for signature, data in prepared:
                hmac.compare_digest(hmac.digest(secret, data, "sha256"), signature)

        return go_through

    return prepare


def _pyjwt(key: Any, issuer: str) -> Prepare:
    """Return PyJWT, told to be as strict as it can be."""
    options: Any = {"require": ["iat", "exp", "aud", "iss", "sub", "jti"], "strict_aud": True}

    def prepare(tokens: Sequence[str]) -> Any:
        def go_through() -> None:
            for token in tokens:
                jwt.decode(token, key, algorithms=["ES256"], audience=issuer, issuer=issuer, leeway=_LEEWAY_S, options=options)

        return go_through

    return prepare


def _joserfc(key: ECKey, issuer: str) -> Prepare:
    """Return joserfc with the same demands."""
    here: Any = {"essential": True, "value": issuer}
    anything: Any = {"essential": True}
    registry = joserfc_jwt.JWTClaimsRegistry(
        leeway=_LEEWAY_S, iss=here, aud=here, sub=anything, iat=anything, exp=anything, jti=anything
    )

    def prepare(tokens: Sequence[str]) -> Any:
        def go_through() -> None:
            for token in tokens:
                registry.validate(joserfc_jwt.decode(token, key, algorithms=["ES256"]).claims)

        return go_through

    return prepare


def _signed_parts(token: str) -> tuple[bytes, bytes]:
    data, _, signature = token.rpartition(".")
    return base64url_decode(signature), data.encode("ascii")


def _to_der(signature: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))


def _algorithm(algorithm: Algorithm, count: int) -> Times:
    """Time one algorithm against its bare primitive, on tokens as the service makes them."""
    issuer, now_s = "https://auth.example.com", time.time_ns() // 10**9
    private: Any
    match algorithm:
        case "ES256":
            private = ec.generate_private_key(ec.SECP256R1())
        case "Ed25519":
            private = ed25519.Ed25519PrivateKey.generate()
        case "RS256":
            private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
        case "HS256":
            private = bytes(range(64))
    key = SigningKey(private, algorithm=algorithm)

    def minted() -> bytes:
        claims = AccessClaims(
            iss=issuer,
            aud=issuer,
            sub=new_id(),
            client_id="handstamp",
            iat=now_s,
            exp=now_s + 3600,
            jti=new_id(),
            sid=new_id(),
            auth_time=now_s,
        )
        return jws.sign(claims, key, typ=ACCESS_TYPE).encode("ascii")

    batches = [[minted() for _ in range(_BATCH)] for _ in range(count // _BATCH)]
    bare = _bare_hmac(private) if isinstance(private, bytes) else _bare(private.public_key())
    with Verifier(issuer, audience=issuer, keys=KeySet([key.public]), check="offline") as verifier:
        return take_turns({"bare": bare, "handstamp": _handstamp(verifier)}, batches)


if __name__ == "__main__":
    typer.run(main)
