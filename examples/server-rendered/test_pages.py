"""Tests of the site and the service inside it.

pip install pytest httpx
"""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import app, auth
from starlette.testclient import TestClient

PERSON = {"email": "ada@example.com", "password": secrets.token_urlsafe()}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Start the application in a temporary folder, where it creates its database."""
    monkeypatch.chdir(tmp_path)
    with TestClient(app, base_url="http://localhost:9000", follow_redirects=False) as client:
        yield client


def test_the_page_requires_a_session(client: TestClient) -> None:
    sent_away = client.get("/")
    assert (sent_away.status_code, sent_away.headers["location"].split("?")[0]) == (303, "/auth/sign-in")
    account = client.post("/auth/register", json=PERSON).json()["user"]["id"]
    assert client.post(
        "/auth/login", json=PERSON | {"delivery": "cookie"}, headers={"Origin": "http://localhost:9000"}
    ).is_success
    assert account in client.get("/").text
    client.cookies.delete(auth.cookies.access)  # as if it had expired: the page renews it
    renewed = client.get("/")
    assert account in renewed.text
    assert auth.cookies.access in renewed.cookies
