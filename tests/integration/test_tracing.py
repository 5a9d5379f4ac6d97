"""Traces: spans reach a real collector over OTLP, belong together, and hold no secret. Without them nothing is paid."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, ParentBasedTraceIdRatio

from handstamp.assemble.application import make_application
from handstamp.assemble.deployment import Deployment
from handstamp.assemble.tracing import Tracing
from handstamp.client import Auth
from handstamp.clock import now_ms
from handstamp.embedded import Handstamp
from handstamp.errors import ConfigurationError, Unavailable
from handstamp.service.parts.hashing import Hashing
from handstamp.storage.sqlite.store import SqliteStore
from handstamp.tracing.requests import DecidedIds
from handstamp.web.proxies import ClientAddress
from tests.commands import environment_without_coverage
from tests.deployment import ISSUER, settings_in
from tests.integration.helpers import create_credential, run_server
from tests.mail.helpers import settings_for
from tests.mail_server import mail_server
from tests.postgres import fresh_database
from tests.serving import PASSWORD
from tests.spans import Collector

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("in_time")]
EMAIL = "ada.lovelace@example.com"
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVER, CLIENT = 2, 3
"""Kinds of spans in OTLP."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Run a collector, and set the environment as an operator does."""
    with Collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert isinstance(running, Collector)
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Return a new database."""
    async with AsyncExitStack() as opened:
        if request.param == "sqlite":
            yield f"sqlite:///{tmp_path}/handstamp.db"
        else:
            yield await opened.enter_async_context(fresh_database(request.getfixturevalue("postgres_server")))


@asynccontextmanager
async def traced(
    folder: Path, provider: TracerProvider | Tracing, **fields: object
) -> AsyncIterator[tuple[Deployment, httpx.AsyncClient]]:
    """Run a service with traces, and yield a client of it."""
    tracing = provider if isinstance(provider, Tracing) else Tracing(provider)
    running = Deployment(settings_in(folder, secret="one secret of the tests, 0123456789", **fields), tracing=tracing)
    transport = httpx.ASGITransport(make_application(running))
    async with running.run(), httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
        yield running, client


async def sign_up(client: httpx.AsyncClient) -> dict[str, str]:
    """Create an account and sign in; return the tokens."""
    body = {"email": EMAIL, "password": PASSWORD}
    await client.post("/register", json=body)
    answer = await client.post("/login", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.slow
def test_a_real_service_exports_to_a_real_collector(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trace of the client goes on in the service, the log names it, and the resource is what the environment says."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    with run_server(tmp_path) as server:
        server.register(EMAIL)
        with server.client(headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "tracestate": "a=b"}) as client:
            answer = client.post("/login", json={"email": EMAIL, "password": PASSWORD})
        spans = collector.wait_for("POST /login", "verify password", "store transact")
        lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    (login,) = [span for span in spans if span.name == "POST /login"]
    assert (login.kind, login.trace_id, login.parent_id, login.is_error) == (SERVER, TRACE_ID, SPAN_ID, False)
    assert login.attributes == {
        "http.request.method": "POST",
        "http.route": "/login",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "handstamp.request_id": answer.headers["x-request-id"],
    }
    inside = [span for span in spans if span.trace_id == TRACE_ID and span is not login]
    assert {"verify password", "store transact", "store read"} <= {span.name for span in inside}
    assert {span.parent_id for span in inside} == {login.span_id}
    (signed_in,) = [line for line in lines if line["event"] == "signed_in"]
    assert signed_in["trace_id"] == TRACE_ID
    (created,) = [line for line in lines if line["event"] == "account_created"]
    assert created["trace_id"] in {span.trace_id for span in spans if span.name == "POST /register"}
    resource = collector.resource()
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("handstamp", "test")
    assert resource["service.version"]


async def test_a_commit_is_linked_with_all_requests_that_share_it(tmp_path: Path, collector: Collector, database: str) -> None:
    """One batch has the changes of several refreshes, each in the trace of its request."""
    tracing = Tracing.from_environment({"OTEL_TRACES_EXPORTER": "otlp"})
    async with traced(tmp_path, tracing, database=database) as (_, client):
        tokens = [await sign_up(client) for _ in range(4)]
        answers = await asyncio.gather(*(client.post("/refresh", json={"refreshToken": each["refreshToken"]}) for each in tokens))
        assert {answer.status_code for answer in answers} == {200}
    spans = collector.wait_for("POST /refresh", "store update session", "store batch")
    updates = {span.span_id: span for span in spans if span.name == "store update session"}
    batches = [span for span in spans if span.name == "store batch" and span.links]
    assert sum(len(batch.links) for batch in batches) == len(updates) == 4
    for batch in batches:
        assert batch.attributes["handstamp.changes"] >= len(batch.links)
        assert batch.parent_id == ""
        for linked in batch.links:
            assert updates[linked].links == {batch.span_id}
    requests = {span.span_id for span in spans if span.name == "POST /refresh"}
    assert {update.parent_id for update in updates.values()} == requests


async def test_a_session_that_is_read_from_another_process_has_a_span(
    tmp_path: Path, collector: Collector, database: str
) -> None:
    """SQLite reads it in microseconds, so there the request's own span says all."""
    tracing = Tracing.from_environment({"OTEL_TRACES_EXPORTER": "otlp"})
    async with traced(tmp_path, tracing, database=database) as (_, client):
        tokens = await sign_up(client)
        headers = {"authorization": f"Bearer {tokens['accessToken']}"}
        assert (await client.get("/profile", headers=headers)).status_code == 200
    spans = collector.wait_for("GET /profile")
    (profile,) = [span for span in spans if span.name == "GET /profile"]
    inside = [span.name for span in spans if span.parent_id == profile.span_id]
    assert inside == (["store read"] if database.startswith("postgres") else [])


