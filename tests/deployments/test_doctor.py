"""`handstamp doctor --url` against real proxies: each is misconfigured in one way, and the doctor names it.

All are visited at once, because a doctor waits for the feed like a verifier.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest

from handstamp.doctor.finding import Finding, Report
from handstamp.doctor.inside_rules import RULES as INSIDE_RULES
from handstamp.doctor.outside import _without_tls, examine
from handstamp.doctor.outside_rules import RULES
from handstamp.doctor.visit import Visitor, parse_target
from tests.certificates import build_command
from tests.commands import run_process
from tests.deployments.test_shared_connections import run_proxy
from tests.nodes import SkewedServer
from tests.serving import Server, free_port

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("doctor")]
HOST = "auth.handstamp.test"
URL = f"https://{HOST}"
APPLICATION = "https://app.handstamp.test"
VISITOR = "127.0.0.2"
"""The doctor's address. The proxies have 127.0.0.1."""


class Case(NamedTuple):
    """A mistake."""

    found: set[str]
    """The findings."""
    text: str = ""
    """What is in the location of nginx, in the site of Caddy, in the frontend of HAProxy."""
    url: str = URL
    service: str = "usual"
    origins: tuple[str, ...] = ()
    outside: str = ""
    """What is beside the location, or in HAProxy's backend."""
    proxy: str = "nginx"


