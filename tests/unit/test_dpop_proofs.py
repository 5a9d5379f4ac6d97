"""Proofs of programs (RFC 9449): the RFC's examples, signed proofs that are wrong in one point, and the memory of used ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handstamp.crypto import used_proofs
from handstamp.crypto.dpop import WINDOW_S, DpopProofs, hash_token, load_dpop_key, make_dpop_key, make_dpop_proof
from handstamp.crypto.proofs import DpopNonces
from handstamp.crypto.seal import MasterSecret
from handstamp.crypto.strict import base64url_encode
from handstamp.crypto.used_proofs import UsedProofs
from handstamp.domain.claims import AccessClaims, Confirmation
from handstamp.errors import BoundTokenRefused, InvalidDpopProof, InvalidToken, UseDpopNonce
from tests.devices import Device

API, NOW = "https://api.example.com", 1_800_000_000
DEVICE, OTHER = Device(), Device()
NONCES = DpopNonces(MasterSecret(b"a master secret for the tests of proofs"))
TOKEN = "a.bound.token"
RIGHT: dict[str, Any] = {"jti": "1", "htm": "GET", "htu": f"{API}/orders", "iat": NOW, "ath": hash_token(TOKEN)}


def prove(claims: dict[str, Any] | bytes, device: Device = DEVICE, **header: Any) -> str:
    """Return a proof with these claims, correctly signed."""
    return device.sign({"typ": "dpop+jwt", "alg": "ES256", "jwk": device.jwk} | header, claims)


def claims_of(device: Device | None) -> AccessClaims:
    """Return the claims of a token that is bound to the key of a device."""
    cnf = None if device is None else Confirmation(device.key.kid)
    return AccessClaims(
        iss="i", aud="a", sub="s", client_id="c", iat=NOW, exp=NOW + 900, jti="j", sid="s", auth_time=NOW, cnf=cnf
    )


def require(proofs: DpopProofs, *sent: str, path: str = "/orders", device: Device | None = DEVICE, now_s: int = NOW) -> None:
    """Check a request with a bound token."""
    proofs.require(claims_of(device), TOKEN, sent, method="GET", path=path, now_ms=now_s * 1000)


# The header of the RFC's examples; then the time, the claims, the signature and the token of each.
HEADER = (
    b'{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",'
    b'"y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}}'
)
JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
FIGURES: dict[str, tuple[int, bytes, str, str]] = {
    "figure 2": (
        1562262616,
        b'{"jti":"-BwC3ESc6acc2lTc","htm":"POST","htu":"https://server.example.com/token","iat":1562262616}',
        "2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg",
        "",
    ),
    "figure 6": (
        1562265296,
        b'{"jti":"-BwC3ESc6acc2lTc","htm":"POST","htu":"https://server.example.com/token","iat":1562265296}',
        "pAqut2IRDm_De6PR93SYmGBPXpwrAk90e8cP2hjiaG5QsGSuKDYW7_X620BxqhvYC8ynrrvZLTk41mSRroapUA",
        "",
    ),
    "figure 12": (
        1562262618,
        (
            b'{"jti":"e1j3V_bKic8-LAEB","htm":"GET","htu":"https://resource.example.org/protectedresource","iat":1562262618,'
            b'"ath":"fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"}'
        ),
        "2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA",
        "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU",
    ),
}


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_the_examples_of_the_rfc_are_accepted(figure: tuple[int, bytes, str, str]) -> None:
    """Each is for its own method, URL, time and token, by the key whose thumbprint is in RFC 9449 §6.1, and for nothing else."""
    iat, claims, signature, token = figure
    proof = f"{base64url_encode(HEADER)}.{base64url_encode(claims)}.{signature}"
    origin, path = ("https://resource.example.org", "/protectedresource") if token else ("https://server.example.com", "/token")

    def check(*, now_s: int = iat, method: str = "GET" if token else "POST", path: str = path, access_token: str = token) -> str:
        proofs = DpopProofs(origin)
        return proofs.check([proof], method=method, path=path, now_ms=now_s * 1000, access_token=access_token).key.thumbprint

    assert check() == check(now_s=iat + WINDOW_S) == check(now_s=iat - WINDOW_S) == JKT
    for wrong in (
        {"now_s": iat + WINDOW_S + 1},
        {"now_s": iat - WINDOW_S - 1},
        {"method": "PUT"},
        {"path": path + "s"},
        {"access_token": "another"},
    ):
        with pytest.raises(InvalidDpopProof):
            check(**wrong)


def test_what_we_make_is_what_we_read() -> None:
    """Also with a nonce, where the time does not matter."""
    key = load_dpop_key(make_dpop_key())
    made = [
        make_dpop_proof(key, method="GET", url=f"{API}/orders?a=b#c", now_s=now_s, access_token=TOKEN, nonce=nonce)
        for now_s, nonce in ((NOW, ""), (0, NONCES.make(NOW)))
    ]
    proofs = DpopProofs(API, nonces=NONCES)
    found = {
        proofs.check([proof], method="GET", path="/orders", now_ms=NOW * 1000, access_token=TOKEN).key.thumbprint
        for proof in made
    }
    assert len(found) == 1


SAME_URL = (
    f"{API}/orders",
    f"{API}:443/orders",
    "HTTPS://API.EXAMPLE.COM/orders",
    f"{API}/%6Frders",
    f"{API}/orders?page=2",
    f"{API}/orders#top",
    f"{API}/orders?a=b#c",
    f"{API}/orders?",
)
OTHER_URL = (
    "",
    "/orders",
    "//api.example.com/orders",
    "http://api.example.com/orders",
    f"{API}:8443/orders",
    f"{API}:443x/orders",
    f"{API}./orders",
    f"{API}/Orders",
    f"{API}/orders/",
    f"{API}//orders",
    f"{API}/orders/../orders",
    f"{API}/./orders",
    f"{API}/orders%2F",
    f"{API}/orders%3Fpage=2",
    f"{API}/order%2573",
    f"{API}\\orders",
    f"{API}@evil.example/orders",
    "https://user@api.example.com/orders",
    "https://evil.example/orders",
    "https://[/orders",
    f"{API}/orders\u2028",
)


@pytest.mark.parametrize("htu", SAME_URL)
def test_equivalent_urls_are_the_same(htu: str) -> None:
    """Query and fragment do not count; scheme, host, port and percent-encoding are normalised (RFC 3986 §6.2.2, §6.2.3)."""
    require(DpopProofs(API), prove(RIGHT | {"htu": htu}))


@pytest.mark.parametrize("htu", OTHER_URL)
def test_any_other_url_is_refused(htu: str) -> None:
    """Another origin or another path, however it is written."""
    with pytest.raises(BoundTokenRefused):
        require(DpopProofs(API), prove(RIGHT | {"htu": htu}))


@pytest.mark.parametrize(
    ("path", "htu", "is_same"),
    [
        ("/a b", f"{API}/a%20b", True),
        ("/a%20b", f"{API}/a%2520b", True),
        ("/a%20b", f"{API}/a%20b", False),
        ("/a?b", f"{API}/a%3Fb", True),
        ("/a?b", f"{API}/a?b", False),
        ("/a#b", f"{API}/a#b", False),
        ("/é", f"{API}/%C3%A9", True),
        ("/", API, True),
        ("/", f"{API}?a", True),
        ("", f"{API}/", True),
    ],
)
def test_the_path_of_a_request_is_decoded(path: str, htu: str, *, is_same: bool) -> None:
    """Servers decode it once. What looks the same in a URL may be another path."""
    sent = prove(RIGHT | {"htu": htu})
    if is_same:
        require(DpopProofs(API), sent, path=path)
    else:
        with pytest.raises(BoundTokenRefused):
            require(DpopProofs(API), sent, path=path)


WRONG: dict[str, Callable[[], tuple[str, ...]]] = {
    "no proof": lambda: (),
    "two proofs": lambda: (prove(RIGHT), prove(RIGHT | {"jti": "2"})),
    "one proof twice": lambda: (prove(RIGHT),) * 2,
    "two in one field": lambda: (f"{prove(RIGHT)}, {prove(RIGHT)}",),
    "another method": lambda: (prove(RIGHT | {"htm": "POST"}),),
    "the method in lower case": lambda: (prove(RIGHT | {"htm": "get"}),),
    "a long id": lambda: (prove(RIGHT | {"jti": "x" * 257}),),
    "a huge id": lambda: (prove(RIGHT | {"jti": "x" * 5000}),),
    "an id that is a number": lambda: (prove(RIGHT | {"jti": 1}),),
    "the future": lambda: (prove(RIGHT | {"iat": NOW + WINDOW_S + 1}),),
    "the far future": lambda: (prove(RIGHT | {"iat": 10**300}),),
    "a time below zero": lambda: (prove(RIGHT | {"iat": -NOW}),),
    "a time as text": lambda: (prove(RIGHT | {"iat": str(NOW)}),),
    "a time that is true": lambda: (prove(RIGHT | {"iat": True}),),
    "not a number": lambda: (prove(msgspec.json.encode(RIGHT).replace(str(NOW).encode(), b"NaN")),),
    "an id twice": lambda: (prove(b'{"jti":"1",' + msgspec.json.encode(RIGHT)[1:]),),
    "no hash of the token": lambda: (prove(RIGHT | {"ath": ""}),),
    "the hash in another spelling": lambda: (prove(RIGHT | {"ath": RIGHT["ath"] + "="}),),
    "another token's hash": lambda: (prove(RIGHT | {"ath": hash_token("x")}),),
    "another type": lambda: (prove(RIGHT, typ="DPoP+JWT"),),
    "a key by reference": lambda: (prove(RIGHT, jwk=None, kid=DEVICE.key.kid),),
    "a nonce of nobody": lambda: (prove(RIGHT | {"iat": 0, "nonce": NONCES.make(NOW)}),),
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_a_proof_that_is_wrong_in_one_point_is_refused(make: Callable[[], tuple[str, ...]]) -> None:
    """It is signed correctly by the right key. A right one is accepted afterwards."""
    proofs = DpopProofs(API)
    with pytest.raises(BoundTokenRefused):
        require(proofs, *make())
    require(proofs, prove(RIGHT))


claims = st.fixed_dictionaries(
    {},
    optional={
        "jti": st.sampled_from(["1", "2", "", "x" * 300, 1, None]),
        "htm": st.sampled_from(["GET", "POST", "", 7]),
        "htu": st.sampled_from([*SAME_URL, *OTHER_URL, 1]),
        "iat": st.sampled_from([NOW, NOW + 0.5, NOW - WINDOW_S, NOW + WINDOW_S, NOW - 301, NOW + 301, "now", None, -1, 1e308]),
        "ath": st.sampled_from([RIGHT["ath"], "", "x", 1]),
        "nonce": st.sampled_from(["", NONCES.make(NOW), NONCES.make(NOW - 120), NONCES.make(NOW - 240), "x", 1]),
        "extra": st.one_of(st.none(), st.text(max_size=20), st.lists(st.integers(), max_size=3)),
    },
)


@given(changes=claims, dropped=st.sets(st.sampled_from(sorted(RIGHT)), max_size=1))
def test_only_right_claims_are_accepted(changes: dict[str, Any], dropped: set[str]) -> None:
    """Every combination is signed correctly, and one rule says which are accepted."""
    sent = {name: value for name, value in (RIGHT | changes).items() if name not in dropped}
    nonce, iat = sent.get("nonce", ""), sent.get("iat", 0)
    kinds: dict[str, Any] = {"jti": str, "htm": str, "htu": str, "iat": (int, float)}
    is_typed = all(isinstance(sent.get(name), kind) for name, kind in kinds.items())
    is_right = (
        is_typed
        and isinstance(nonce, str)
        and 1 <= len(sent["jti"]) <= 256
        and sent["htm"] == "GET"
        and sent["htu"] in SAME_URL
        and sent.get("ath") == RIGHT["ath"]
        and (nonce in (NONCES.make(NOW), NONCES.make(NOW - 120)) if nonce else abs((iat or 0) - NOW) <= WINDOW_S)
    )
    proofs = DpopProofs(API, nonces=NONCES)
    if is_right:
        require(proofs, prove(sent))
    with pytest.raises(BoundTokenRefused):  # always the second time
        require(proofs, prove(sent))


def test_a_proof_is_of_the_key_of_its_token() -> None:
    """Another key's proof is refused and not remembered, and so is that of a token without a key."""
    proofs = DpopProofs(API)
    for device in (OTHER, None):
        with pytest.raises(InvalidToken):
            require(proofs, prove(RIGHT), device=device)
    require(proofs, prove(RIGHT))
    require(proofs, prove(RIGHT, OTHER), device=OTHER)


