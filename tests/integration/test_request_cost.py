"""What hostile values in every field of every endpoint cost the event loop, compared with an ordinary request of the same run.

The service runs on a thread of this process, over real sockets. The processor time of that thread alone is read before and after
each request, so passwords that are hashed on other threads do not count, and a busy machine does not matter. A request that costs
more than its budget is repeated: its least cost counts.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import msgspec
import pytest
import uvicorn

from handstamp.assemble.application import make_application
from handstamp.assemble.deployment import Deployment
from handstamp.config.loading import load
from handstamp.crypto.identifiers import new_id
from handstamp.service.parts.caller import Caller
from handstamp.web.operation import Operation
from handstamp.web.routing import OPERATIONS
from handstamp.web.server import uvicorn_config
from tests.costly import FORM, ISSUER, JSON, ROOM, bodies, encode, headers, page_forms, texts
from tests.devices import Device
from tests.integration.helpers import new_email
from tests.serving import PASSWORD, free_port

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("request-cost")]
BUDGET = 8
"""How many times the cost of an ordinary `GET /profile` a hostile request may cost beyond an ordinary one of its own kind."""
TRIES = 8
ROUNDS = 4
"""How often a request that seems costly is measured again."""
MAX_MEMORY_BYTES = 4 * 2**20
"""What one request of 64 KiB may hold at most, with all that it is decoded to."""
TRUSTED = "https://app.example.com"
PAGES = (
    "/",
    "/sign-in",
    "/sign-in/code",
    "/create-account",
    "/create-account/confirm",
    "/signed-out",
    "/account",
    "/account/data",
    "/account/history",
    "/account/export",
    "/account/email",
    "/forgot",
    "/reset/code",
    "/docs",
    "/openapi.json",
    "/handstamp.js",
    "/assets/base.css",
)
_addresses = (f"198.{18 + net}.{high}.{low}" for net, high, low in itertools.product(range(2), range(256), range(256)))
Fields = tuple[tuple[str, str], ...]


class Answer(NamedTuple):
    """An answer, and what it cost the event loop in microseconds."""

    status: int
    head: bytes
    body: bytes
    cost_us: float


class Service:
    """A service on a thread of this process."""

    def __init__(self, folder: Path) -> None:
        """Choose a port."""
        self.folder = folder
        self.port = free_port()
        self.url = ISSUER
        self._settings = load(
            {},
            database=f"sqlite:///{folder}/handstamp.db",
            issuer=self.url,
            trusted_proxies="127.0.0.1",
            trusted_origins=TRUSTED,
            grace="60s",
            smtp_url="smtp://localhost:1",  # nothing is there: mail is written, and stays in the outbox
            mail_from="auth@example.com",
            sign_in_by_code="on",
        )
        deployment = Deployment(self._settings)
        config = uvicorn_config(
            make_application(deployment), request_timeout_s=60, keep_alive_s=60, host="127.0.0.1", port=self.port
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="service")

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        assert self._thread.ident is not None
        self._clock = time.pthread_getcpuclockid(self._thread.ident)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.should_exit = True
        self._thread.join()

    def create_account(self) -> str:
        """Create an account and return its address."""

        async def create() -> str:
            async with (deployment := Deployment(self._settings)).open():
                caller = Caller(now_ms=deployment.clock())
                return (await deployment.create_account(new_email(), PASSWORD, caller)).email

        return asyncio.run(create())

    def ask(self, line: str, fields: Fields = (), body: bytes = b"") -> Answer:
        """Send a request on a connection of its own; the address that it comes from is new."""
        names = {name.lower() for name, _ in fields}
        if "x-forwarded-for" not in names:
            fields = (*fields, ("X-Forwarded-For", next(_addresses)))
        sent = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")
        head = f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n".encode("latin-1")
        return self.exchange(head + sent + b"\r\n" + body)

    def exchange(self, sent: bytes) -> Answer:
        """Send bytes, and read until the connection is closed."""
        before = time.clock_gettime(self._clock)
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            with suppress(OSError):  # it may be refused while it is sent
                connection.sendall(sent)
            with suppress(OSError):
                while received := connection.recv(65536):
                    answer += received
        cost_us = (time.clock_gettime(self._clock) - before) * 1e6
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
        head, _, body = answer.partition(b"\r\n\r\n")
        return Answer(int(found[1]) if found else 0, head, body, cost_us)

    def post_json(self, path: str, **values: str) -> dict[str, str]:
        """Send JSON and return the members of the answer."""
        answer = self.ask(f"POST {path}", (("Content-Type", JSON),), json.dumps(values).encode())
        assert answer.status in {200, 201}, answer.body
        members: dict[str, str] = json.loads(answer.body)
        return members


class Request(NamedTuple):
    """A hostile request, with a name for its fault."""

    name: str
    line: str
    fields: Fields = ()
    body: bytes = b""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service."""
    with Service(tmp_path_factory.mktemp("cost")) as service:
        yield service