CACHED = "proxy_cache store; proxy_ignore_headers Cache-Control Set-Cookie Vary;"
CASES = {
    "nothing is wrong": Case(set()),
    "an application may call": Case(set(), origins=(APPLICATION,)),
    # --- reaching the service
    "no service": Case({"bad_gateway"}, service="nobody"),
    "another program": Case({"path_not_passed"}, outside='location = /healthz { return 200 "welcome"; }'),
    "a path that nobody removes": Case({"path_prefix"}, url=f"{URL}/auth"),
    "the metadata of a path": Case(
        {"metadata_hidden"}, url=f"{URL}/auth", service="path", outside="location /.well-known/ { return 404; }"
    ),
    "another name": Case({"wrong_issuer"}, url="https://login.handstamp.test"),
    "no TLS": Case({"no_https"}, "proxy_set_header X-Forwarded-Proto '';", url=f"http://{HOST}"),
    "an issuer of http": Case({"wrong_issuer", "cookie_prefix", "cookie_insecure", "no_hsts"}, service="plain issuer"),
    "a clock": Case({"clock_off"}, service="ahead"),
    # --- keys, feed, caches
    "hidden keys": Case({"keys_unreachable"}, outside="location = /.well-known/jwks.json { return 403; }"),
    "keys for a day": Case({"keys_cached"}, outside="location = /.well-known/jwks.json { expires 1d; FORWARD }"),
    "a cache": Case({"answers_cached"}, f"proxy_cache_valid 200 1m; {CACHED}"),
    "keys from an old cache": Case({"keys_stale"}, outside="location = /.well-known/jwks.json { add_header Age 4000; FORWARD }"),
    "a cache of renewals": Case(
        {"renewals_cached"},
        outside=f"location = /refresh {{ proxy_cache_methods GET HEAD POST; proxy_cache_valid any 1m; {CACHED} FORWARD }}",
    ),
    "a cache of the feed": Case(
        {"feed_cached"}, outside=f"location = /revocations {{ proxy_cache_valid 200 1m; {CACHED} FORWARD }}"
    ),
    "a hidden feed": Case({"feed_blocked"}, outside="location = /revocations { return 403; }"),
    "an impatient proxy": Case({"feed_cut"}, "proxy_read_timeout 4s;"),
    "a proxy that does not wait": Case(
        {"feed_early"}, outside="location = /revocations { rewrite ^ /revocations?wait=0? break; FORWARD }"
    ),
    # --- cookies and header fields
    "no cookies": Case({"cookies_removed"}, "proxy_hide_header Set-Cookie;"),
    "a domain": Case({"cookie_domain"}, 'proxy_cookie_path / "/; Domain=handstamp.test";'),
    "a cookie's path": Case({"cookie_path"}, "proxy_cookie_path / /auth/;"),
    "cookies without TLS": Case({"cookie_insecure"}, "proxy_cookie_flags ~ nosecure;"),
    "cookies for scripts": Case({"cookie_readable"}, "proxy_cookie_flags ~ nohttponly;"),
    "cookies for all sites": Case({"cookie_samesite"}, "proxy_cookie_flags ~ samesite=none;"),
    "small requests": Case({"request_too_large"}, outside="client_header_buffer_size 1k; large_client_header_buffers 2 4k;"),
    "small answers": Case({"answer_too_large"}, "proxy_buffer_size 4k; proxy_buffers 4 4k; proxy_busy_buffers_size 8k;"),
    "no HSTS": Case({"no_hsts"}, "proxy_hide_header Strict-Transport-Security;"),
    "no policy": Case({"headers_removed"}, "proxy_hide_header Content-Security-Policy;"),
    "own errors": Case(
        {"errors_replaced"},
        "proxy_intercept_errors on; error_page 401 =401 /oops;",
        outside='location = /oops { internal; return 401 "no"; }',
    ),
    "few methods": Case({"methods_blocked"}, "limit_except GET POST OPTIONS { deny all; }"),
    # --- other origins
    "an origin nobody named": Case({"cors_refused"}, origins=("https://shop.handstamp.test",)),
    "another site": Case({"cors_refused", "other_site"}, origins=("https://app.example.org",)),
    "OPTIONS for the proxy": Case({"cors_preflight"}, "if ($request_method = OPTIONS) { return 405; }"),
    "the same origin twice": Case({"cors_doubled"}, f"add_header Access-Control-Allow-Origin {APPLICATION} always;"),
    "every origin": Case(
        {"cors_wildcard", "cors_open"},
        "proxy_hide_header Access-Control-Allow-Origin; add_header Access-Control-Allow-Origin * always;",
    ),
    "whoever asks": Case({"cors_doubled", "cors_open"}, "add_header Access-Control-Allow-Origin $http_origin always;"),
    "without credentials": Case({"cors_credentials"}, "proxy_hide_header Access-Control-Allow-Credentials;"),
    # --- what the proxy tells the service
    "a proxy nobody trusts": Case(
        {"proxy_not_trusted", "scheme_missing"}, "proxy_set_header X-Forwarded-Proto '';", service="trusts nobody"
    ),
    "no address": Case({"address_missing"}, "proxy_set_header X-Forwarded-For '';"),
    "any address": Case({"address_believed"}, "proxy_set_header X-Forwarded-For $http_x_forwarded_for;"),
    "a network of proxies": Case(
        {"trusts_too_many"}, "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", service="trusts a network"
    ),
    "no scheme": Case({"scheme_missing"}, "proxy_set_header X-Forwarded-Proto '';"),
    "the wrong scheme": Case({"scheme_wrong"}, "proxy_set_header X-Forwarded-Proto http;"),
    "another host": Case({"host_rewritten"}, "proxy_set_header Host $proxy_host;"),
    "no origin": Case({"origin_removed", "cors_preflight"}, "proxy_set_header Origin '';"),
    "an upgrade for everything": Case({"connection_upgrade"}, 'proxy_set_header Connection "upgrade";'),
    "another protocol": Case({"upgrade_passed"}, 'if ($http_upgrade = "websocket") { proxy_pass http://127.0.0.1:SWITCHES; }'),
    "a short patience": Case({"keep_alive"}, "proxy_pass http://closing;", service="closes early"),
    "a short patience of one process": Case({"keep_alive"}, "proxy_pass http://one_of_two;", service="closes early"),
    # --- other proxies
    "Caddy, nothing is wrong": Case(set(), proxy="caddy"),
    "Caddy, impatient": Case({"feed_cut"}, "transport http {\nresponse_header_timeout 4s\n}", proxy="caddy"),
    "Caddy, no cookies": Case({"cookies_removed"}, "header_down -Set-Cookie", proxy="caddy"),
    "Caddy, no origin": Case({"origin_removed", "cors_preflight"}, "header_up -Origin", proxy="caddy"),
    "Caddy, another host": Case({"host_rewritten"}, "header_up Host {upstream_hostport}", proxy="caddy"),
    "Caddy, any address": Case({"address_believed"}, "header_up X-Forwarded-For {header.X-Forwarded-For}", proxy="caddy"),
    "Caddy, every origin": Case({"cors_wildcard", "cors_open"}, 'header_down Access-Control-Allow-Origin "*"', proxy="caddy"),
    "HAProxy, nothing is wrong": Case(set(), proxy="haproxy"),
    "HAProxy, impatient": Case({"feed_cut"}, outside="timeout server 4s", proxy="haproxy"),
    "HAProxy, no address": Case({"address_missing"}, "http-request del-header X-Forwarded-For", proxy="haproxy"),
    "HAProxy, no scheme": Case({"scheme_missing"}, "http-request del-header X-Forwarded-Proto", proxy="haproxy"),
    "HAProxy, few methods": Case({"methods_blocked"}, "http-request deny if METH_DELETE", proxy="haproxy"),
    "HAProxy, cookies for scripts": Case(
        {"cookie_readable"}, "http-response replace-header Set-Cookie (.*);\\ HttpOnly(.*) \\1\\2", proxy="haproxy"
    ),
    "HAProxy, every origin": Case(
        {"cors_wildcard", "cors_open"}, "http-response set-header Access-Control-Allow-Origin *", proxy="haproxy"
    ),
}
ELSEWHERE = {"unreachable", "http_is_served"}
"""Findings of the tests at the end."""
FORWARD = """proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_buffer_size 16k; proxy_buffers 8 16k; proxy_pass http://127.0.0.1:BACKEND;"""
NGINX = """daemon off; user {user}; pid {folder}/pid; error_log stderr crit; worker_processes 1;
events {{ worker_connections 512; }}
http {{
  access_log off; ssl_certificate {certificate}; ssl_certificate_key {key};
  proxy_cache_path {folder}/cache keys_zone=store:1m;
  client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream closing {{ server 127.0.0.1:{closing}; keepalive 4; }}
  upstream one_of_two {{ server 127.0.0.1:{closing} max_fails=0; server 127.0.0.1:{other}; keepalive 8; }}
  server {{ listen 127.0.0.1:{port} ssl; location / {{ return 200; }} }}
  {servers}
}}
"""
CADDY = """{{
  admin off
  auto_https off
  default_bind 127.0.0.1
}}
https://localhost:{port} {{
  tls {certificate} {key}
  respond 200
}}
{servers}
"""
HAPROXY = """global
  maxconn 256
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend ready
  bind 127.0.0.1:{port} ssl crt {both}
  http-request return status 200
{servers}
"""
SERVICES = {
    "usual": {"ISSUER": URL, "TRUSTED_PROXIES": "127.0.0.1", "TRUSTED_ORIGINS": APPLICATION},
    "path": {"ISSUER": f"{URL}/auth", "TRUSTED_PROXIES": "127.0.0.1", "TRUSTED_ORIGINS": APPLICATION},
    "plain issuer": {"ISSUER": "http://localhost:8000", "TRUSTED_PROXIES": "127.0.0.1", "TRUSTED_ORIGINS": APPLICATION},
    "trusts nobody": {"ISSUER": URL, "TRUSTED_ORIGINS": APPLICATION},
    "trusts a network": {"ISSUER": URL, "TRUSTED_PROXIES": "127.0.0.0/8", "TRUSTED_ORIGINS": APPLICATION},
    "ahead": {"ISSUER": URL, "TRUSTED_PROXIES": "127.0.0.1", "TRUSTED_ORIGINS": APPLICATION},
    "closes early": {"ISSUER": URL, "TRUSTED_PROXIES": "127.0.0.1", "TRUSTED_ORIGINS": APPLICATION, "KEEP_ALIVE": "1s"},
}


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """Return a port of each case's proxy."""
    free: set[int] = set()
    while len(free) < len(CASES):  # the system may give a port twice
        free.add(free_port())
    return dict(zip(CASES, free, strict=True))


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[dict[str, Report]]:
    """Give the doctor's report of each case, and that of a visit without a credential under its name and a star."""
    folder = tmp_path_factory.mktemp("doctor")
    certificate, key, both = (folder / name for name in ("certificate.pem", "key.pem", "both.pem"))
    making = build_command(certificate, key, name=HOST)
    making[making.index("-addext") + 1] = f"subjectAltName=DNS:{HOST},DNS:login.handstamp.test,DNS:localhost"
    subprocess.run(making, check=True, capture_output=True)
    both.write_text(certificate.read_text() + key.read_text())
    trust = ssl.create_default_context(cafile=certificate)
    with ExitStack() as stack:
        backends: dict[str, int] = {"nobody": free_port()}
        credentials: dict[str, str] = {}
        for name, settings in SERVICES.items():
            (home := folder / name.replace(" ", "-")).mkdir()
            server = (SkewedServer(home, ahead_s=60, **settings) if name == "ahead" else Server(home, **settings)).start()
            stack.callback(server.kill)
            backends[name] = server.port
            made = run_process(home, "credentials", "create", "doctor", **server.settings)
            credentials[name] = re.findall(r"\S+:\S{20,}", made.stdout)[0]
        other = Server(folder / "closes-early", **{**SERVICES["closes early"], "KEEP_ALIVE": "5m"}).start()
        stack.callback(other.kill)
        values = {"certificate": certificate, "key": key, "both": both, "closing": backends["closes early"], "other": other.port}
        backends["switches"] = stack.enter_context(_run_switch())
        for proxy, text, write in (("nginx", NGINX, _nginx), ("caddy", CADDY, _caddy), ("haproxy", HAPROXY, _haproxy)):
            servers = "\n".join(write(case, ports[name], backends, values) for name, case in CASES.items() if case.proxy == proxy)
            stack.enter_context(run_proxy(proxy, backends["usual"], folder, text, scheme="https", servers=servers, **values))
        for name in ("a short patience", "a short patience of one process"):
            asyncio.run(_idle(ports[name], trust, credentials["closes early"]))
        yield asyncio.run(_visit_all(ports, trust, credentials))


