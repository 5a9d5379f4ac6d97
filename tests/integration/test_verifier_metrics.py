"""The metrics of a verifier that uses a real service."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import MethodType

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from handstamp import Unavailable, Verifier
from handstamp.verify.metrics import measure
from tests.adapters.local import AUDIENCE, ISSUER, KEYS, a_token, a_verifier
from tests.integration.helpers import sign_in_new_user
from tests.integration.test_metrics import Documented, Metrics, documented, list_families
from tests.serving import Server
from tests.verifying import SOON_S, ShiftedClock, credential_for, eventually, try_token


def read(registry: CollectorRegistry) -> Metrics:
    """Read a registry as Prometheus does."""
    return Metrics(generate_latest(registry).decode())


@pytest.fixture
def registry() -> CollectorRegistry:
    """Return a registry without other metrics."""
    return CollectorRegistry()


@pytest.fixture
def clock() -> ShiftedClock:
    """Return the clock of the verifier."""
    return ShiftedClock()


@pytest.fixture(scope="module")
def credential(server: Server) -> str:
    """Return a credential of the verifier."""
    return credential_for(server, "measured")


@pytest.fixture
def verifier(server: Server, credential: str, registry: CollectorRegistry, clock: ShiftedClock) -> Iterator[Verifier]:
    """Yield a measured verifier."""
    with Verifier(server.url, audience=server.url, credential=credential, timeout_s=30, clock=clock) as verifier:
        yield measure(verifier, registry=registry, name="orders")


def test_it_counts_what_happens(
    client: httpx.Client, verifier: Verifier, registry: CollectorRegistry, clock: ShiftedClock
) -> None:
    """Each verification has one outcome; those with a signature and those that asked the service are counted apart."""
    ada = sign_in_new_user(client)
    assert verifier.wait_until_ready(SOON_S)
    assert [try_token(verifier, ada.access, check) for check in ("feed", "feed", "live")] == ["ok"] * 3
    assert try_token(verifier, "no.to.ken") == "invalid_token"
    assert client.post("/logout", headers=ada.bearer).status_code == 204
    assert eventually(lambda: try_token(verifier, ada.access) == "session_ended")
    seen = read(registry)
    count = partial(seen.value, "handstamp_verifier_verifications_total", verifier="orders")
    ended = count(outcome="session_ended")
    assert ended >= 1
    assert (count(outcome="invalid_token"), count()) == (1, count(outcome="valid") + 1 + ended)
    assert seen.value("handstamp_verifier_signatures_total") == 2, "the valid token once, and the invalid one"
    asked = partial(seen.value, "handstamp_verifier_request_duration_seconds_count", outcome="answered")
    assert asked(request="jwks") in (1, 2), "once more if the feed of this server tells of a voided key after the first time"
    assert asked(request="introspect") == 1
    assert asked(request="revocations") >= 1
    clock.shift_s = 3600
    assert try_token(verifier, ada.access, "offline") == "expired_token"
    assert read(registry).value("handstamp_verifier_verifications_total", outcome="expired_token") == 1


def test_the_gauges_follow(client: httpx.Client, verifier: Verifier, registry: CollectorRegistry) -> None:
    """They are set by themselves, without any request of the application."""
    ada = sign_in_new_user(client)
    assert "handstamp_verifier_ready{" not in generate_latest(registry).decode(), "nothing was verified yet"
    assert try_token(verifier, ada.access) == "ok"
    assert eventually(lambda: read(registry).value("handstamp_verifier_ready", verifier="orders") == 1)
    assert client.post("/logout", headers=ada.bearer).status_code == 204
    assert eventually(lambda: read(registry).value("handstamp_verifier_revocations") >= 1)
    seen = read(registry)
    assert 0 <= seen.value("handstamp_verifier_feed_age_seconds") < SOON_S
    assert seen.value("handstamp_verifier_cached_tokens") == 1


async def _verify_async(verifier: Verifier, token: str) -> None:
    await verifier.verify_async(token)


@pytest.mark.anyio
async def test_coroutines_count_once(registry: CollectorRegistry) -> None:
    """Also if they go on in a thread: here the keys cannot be fetched."""
    verifier = measure(Verifier("http://127.0.0.1:9", audience=AUDIENCE, check="offline"), registry=registry)
    with pytest.raises(Unavailable):
        await verifier.verify_async(a_token())
    seen = read(registry)
    assert seen.value("handstamp_verifier_verifications_total", outcome="unavailable") == 1
    assert seen.value("handstamp_verifier_request_duration_seconds_count", request="jwks", outcome="failed") == 1


def test_a_token_that_is_bound_to_a_key_is_no_bearer_token(registry: CollectorRegistry) -> None:
    """Without its proof it counts as invalid, although its signature is right."""
    verifier = measure(a_verifier(), registry=registry)
    assert try_token(verifier, a_token(cnf={"jkt": "x" * 43})) == "invalid_token"
    seen = read(registry)
    assert seen.value("handstamp_verifier_verifications_total", outcome="invalid_token") == 1
    assert seen.value("handstamp_verifier_verifications_total", outcome="valid") == 0


def test_two_verifiers_of_one_process(registry: CollectorRegistry) -> None:
    """They share the metrics, and have a label each."""
    for name in ("first", "second"):
        measure(Verifier(ISSUER, audience=name, keys=KEYS, check="offline"), registry=registry, name=name)
        try_token(measure(a_verifier(), registry=registry, name=f"{name} too"), a_token())
    assert read(registry).value("handstamp_verifier_verifications_total", verifier="second too", outcome="valid") == 1


def test_a_verifier_that_is_not_measured_is_as_it_was() -> None:
    """Nothing is added to its methods and its requests."""
    verifier = a_verifier()
    assert isinstance(verifier._verify, MethodType)
    assert not vars(verifier).keys() & {"_verify", "_verify_signature"}


def test_the_reference_lists_every_metric(registry: CollectorRegistry) -> None:
    """Names, types and labels are the same in the reference and in the registry."""
    measure(a_verifier(), registry=registry)
    found: set[Documented] = list_families(registry)
    assert found == documented("Metrics of verifiers")
