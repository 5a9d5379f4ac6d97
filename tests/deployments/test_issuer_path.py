"""A service under a path of its host, behind a real nginx that removes the path or keeps it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.helpers import run_server
from tests.serving import EMAIL, PASSWORD, cookie_name, free_port
from tests.verifying import eventually

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("proxy")]
PROXIES = {
    "keeps the path": "location /auth/ { proxy_pass http://127.0.0.1:NODE; }",
    "removes the path": "location /auth/ { proxy_pass http://127.0.0.1:NODE/; }",
}
METADATA = "location = /.well-known/oauth-authorization-server/auth { proxy_pass http://127.0.0.1:NODE; }"
CONFIGURATION = """
worker_processes 1; pid pid; daemon off;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  server { listen 127.0.0.1:PORT; proxy_set_header Host $http_host; LOCATIONS }
}
"""


@pytest.fixture(params=PROXIES)
def browser(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[httpx.Client]:
    """Yield a client of the proxy that keeps cookies, as browsers do. Its base address is the issuer."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        assert "CI" not in os.environ
        pytest.skip("nginx is not installed here (Debian: apt install nginx-light)")
    port = free_port()
    issuer = f"http://localhost:{port}/auth"
    with run_server(tmp_path, ISSUER=issuer) as node:
        text = CONFIGURATION.replace("LOCATIONS", f"{METADATA} {PROXIES[request.param]}")
        (tmp_path / "nginx.conf").write_text(text.replace("PORT", str(port)).replace("NODE", str(node.port)))
        proxy = subprocess.Popen([nginx, "-p", str(tmp_path), "-c", "nginx.conf", "-e", "stderr"], cwd=tmp_path)
        try:
            headers = {"sec-fetch-site": "same-origin", "origin": f"http://localhost:{port}"}
            with httpx.Client(base_url=issuer, headers=headers, trust_env=False, verify=False, timeout=30) as client:
                assert eventually(lambda: _answers(client))
                yield client
        finally:
            proxy.terminate()
            proxy.wait(30)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_pages_and_api_work_under_the_path(browser: httpx.Client) -> None:
    """Forms, redirects, assets, cookies, the API, its document and the metadata all lead to the issuer's addresses."""
    issuer = str(browser.base_url).rstrip("/")
    form = {"email": EMAIL, "password": PASSWORD}
    redirect = browser.post("/create-account", data=form)
    assert (redirect.status_code, redirect.headers["location"]) == (303, "/auth/account")
    page = browser.get("/account").text
    links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page)
    assert links
    assert all(link.startswith("/auth/") for link in links)
    assets = [link for link in links if "/assets/" in link]
    assert all(browser.get(f"{issuer}{link.removeprefix('/auth')}").status_code == 200 for link in assets)
    assert browser.post("/refresh").status_code == 200
    viewer = browser.get("/docs").text
    for file in re.findall(r'(?:href|src)="(assets/[^"]*)"', viewer):
        assert browser.get(f"/{file}").status_code == 200
    assert browser.get("/openapi.json").json()["servers"] == [{"url": issuer}]
    for address in (
        f"{issuer}/.well-known/oauth-authorization-server",
        f"{issuer[:-5]}/.well-known/oauth-authorization-server/auth",
    ):
        metadata = browser.get(address).json()
        assert (metadata["issuer"], metadata["token_endpoint"]) == (issuer, f"{issuer}/token")
        assert browser.get(metadata["jwks_uri"]).status_code == 200
    assert browser.post("/account/sign-out").headers["location"] == "/auth/signed-out"
    assert set(browser.cookies) == {cookie_name("device", issuer)}