def _nginx(case: Case, port: int, backends: dict[str, int], _: dict[str, object]) -> str:
    forward = FORWARD
    for setting in re.findall(r"proxy_[a-z_]+(?: [A-Z][A-Za-z-]+)?", "" if case.text.startswith("if") else case.text):
        if setting != "proxy_cookie_path":  # nginx refuses most others if they come twice
            forward = re.sub(rf"{setting} [^;]*;", "", forward)
    outside = case.outside.replace("FORWARD", FORWARD)
    tls = "" if case.url.startswith("http:") else " ssl"
    text = f"server {{ listen 127.0.0.1:{port}{tls}; server_name _; {outside} location / {{ {forward} {case.text} }} }}"
    return text.replace("BACKEND", str(backends[case.service])).replace("SWITCHES", str(backends["switches"]))


def _caddy(case: Case, port: int, backends: dict[str, int], values: dict[str, object]) -> str:
    return f"""https://{HOST}:{port} {{
  tls {values["certificate"]} {values["key"]}
  reverse_proxy 127.0.0.1:{backends[case.service]} {{
    {case.text}
  }}
}}"""


def _haproxy(case: Case, port: int, backends: dict[str, int], values: dict[str, object]) -> str:
    return f"""frontend front-{port}
  bind 127.0.0.1:{port} ssl crt {values["both"]}
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto https
  {case.text}
  default_backend back-{port}
backend back-{port}
  {case.outside}
  server one 127.0.0.1:{backends[case.service]}"""