@pytest.fixture(scope="module")
def kid(service: Service) -> str:
    """Return the name of the service's key, which everybody can read."""
    name: str = json.loads(service.ask("GET /.well-known/jwks.json").body)["keys"][0]["kid"]
    return name


@pytest.fixture(scope="module")
def profile(service: Service) -> Request:
    """Return an ordinary `GET /profile`."""
    token = service.post_json("/login", email=service.create_account(), password=PASSWORD)["accessToken"]
    return Request("ordinary", "GET /profile", (("Authorization", f"Bearer {token}"),))


@pytest.fixture(scope="module")
def unit_us(service: Service, profile: Request) -> float:
    """Return what an ordinary `GET /profile` costs."""
    return min(service.ask(*profile[1:]).cost_us for _ in range(30))


def expect_cheap(service: Service, unit_us: float, ordinary: Request, hostile: Iterable[Request]) -> int:
    """Send hostile requests; fail with all that cost more than the budget. Return their number."""
    ordinary_us = least_cost(service, ordinary)
    budget_us = BUDGET * unit_us + ordinary_us
    requests = list(hostile)
    costly = [request for request in requests if least_cost(service, request, enough_us=budget_us) >= budget_us]
    for _ in range(ROUNDS):  # other programs on the machine may have slowed this one down: compare again, side by side
        slower = max(1.0, least_cost(service, ordinary) / ordinary_us)
        costly = [request for request in costly if least_cost(service, request) >= slower * budget_us]
    assert not costly, [
        f"{each.line[:60]}, {each.name}: {least_cost(service, each):.0f} µs, not {budget_us:.0f}" for each in costly
    ]
    return len(requests)


def require_cost(service: Service, profile: Request, answers: Callable[[], list[Answer]], *, status: int, most: float) -> None:
    """Fail unless answers have a status and, in one of some rounds, cost less than `most` times an ordinary `GET /profile`."""
    factors: list[float] = []
    while min(factors, default=most) >= most:
        assert len(factors) < ROUNDS, factors
        got = answers()
        assert {answer.status for answer in got} == {status}
        factors.append(min(answer.cost_us for answer in got) / least_cost(service, profile))


def least_cost(service: Service, request: Request, *, enough_us: float = 0) -> float:
    """Return the least cost of some tries, in microseconds. Tries end with one that costs less than `enough_us`."""
    costs: list[float] = []
    while len(costs) < TRIES and min(costs, default=enough_us) >= enough_us:
        answer = service.ask(*request[1:])
        assert answer.status < 500, (request.name, answer)
        costs.append(answer.cost_us)
    return min(costs)


def with_field(line: str, given: Fields, body: bytes, each: tuple[str, Fields]) -> Request:
    """Return a request with hostile header fields in place of its own."""
    name, fields = each
    hostile = {field.lower() for field, _ in fields}
    return Request(name, line, (*(field for field in given if field[0].lower() not in hostile), *fields), body)


