"""RFC 8725, JWT Best Current Practices: known attacks, each compared with a valid token."""

from __future__ import annotations

import hmac
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from handstamp import Verifier
from handstamp.crypto import jws
from handstamp.crypto.algorithms import Algorithm
from handstamp.crypto.jwk import KeySet, SigningKey
from handstamp.domain.claims import ACCESS_TYPE, REFRESH_TYPE, AccessClaims, RefreshClaims
from handstamp.errors import InvalidToken
from tests.conformance.builders import (
    ABSENT,
    AUDIENCE,
    ISSUER,
    LIFETIME_S,
    NOW_S,
    Issuer,
    access_claims,
    access_header,
    as_json,
    b64,
    compact,
    unb64,
)

NONE_SPELLINGS = sorted({"".join(letters) for letters in itertools.product(*zip("none", "NONE", strict=True))})
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
Segments = tuple[str, str, str]


def _segments(token: str) -> Segments:
    header, payload, signature = token.split(".")
    return header, payload, signature


@pytest.mark.parametrize("spelling", [*NONE_SPELLINGS, "", " none", "none ", "nonė", "null"])
def test_algorithm_none_is_refused_in_every_spelling(spelling: str, issuer: Issuer) -> None:
    """RFC 8725 §2.1, §3.2: every spelling of alg none is refused, with no signature, a false one, and even the valid one."""
    header = access_header(issuer.key, alg=spelling)
    assert issuer.refusal(compact(header, access_claims(), lambda _: b"")) == "not three segments of base64url"
    assert issuer.refusal(compact(header, access_claims(), lambda _: b"\x00")) == "alg is not the key's algorithm"
    assert issuer.refusal(issuer.token(header=header)) == "alg is not the key's algorithm"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "Ed25519"])
