"""A JWKS server that fails, lies, stalls or is another server; and tokens of strangers that cause fetches (T27, R28 to R35)."""

from __future__ import annotations

import gzip
import itertools
import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from handstamp import InvalidToken, Verifier
from handstamp.clock import monotonic_ms
from handstamp.crypto import jws
from handstamp.crypto.jwk import KeySet, SigningKey
from handstamp.verify import jwks as remote
from handstamp.verify import service
from handstamp.verify import verifier as verifier_module
from handstamp.verify.fetch import Document
from handstamp.verify.jwks import WouldWait
from tests.commands import environment_with
from tests.conformance.builders import ABSENT, as_json, b64, members
from tests.hostile import JWKS, STALL, Hostile, Script, answer, drip, head, hostile, html, jwks, now_s, redirect
from tests.verifying import CREDENTIAL, eventually, try_token, verifier_of, wait_for_outcome

OTHER_KEY = SigningKey.generate("ES256")
RETIRED_KEY = SigningKey.generate("Ed25519")
PUBLIC = OTHER_KEY.public.to_jwk()
MAX_BYTES = service.MAX_JWKS_BYTES


@pytest.fixture
def issuer() -> Iterator[Hostile]:
    """Run an issuer that behaves correctly until a test changes its responses."""
    with hostile() as server:
        yield server


def offline(issuer: Hostile, **options: Any) -> Verifier:
    """Return an offline verifier that has no keys yet."""
    defaults: dict[str, Any] = {"audience": issuer.url, "check": "offline", "timeout_s": 1}
    return Verifier(issuer.url, **defaults | options)


def stranger(issuer: Hostile) -> str:
    """Return a token with an invented `kid`."""
    return issuer.token(header={"kid": secrets.token_urlsafe(12)})


def publish_changed(**changes: Any) -> Callable[[Hostile], Script]:
    """Return a script that publishes a valid key and a second one with changed members."""
    return lambda issuer: answer({"keys": [issuer.key.public.to_jwk(), members(PUBLIC, changes)]})


def coordinates(curve: ec.EllipticCurve) -> dict[str, str]:
    """Return the members of a key on another curve."""
    numbers = ec.generate_private_key(curve).public_key().public_numbers()
    size = (curve.key_size + 7) // 8
    return {"x": b64(numbers.x.to_bytes(size, "big")), "y": b64(numbers.y.to_bytes(size, "big"))}