def values_of(service: Service) -> dict[str, str]:
    """Return ordinary values by the names of fields: valid credentials, and examples."""
    email = service.create_account()
    tokens = service.post_json("/login", email=email, password=PASSWORD)
    return {
        "email": email,
        "password": PASSWORD,
        "currentPassword": "not the sentence of hers",
        "newPassword": "a third sentence of hers",
        "current_password": "not the sentence of hers",
        "new_password": "a third sentence of hers",
        "delivery": "json",
        "refreshToken": tokens["refreshToken"],
        "accessToken": tokens["accessToken"],
        "refresh_token": tokens["refreshToken"],
        "token": tokens["accessToken"],
        "grant_type": "refresh_token",
        "return_to": "/account",
    }


def credential_of(operation: Operation, values: dict[str, str]) -> Fields:
    """Return the header fields of an operation's credential."""
    return (("Authorization", f"Bearer {values['accessToken']}"),) if operation.credential == "access" else ()


def named(operation: Operation) -> str:
    """Return the name of a test."""
    return f"{operation.method} {operation.path}"


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_an_operation_costs_little_whatever_is_sent(service: Service, unit_us: float, kid: str, operation: Operation) -> None:
    """Every member, form field, query field, path parameter, header and cookie of an operation."""
    values = values_of(service)
    if operation.path == "/me/delete":
        values["email"] = "not-" + values["email"]  # otherwise there would be no account for the next request
    shape = operation.body or operation.form
    media_type = JSON if operation.body is not None else FORM
    fields = credential_of(operation, values)
    line = f"{operation.method} {operation.path.format(id='A' * 22, provider='google')}"
    body = b"" if shape is None else encode(shape, values)
    if shape is not None:
        fields = (*fields, ("Content-Type", media_type))
    ordinary = Request("ordinary", line, fields, body)

    def hostile() -> Iterator[Request]:
        for each in headers(kid):
            yield with_field(line, fields, body, each)
        for name, hostile_body in bodies(shape, values, kid) if shape is not None else ():
            yield Request(name, line, fields, hostile_body)
        for name in [*operation.query, "unknown"]:
            yield from (Request(f"{name}: {kind}", f"{line}?{name}={text}", fields, body) for kind, text in targets(kid))
        if "{id}" in operation.path:
            for kind, text in targets(kid):
                yield Request(f"id: {kind}", line.replace("A" * 22, text), fields)

    assert expect_cheap(service, unit_us, ordinary, hostile()) > 100


def test_a_proof_costs_little_whatever_it_says(service: Service, unit_us: float, kid: str) -> None:
    """Proofs for a session that exists: hostile texts, keys that are none, and valid signatures over other claims."""
    origin: Fields = (("Origin", service.url), ("Sec-Fetch-Site", "same-origin"))
    body = json.dumps({"email": service.create_account(), "password": PASSWORD, "delivery": "split"}).encode()
    signed_in = service.ask("POST /login", (*origin, ("Content-Type", JSON)), body)
    cookie = re.search(rb"set-cookie: (handstamp-refresh-[^;]+)", signed_in.head)
    assert cookie is not None
    fields: Fields = (*origin, ("Cookie", cookie[1].decode()))
    ordinary = Request(
        "ordinary", "POST /device/start", (*fields, ("Secure-Session-Response", Device().prove("x", registers=True)))
    )
    for path in ("/device/start", "/device/refresh"):
        proofs = proofs_of("dbsc+jwt", kid).items()
        hostile = (Request(kind, f"POST {path}", (*fields, ("Secure-Session-Response", text))) for kind, text in proofs)
        expect_cheap(service, unit_us, ordinary, hostile)


