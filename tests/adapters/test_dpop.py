"""Every adapter requires the proof of a token that is bound to a key, for the URL that is configured (RFC 9449 §7)."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient, WebSocketDenialResponse

from handstamp import ConfigurationError, Verifier
from handstamp.crypto.dpop import make_dpop_proof
from handstamp.crypto.jwk import SigningKey
from handstamp.domain.claims import Confirmation
from handstamp.testing import LocalIssuer
from handstamp.verify.asgi import HandstampMiddleware
from handstamp.verify.authenticator import Authenticator, Needs
from tests.adapters.local import KEYS, a_token, a_verifier, bearer
from tests.adapters.test_resource import SCOPES, asgi, django, drf, fastapi, flask

URL = "https://api.example.com/orders"
DEVICE, OTHER = SigningKey.generate("ES256"), SigningKey.generate("ES256")
TOKEN = a_token(cnf=Confirmation(DEVICE.kid), scope=SCOPES)


def prove(
    *, key: SigningKey = DEVICE, method: str = "GET", url: str = URL, token: str = TOKEN, sent: str = TOKEN, late_s: int = 0
) -> dict[str, str]:
    """Return the headers of a request with a bound token and a new proof."""
    proof = make_dpop_proof(key, method=method, url=url, now_s=int(time.time()) - late_s, access_token=token)
    return {"authorization": f"DPoP {sent}", "dpop": proof}


def problem(answer: Any) -> tuple[int, str]:
    """Return the status and the code of a refusal."""
    body = getattr(answer, "content", None) or answer.data
    return answer.status_code, json.loads(body)["code"]


@pytest.mark.parametrize("framework", [fastapi, asgi, flask, django, drf], ids=lambda it: it.__name__)
def test_a_bound_token_needs_its_proof(framework: Any) -> None:
    """With the proof it is accepted once; as a bearer token, and with any other proof, it is refused (R46)."""
    with framework() as ask:
        good = prove()
        assert ask("/orders", good).status_code == 200
        assert ask("/orders?page=2", prove(url=f"{URL}?page=3#top")).status_code == 200
        assert ask("/orders", prove(url="HTTPS://API.example.com:443/%6frders")).status_code == 200
        assert problem(ask("/orders", {"authorization": f"Bearer {TOKEN}"})) == (401, "invalid_token")
        assert problem(ask("/orders", {"authorization": f"Bearer {TOKEN}", "dpop": prove()["dpop"]})) == (401, "invalid_token")
        for wrong in (
            good,  # used before
            {"authorization": good["authorization"]},
            good | {"dpop": "rubbish"},
            prove(method="POST"),
            prove(url="https://api.example.com/admin"),
            prove(url="http://testserver/orders"),  # what a forwarded header, or `Host`, could say
            prove(url="https://user@api.example.com/orders"),
            prove(url="https://[/orders"),
            prove(token=""),
            prove(token="another"),
            prove(late_s=310),
            prove(late_s=-310),
        ):
            refused = ask("/orders", wrong)
            assert problem(refused) == (401, "invalid_dpop_proof"), wrong
            assert refused.headers["www-authenticate"].startswith('DPoP error="invalid_dpop_proof", algs="ES256"')
        assert problem(ask("/orders", prove(key=OTHER))) == (401, "invalid_token")
        unbound = a_token(scope=SCOPES)
        assert problem(ask("/orders", prove(token=unbound, sent=unbound))) == (401, "invalid_token")
        assert problem(ask("/orders", prove(sent="rubbish"))) == (401, "invalid_token")
        assert ask("/orders", bearer(scope=SCOPES)).status_code == 200
        for token, said in (
            (
                a_token(cnf=Confirmation(DEVICE.kid), iat=1000, exp=1900),
                'error="invalid_token", error_description="expired_token"',
            ),
            (a_token(cnf=Confirmation(DEVICE.kid)), 'error="insufficient_scope"'),
        ):
            challenge = ask("/orders", prove(token=token, sent=token)).headers["www-authenticate"]
            assert challenge.startswith(f"DPoP {said}"), challenge
            assert 'algs="ES256"' in challenge


def test_an_adapter_that_knows_no_url_says_so() -> None:
    """Only to the holder of a valid bound token: strangers are refused as always."""
    client = TestClient(HandstampMiddleware(PlainTextResponse("ok"), verifier=a_verifier()))
    with pytest.raises(ConfigurationError, match="resource='https"):
        client.get("/orders", headers=prove())
    assert client.get("/orders", headers=prove(sent="rubbish")).status_code == 401
    assert client.get("/orders", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 401


def test_the_prefix_of_a_mount_belongs_to_the_url() -> None:
    """Servers leave it in the path or take it away."""
    app = HandstampMiddleware(PlainTextResponse("ok"), verifier=a_verifier(), resource="https://api.example.com")
    for path in ("/orders", "/shop/orders"):
        client = TestClient(app, root_path="/shop")
        assert client.get(path, headers=prove(url="https://api.example.com/shop/orders")).status_code == 200
        assert client.get(path, headers=prove()).status_code == 401


def test_a_cookie_never_carries_a_bound_token() -> None:
    """A proof beside it does not help: browsers would send both for other pages."""
    client = TestClient(HandstampMiddleware(PlainTextResponse("ok"), verifier=a_verifier(), resource="https://api.example.com"))
    headers = {"cookie": f"__Host-handstamp-access={TOKEN}"}
    assert client.get("/orders", headers=headers).status_code == 401
    assert client.get("/orders", headers=headers | {"dpop": prove()["dpop"]}).status_code == 401


def test_a_second_requirement_of_a_request_reads_no_second_proof() -> None:
    """The proof is accepted once, and stands for the whole request, also if the token is verified again."""
    verifier = Verifier("https://auth.example.com", audience="https://api.example.com", keys=KEYS, credential="a:b")
    with LocalIssuer(verifier) as issuer:
        ada = issuer.signed_in(bound=True)
        headers = {name.lower(): value for name, value in ada.headers_for("GET", URL).items()}
        authenticator = Authenticator(verifier, resource="https://api.example.com")
        memory: dict[str, Any] = {}

        def values(name: str) -> list[str]:
            return [headers[name]] if name in headers else []

        for check in ("offline", "feed", "live", "offline"):
            claims = authenticator.authenticate("GET", values, Needs(check=check), path="/orders", memory=memory)
            assert claims.sub == "ada"


def test_a_websocket_offers_token_and_proof() -> None:
    """Scripts of pages cannot send headers with it. The handshake is a GET of the https URL."""

    async def accept(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    app = HandstampMiddleware(accept, verifier=a_verifier(), resource="https://api.example.com")
    sent = prove()["dpop"]
    offered = ["handstamp", f"handstamp.token.{TOKEN}", f"handstamp.proof.{sent}"]
    with TestClient(app).websocket_connect("/orders", subprotocols=offered) as socket:
        assert socket.accepted_subprotocol == "handstamp"
    for wrong in (offered, offered[:2]):  # a second time, and without the proof
        with pytest.raises(WebSocketDenialResponse), TestClient(app).websocket_connect("/orders", subprotocols=wrong):
            pass


def test_an_application_tests_with_bound_tokens() -> None:
    """`handstamp.testing` signs people in with a key, and makes the proofs."""
    with LocalIssuer() as issuer:
        app = HandstampMiddleware(PlainTextResponse("ok"), verifier=issuer.verifier, resource="https://api.example.com")
        ada, client = issuer.signed_in(bound=True), TestClient(app)
        for _ in range(2):
            assert client.get("/orders", headers=ada.headers_for("GET", URL)).status_code == 200
        assert client.get("/orders", headers=ada.headers).status_code == 401
        with pytest.raises(ValueError, match="bound=True"):
            issuer.signed_in().headers_for("GET", URL)


def test_a_token_that_is_not_bound_needs_nothing_new() -> None:
    """It is verified as before, whatever else the request holds."""
    client = TestClient(HandstampMiddleware(PlainTextResponse("ok"), verifier=a_verifier()))
    assert client.get("/", headers=bearer() | {"dpop": "rubbish"}).status_code == 200