def modulus(bits: int) -> str:
    """Return an odd number of this size: what an RSA key's `n` looks like."""
    return b64((1 << (bits - 1) | secrets.randbits(bits - 1) | 1).to_bytes(bits // 8, "big"))


def many(count: int) -> dict[str, Any]:
    """Return a set that lists one key under `count` key ids."""
    return {"keys": [PUBLIC | {"kid": f"key-{number}"} for number in range(count)]}


def pad_jwks(issuer: Hostile, size: int) -> bytes:
    """Return the valid set, padded to `size` bytes."""
    return as_json(jwks(issuer.key)).ljust(size)


def truncate_jwks(issuer: Hostile) -> bytes:
    """Return the valid set without its last bytes."""
    return as_json(jwks(issuer.key))[:-5]


RSA = {"kty": "RSA", "kid": "rsa", "alg": "RS256", "x": ABSENT, "y": ABSENT, "crv": ABSENT, "e": "AQAB"}
STRONG = modulus(3072)
WRONG: Mapping[str, Callable[[Hostile], Script]] = {
    "500": lambda _: answer({"keys": []}, 500),
    "404": lambda _: answer(b"", 404),
    "204": lambda _: [head(204)],
    "206": lambda issuer: answer(jwks(issuer.key), 206),
    "304": lambda _: [head(304)],
    "HTML": lambda _: html(),
    "an empty body": lambda _: answer(b""),
    "white space": lambda _: answer(b" \n "),
    "no HTTP": lambda _: [b"\x16\x03\x01\x02\x00\x01\x00"],
    "nothing": lambda _: [],
    "half a status line": lambda _: [b"HTTP/1.1 2"],
    "half the headers": lambda _: [b"HTTP/1.1 200 OK\r\ncontent-type: appl"],
    "a header without end": lambda _: [b"HTTP/1.1 200 OK\r\nx: " + b"x" * 200_000],
    "headers without end": lambda _: [b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000],
    "less than announced": lambda issuer: [head(content_length="9999"), truncate_jwks(issuer)],
    "cut short": lambda issuer: answer(truncate_jwks(issuer)),
    "a chunk cut short": lambda issuer: [head(transfer_encoding="chunked"), b"fff\r\n", truncate_jwks(issuer)],
    "a chunk of no size": lambda _: [head(transfer_encoding="chunked"), b"zz\r\n{}\r\n0\r\n\r\n"],
    "a chunk of a size below zero": lambda _: itertools.chain(
        [head(transfer_encoding="chunked"), b"-1\r\n"], itertools.repeat(b" " * 65536)
    ),
    "sound, and less than announced": lambda issuer: [head(content_length="9999"), as_json(jwks(issuer.key))],
    "gzip": lambda issuer: answer(gzip.compress(as_json(jwks(issuer.key))), content_encoding="gzip"),
    "too many bytes": lambda issuer: answer(pad_jwks(issuer, MAX_BYTES + 1)),
    "bytes without end": lambda _: itertools.chain([head()], itertools.repeat(b" " * 65536)),
    "a quadratic string": lambda _: answer(b'{"keys":' + b"[" * 17 + b'"' + b'\\"' * 130_000),
    "null": lambda _: answer(None),
    "a list": lambda issuer: answer(jwks(issuer.key)["keys"]),
    "no keys": lambda _: answer({}),
    "an empty set": lambda _: answer({"keys": []}),
    "keys as an object": lambda issuer: answer({"keys": {"0": issuer.key.public.to_jwk()}}),
    "keys as text": lambda _: answer({"keys": "abc"}),
    "keys as a number": lambda _: answer({"keys": 5}),
    "a key that is a number": lambda issuer: answer({"keys": [*jwks(issuer.key)["keys"], 5]}),
    "a key that is null": lambda issuer: answer({"keys": [*jwks(issuer.key)["keys"], None]}),
    "no key that we know": lambda _: answer({"keys": [{"kty": "AKP", "kid": "new", "alg": "ML-DSA-65"}]}),
    "65 keys": lambda _: answer(many(65)),
    "1000 keys": lambda _: answer(many(1000)),
    "one kid twice": lambda issuer: answer({"keys": [issuer.key.public.to_jwk()] * 2}),
    "one kid for two": lambda issuer: answer({"keys": [issuer.key.public.to_jwk(), PUBLIC | {"kid": issuer.key.kid}]}),
    "keys twice": lambda issuer: answer(as_json(jwks(issuer.key))[:-1] + b',"keys":[]}'),
    "a member twice": lambda issuer: answer(as_json(jwks(issuer.key)).replace(b'"kty"', b'"kty":"EC","kty"')),
    "a private member": publish_changed(d=b64(b"\x01" * 32)),
    "an RSA prime": publish_changed(**RSA, n=STRONG, p="AQAB"),
    "a secret": lambda _: answer({"keys": [{"kty": "oct", "kid": "s", "k": b64(b"s" * 32)}]}),
    "a secret beside": publish_changed(kty="oct", k=b64(b"s" * 32), x=ABSENT, y=ABSENT, crv=ABSENT, alg=ABSENT),
    "nested deep": lambda issuer: answer(as_json(jwks(issuer.key))[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "not UTF-8": lambda issuer: answer(as_json(jwks(issuer.key))[:-1] + b',"x":"\xff"}'),
    "UTF-16": lambda issuer: answer(json.dumps(jwks(issuer.key)).encode("utf-16")),
    "a byte order mark": lambda issuer: answer(b"\xef\xbb\xbf" + as_json(jwks(issuer.key))),
    "NaN": lambda issuer: answer(as_json(jwks(issuer.key))[:-1] + b',"x":NaN}'),
    "half a surrogate": lambda issuer: answer(as_json(jwks(issuer.key))[:-1] + b',"x":"\\ud800"}'),
    "P-384": publish_changed(crv="P-384", alg="ES384", **coordinates(ec.SECP384R1())),
    "secp256k1": publish_changed(crv="secp256k1", alg="ES256K", **coordinates(ec.SECP256K1())),
    "secp256k1 as P-256": publish_changed(**coordinates(ec.SECP256K1())),
    "X25519": publish_changed(kty="OKP", crv="X25519", y=ABSENT, alg=ABSENT),
    "a short coordinate": publish_changed(x=b64(b"\x01" * 31)),
    "a long coordinate": publish_changed(x=b64(b"\x00" * 33)),
    "no point of the curve": publish_changed(x=b64(b"\x01" * 32)),
    "the point at nowhere": publish_changed(x=b64(b"\x00" * 32), y=b64(b"\x00" * 32)),
    "RSA of 2048 bits": publish_changed(**RSA, n=modulus(2048)),
    "RSA with e = 3": publish_changed(**RSA | {"e": "Aw"}, n=STRONG),
    "RSA with e = 1": publish_changed(**RSA | {"e": "AQ"}, n=STRONG),
    "RSA with an even e": publish_changed(**RSA | {"e": b64(b"\x01\x00\x02")}, n=STRONG),
    "RSA with an e of 4000 bits": publish_changed(**RSA | {"e": b64(b"\x01" * 500)}, n=STRONG),
    "RSA without n": publish_changed(**RSA),
    "RSA with n = 0": publish_changed(**RSA, n="AA"),
    "x as a number": publish_changed(x=5),
    "x as a list": publish_changed(x=["a"]),
    "x empty": publish_changed(x=""),
    "x padded": publish_changed(x=PUBLIC["x"] + "="),
    "x missing": publish_changed(x=ABSENT),
    "crv as a list": publish_changed(crv=["P-256"]),
    "alg of another type": publish_changed(alg="RS256"),
    "alg none": publish_changed(alg="none"),
    "alg as a list": publish_changed(alg=["ES256"]),
    "for encrypting": publish_changed(use="enc"),
    "for signing": publish_changed(key_ops=["sign"]),
    "operations as text": publish_changed(key_ops="verify"),
    "no kid": publish_changed(kid=ABSENT),
    "an empty kid": publish_changed(kid=""),
    "a kid as a number": publish_changed(kid=5),
    "a long kid": publish_changed(kid="k" * 65),
    "a kid that is a path": publish_changed(kid="../../etc/passwd"),
    "a kid with a line break": publish_changed(kid="a\r\nset-cookie: x"),
}


@pytest.fixture
def short_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pause after a failed fetch, so that a test need not wait for it."""
    monkeypatch.setattr(remote, "RETRY_MS", 50)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.usefixtures("short_retries")
def test_bad_key_sets_keep_the_last_good_one(issuer: Hostile, wrong: str) -> None:
    """An invalid set is refused as a whole, and the last good one stays in use (T27).

    A verifier that has no keys is unavailable; it does not call a token invalid.
    """
    token, unknown = issuer.token(), stranger(issuer)
    warm, cold = offline(issuer), offline(issuer)
    assert try_token(warm, token) == "ok"

    issuer.answers[JWKS] = lambda _: WRONG[wrong](issuer)
    assert (try_token(cold, token), try_token(cold, unknown)) == ("unavailable", "unavailable")
    assert not cold.status().is_ready
    assert try_token(warm, unknown) == "unavailable", "a key that may be there cannot be called wrong"
    assert try_token(warm, token) == "ok"
    assert warm.status().problem
    assert cold.status().problem

    del issuer.answers[JWKS]
    assert "invalid_token" not in wait_for_outcome(cold, token, "ok")
    assert "ok" not in wait_for_outcome(warm, unknown, "invalid_token")
    assert try_token(warm, token) == "ok"
    assert warm.status().problem == ""


@pytest.mark.parametrize("is_cached", [True, False])
def test_an_issuer_that_is_away_for_a_day_is_not_relied_on_any_more(
    issuer: Hostile, monkeypatch: pytest.MonkeyPatch, is_cached: bool
) -> None:
    """The last good set stays during an outage, but it may contain keys that were withdrawn long ago: so for a day at most.

    The answer is that nothing can be known, not that a token is wrong. The keys come back with the issuer.
    """
    later_ms = 0
    for module in (remote, verifier_module):
        monkeypatch.setattr(module, "monotonic_ms", lambda: monotonic_ms() + later_ms)
    token, unknown = issuer.token(exp=now_s() + 3000), stranger(issuer)
    verifier = offline(issuer, cache_size=100 * is_cached)
    assert try_token(verifier, token) == "ok"
    issuer.answers[JWKS] = lambda _: answer({}, 500)
    later_ms = remote.MAX_AGE_MS - 60_000
    assert try_token(verifier, token) == "ok"
    assert verifier.status().is_ready

    later_ms = remote.MAX_AGE_MS
    for _ in range(3):
        assert (try_token(verifier, token), try_token(verifier, unknown)) == ("unavailable", "unavailable")
    assert not verifier.status().is_ready
    assert verifier.status().problem

    del issuer.answers[JWKS]
    later_ms += remote.RETRY_MS
    assert try_token(verifier, token) == "ok"
    assert try_token(verifier, unknown) == "invalid_token"


@pytest.mark.usefixtures("short_retries")
def test_a_redirect_is_not_followed(issuer: Hostile) -> None:
    """The verifier follows no redirect, neither for keys nor with its credential (R14, R34)."""
    token = issuer.token()
    with hostile() as elsewhere:
        elsewhere.key = OTHER_KEY
        forged = issuer.token(key=OTHER_KEY)
        for status in (301, 302, 303, 307, 308):
            issuer.answers[JWKS] = answer(b"", status, location=elsewhere.url + JWKS)
            assert try_token(offline(issuer), token) == "unavailable"
            assert try_token(offline(issuer), forged) == "unavailable"
        for path in ("/revocations", "/introspect"):
            issuer.answers[path] = redirect(elsewhere.url + path)
        del issuer.answers[JWKS]
        with verifier_of(issuer.url, wait=False) as verifier:
            assert try_token(verifier, token) == "unavailable"
            assert eventually(lambda: issuer.count("/revocations") >= 1)
        assert elsewhere.asked == []


def test_unknown_key_types_are_ignored(issuer: Hostile) -> None:
    """A key with an unknown `kty` is ignored, and the other keys of the set are used (RFC 7517 §5)."""
    unknown_type = {"kty": "AKP", "kid": "pq", "alg": "ML-DSA-65", "pub": "AAAA"}
    issuer.answers[JWKS] = answer({"keys": [unknown_type, *jwks(issuer.key)["keys"]], "other": {"member": [1]}})
    assert try_token(offline(issuer), issuer.token()) == "ok"


# --- tokens with unknown keys


def test_ten_thousand_unknown_kids_cause_one_fetch(issuer: Hostile) -> None:
    """Ten thousand invented key ids from eight threads cause one fetch.

    Valid tokens are accepted meanwhile (R35, T17, T27).
    """
    verifier, good = offline(issuer), [issuer.token() for _ in range(50)]
    assert try_token(verifier, good[0]) == "ok"
    invented = [stranger(issuer) for _ in range(100)]
    heads = [text.split(".", 1)[1] for text in invented]
    words: set[tuple[str, str]] = set()

    def attack(number: int) -> None:
        for step in range(1250):
            header = b64(as_json({"alg": "ES256", "typ": "at+jwt", "kid": f"invented-{number}-{step}"}))
            words.add(("invented", try_token(verifier, f"{header}.{heads[step % 100]}")))
            if step % 25 == 0:
                words.add(("good", try_token(verifier, good[step // 25])))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(attack, range(8)))
    assert words == {("invented", "invalid_token"), ("good", "ok")}
    assert issuer.count(JWKS) == 2, "the first one, and one for all the invented keys"


def test_a_hundred_threads_that_find_no_keys_fetch_once(issuer: Hostile) -> None:
    """A hundred threads without keys cause one fetch, and all use its result (T27)."""
    issuer.answers[JWKS] = lambda _: [0.3, *answer(jwks(issuer.key))]
    verifier, token = offline(issuer, timeout_s=20), issuer.token()
    with ThreadPoolExecutor(100) as pool:
        assert set(pool.map(lambda _: try_token(verifier, token), range(100))) == {"ok"}
    assert issuer.count(JWKS) == 1


def test_a_hundred_threads_wait_for_one_failure(issuer: Hostile) -> None:
    """While the server stalls, each thread waits for at most one time-out, and later calls fail at once (R88)."""
    issuer.answers[JWKS] = [STALL]
    verifier, token = offline(issuer, timeout_s=0.5), issuer.token()
    with ThreadPoolExecutor(100) as pool:
        assert set(pool.map(lambda _: try_token(verifier, token), range(100))) == {"unavailable"}
    assert issuer.count(JWKS) <= 3


# --- key rotation


def test_an_unannounced_key_is_fetched_on_first_use(issuer: Hostile) -> None:
    """An unannounced key is fetched when first seen. A second one within 30 seconds must wait (R35)."""
    verifier = offline(issuer)
    assert try_token(verifier, issuer.token()) == "ok"
    issuer.key = OTHER_KEY
    assert try_token(verifier, issuer.token()) == "ok"
    issuer.key = RETIRED_KEY
    assert try_token(verifier, issuer.token()) == "invalid_token"
    assert issuer.count(JWKS) == 2


def test_an_announced_key_causes_no_refusal(issuer: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was published for a cache's lifetime before its first use causes no refusal (R30).

    That is true even while strangers use up all fetches.
    """
    monkeypatch.setattr(remote, "_MIN_AGE_S", 1)
    first, second = issuer.key, OTHER_KEY
    published = [first]
    issuer.answers[JWKS] = lambda _: answer(jwks(*published), cache_control="public, max-age=1")
    verifier, words = offline(issuer), set()

    def serve_for(seconds: float, key: SigningKey) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            words.add(try_token(verifier, issuer.token(key=key)))
            assert try_token(verifier, stranger(issuer)) == "invalid_token"
            time.sleep(0.01)

    serve_for(0.3, first)
    published.append(second)
    serve_for(1.5, first)
    serve_for(0.5, second)
    assert words == {"ok"}
    published.remove(first)
    wait_for_outcome(verifier, issuer.token(key=first), "invalid_token")
    serve_for(0.2, second)
    assert words == {"ok"}


def test_keys_are_refreshed_in_the_background(issuer: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are renewed in the background at 60 to 80 percent of their lifetime; no request waits (T27)."""
    monkeypatch.setattr(remote, "_MIN_AGE_S", 1)
    verifier, token = offline(issuer), issuer.token()
    issuer.answers[JWKS] = lambda _: [0.2, *answer(jwks(issuer.key), cache_control="max-age=2")]
    assert try_token(verifier, token) == "ok"

    def is_renewed() -> bool:
        try:
            verifier._verify(token, None, None, None, impersonation=False, may_wait=False)
        except WouldWait:
            pytest.fail("a verification had to wait for keys that were still good")
        return issuer.count(JWKS) >= 3

    assert eventually(is_renewed)


@pytest.mark.usefixtures("short_retries")
def test_expired_keys_are_used_if_the_publisher_is_down(issuer: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the server fails, expired keys stay in use, so its outage does not affect verification (T27, R88)."""
    monkeypatch.setattr(remote, "_MIN_AGE_S", 1)
    issuer.answers[JWKS] = answer(jwks(issuer.key), cache_control="max-age=1")
    verifier, tokens = offline(issuer), [issuer.token() for _ in range(2)]
    assert try_token(verifier, tokens[0]) == "ok"
    issuer.answers[JWKS] = answer(b"", 500)
    until = time.monotonic() + 1.8
    while time.monotonic() < until:
        assert try_token(verifier, tokens[0]) == "ok"
        time.sleep(0.02)
    assert try_token(verifier, tokens[1]) == "ok"
    assert (verifier.status().keys_age_s or 0) > 1.5
    assert "500" in verifier.status().problem


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("public, max-age=300", 300),
        ("MAX-AGE=60", 60),
        ("s-maxage=5, max-age=600", 600),
        ("max-age=0", 30),
        ("max-age=1", 30),
        ("max-age=-1", 300),
        ("max-age=3601", 3600),
        (f"max-age={10**12}", 3600),
        (f"max-age={'9' * 5000}", 3600),
        ("max-age=1e3", 30),
        ("max-age=\u0663\u0660\u0660", 300),
        ('max-age="60"', 300),
        ("max-age", 300),
        ("no-store", 300),
        ("x-max-age=60", 300),
        ("", 300),
    ],
)
def test_cache_control_sets_the_lifetime_within_bounds(header: str, seconds: int) -> None:
    """Keys are cached for 30 seconds to an hour, whatever Cache-Control says (R34).

    The minimum limits fetches; the maximum lets a removed key disappear.
    """
    assert remote._max_age_s(Document(b"", header)) == seconds


def test_no_store_does_not_cause_a_fetch_per_token(issuer: Hostile) -> None:
    """`max-age=0` and `no-store` do not cause a fetch per verification."""
    issuer.answers[JWKS] = answer(jwks(issuer.key), cache_control="no-store, max-age=0")
    verifier = offline(issuer)
    assert {try_token(verifier, issuer.token()) for _ in range(100)} == {"ok"}
    assert issuer.count(JWKS) == 1


# --- void keys


def test_a_void_key_stays_void_while_the_publisher_still_lists_it(issuer: Hostile) -> None:
    """A void key stays refused while the server still publishes it, and its successor is accepted (R31)."""
    leaked, successor = issuer.key, OTHER_KEY
    issuer.answers[JWKS] = answer(jwks(leaked))
    with verifier_of(issuer.url) as verifier:
        old, remembered = issuer.token(key=leaked), issuer.token(key=leaked)
        assert try_token(verifier, remembered) == "ok"
        issuer.log.append({"kid": leaked.kid, "exp": int(time.time()) + 3660})
        wait_for_outcome(verifier, remembered, "invalid_token")
        fresh = issuer.token(key=successor)
        for _ in range(20):
            assert (try_token(verifier, old), try_token(verifier, remembered)) == ("invalid_token", "invalid_token")
            assert try_token(verifier, fresh) == "unavailable", "not wrong: its key cannot be had yet"
            assert try_token(verifier, stranger(issuer)) == "unavailable"
        issuer.answers[JWKS] = answer(jwks(successor))
        assert wait_for_outcome(verifier, fresh, "ok") <= {"unavailable"}
        issuer.answers[JWKS] = answer(jwks(leaked, successor))
        assert (try_token(verifier, old), try_token(verifier, remembered)) == ("invalid_token", "invalid_token")
        assert try_token(verifier, fresh) == "ok"


def test_tokens_of_a_void_key_do_not_delay_its_successor(issuer: Hostile) -> None:
    """Tokens of a void key do not use up the fetch that finds its successor (R31, R35)."""
    leaked = issuer.key
    with verifier_of(issuer.url) as verifier:
        issuer.key = OTHER_KEY
        old = issuer.token(key=leaked)
        assert try_token(verifier, old) == "ok"
        verifier._keys.void(leaked.kid)
        assert {try_token(verifier, issuer.token(key=leaked)) for _ in range(100)} == {"invalid_token"}
        assert eventually(lambda: try_token(verifier, issuer.token()) == "ok")
        assert issuer.count(JWKS) <= 3


def test_concurrent_voiding_and_fetching_lose_neither() -> None:
    """Voiding a key while a fetch runs loses neither the voiding nor the fetched key."""
    keys = [SigningKey.generate("Ed25519") for _ in range(60)]
    before, after = (json.dumps(jwks(*some)).encode() for some in (keys[:40], keys))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in range(60):
            body = [before]
            held = remote.RemoteKeys(lambda body=body: Document(body[0]), parse=remote.parse_keys, timeout_s=60)  # type: ignore[misc]
            held.wait("")
            body[0] = after
            begin = threading.Barrier(2)

            def void(held: remote.RemoteKeys[KeySet] = held, number: int = number, begin: threading.Barrier = begin) -> None:
                begin.wait()
                for key in keys[number % 10 : number % 10 + 30]:
                    held.void(key.kid)

            voiding = threading.Thread(target=void)
            voiding.start()
            begin.wait()
            held.wait("unknown")
            voiding.join()
            held.current(monotonic_ms())  # like the next verification: starts a fetch if none runs
            with held._fetching:
                found = held.current(monotonic_ms())
            assert not [key for key in keys[number % 10 : number % 10 + 30] if found.find(key.kid)]
            assert found.find(keys[59].kid)
    finally:
        sys.setswitchinterval(interval)


# --- time limits and proxies


@pytest.mark.parametrize(
    "body",
    [b'\\"' * 2800, b'"' * 5600, b"\\" * 5600, b"{" * 5600, b'"{' * 2800, b'"\\"[' * 1400],
    ids=["escaped quotes", "quotes", "escapes", "braces", "braces in text", "all of them"],
)
def test_no_token_takes_long_to_refuse(body: bytes) -> None:
    """Reading a token's header takes linear, not quadratic, time, because anyone can send one (R17)."""
    deep = b"[" * 17 + b'"'
    token = f"{b64(deep + body)}.e30.AA"
    assert len(token) < jws.MAX_TOKEN_LENGTH
    began = time.process_time()
    for _ in range(50):
        with pytest.raises(InvalidToken):
            jws.split(token)
    assert time.process_time() - began < 4


@pytest.mark.parametrize(
    "script",
    [
        lambda body: [STALL, *answer(body)],
        lambda body: drip(answer(body), 0.1),
        lambda body: drip([head(), *answer(body)], 0.1),
        lambda body: [*answer(body)[:1], STALL],
        lambda body: [*answer(body)[:1], *drip([body], 0.1)],
        lambda body: itertools.chain(*([b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\n", 0.005] for _ in range(2000)), answer(body)),
        lambda body: itertools.chain(*([b"x", 0.05] for _ in range(500)), answer(body)),
        lambda body: itertools.chain(
            [head(transfer_encoding="chunked"), b"%x\r\n%s\r\n0\r\n" % (len(body), body)],
            *([b"x: y\r\n", 0.05] for _ in range(500)),
        ),
    ],
    ids=[
        "no answer",
        "all in drops",
        "headers in drops",
        "no body",
        "a body in drops",
        "100 Continue",
        "a long status",
        "trailers",
    ],
)
def test_an_answer_has_one_deadline_for_all_of_it(issuer: Hostile, script: Callable[[bytes], Script]) -> None:
    """One deadline covers the whole response; a new byte does not extend it (R88)."""
    issuer.answers[JWKS] = script(as_json(jwks(issuer.key)))
    verifier, token = offline(issuer, timeout_s=0.3), issuer.token()
    began = time.monotonic()
    assert try_token(verifier, token) == "unavailable"
    assert time.monotonic() - began < 4


def test_loopback_requests_bypass_the_proxy(issuer: Hostile) -> None:
    """The environment's proxy is not used for loopback.

    Plain http is allowed there, and a proxy could read the credential.
    """
    program = (
        "import sys; from handstamp import Verifier\n"
        "url, token, credential = sys.argv[1:]\n"
        "verifier = Verifier(url, audience=url, credential=credential, timeout_s=5)\n"
        "assert verifier.wait_until_ready(10), verifier.status()\n"
        "print(verifier.verify(token, check='live').sub)\n"
    )
    with hostile() as proxy:
        environment = environment_with({}) | {"http_proxy": proxy.url, "HTTP_PROXY": proxy.url, "all_proxy": proxy.url}
        done = subprocess.run(
            [sys.executable, "-c", program, issuer.url, issuer.token(), CREDENTIAL],
            env={name: value for name, value in environment.items() if name.lower() != "no_proxy"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "account-1\n"), done.stderr
        assert proxy.asked == []