@contextmanager
def _run_switch() -> Iterator[int]:
    """Run a server that agrees to every change of protocol."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


async def _idle(port: int, trust: ssl.SSLContext, credential: str) -> None:
    """Use a connection of the proxy, and wait until the service has closed it because nobody used it."""
    async with _visitor(URL, port, trust) as visitor:
        login = (("Authorization", f"Basic {base64.b64encode(credential.encode()).decode()}"),)
        for _ in range(600):
            answer = await visitor.fetch("GET", "/diagnostics", login)
            if answer.json()["request"]["idleClosings"]:
                return
            await asyncio.sleep(1.1)
    raise AssertionError("the service has closed no connection")


def _visitor(url: str, port: int, trust: ssl.SSLContext) -> Visitor:
    target = parse_target(url)
    return Visitor(target, connect_to=("127.0.0.1", port), source=VISITOR, trust=trust if target.scheme == "https" else None)


async def _visit_all(ports: dict[str, int], trust: ssl.SSLContext, credentials: dict[str, str]) -> dict[str, Report]:
    async def visit(name: str, credential: str) -> Report:
        case = CASES[name]
        async with _visitor(case.url, ports[name], trust) as visitor:
            return await examine(visitor, credential=credential, origins=case.origins)

    asked = [(name, credential) for name in CASES for credential in (credentials.get(CASES[name].service, "a:b"), "")]
    found = await asyncio.gather(*(visit(*each) for each in asked))
    return {name + ("" if credential else "*"): report for (name, credential), report in zip(asked, found, strict=True)}


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_named(reports: dict[str, Report], name: str) -> None:
    """The doctor finds the mistake and nothing else. As a stranger it finds nothing that is not so."""
    found = {finding.id: finding for finding in reports[name].findings}
    assert set(found) == CASES[name].found, [finding.wrong for finding in found.values()]
    assert {finding.id for finding in reports[f"{name}*"].findings} <= CASES[name].found
    for finding in found.values():
        assert "{" not in finding.wrong + finding.mend


def test_each_rule_has_a_case() -> None:
    """No sentence of the doctor is without a test."""
    assert set(RULES) == {name for case in CASES.values() for name in case.found} | ELSEWHERE


def test_the_page_lists_each_rule() -> None:
    """docs/how-to/doctor.md has the sentence and the remedy of each finding, as the doctor prints them."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "doctor.md").read_text("utf-8")
    for rules in (RULES, INSIDE_RULES):
        for name, rule in rules.items():
            wrong, mend = (text.replace("{", "").replace("}", "").replace("|", "\\|") for text in (rule.wrong, rule.mend))
            assert f"| `{name}` | {rule.severity} | {wrong} | {mend} |" in page


