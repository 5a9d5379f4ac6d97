"""What real proxies say of a client: its address, and whether it came with TLS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from tests.deployments.test_shared_connections import run_proxy
from tests.serving import EMAIL, PASSWORD, Server, free_port

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("client-address")]
ISSUER = "https://auth.example.com"
VISITOR = "127.0.0.2"
"""The address of the client. The proxy, which is trusted, has 127.0.0.1."""
_CONFIGURATIONS = {
    "caddy": """{{
  admin off
  auto_https off
}}
http://localhost:{port} {{
  reverse_proxy 127.0.0.1:{backend}
}}
http://localhost:{behind_tls} {{
  reverse_proxy 127.0.0.1:{backend} {{
    header_up X-Forwarded-Proto https
  }}
}}
""",
    "nginx": """daemon off; user {user}; pid {folder}/pid; error_log stderr; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header Host $host;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_pass http://127.0.0.1:{backend};
    }}
  }}
  server {{
    listen 127.0.0.1:{behind_tls};
    location / {{
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto https;
      proxy_pass http://127.0.0.1:{backend};
    }}
  }}
}}
""",
    "haproxy": """global
  maxconn 64
defaults
  mode http
  option forwardfor
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend plain
  bind 127.0.0.1:{port}
  http-request set-header X-Forwarded-Proto http
  default_backend service
frontend encrypted
  bind 127.0.0.1:{behind_tls}
  http-request set-header X-Forwarded-Proto https
  default_backend service
backend service
  server one 127.0.0.1:{backend}
""",
}
"""Each listens on two ports without TLS. On the second it says that TLS ended in front of it."""


class Proxy(NamedTuple):
    """The two ports of a proxy, and the service behind it."""

    plain: int
    behind_tls: int
    server: Server

    def visit(self, port: int) -> httpx.Client:
        """Return a client of the visitor, who claims another address."""
        transport = httpx.HTTPTransport(local_address=VISITOR)
        headers = {"x-forwarded-for": "203.0.113.9"}
        return httpx.Client(transport=transport, base_url=f"http://localhost:{port}", headers=headers, timeout=60)


@pytest.fixture(scope="module", params=sorted(_CONFIGURATIONS))
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Run the service behind each kind of proxy."""
    folder = tmp_path_factory.mktemp(request.param)
    server = Server(tmp_path_factory.mktemp("service"), TRUSTED_PROXIES="127.0.0.1", ISSUER=ISSUER).start()
    try:
        behind_tls = free_port()
        text = _CONFIGURATIONS[request.param]
        with run_proxy(request.param, server.port, folder, text, behind_tls=behind_tls) as port:
            yield Proxy(port, behind_tls, server)
    finally:
        server.kill()


def test_the_address_is_that_of_the_connection(proxy: Proxy) -> None:
    """What the client claims is not believed, whether the proxy appends to it, replaces it or sends it as a field of its own."""
    person = {"email": EMAIL, "password": PASSWORD}
    with proxy.visit(proxy.behind_tls) as visitor:
        assert visitor.post("/register", json=person).status_code == 201
        tokens = visitor.post("/login", json=person).raise_for_status().json()
        answer = visitor.get("/sessions", headers={"authorization": f"Bearer {tokens['accessToken']}"})
    (session,) = answer.raise_for_status().json()["sessions"]
    assert session["ip"] == VISITOR


def test_secrets_over_plain_http_are_refused(proxy: Proxy) -> None:
    """What the proxy received without TLS gets 400 and the remedy. Probes, keys and metadata are answered."""
    with proxy.visit(proxy.plain) as visitor:
        for path in ("/healthz", "/readyz", "/.well-known/jwks.json", "/.well-known/oauth-authorization-server"):
            assert visitor.get(path).status_code == 200
        for method, path in (("POST", "/login"), ("POST", "/refresh"), ("GET", "/profile"), ("GET", "/sign-in")):
            refused = visitor.request(method, path)
            assert refused.status_code == 400
            assert "Redirect http to https in the proxy" in refused.text
