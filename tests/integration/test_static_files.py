"""Tests of styles and scripts: conditional requests, cross-origin loading, and that no other file is served."""

from __future__ import annotations

from importlib.resources import files

import httpx
import pytest

FILES = sorted(file.name for file in files("handstamp.web").joinpath("static").iterdir() if file.is_file())


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_sent_once_and_then_revalidated(client: httpx.Client, name: str) -> None:
    """The first answer has the file's bytes and an ETag; a request with this ETag gets 304 (RFC 9110 §15.4.5)."""
    first = client.get(f"/assets/{name}")
    assert first.status_code == 200
    assert first.content == files("handstamp.web").joinpath("static", name).read_bytes()
    expected = {"css": "text/css", "js": "text/javascript"}[name.rpartition(".")[2]]
    assert first.headers["content-type"] == f"{expected}; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["x-content-type-options"] == "nosniff"
    assert first.headers["cross-origin-resource-policy"] == "same-origin"
    again = client.get(f"/assets/{name}", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    changed = client.get(f"/assets/{name}", headers={"if-none-match": '"another"'})
    assert changed.status_code == 200


def test_pages_of_every_origin_may_load_the_browser_client(client: httpx.Client) -> None:
    """The browser client holds no secret and is cached for an hour. A 304 lets other origins use the cached copy, too."""
    first = client.get("/handstamp.js")
    again = client.get("/handstamp.js", headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code) == (200, 304)
    for response in (first, again):
        assert response.headers["access-control-allow-origin"] == "*"
        assert response.headers["cross-origin-resource-policy"] == "cross-origin"
        assert response.headers["cache-control"] == "public, max-age=3600"


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("handstamp-")])
def test_a_module_of_the_browser_client_is_cached_for_ever(client: httpx.Client, name: str) -> None:
    """Its name has a hash, so another version has another name. Pages of every origin may load it."""
    shown = client.get(f"/{name}")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert shown.headers["access-control-allow-origin"] == "*"
    assert shown.headers["cross-origin-resource-policy"] == "cross-origin"
    assert shown.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert client.get("/handstamp.js").text.count(f'import("./{name}")') == 1


@pytest.mark.parametrize("name", ["account-OLD00000", "", "%2e%2e%2fdocs", "x%00"])
def test_a_module_of_another_version_is_not_found(client: httpx.Client, name: str) -> None:
    """The answer is not cached, so a page finds the module when the nodes of a deployment have the same version again."""
    missing = client.get(f"/handstamp-{name}.js")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert "immutable" not in missing.headers.get("cache-control", "")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nothing.css",
        "swagger-ui",
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "/etc/passwd",
        "%00",
        "a" * 300,
        "..%5capp.py",
    ],
)
def test_nothing_else_is_served(client: httpx.Client, name: str) -> None:
    """Folders, the package's source and files of the machine are answered with an ordinary 404."""
    answer = client.get(f"/assets/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_only_reading_is_allowed(client: httpx.Client) -> None:
    """HEAD has the headers of GET; other methods get 405 with `Allow` (RFC 9110 §15.5.6)."""
    shown = client.head("/assets/base.css")
    assert (shown.status_code, shown.content) == (200, b"")
    assert int(shown.headers["content-length"]) > 0
    refused = client.post("/assets/base.css")
    assert refused.status_code == 405
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD"}
