"""Reading proofs of a device's key: what is accepted, and every way of being refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handstamp.crypto.jwk import SigningKey
from handstamp.crypto.proofs import Challenges, ProofKey, read_dbsc_proof, read_proof
from handstamp.crypto.seal import MasterSecret
from handstamp.crypto.strict import base64url_encode
from handstamp.errors import InvalidToken

DEVICE = SigningKey.generate("ES256")
OTHER = SigningKey.generate("ES256")
SECRET = MasterSecret(b"a master secret for the tests of proofs")
JWK = {name: value for name, value in DEVICE.public.to_jwk().items() if name in ("kty", "crv", "x", "y")}
KEY = ProofKey(JWK)
URL = "https://auth.example.com/device/start"


def a_proof(*, signer: SigningKey = DEVICE, claims: Any = None, raw: bytes | None = None, **header: Any) -> str:
    """Return a proof as a browser registers a key, with changes of its header. A member that is None is left out."""
    members = {"typ": "dbsc+jwt", "alg": "ES256", "jwk": JWK} | header
    head = msgspec.json.encode({name: value for name, value in members.items() if value is not None})
    payload = raw if raw is not None else msgspec.json.encode({"jti": "C0"} if claims is None else claims)
    signing_input = f"{base64url_encode(head)}.{base64url_encode(payload)}"
    return f"{signing_input}.{base64url_encode(signer.sign(signing_input.encode()))}"


def read(proof: str, *, key: ProofKey | None = None, challenge: str = "C0") -> ProofKey:
    """Read a proof for the endpoint of the registration."""
    return read_dbsc_proof(proof, url=URL, is_challenge=lambda jti: jti == challenge, key=key)


def test_a_registration_brings_its_key() -> None:
    """The key is kept as the members of its thumbprint, whatever else its JWK says."""
    key = read(a_proof(jwk={**JWK, "kid": "x", "ext": True, "key_ops": ["verify"]}))
    assert key.jwk == KEY.jwk == msgspec.json.encode(JWK, order="sorted").decode()
    assert key.thumbprint == DEVICE.kid
    assert ProofKey.from_jwk(key.jwk).thumbprint == key.thumbprint


def test_a_renewal_is_made_by_the_key_that_is_known() -> None:
    """It has no key in its header, and may have the URL as its audience."""
    assert read(a_proof(jwk=None), key=KEY) is KEY
    assert read(a_proof(jwk=None, claims={"jti": "C0", "aud": URL}), key=KEY) is KEY
    with pytest.raises(InvalidToken):
        read(a_proof(jwk=None, signer=OTHER), key=KEY)


SHAPES: dict[str, str] = {
    "nothing": "",
    "not a JWS": "x",
    "two segments": "e30.e30",
    "four segments": "e30." + a_proof(),
    "too long": a_proof(claims={"jti": "C0", "pad": "x" * 2048}),
    "padded": a_proof() + "=",
    "not ASCII": a_proof().replace(".", ".é", 1),
    "unsigned": a_proof().rpartition(".")[0] + ".",
    "another type": a_proof(typ="dpop+jwt"),
    "a type in another spelling": a_proof(typ="application/dbsc+jwt"),
    "no type": a_proof(typ=None),
    "no algorithm": a_proof(alg=None),
    "alg none": a_proof(alg="none"),
    "an HMAC": a_proof(alg="HS256"),
    "another algorithm": a_proof(alg="RS256"),
    "critical members": a_proof(crit=["exp"], exp=1),
    "b64": a_proof(b64=False),
    "compressed": a_proof(zip="DEF"),
    "no key": a_proof(jwk=None),
    "a private key": a_proof(jwk={**JWK, "d": "AAAA"}),
    "a secret": a_proof(jwk={"kty": "oct", "k": "AAAA"}),
    "an RSA key": a_proof(jwk={"kty": "RSA", "n": "AAAA", "e": "AQAB"}),
    "another curve": a_proof(jwk={**JWK, "crv": "P-384"}),
    "not on the curve": a_proof(jwk={**JWK, "y": JWK["x"]}),
    "a short coordinate": a_proof(jwk={**JWK, "x": "AAAA"}),
    "a key of another": a_proof(signer=OTHER),
    "another challenge": a_proof(claims={"jti": "C1"}),
    "no challenge": a_proof(claims={}),
    "a challenge that is no text": a_proof(claims={"jti": 7}),
    "another endpoint": a_proof(claims={"jti": "C0", "aud": "https://auth.example.com/device/refresh"}),
    "claims that are no object": a_proof(claims=["C0"]),
    "a challenge twice": a_proof(raw=b'{"jti":"C0","jti":"C0"}'),
    "nested deeply": a_proof(raw=b'{"jti":"C0","x":' + b"[" * 300 + b"]" * 300 + b"}"),
}


@pytest.mark.parametrize("proof", SHAPES.values(), ids=SHAPES)
def test_a_proof_that_is_not_exactly_right_is_refused(proof: str) -> None:
    """One error for all, which becomes a new challenge."""
    with pytest.raises(InvalidToken):
        read(proof)


def test_the_key_comes_from_one_place() -> None:
    """A renewal with a key in its header is refused, even with the right one: somebody has copied a registration."""
    with pytest.raises(InvalidToken):
        read(a_proof(), key=KEY)


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_refused_with_one_error(text: str) -> None:
    """What is in a header field of a stranger raises nothing else."""
    with pytest.raises(InvalidToken):
        read_proof(text, typ="dbsc+jwt", shape=dict[str, Any])


@given(head=st.binary(max_size=300), payload=st.binary(max_size=300), signature=st.binary(min_size=1, max_size=80))
def test_any_segments_are_refused_with_one_error(head: bytes, payload: bytes, signature: bytes) -> None:
    """Valid base64url with anything in it."""
    with pytest.raises(InvalidToken):
        read(".".join(base64url_encode(segment) for segment in (head, payload, signature)))


@given(
    header=st.dictionaries(
        st.sampled_from(["typ", "alg", "jwk", "kid", "crit"]),
        st.sampled_from(["dbsc+jwt", "ES256", JWK, {"kty": "EC"}, [], 7, None]),
    )
)
def test_only_the_right_header_is_accepted(header: dict[str, Any]) -> None:
    """Every combination of members is signed with the right key, and only the right one is accepted."""
    members = {"typ": "dbsc+jwt", "alg": "ES256", "jwk": JWK} | header
    is_right = all(members[name] == right for name, right in (("typ", "dbsc+jwt"), ("alg", "ES256"), ("jwk", JWK)))
    if is_right and members.get("crit") is None:
        assert read(a_proof(**header)).jwk == KEY.jwk
    else:
        with pytest.raises(InvalidToken):
            read(a_proof(**header))


def test_a_challenge_is_that_of_one_session_and_one_generation() -> None:
    """It is the same bytes each time, and every other session, step and secret has another one."""
    challenges = Challenges(SECRET)
    made = challenges.make("a", 7)
    assert made == Challenges(SECRET).make("a", 7)
    assert challenges.is_valid(made, "a", 7)
    others = {challenges.make("a", 8), challenges.make("b", 7), challenges.make("a", "start"), challenges.make("a7", 0)}
    assert len(others | {made}) == 5
    assert not any(challenges.is_valid(other, "a", 7) for other in (*others, "", made[:-1], f"{made}é"))


def test_a_challenge_survives_a_change_of_the_master_secret() -> None:
    """While the secret is changed, a challenge of the previous one is still valid."""
    other = MasterSecret(b"another master secret for the same tests")
    made = Challenges(SECRET).make("a", 7)
    assert Challenges(other.beside([SECRET])).is_valid(made, "a", 7)
    assert not Challenges(other).is_valid(made, "a", 7)