async def test_mail_and_other_servers_have_spans(tmp_path: Path, collector: Collector) -> None:
    """The transport connects and sends. A request to another server tells the host and the status, and takes no trace there."""
    with mail_server() as smtp, Collector() as other:
        tracing = Tracing.from_environment({"OTEL_TRACES_EXPORTER": "otlp"})
        fields = settings_for(smtp, outbound_allow=("127.0.0.1",))
        async with traced(tmp_path, tracing, **fields) as (running, client):
            await client.post("/register", json={"email": EMAIL})
            await client.post("/register", json={"email": EMAIL, "password": PASSWORD})
            while not smtp.received:  # noqa: ASYNC110 - it is in a thread
                await asyncio.sleep(0.01)
            headers = {"Authorization": "s3cret"}
            await running.outbound.request("POST", f"{other.url}/s3cret?q=s3cret", headers, b"", deadline_s=20, max_bytes=1000)
            with pytest.raises(Unavailable):
                await running.outbound.request("POST", "http://127.0.0.1:9/s3cret", headers, deadline_s=20, max_bytes=1000)
    spans = collector.wait_for("mail connect", "mail send", "POST")
    requests = [span for span in spans if span.name == "POST" and span.kind == CLIENT]
    assert [span.attributes.get("http.response.status_code") for span in requests] == [404, None]
    assert [(span.is_error, span.attributes.get("error.type")) for span in requests] == [(False, None), (True, "Unavailable")]
    assert {span.attributes["server.address"] for span in requests} == {"127.0.0.1"}
    assert "traceparent" not in other.asked[-1].headers
    assert b"s3cret" not in collector.raw