@pytest.mark.parametrize("form", ["PEM", "DER", "PEM without its last newline", "JWK", "raw members", "kid"])
def test_public_key_is_no_hmac_secret(algorithm: Algorithm, form: str, signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 8725 §2.1, §3.1: HS256 with the public key as the secret (algorithm confusion) is refused."""
    issuer = Issuer(signing_keys[algorithm])
    public = serialization.load_der_private_key(
        issuer.key.to_bytes(), password=None, unsafe_skip_rsa_key_validation=True
    ).public_key()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = public.public_bytes(serialization.Encoding.PEM, spki)
    jwk = issuer.key.public.to_jwk()
    secret = {
        "PEM": pem,
        "DER": public.public_bytes(serialization.Encoding.DER, spki),
        "PEM without its last newline": pem.rstrip(),
        "JWK": json.dumps(jwk).encode(),
        "raw members": b"".join(unb64(jwk[name]) for name in ("n", "e", "x", "y") if name in jwk),
        "kid": issuer.key.kid.encode(),
    }[form]
    forge: Callable[[bytes], bytes] = lambda data: hmac.digest(secret, data, "sha256")  # noqa: E731
    as_hs256 = compact(access_header(issuer.key, alg="HS256"), access_claims(), forge)
    assert issuer.refusal(as_hs256) == "alg is not the key's algorithm"
    as_itself = compact(access_header(issuer.key), access_claims(), forge)
    assert issuer.refusal(as_itself) == "the signature is invalid"


@pytest.mark.parametrize("claimed", ["HS256", "HS384", "HS512", "RS256", "RS384", "PS256", "ES256", "ES256K", "ES384", "Ed25519"])
def test_algorithm_comes_from_the_key_not_the_token(claimed: str, every_issuer: Issuer) -> None:
    """RFC 8725 §3.1: the key determines the algorithm. A token that names another is refused before its signature is checked."""
    if claimed == every_issuer.key.algorithm:
        assert every_issuer.accepts(every_issuer.token()).sub == "account-1"
        return
    token = every_issuer.token(header=access_header(every_issuer.key, alg=claimed))
    assert every_issuer.refusal(token) == "alg is not the key's algorithm"


@pytest.mark.parametrize("spelling", ["es256", "Es256", "ES256 ", " ES256", "ES256\x00", "\u0415S256"])
def test_algorithm_is_compared_exactly(spelling: str, issuer: Issuer) -> None:
    """RFC 7515 §4.1.1: `alg` is compared case-sensitively, and similar names are refused."""
    assert issuer.refusal(issuer.token(header=access_header(issuer.key, alg=spelling))) == "alg is not the key's algorithm"


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/dev/null",
        "file:///etc/passwd",
        "https://evil.example/jwks.json",
        "' OR '1'='1",
        "x' UNION SELECT 'secret' --",
        "$(id)",
        "`id`",
        "| id",
        "key\x00",
        "key\n",
        "{{7*7}}",
        "%2e%2e%2f",
        "ключ",
        "",
        "a" * 65,
        "a" * 600,
    ],
)
def test_kid_that_is_no_name_is_refused(kid: str, issuer: Issuer) -> None:
    """RFC 8725 §3.10: `kid` is only a key of a dictionary; paths, queries and commands in it have no effect."""
    assert issuer.refusal(issuer.token(header=access_header(issuer.key, kid=kid))) == "kid is malformed"


def test_a_long_header_is_refused_before_it_is_parsed(issuer: Issuer) -> None:
    """CWE-400: the header is read before the signature is checked, so it has at most 1,024 characters."""
    assert issuer.refusal(issuer.token(header=access_header(issuer.key, kid="a" * 4000))) == "the header is too long"


@pytest.mark.parametrize("change", [str.upper, str.lower, lambda kid: kid + "A", lambda kid: kid[:-1], lambda _: "_by_kid"])
def test_kid_of_no_key_is_refused(change: Callable[[str], str], issuer: Issuer) -> None:
    """RFC 8725 §3.10: `kid` must match exactly; without a match no other key is tried."""
    header = access_header(issuer.key, kid=change(issuer.key.kid))
    assert issuer.refusal(issuer.token(header=header)) == "kid is not in the key set"


@pytest.mark.parametrize("member", ["jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256"])
def test_key_in_a_token_header_is_ignored(member: str, issuer: Issuer) -> None:
    """RFC 8725 §3.10: a key inside the token's header is ignored, so a token signed with it is refused."""
    attacker = SigningKey.generate("ES256")
    brought: dict[str, Any] = {
        "jwk": attacker.public.to_jwk(),
        "jku": "https://evil.example/jwks.json",
        "x5u": "https://evil.example/chain.pem",
        "x5c": ["MIIB"],
        "x5t": "AAAA",
        "x5t#S256": "AAAA",
    }
    as_ours = {**access_header(issuer.key), member: brought[member]}
    assert issuer.refusal(compact(as_ours, access_claims(), attacker.sign)) == "the signature is invalid"
    as_theirs = {**access_header(attacker), member: brought[member]}
    assert issuer.refusal(compact(as_theirs, access_claims(), attacker.sign)) == "kid is not in the key set"


@pytest.mark.parametrize("member", ["crit", "b64", "enc", "zip"])
@pytest.mark.parametrize("value", [["b64"], ["exp"], [], None, True, False, "", "DEF", "A256GCM", {}])
def test_critical_header_extension_is_refused(member: str, value: object, issuer: Issuer) -> None:
    """RFC 7515 §4.1.11, RFC 7797, RFC 8725 §3.6: crit, b64, encryption and compression are refused with any value (R15)."""
    why = issuer.refusal(issuer.token(header={**access_header(issuer.key), member: value}))
    assert why.startswith(("crit or b64", "enc or zip"))


@pytest.mark.parametrize("name", ["alg", "kid", "typ"])
@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_duplicate_header_member_is_refused(name: str, escaped: bool, first: bool, issuer: Issuer) -> None:
    """RFC 7515 §4: a duplicate header member is refused, escaped or not, because readers would disagree on its value (R18)."""
    right = access_header(issuer.key)
    spelled = f'"\\u{ord(name[0]):04x}{name[1:]}"' if escaped else f'"{name}"'
    again = f"{spelled}:{json.dumps(right[name])}"
    body = json.dumps(right)[1:-1]
    header = "{" + (f"{again},{body}" if first else f"{body},{again}") + "}"
    assert json.loads(header) == right
    assert issuer.refusal(issuer.token(header=header.encode())) == "JSON is invalid: a member appears twice"


@pytest.mark.parametrize(
    "extra",
    [
        b'"sub":"account-1"',
        b'"sub":"admin"',
        b'"exp":9999999999',
        b'"\\u0065xp":9999999999',
        b'"aud":"https://api.example.org"',
        b'"x":1,"x":1',
        b'"x":{"y":1,"y":2}',
        b'"x":[{"y":[{"z":1,"z":1}]}]',
        b'"":1,"":2',
        b'"\\ud83d\\ude00":1,"\xf0\x9f\x98\x80":2',
    ],
)
@pytest.mark.parametrize("first", [False, True])
def test_duplicate_claim_is_refused_at_any_depth(extra: bytes, first: bool, issuer: Issuer) -> None:
    """RFC 7519 §4: a duplicate member of the claims is refused, first or last, known or unknown, nested or not (R18)."""
    body = as_json(access_claims())[1:-1]
    payload = b"{" + (extra + b"," + body if first else body + b"," + extra) + b"}"
    assert isinstance(json.loads(payload), dict)
    assert issuer.refusal(issuer.token(payload=payload)) == "JSON is invalid: a member appears twice"


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("where", ["header", "payload"])
def test_deep_json_is_refused(opening: str, where: str, issuer: Issuer) -> None:
    """CWE-674, R17: more than 16 levels of nesting are refused, without exhausting the stack or taking long."""
    closing = "]" if opening == "[" else "}"
    right = as_json(access_header(issuer.key) if where == "header" else access_claims())

    def nested(levels: int, *, closed: bool = True) -> str:
        value = opening * levels + "1" + closing * levels * closed
        return issuer.token(**{where: right[:-1] + b',"x":' + value.encode() + b"}" * closed})

    assert issuer.accepts(nested(15)).sub == "account-1"
    assert issuer.refusal(nested(16)) == "JSON is nested too deeply"
    too_deep = "JSON is nested too deeply" if where == "payload" else "the header is too long"
    assert issuer.refusal(nested(900)) == too_deep
    assert issuer.refusal(nested(900, closed=False)) == too_deep
    assert issuer.refusal(nested(100_000)) == "the token is too long"
    assert issuer.refusal(nested(100_000, closed=False)) == "the token is too long"


def test_brackets_in_strings_are_not_nesting(issuer: Issuer) -> None:
    """RFC 8259 §7: brackets inside a string do not count as nesting, even after escaped quotes."""
    payload = {**access_claims(), "x": '\\"[' * 50 + "{" * 100, "[[[[": "\\"}
    assert issuer.accepts(issuer.token(payload=payload)).sub == "account-1"


@pytest.mark.parametrize("length", [8193, 100_000, 1_000_000])
def test_long_token_is_refused_before_parsing(length: int, issuer: Issuer) -> None:
    """RFC 8725 §3.10 (trust nothing received): a token above the maximum length is refused unread, signed or not."""
    assert issuer.refusal("A" * length) == "the token is too long"
    assert issuer.refusal(issuer.token(payload=access_claims(x="x" * length))) == "the token is too long"
    header, payload, signature = _segments(issuer.token())
    assert issuer.refusal(f"{header}.{payload}.{signature}{'A' * length}") == "the token is too long"


def test_token_of_the_maximum_length_is_accepted(issuer: Issuer) -> None:
    """RFC 8725 §3.10 (trust nothing received): a token of exactly the maximum of 8192 characters is accepted."""
    room = (8192 - len(issuer.token(payload=access_claims(x="")))) * 3 // 4
    longest = issuer.token(payload=access_claims(x="x" * room))
    assert 8190 <= len(longest) <= 8192
    assert issuer.accepts(longest).sub == "account-1"
    assert issuer.refusal(issuer.token(payload=access_claims(x="x" * (room + 3)))) == "the token is too long"


@pytest.mark.parametrize(
    "exp",
    [
        b'"1800000900"',
        b"1800000900.0",
        b"1.8000009e9",
        b"true",
        b"null",
        b"NaN",
        b"Infinity",
        b"-1",
        b"0",
        b"9007199254740992",
        b"1e400",
        b"9" * 400,
        b"9" * 5000,
        b"[1800000900]",
        b'{"$gt":0}',
        b'""',
    ],
    ids=lambda exp: exp[:20].decode(),
)
def test_exp_that_is_no_plain_integer_is_refused(exp: bytes, issuer: Issuer) -> None:
    """RFC 7519 §4.1.4, R19, T36: text, fractions, booleans, NaN and huge numbers are refused as `exp`."""
    right = as_json(access_claims())
    payload = right.replace(str(NOW_S + LIFETIME_S).encode(), exp)
    assert payload != right
    assert issuer.refusal(issuer.token(payload=payload)).startswith("JSON is invalid")


def test_token_without_exp_is_refused(issuer: Issuer) -> None:
    """RFC 9068 §2.2: a token without `exp` is refused."""
    assert "missing required field `exp`" in issuer.refusal(issuer.token(payload=access_claims(exp=ABSENT)))


@pytest.mark.parametrize(
    "escape",
    ["\\ud800", "\\udc00", "\\udfff\\ud800", "\\ud800\\ud800", "\\ud800x", "\\ud800\\u0041", "\\ud8", "\\x41", "\\u{41}"],
)
@pytest.mark.parametrize("place", ["header value", "header name", "claim", "claim name", "sub"])
def test_lone_surrogate_is_refused(escape: str, place: str, issuer: Issuer) -> None:
    """RFC 8725 §3.7, RFC 8259 §8.2: a lone surrogate, or an escape that JSON does not have, is refused anywhere in the token."""
    header, payload = as_json(access_header(issuer.key)).decode(), as_json(access_claims()).decode()
    if place == "header value":
        header = f'{header[:-1]},"x":"{escape}"}}'
    elif place == "header name":
        header = f'{header[:-1]},"{escape}":1}}'
    elif place == "claim":
        payload = f'{payload[:-1]},"x":"{escape}"}}'
    elif place == "claim name":
        payload = f'{payload[:-1]},"{escape}":1}}'
    else:
        payload = payload.replace("account-1", escape)
    token = issuer.token(header=header.encode(), payload=payload.encode())
    assert issuer.refusal(token).startswith("JSON is invalid")


@pytest.mark.parametrize(
    "octets",
    [b"\xff", b"\x80", b"\xc0\x80", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xf8\x88\x80\x80\x80"],
    ids=bytes.hex,
)
@pytest.mark.parametrize("where", ["header", "payload"])
def test_invalid_utf8_is_refused(octets: bytes, where: str, issuer: Issuer) -> None:
    """RFC 8725 §3.7: header and claims must be UTF-8; overlong forms, surrogates and partial characters are refused."""
    right = as_json(access_header(issuer.key) if where == "header" else access_claims())
    token = issuer.token(**{where: right[:-1] + b',"x":"' + octets + b'"}'})
    assert issuer.refusal(token) == "JSON is not UTF-8"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("where", ["header", "payload"])
def test_json_in_another_encoding_is_refused(encoding: str, where: str, issuer: Issuer) -> None:
    """RFC 8725 §3.7: only UTF-8 without a byte order mark is accepted."""
    right = as_json(access_header(issuer.key) if where == "header" else access_claims()).decode()
    assert issuer.refusal(issuer.token(**{where: right.encode(encoding)})).startswith("JSON")


@pytest.mark.parametrize("typ", ["JWT", "jwt", "rt+jwt", "at+jws", "at", "logout+jwt", "application/jwt", "at+jwt "])
def test_token_of_another_type_is_refused(typ: str, issuer: Issuer) -> None:
    """RFC 8725 §3.11: a token of another `typ` is refused."""
    assert issuer.refusal(issuer.token(header=access_header(issuer.key, typ=typ))) == "typ names another kind of token"


def test_token_without_a_type_is_refused(issuer: Issuer) -> None:
    """RFC 8725 §3.11: a token without `typ` is refused."""
    header = access_header(issuer.key, typ=ABSENT)
    assert "missing required field `typ`" in issuer.refusal(issuer.token(header=header))


def test_refresh_and_access_tokens_are_not_interchangeable(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 8725 §3.11, §3.12: refresh and access tokens are not interchangeable, even when one key signs both."""
    issuer = Issuer(signing_keys["HS256"])
    access = issuer.accepts(issuer.token())
    refresh = RefreshClaims(iss=ISSUER, aud=ISSUER, sub="account-1", sid="session-1", gen=1, iat=NOW_S, exp=NOW_S + LIFETIME_S)
    as_refresh, as_access = (jws.sign(refresh, issuer.key, typ=typ) for typ in (REFRESH_TYPE, ACCESS_TYPE))
    assert jws.verify(as_refresh, issuer.keys, typ=REFRESH_TYPE, shape=RefreshClaims) == refresh
    assert issuer.refusal(as_refresh) == "typ names another kind of token"
    assert "missing required field" in issuer.refusal(as_access)
    for claims, typ in ((access, ACCESS_TYPE), (refresh, ACCESS_TYPE)):
        with pytest.raises(InvalidToken) as refused:
            jws.verify(jws.sign(claims, issuer.key, typ=typ), issuer.keys, typ=REFRESH_TYPE, shape=RefreshClaims)
        assert refused.value.why == "typ names another kind of token"


def test_token_of_another_key_of_the_same_kind_is_refused(every_issuer: Issuer) -> None:
    """RFC 8725 §3.8: the same claims signed with a key that is not the issuer's are refused."""
    algorithm = every_issuer.key.algorithm
    if algorithm == "RS256":
        algorithm = "ES256"
    stranger = SigningKey.generate(algorithm)
    assert every_issuer.refusal(Issuer(stranger).token()) == "kid is not in the key set"
    borrowed = compact(access_header(every_issuer.key), access_claims(), stranger.sign)
    assert every_issuer.refusal(borrowed) == "the signature is invalid"


def test_empty_key_set_refuses_every_token(issuer: Issuer) -> None:
    """RFC 8725 §3.3: with an empty key set every token is refused; the signature check is never skipped."""
    assert issuer.accepts(issuer.token()).sub == "account-1"
    with pytest.raises(InvalidToken) as refused:
        Verifier(ISSUER, audience=AUDIENCE, keys=KeySet([]), check="offline").verify(issuer.token(), now_ms=NOW_S * 1000)
    assert refused.value.why == "kid is not in the key set"


MALFORMED: dict[str, Callable[[Segments], str]] = {
    "five segments, as JWE has": lambda parts: ".".join((parts[0], "AAAA", "AAAA", parts[1], parts[2])),
    "five segments of which two are empty": lambda parts: f"{parts[0]}..{parts[1]}.{parts[2]}.",
    "four segments": lambda parts: ".".join((*parts, "AAAA")),
    "a period behind": lambda parts: ".".join(parts) + ".",
    "a period before": lambda parts: "." + ".".join(parts),
    "two segments": lambda parts: ".".join(parts[:2]),
    "one segment": lambda parts: parts[1],
    "nothing": lambda _: "",
    "periods only": lambda _: "..",
    "no header": lambda parts: f".{parts[1]}.{parts[2]}",
    "no payload": lambda parts: f"{parts[0]}..{parts[2]}",
    "no signature": lambda parts: f"{parts[0]}.{parts[1]}.",
    "general JSON": lambda parts: json.dumps(
        {"payload": parts[1], "signatures": [{"protected": parts[0], "signature": parts[2]}]}
    ),
    "flattened JSON": lambda parts: json.dumps({"payload": parts[1], "protected": parts[0], "signature": parts[2]}),
    "a JSON string": lambda parts: json.dumps(".".join(parts)),
    "JSON and compact at once": lambda parts: '{"' + parts[0] + f'":1}}.{parts[1]}.{parts[2]}',
    "padding behind the signature": lambda parts: ".".join(parts) + "==",
    "padding behind every segment": lambda parts: ".".join(part + "=" * (-len(part) % 4) for part in parts) + "=",
    "a space before": lambda parts: " " + ".".join(parts),
    "a space behind": lambda parts: ".".join(parts) + " ",
    "a newline behind": lambda parts: ".".join(parts) + "\n",
    "a newline before": lambda parts: "\n" + ".".join(parts),
    "a line break within": lambda parts: ".".join((parts[0], parts[1][:8] + "\r\n" + parts[1][8:], parts[2])),
    "a tab within": lambda parts: ".".join((parts[0][:4] + "\t" + parts[0][4:], *parts[1:])),
    "a null behind": lambda parts: ".".join(parts) + "\x00",
    "a byte order mark": lambda parts: "\ufeff" + ".".join(parts),
    "the scheme before": lambda parts: "Bearer " + ".".join(parts),
    "plain base64 for base64url": lambda parts: ".".join((*parts[:2], "+/" + parts[2][2:])),
    "a percent escape": lambda parts: ".".join((*parts[:2], "%41" + parts[2][1:])),
    "full-width letters": lambda parts: ".".join((*parts[:2], "\uff21" + parts[2][1:])),
    "other digits": lambda parts: ".".join((*parts[:2], "\u0661" + parts[2][1:])),
    "half a character": lambda parts: ".".join((*parts[:2], "\udc80" + parts[2][1:])),
    "another separator": lambda parts: f"{parts[0]}\u3002{parts[1]}\u3002{parts[2]}",
    "twice over": lambda parts: ".".join((*parts, *parts)),
    "two with a comma": lambda parts: ".".join(parts) + "," + ".".join(parts),
}


@pytest.mark.parametrize("form", MALFORMED)
def test_token_must_have_three_segments(form: str, issuer: Issuer) -> None:
    """RFC 7515 §7.1, RFC 7519 §7.2: a token is three segments of base64url and two periods, with nothing added."""
    forged = MALFORMED[form](_segments(issuer.token()))
    assert issuer.refusal(forged) in (
        "not three segments of base64url",
        "a segment is empty or not base64url",
        "a segment has an impossible length",
        "the signature is invalid",
    )


def _segment_of_length(issuer: Issuer, position: int, left_over: int) -> list[str]:
    """Return the segments of a valid token in which one has a length of `left_over` modulo 4."""
    for filler in ("", "x", "xx"):
        header = {**access_header(issuer.key), "x": filler} if position == 0 else None
        payload = access_claims(x=filler) if position == 1 else None
        token = issuer.token(header=header, payload=payload)
        assert issuer.accepts(token).sub == "account-1"
        segments = token.split(".")
        if len(segments[position]) % 4 == left_over:
            return segments
    raise AssertionError("no filler gives this length")


def _with_segment(issuer: Issuer, segments: list[str], position: int, spelling: str) -> str:
    """Return the token with one segment respelled.

    The token is signed in that form, so that only the spelling is wrong.
    """
    changed = [*segments[:position], spelling, *segments[position + 1 :]]
    if position < 2:
        changed[2] = b64(issuer.key.sign(f"{changed[0]}.{changed[1]}".encode()))
    return ".".join(changed)


@pytest.mark.parametrize(
    ("position", "left_over", "algorithm"),
    [(0, 2, "ES256"), (0, 3, "ES256"), (1, 2, "ES256"), (1, 3, "ES256"), (2, 2, "ES256"), (2, 2, "Ed25519"), (2, 3, "HS256")],
)
def test_stray_bits_in_a_last_character_are_refused(
    position: int, left_over: int, algorithm: Algorithm, signing_keys: dict[Algorithm, SigningKey]
) -> None:
    """RFC 7515 §2, RFC 4648 §3.5: unused bits of the last character must be zero, or one token would have several spellings."""
    issuer = Issuer(signing_keys[algorithm])
    segments = _segment_of_length(issuer, position, left_over)
    right = segments[position]
    others = [right[:-1] + letter for letter in BASE64URL if letter != right[-1] and unb64(right[:-1] + letter) == unb64(right)]
    assert len(others) == {2: 15, 3: 3}[left_over]
    for spelling in others:
        forged = _with_segment(issuer, segments, position, spelling)
        assert issuer.refusal(forged) == "a segment has non-zero bits after its last byte"


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("letter", ["A", "B", "_"])
def test_length_of_one_modulo_four_is_refused(position: int, letter: str, issuer: Issuer) -> None:
    """RFC 7515 appendix C: a segment with a length of one modulo four is refused; no character is dropped."""
    segments = issuer.token().split(".")
    longer = segments[position] + letter * ((1 - len(segments[position])) % 4)
    assert len(longer) % 4 == 1
    forged = _with_segment(issuer, segments, position, longer)
    assert issuer.refusal(forged) == "a segment has an impossible length"


def test_es256_signature_in_der_or_of_another_length_is_refused(issuer: Issuer) -> None:
    """RFC 7518 §3.4, RFC 8725 §3.3: a signature is 64 bytes; DER, 63 or 65 bytes, and zeros (CVE-2022-21449) are refused."""

    def signed(change: Callable[[bytes], bytes]) -> str:
        return compact(access_header(issuer.key), access_claims(), lambda data: change(issuer.key.sign(data)))

    assert issuer.accepts(signed(lambda signature: signature)).sub == "account-1"
    for change in (
        lambda sig: encode_dss_signature(int.from_bytes(sig[:32]), int.from_bytes(sig[32:])),
        lambda sig: sig[:63],
        lambda sig: sig[1:],
        lambda sig: sig + b"\x00",
        lambda sig: b"\x00" + sig,
        lambda sig: bytes(32) + sig[32:],
        lambda sig: sig[:32] + bytes(32),
        lambda _: bytes(64),
        lambda _: b"\x00",
        lambda sig: sig * 2,
    ):
        assert issuer.refusal(signed(change)) == "the signature is invalid"


def test_refusal_discloses_nothing(issuer: Issuer) -> None:
    """RFC 8725 §3.3: every refusal has the same message; the failed check is only for the log."""
    refused: list[InvalidToken] = []
    for token in ("", issuer.token(payload=access_claims(iss="x")), issuer.token(header=access_header(issuer.key, alg="none"))):
        with pytest.raises(InvalidToken) as caught:
            issuer.accepts(token)
        refused.append(caught.value)
    assert {str(error) for error in refused} == {"The token is not valid here."}
    assert len({error.why for error in refused}) == 3


def test_claims_are_not_parsed_before_the_signature_is_verified(issuer: Issuer) -> None:
    """RFC 8725 §3.3: an invalid signature is reported as such, even over malformed, expired or duplicate claims."""
    assert issuer.accepts(issuer.token()).sub == "account-1"
    for payload in (b"{", b"\xff", b'{"exp":1,"exp":2}', as_json(access_claims(exp=1)), b"[" * 1000):
        forged = compact(access_header(issuer.key), payload, lambda _: bytes(63) + b"\x01")
        with pytest.raises(InvalidToken) as refused:
            jws.verify(forged, issuer.keys, typ=ACCESS_TYPE, shape=AccessClaims)
        assert refused.value.why == "the signature is invalid"