def test_a_nonce_of_one_node_is_valid_on_the_other() -> None:
    """It is an HMAC of the minute by a secret that they share. The proof is accepted once for each node (RFC 9449 §11.1)."""
    nodes = [DpopProofs(API, nonces=DpopNonces(MasterSecret(b"the secret that both nodes share, of 32"))) for _ in range(2)]
    with pytest.raises(UseDpopNonce) as told:
        nodes[0].check([prove(RIGHT | {"iat": 0})], method="GET", path="/orders", now_ms=NOW * 1000)
    proof = prove(RIGHT | {"iat": 0, "nonce": told.value.nonce})
    require(nodes[1], proof)
    require(nodes[0], proof)
    for node in nodes:
        with pytest.raises(BoundTokenRefused):
            require(node, proof)


# --- the memory


def is_new(memory: UsedProofs, key: str, jti: object, made_s: float, now_s: int | None = None) -> bool:
    """Use a proof, at its own time if no other is given."""
    return memory.use(key, str(jti), made_s, int(made_s) if now_s is None else now_s)


def test_a_key_cannot_push_the_proofs_of_another_out() -> None:
    """It fills its own share. Proofs of it that were forgotten are too old, so none is accepted twice."""
    memory = UsedProofs(kept_s=600)
    assert is_new(memory, "ada", 1, NOW)
    for number in range(3 * used_proofs.MOST_OF_A_KEY):
        assert is_new(memory, "eve", number, NOW + number // 1000)
    assert not is_new(memory, "ada", 1, NOW, NOW + 30)
    assert not is_new(memory, "eve", 1, NOW, NOW + 30)
    assert is_new(memory, "ada", 2, NOW, NOW + 30)
    assert len(memory) <= 2 * used_proofs.MOST_OF_A_KEY


def test_keys_that_fill_the_memory_refuse_nobody_else() -> None:
    """Twelve sessions send a thousand proofs a second together. Whoever comes now and then is accepted, and once."""
    memory = UsedProofs(kept_s=600)
    for number in range(150_000):
        now_s = NOW + number // 1000
        assert is_new(memory, f"eve-{number % 12}", number, now_s)
        if number % 500 == 0:
            for key in ("ada", f"person-{number}"):
                assert is_new(memory, key, number, now_s)
                assert not is_new(memory, key, number, now_s)
    assert len(memory) <= 0.8 * used_proofs.MOST_REMEMBERED


def test_the_memory_is_bounded_and_forgets_nothing_that_it_accepts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more keys than it has room for, what is older than the last forgotten proof is refused."""
    monkeypatch.setattr(used_proofs, "MOST_REMEMBERED", 1000)
    memory = UsedProofs(kept_s=600)
    assert is_new(memory, "ada", 1, NOW)
    assert is_new(memory, "ahead", 1, NOW + 290, NOW + 1)
    for number in range(500):
        assert is_new(memory, f"key-{number}", 1, NOW + 2 + number / 10)
        assert len(memory) <= 1000
    assert not is_new(memory, "ada", 1, NOW, NOW + 60)
    assert is_new(memory, "ada", 2, NOW + 60), "a new proof is always accepted, whatever another's clock says"


@given(
    uses=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.integers(-5, 5), st.sampled_from([0, 0, 0, 1, 7])), max_size=200
    )
)
def test_no_proof_is_accepted_twice(uses: list[tuple[str, int, int, int]]) -> None:
    """Whatever the order, the clocks and the room, as long as nobody's clock is ahead."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(used_proofs, "MOST_REMEMBERED", 40)
        patch.setattr(used_proofs, "MOST_OF_A_KEY", 10)
        memory, now_s, accepted = UsedProofs(kept_s=10), NOW, set[tuple[str, int, int]]()
        for key, jti, late_s, waits_s in uses:
            now_s += waits_s
            made_s = now_s - abs(late_s)
            if is_new(memory, key, f"{jti}-{made_s}", made_s, now_s):
                assert (key, jti, made_s) not in accepted
                accepted.add((key, jti, made_s))
            assert len(memory) <= 40 + 8