def test_a_programs_proof_costs_little_whatever_it_says(service: Service, unit_us: float, kid: str) -> None:
    """At a sign-in, for a refresh token and beside an access token, each of a bound session. None of them has another's key."""
    device, email = Device(), service.create_account()
    now_s = int(time.time())

    def prove(path: str, **changes: Any) -> str:
        claims = {"jti": new_id(), "htm": "POST", "htu": f"{service.url}{path}", "iat": now_s} | changes
        return device.sign({"typ": "dpop+jwt", "alg": "ES256", "jwk": device.jwk}, claims)

    def body(**members: str) -> bytes:
        return json.dumps(members).encode()

    sign_in = body(email=email, password=PASSWORD)
    answer = service.ask("POST /login", (("Content-Type", JSON), ("DPoP", prove("/login"))), sign_in)
    tokens = json.loads(answer.body)
    assert tokens["tokenType"] == "DPoP"
    jsons = (("Content-Type", JSON),)
    authorized = (*jsons, ("Authorization", f"DPoP {tokens['accessToken']}"))
    for path, fields, content in (
        ("/login", jsons, body(email="nobody", password="")),
        ("/refresh", jsons, body(refreshToken=tokens["refreshToken"])),
        ("/logout-everywhere", authorized, b"{}"),
    ):
        url = f"{service.url}{path}"
        claims = {
            "a future": prove(path, iat=now_s + 10**9),
            "a long nonce": prove(path, nonce="A" * 1000),
            "a long id": prove(path, jti="x" * 1200),
            "an escaped URL": prove(path, htu=f"{url}?" + "%41" * 300),
            "a URL of ports": prove(path, htu="https://" + ":" * 900),
            "a URL of brackets": prove(path, htu="https://" + "[" * 900),
            "a URL of hosts": prove(path, htu="https://" + "é." * 130),
        }
        proofs = {**proofs_of("dpop+jwt", kid), **claims}
        ordinary = Request("ordinary", f"POST {path}", (*fields, ("DPoP", prove(path, htm="GET"))), content)
        hostile = [Request(kind, f"POST {path}", (*fields, ("DPoP", text)), content) for kind, text in proofs.items()]
        many = Request("many proofs", f"POST {path}", (*fields, *[("DPoP", prove(path))] * 15), content)
        expect_cheap(service, unit_us, ordinary, [*hostile, many])


def proofs_of(typ: str, kid: str) -> dict[str, str]:
    """Return hostile proofs by name: any text, and signatures by a new key."""
    device = Device()
    header = {"typ": typ, "alg": "ES256", "jwk": device.jwk}
    signed = device.sign(header, {"jti": "guess"})
    return {kind: text for kind, text in texts(kid).items() if text.isascii()} | {
        "a signature": signed,
        "another signature": f"{signed[:-4]}AAAA",
        "a key off the curve": device.sign(header | {"jwk": device.jwk | {"x": "A" * 43}}, {"jti": "x"}),
        "many members": device.sign(header | {f"{n:x}": 0 for n in range(200)}, {}),
        "deep claims": device.sign(header, {"jti": "[" * 900}),
    }


@pytest.mark.parametrize("path", PAGES)
def test_a_page_costs_little_whatever_is_sent(service: Service, unit_us: float, kid: str, path: str) -> None:
    """Every header, cookie and query field of a page, of the documents and of the files."""

    def hostile() -> Iterator[Request]:
        for each in headers(kid):
            yield with_field(f"GET {path}", (), b"", each)
        for name in ("return_to", "delivery", "done", "from", "here", "unknown"):
            yield from (Request(f"{name}: {kind}", f"GET {path}?{name}={text}") for kind, text in targets(kid))
        yield from (Request(f"path: {kind}", f"GET {path}{text}") for kind, text in targets(kid))

    expect_cheap(service, unit_us, Request("ordinary", f"GET {path}"), hostile())


@pytest.mark.parametrize(("path", "shape"), page_forms().items(), ids=page_forms())
def test_a_form_costs_little_whatever_is_sent(
    service: Service, unit_us: float, kid: str, path: str, shape: type[msgspec.Struct]
) -> None:
    """Every field of the pages' forms, as a signed-in browser sends them."""
    values = values_of(service) | {"delivery": "split"}
    fields: Fields = (("Origin", service.url), ("Sec-Fetch-Site", "same-origin"), ("Content-Type", FORM))
    ordinary = Request("ordinary", f"POST {path}", fields, encode(shape, values))

    def hostile() -> Iterator[Request]:
        yield from (Request(name, f"POST {path}", fields, body) for name, body in bodies(shape, values, kid))

    expect_cheap(service, unit_us, ordinary, hostile())