async def test_spans_hold_nothing_about_a_person(tmp_path: Path, collector: Collector) -> None:
    """No address, password, token, code, path with an id, header or client's address, also if a request fails."""
    tracing = Tracing.from_environment({"OTEL_TRACES_EXPORTER": "otlp"})
    with mail_server() as smtp:
        async with traced(tmp_path, tracing, **settings_for(smtp, registration="closed")) as (running, client):
            from tests.builders import Clock
            from tests.deployment import caller

            await running.create_account(EMAIL, PASSWORD, caller(Clock(now_ms())))
            tokens = (await client.post("/login", json={"email": EMAIL, "password": PASSWORD})).json()
            await client.post("/login", json={"email": EMAIL, "password": "not-the-password-s3cret"})
            bearer = {"authorization": f"Bearer {tokens['accessToken']}", "user-agent": "agent-s3cret"}
            await client.get(f"/profile?email={EMAIL}", headers=bearer)
            await client.delete(f"/sessions/{tokens['sessionId']}", headers=bearer)
            await client.get(f"/nothing/{EMAIL}", headers=bearer)
            await client.post("/password/forgot", json={"email": EMAIL})
            await client.request("S3CRET", "/login")
    collector.wait_for("POST /login", "GET /profile", "DELETE /sessions/{id}", "GET", "_OTHER /login")
    secrets = [
        EMAIL,
        "lovelace",
        PASSWORD,
        "s3cret",
        "S3CRET",
        tokens["accessToken"],
        tokens["refreshToken"],
        tokens["sessionId"],
    ]
    exported = collector.raw
    assert [secret for secret in secrets if secret.encode() in exported] == []


