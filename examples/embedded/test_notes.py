"""Tests of the notes API and the service inside it.

pip install pytest httpx
"""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from notes import app

PERSON = {"email": "ada@example.com", "password": secrets.token_urlsafe()}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Start the application in a temporary folder, where it creates its database."""
    monkeypatch.chdir(tmp_path)
    with TestClient(app, base_url="http://localhost:9000") as client:
        yield client


@pytest.mark.parametrize("attempt", [1, 2])
def test_notes_require_a_session(client: TestClient, attempt: int) -> None:
    account = client.post("/auth/register", json=PERSON).json()["user"]["id"]
    tokens = client.post("/auth/login", json=PERSON).json()
    headers = {"Authorization": f"Bearer {tokens['accessToken']}"}
    assert client.get("/notes", headers=headers).json()["of"] == account, attempt
    assert client.post("/auth/logout", headers=headers).status_code == 204
    assert client.get("/notes", headers=headers).json()["code"] == "session_ended"