def test_preflights_cost_little(service: Service, unit_us: float) -> None:
    """What a browser asks before a request from another origin."""
    origin = ("Origin", TRUSTED)
    ordinary: Fields = (origin, ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type"))
    wanted = ("," * ROOM, "a," * (ROOM // 2), "x-" * (ROOM // 2), "a, " * (ROOM // 3))
    hostile = [
        Request(f"{name} {value[:4]!r}", "OPTIONS /login", (*(each for each in ordinary if each[0] != name), (name, value)))
        for name in ("Access-Control-Request-Headers", "Access-Control-Request-Method", "Origin")
        for value in wanted
    ]
    expect_cheap(service, unit_us, Request("ordinary", "OPTIONS /login", ordinary), hostile)


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (400, b"POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n{\r\n" * 60_000),
        (200, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 6000),
        (414, b"GET /" + b"%41" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
        (414, b"GET /sign-in?return_to=" + b"%41" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
        (431, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 15_000 + b"\r\n"),
        (400, b"GET / HTTP/1.1\r\n" + b"Host: x\r\n" * 90 + b"\r\n"),
    ],
    ids=["chunks", "pipelined", "path", "query", "fields", "hosts"],
)
def test_what_precedes_a_request_costs_little(service: Service, profile: Request, status: int, sent: bytes) -> None:
    """Many tiny chunks, requests sent ahead, a long target, many fields. Of the requests sent ahead, 33 are answered."""
    number = 33 if status == 200 else 1
    require_cost(service, profile, lambda: [service.exchange(sent) for _ in range(TRIES)], status=status, most=BUDGET + number)


@pytest.mark.parametrize("path", ["/account", "/sessions"])
def test_a_person_with_many_sessions_costs_little(service: Service, profile: Request, path: str) -> None:
    """Their list, and the page that shows it, after a hundred sign-ins, which is how many sessions an account may have."""
    body = json.dumps({"email": service.create_account(), "password": PASSWORD, "delivery": "cookie"}).encode()
    fields: Fields = (("Content-Type", JSON), ("Origin", service.url), ("User-Agent", "X11; Linux Firefox/140.0"))
    answer = [service.ask("POST /login", fields, body) for _ in range(100)][-1]
    cookies = b"; ".join(re.findall(rb"set-cookie: ([^;]*);", answer.head)).decode()

    def ask() -> list[Answer]:
        return [service.ask(f"GET {path}", (("Cookie", cookies),)) for _ in range(TRIES)]

    require_cost(service, profile, ask, status=200, most=BUDGET)


def test_a_request_holds_little_memory(service: Service, kid: str) -> None:
    """What a request is decoded to is bounded: for bodies of a sign-in, and for headers."""
    values = values_of(service)
    shape = next(operation.body for operation in OPERATIONS if operation.path == "/login")
    assert shape is not None
    requests = [Request(name, "POST /login", (("Content-Type", JSON),), body) for name, body in bodies(shape, values, kid)]
    requests += [with_field("GET /account", (), b"", each) for each in headers(kid)]
    tracemalloc.start()
    try:
        for request in requests:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            service.ask(*request[1:])
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < MAX_MEMORY_BYTES, request.name
    finally:
        tracemalloc.stop()


def targets(kid: str) -> Iterator[tuple[str, str]]:
    """Return values for a query field or a piece of a path: percent-encoded, and as long as a target may be."""
    for kind, text in texts(kid).items():
        yield kind, quote(text[:2500], safe="")[:7500].rstrip("%")
    yield from (
        ("percent", "%41" * 2500),
        ("half escapes", "%" * 7500),
        ("plus", "+" * 7500),
        ("fields", "a&" * 31),
        ("empty", "&" * 31),
    )
