"""Tests of the shop and the service inside it.

pip install pytest httpx
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from shop import PASSWORD, app

ADA = {"name": "ada", "password": PASSWORD}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Start the application in a temporary folder, where it creates its database."""
    monkeypatch.chdir(tmp_path)
    with TestClient(app, base_url="http://localhost:9000") as client:
        yield client


def test_dismissing_a_clerk_ends_the_session(client: TestClient) -> None:
    headers = {"Authorization": f"Bearer {client.post('/login', json=ADA).json()['accessToken']}"}
    assert client.get("/orders", headers=headers).json() == {"of": "42", "branch": "Bern"}
    assert client.post("/dismiss/ada", headers=headers).json() == {"sessions": 1}
    assert client.get("/orders", headers=headers).json()["code"] == "session_ended"


def test_a_refund_needs_a_fresh_proof(client: TestClient) -> None:
    tokens = client.post("/login", json=ADA).json()
    headers = {"Authorization": f"Bearer {tokens['accessToken']}"}
    assert client.post("/orders/1/refund", headers=headers).json() == {"refunded": 1}
    assert client.post("/confirm", json={"password": "wrong"}, headers=headers).status_code == 401
    assert client.post("/confirm", json={"password": PASSWORD}, headers=headers).status_code == 200


def test_a_wrong_password_is_refused(client: TestClient) -> None:
    assert client.post("/login", json=ADA | {"password": "wrong"}).status_code == 401
