"""How providers describe themselves: fetched once, by one, and kept when they are away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handstamp.errors import ProviderUnavailable
from handstamp.outbound.client import Outbound
from handstamp.relying_party import discovery
from handstamp.relying_party.discovery import Discovery, Metadata
from tests.conformance.builders import ABSENT
from tests.hostile import answer, html, redirect
from tests.relying_party.upstream import DISCOVERY, REDIRECT_URI, Upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Run a provider."""
    with Upstream() as running:
        yield running


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace the clock of the module."""
        self.now_ms = 1_000_000_000
        monkeypatch.setattr(discovery, "monotonic_ms", lambda: self.now_ms)


def test_many_sign_ins_at_once_ask_once(upstream: Upstream) -> None:
    """Single flight, for the first request."""
    client = upstream.client()

    async def flood() -> None:
        await asyncio.gather(*(client.provider.begin("s", redirect_uri=REDIRECT_URI) for _ in range(30)))

    asyncio.run(flood())
    assert upstream.count(DISCOVERY) == 1


def test_it_is_asked_again_after_an_hour_and_kept_for_a_day(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """While requests fail, the last good answer is used, and one request is sent every five seconds."""
    clock = Clock(monkeypatch)
    client = upstream.client()
    client.begin()
    clock.now_ms += 3599_000
    client.begin()
    assert upstream.count(DISCOVERY) == 1
    clock.now_ms += 2_000
    upstream.answers[DISCOVERY] = html(500)
    client.begin()
    client.begin()
    assert upstream.count(DISCOVERY) == 2
    clock.now_ms += 5_001
    client.begin()
    assert upstream.count(DISCOVERY) == 3
    clock.now_ms += 24 * 3600_000
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            client.begin()
    with pytest.raises(ProviderUnavailable) as refused:
        client.begin()
    assert upstream.count(DISCOVERY) == 4
    assert "answered 500" in refused.value.why
    assert refused.value.retry_after_s == 5
    clock.now_ms += 5_001
    del upstream.answers[DISCOVERY]
    with pytest.raises(ProviderUnavailable):
        client.begin()


def test_while_one_asks_the_others_use_what_is_known(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow provider delays one sign-in an hour, not all of them."""
    clock = Clock(monkeypatch)
    known = Discovery(Outbound(allow=["127.0.0.1"]), upstream.url, published=upstream.url)
    metadata = known.load(lambda: 20)
    clock.now_ms += 3601_000
    assert known.current() is None
    assert known._loading.acquire(0)
    assert known.load(lambda: 20) is metadata
    clock.now_ms += 24 * 3600_000
    with pytest.raises(ProviderUnavailable):
        known.load(lambda: 0.01)
    known._loading.release()
    assert upstream.count(DISCOVERY) == 1


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"}, {"issuer": ABSENT}, {"issuer": None}, {"token_endpoint": ABSENT}, {"jwks_uri": 5},
        {"authorization_endpoint": ABSENT}, {"id_token_signing_alg_values_supported": ["HS256", "none"]},
        {"id_token_signing_alg_values_supported": "RS256"}, {"token_endpoint_auth_methods_supported": [5]},
        {"authorization_response_iss_parameter_supported": "yes"},
    ],
    ids=str,
)  # fmt: skip
def test_metadata_that_are_not_acceptable(metadata: dict[str, Any], upstream: Upstream) -> None:
    """Nobody is led to an address of such a provider."""
    upstream.metadata = metadata
    with pytest.raises(ProviderUnavailable):
        upstream.client().begin()


@pytest.mark.parametrize(
    "script",
    [html(200), redirect("/x"), answer(b"x" * 200_000), answer([]), answer(b'{"issuer": 1, "issuer": 2}'), answer({}, 404)],
    ids=range(6),
)
def test_documents_that_are_no_metadata(script: Any, upstream: Upstream) -> None:
    """Each is an outage."""
    upstream.answers[DISCOVERY] = script
    with pytest.raises(ProviderUnavailable):
        upstream.client().begin()


def test_the_slash_at_the_end_of_an_issuer_counts(upstream: Upstream) -> None:
    """Some providers have one. The document is at the same place, and names the issuer byte for byte (Discovery §4.3)."""
    upstream.metadata = {"issuer": f"{upstream.url}/"}
    upstream.client(issuer=f"{upstream.url}/").begin()
    with pytest.raises(ProviderUnavailable, match="cannot sign you in") as refused:
        upstream.client().begin()
    assert "exactly" in refused.value.why


VALUES = st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.text()), lambda inner: st.lists(inner, max_size=3))
SOUND = {
    "issuer": "https://id.example",
    "authorization_endpoint": "https://id.example/authorize",
    "token_endpoint": "https://id.example/token",
    "jwks_uri": "https://id.example/keys",
}


@given(document=st.dictionaries(st.sampled_from(sorted(Metadata.__struct_fields__)), VALUES), is_sound=st.booleans())
def test_any_document_is_read_or_refused_by_one_error(document: dict[str, Any], is_sound: bool) -> None:
    """Whatever a hostile provider answers."""
    known = Discovery(Outbound(), SOUND["issuer"], published=SOUND["issuer"])
    with suppress(ProviderUnavailable):
        metadata = known._read(json.dumps(SOUND | document if is_sound else document).encode())
        assert metadata.issuer == SOUND["issuer"]
        assert metadata.algorithms