@pytest.mark.parametrize(
    "body",
    [b'{"request": {}}', b'{"now": NaN, "cursor": "c"}', b'{"trustedOrigins": [1]}', b"[" * 100_000, b"\xff"],
    ids=["no members", "no number", "no text", "deep", "no JSON"],
)
def test_a_hostile_server(body: bytes) -> None:
    """Whatever a server answers, the doctor reports, and its sentences cannot control a terminal."""
    served: list[asyncio.StreamReader] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(reader)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                alive = b'{"status": "alive"}' if b" /healthz" in head else body
                writer.write(b"HTTP/1.1 200 OK\r\ndate: \x1b[31m\r\ncontent-length: %d\r\n\r\n%b" % (len(alive), alive))
        writer.close()
        served.remove(reader)

    async def visit() -> Report:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            async with Visitor(parse_target(f"http://127.0.0.1:{port}")) as visitor:
                report = await examine(visitor, credential="a:b", origins=(APPLICATION,))
            while served:  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0.01)
            return report

    report = asyncio.run(visit())
    assert "wrong_issuer" in {finding.id for finding in report.findings}
    assert all((finding.wrong + finding.mend).isprintable() for finding in report.findings)


def test_nothing_is_there() -> None:
    """A port that nobody listens on, and a certificate that the doctor does not trust."""
    (finding,) = asyncio.run(examine(_visitor(URL, free_port(), ssl.create_default_context()))).findings
    assert finding.id == "unreachable"


def test_a_certificate_that_nobody_trusts(reports: dict[str, Report], ports: dict[str, int]) -> None:
    """The sentence says what TLS says."""
    assert reports
    (finding,) = asyncio.run(examine(_visitor(URL, ports["nothing is wrong"], ssl.create_default_context()))).findings
    assert finding.id == "unreachable"
    assert "its certificate is not valid: self-signed certificate" in finding.wrong


def test_a_service_that_is_served_without_tls_too(reports: dict[str, Report], ports: dict[str, int]) -> None:
    """The page itself is the mistake. A redirect would be right."""
    assert reports

    async def visit(name: str) -> list[Finding]:
        async with _visitor(f"http://{HOST}", ports[name], ssl.create_default_context()) as visitor:
            return await _without_tls(visitor)

    served, refused = (asyncio.run(visit(name)) for name in ("no TLS", "nothing is wrong"))
    assert [finding.id for finding in served] == ["http_is_served"]
    assert refused == []
