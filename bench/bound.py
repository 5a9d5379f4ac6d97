"""Measure requests whose access token is bound to a key (DPoP), as the adapters authenticate them: token and proof."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from handstamp import Verifier
from handstamp.crypto.dpop import make_dpop_proof
from handstamp.crypto.jwk import KeySet, SigningKey
from handstamp.crypto.strict import base64url_decode
from handstamp.verify.authenticator import Authenticator

from .report import Promise, Table, quartiles
from .service import Service
from .timing import COLUMNS, Prepare, Times, compare_to, join_times, ratio, take_turns

TWO_CALLS, ONE_CALL = "cryptography alone, token and proof", "cryptography alone, the proof"
BOUND, UNBOUND = "Handstamp, bound", "Handstamp, not bound"
_API, _PATH = "https://api.example.com", "/orders"
_ROUNDS = 20


class Request(NamedTuple):
    """A bound token with a new proof, and a token of the same service that is not bound."""

    token: str
    proof: str
    unbound: str


@dataclass(frozen=True, slots=True)
class BoundTimes:
    """The times of requests."""

    first: Times
    again: Times

    def tables(self) -> tuple[Table, ...]:
        """Return what was measured."""
        return (
            Table(
                "A request with a bound token and its proof, the first time",
                ("µs", *COLUMNS, f"x {TWO_CALLS}"),
                compare_to(self.first, TWO_CALLS),
            ),
            Table(
                "The same token again, each time with a new proof",
                ("µs", *COLUMNS, f"x {ONE_CALL}"),
                compare_to(self.again, ONE_CALL),
            ),
        )

    def promises(self) -> tuple[Promise, ...]:
        """Return what the binding may cost."""
        first = ratio(self.first, BOUND, TWO_CALLS)
        rounds = zip(self.again[BOUND], self.again[UNBOUND], self.again[ONE_CALL], strict=True)
        again = quartiles([bound / (unbound + call) for bound, unbound, call in rounds])[1]
        return (
            Promise(f"first: {BOUND}", f"{first:.2f} x two bare calls", "≤ 1.35 x", first <= 1.35),
            Promise(f"again: {BOUND}", f"{again:.2f} x (not bound + a bare call)", "≤ 2 x", again <= 2),
        )


def measure_bound(service: Service, url: str, count: int, size: int, passes: int) -> BoundTimes:
    """Measure `count` tokens in batches of `size`, in each pass with new adapters."""
    device = SigningKey.generate("ES256")
    with service.client() as client:
        keys = KeySet.from_jwks(client.ask("GET", "/.well-known/jwks.json")[1])
        plain = [client.sign_in()["accessToken"]]
        pair = client.sign_in(proof=_prove(device, f"{url}/login", "POST"))
        bound: list[str] = []
        while len(bound) < count:
            pair = client.refresh(pair["refreshToken"], proof=_prove(device, f"{url}/refresh", "POST"))
            bound.append(pair["accessToken"])
    first, again = [], []
    for _ in range(passes):
        with ExitStack() as stack:
            verifier = stack.enter_context(Verifier(url, audience=url, keys=keys, check="offline"))
            adapter = Authenticator(verifier, resource=_API)
            contenders: dict[str, Prepare[Request]] = {
                TWO_CALLS: _bare(device, keys, of_token=True),
                BOUND: _bound(adapter),
            }
            first.append(take_turns(contenders, _batches(bound, plain[0], device, size)))
            contenders = {ONE_CALL: _bare(device, keys, of_token=False), BOUND: _bound(adapter), UNBOUND: _unbound(adapter)}
            again.append(take_turns(contenders, _batches([bound[-1]] * (_ROUNDS * size), plain[0], device, size)))
    return BoundTimes(join_times(first), join_times(again))


def _batches(tokens: Sequence[str], unbound: str, device: SigningKey, size: int) -> list[list[Request]]:
    requests = [Request(token, _prove(device, _API + _PATH, "GET", token), unbound) for token in tokens]
    return [requests[start : start + size] for start in range(0, len(requests) - size + 1, size)]


def _prove(device: SigningKey, url: str, method: str, token: str = "") -> str:
    return make_dpop_proof(device, method=method, url=url, now_s=int(time.time()), access_token=token)


def _bare(device: SigningKey, keys: KeySet, *, of_token: bool) -> Prepare[Request]:
    """Return the ruler: the calls of `cryptography` alone, with prepared arguments."""

    def prepare(requests: Sequence[Request]) -> Callable[[], None]:
        issuer, holder = (_public_of(jwk) for jwk in (keys.to_jwks()["keys"][0], device.public.to_jwk()))
        calls = [(holder.verify, *_parts(request.proof)) for request in requests]
        if of_token:
            calls += [(issuer.verify, *_parts(request.token)) for request in requests]

        def go_through() -> None:
            for verify, signature, data, algorithm in calls:
                verify(signature, data, algorithm)

        return go_through

    return prepare


def _bound(adapter: Authenticator) -> Prepare[Request]:
    return _each(adapter, lambda request: {"authorization": [f"DPoP {request.token}"], "dpop": [request.proof]})


def _unbound(adapter: Authenticator) -> Prepare[Request]:
    return _each(adapter, lambda request: {"authorization": [f"Bearer {request.unbound}"]})


def _each(adapter: Authenticator, headers_of: Callable[[Request], dict[str, list[str]]]) -> Prepare[Request]:
    def prepare(requests: Sequence[Request]) -> Callable[[], None]:
        lookups = [_lookup(headers_of(request)) for request in requests]

        def go_through() -> None:
            for values in lookups:
                adapter.authenticate("GET", values, path=_PATH)

        return go_through

    return prepare


def _lookup(headers: dict[str, list[str]]) -> Callable[[str], Sequence[str]]:
    return lambda name: headers.get(name, ())


def _public_of(jwk: dict[str, str]) -> ec.EllipticCurvePublicKey:
    x, y = (int.from_bytes(base64url_decode(jwk[name]), "big") for name in ("x", "y"))
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def _parts(text: str) -> tuple[bytes, bytes, ec.ECDSA]:
    data, _, signature = text.rpartition(".")
    raw = base64url_decode(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    return der, data.encode("ascii"), ec.ECDSA(hashes.SHA256())