@pytest.mark.parametrize("is_outermost", [True, False])
@pytest.mark.parametrize(
    ("sampler", "is_from_proxy", "flags", "is_recorded"),
    [
        ("parentbased_always_on", False, "00", True),
        ("parentbased_always_off", False, "01", False),
        ("parentbased_always_off", True, "01", True),
        ("parentbased_always_on", True, "00", False),
    ],
)
async def test_a_stranger_does_not_decide_what_is_recorded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sampler: str,
    flags: str,
    *,
    is_from_proxy: bool,
    is_recorded: bool,
    is_outermost: bool,
) -> None:
    """The sampled flag of a trusted proxy is followed. Of other clients the trace id alone is."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    provider, exporter = TracerProvider(id_generator=DecidedIds()), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(provider, is_outermost=is_outermost)
    async with traced(tmp_path, tracing, trusted_proxies=("127.0.0.1",) if is_from_proxy else ()) as (_, client):
        await client.get("/healthz", headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-{flags}"})
    found = [span.context.trace_id for span in exporter.get_finished_spans() if span.name == "GET /healthz"]
    assert found == ([int(TRACE_ID, 16)] if is_recorded else [])


@pytest.mark.parametrize("proxies", [(), ("127.0.0.1",)], ids=["direct", "proxy"])
@pytest.mark.parametrize("is_outermost", [True, False])
async def test_a_request_is_sampled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxies: tuple[str, ...], *, is_outermost: bool
) -> None:
    """Of many requests so many are recorded as the sampler says, each with the trace id on which it has decided."""
    chance = random.Random(1)
    monkeypatch.setattr("handstamp.web.proxies.random", chance.random)
    monkeypatch.setattr("handstamp.tracing.requests.getrandbits", chance.getrandbits)
    monkeypatch.setattr("handstamp.tracing.requests.randrange", chance.randrange)
    sampler, exporter = ParentBasedTraceIdRatio(0.25), InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, id_generator=DecidedIds())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(provider, is_outermost=is_outermost)
    async with traced(tmp_path, tracing, trusted_proxies=proxies) as (_, client):
        for _ in range(200):
            await client.get("/healthz")
            await client.get("/healthz", headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"})
    found = [span.context.trace_id for span in exporter.get_finished_spans() if span.name == "GET /healthz"]
    own = [trace_id for trace_id in found if trace_id != int(TRACE_ID, 16)]
    assert 25 <= len(own) <= 75
    if proxies:  # its flag decides
        assert len(found) - len(own) == 200
    else:
        assert 25 <= len(found) - len(own) <= 75
    assert all(sampler.should_sample(None, trace_id, "x").decision is Decision.RECORD_AND_SAMPLE for trace_id in own)


async def test_a_collector_that_is_away_disturbs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are answered, and a stop does not wait for it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    tracing = Tracing.from_environment({"OTEL_TRACES_EXPORTER": "otlp"})
    async with traced(tmp_path, tracing) as (_, client):
        await sign_up(client)


async def test_an_application_traces_what_it_embeds(tmp_path: Path) -> None:
    """With its own provider, the spans of Handstamp are inside its own span."""
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    auth = Handstamp(database=f"sqlite:///{tmp_path}/app.db", issuer=ISSUER, tracer_provider=provider)
    async with auth, httpx.AsyncClient(transport=httpx.ASGITransport(auth.asgi), base_url=ISSUER) as client:
        with provider.get_tracer("application").start_as_current_span("own") as own:
            await client.get("/healthz")
    (healthz,) = [span for span in exporter.get_finished_spans() if span.name == "GET /healthz"]
    assert healthz.parent is not None
    assert healthz.parent.span_id == own.get_span_context().span_id


# --- the clients


@pytest.mark.slow
def test_clients_pass_a_trace_on(tmp_path: Path, collector: Collector) -> None:
    """A renewal is in the trace of the request that needs it, and an introspection in that of the application's span."""
    with run_server(tmp_path) as server:
        server.register(EMAIL)
        auth = Auth(server.url, clock=lambda: now_ms() + 3_600_000)
        auth.sign_in(EMAIL, PASSWORD)
        auth = Auth(server.url, store=auth._store)
        with httpx.Client(auth=auth, trust_env=False) as client:
            client.get(f"{server.url}/profile", headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"})
        credential = create_credential(server)
        tokens = auth._store.load()
        assert tokens is not None
        script = _INTROSPECT.format(url=server.url, credential=f"{credential.id}:{credential.secret}", token=tokens.access_token)
        printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        spans = collector.wait_for("POST /refresh", "GET /profile", "POST /introspect")
    assert {span.trace_id for span in spans if span.name in ("POST /refresh", "GET /profile")} == {TRACE_ID}
    (introspect,) = [span for span in spans if span.name == "POST /introspect"]
    assert f"{introspect.trace_id} {introspect.parent_id}" == printed.strip()


_INTROSPECT = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from handstamp.verify.verifier import Verifier
trace.set_tracer_provider(TracerProvider())
verifier = Verifier({url!r}, audience={url!r}, credential={credential!r}, check="live")
with trace.get_tracer("application").start_as_current_span("own") as span:
    verifier.verify({token!r})
    context = span.get_span_context()
    print(f"{{context.trace_id:032x}} {{context.span_id:016x}}")
"""


# --- off


async def test_off_leaves_every_part_as_it_is(tmp_path: Path) -> None:
    """No layer, no store and no class around another."""
    running = Deployment(settings_in(tmp_path))
    assert (type(running.store), type(running.hashing)) == (SqliteStore, Hashing)
    assert running.store._group._commit == running.store._commit_together  # type: ignore[attr-defined]
    application = make_application(running)
    assert isinstance(application, ClientAddress)
    assert type(application._app).__name__ == "Routes"


@pytest.mark.parametrize("variable", ["", "OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=none"])
def test_off_imports_nothing(tmp_path: Path, variable: str) -> None:
    """A service without traces has not imported any module of OpenTelemetry, nor what it needs."""
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", variable.partition("=")[0]: variable.partition("=")[2]}
    environment = environment_without_coverage() | ({name: value for name, value in settings.items() if name} if variable else {})
    code = (
        "import sys; from handstamp.assemble.application import application; application(); "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'opentelemetry', 'requests', 'google', 'urllib3'}), "
        "'handstamp.tracing' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    environment |= {"HANDSTAMP_ISSUER": ISSUER}
    printed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[] False"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "can be otlp, console or none"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/protobuf"),
    ],
)
def test_what_the_environment_cannot_have_is_refused(variables: dict[str, str], words: str) -> None:
    """The message says what is possible."""
    with pytest.raises(ConfigurationError, match=words):
        Tracing.from_environment(variables)


def test_without_the_libraries_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces that were asked for are not left out silently."""
    for name in [name for name in sys.modules if name.startswith("handstamp.tracing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError, match=r"handstamp\[otel\]"):
        Tracing.from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})
