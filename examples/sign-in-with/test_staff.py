"""Tests of the page, as far as they need no provider.

pip install pytest httpx
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from staff import app


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Start the application in a temporary folder, where it creates its database."""
    monkeypatch.chdir(tmp_path)
    with TestClient(app, base_url="http://localhost:9000") as client:
        yield client


def test_the_page_leads_to_the_provider(client: TestClient) -> None:
    assert "/auth/sign-in/with/company" in client.get("/").text
    assert client.get("/auth/providers").json() == {"providers": [{"name": "company", "label": "Example Staff"}]}
    assert "Sign in with Example Staff" in client.get("/auth/sign-in").text


def test_who_is_not_signed_in_gets_nothing(client: TestClient) -> None:
    assert client.get("/me").json()["code"] == "missing_token"
    assert client.get("/calendar").status_code == 401
