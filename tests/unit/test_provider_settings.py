"""The tables of providers: what they may contain, and that each mistake is named without its value."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handstamp.config.loading import load
from handstamp.config.provider_tables import parse_providers
from handstamp.config.providers import load_providers
from handstamp.config.settings import Settings
from handstamp.domain.provider import ProviderSettings
from handstamp.errors import ConfigurationError
from handstamp.outbound.client import Outbound
from handstamp.relying_party.registry import make_providers

Configure = Callable[..., Settings]
SECRET = "s3cret-at-the-provider"
TENANT = "11111111-2222-3333-4444-555555555555"
BASIC = {"client_id": "id", "client_secret": SECRET}


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Return a function that loads settings from an environment and `handstamp.toml`."""
    monkeypatch.chdir(tmp_path)

    def load_settings(toml: str = "", mode: int = 0o600, **environment: str) -> Settings:
        Path("handstamp.toml").write_text(toml, "utf-8")
        Path("handstamp.toml").chmod(mode)
        return load({f"HANDSTAMP_{name}": value for name, value in environment.items()})

    return load_settings


def one(**table: Any) -> ProviderSettings:
    """Return the provider "main" of a table."""
    (provider,) = parse_providers({"main": table})
    return provider


def mistake(name: Any = "main", **table: Any) -> str:
    """Return why a table is refused."""
    with pytest.raises(ValueError, match="provider") as refused:
        parse_providers({name: table})
    assert SECRET not in str(refused.value)
    return str(refused.value)


def test_tables_of_the_file_and_json_of_the_environment(configure: Configure) -> None:
    """Both say the same. The order is kept, and nothing shows a secret."""
    toml = f"""
        [providers.google]
        client_id = "1.apps.googleusercontent.com"
        client_secret = "{SECRET}"
        [providers.company]
        issuer = "https://login.example.com/realms/main"
        client_id = "handstamp"
        client_secret_file = "company.secret"
        label = "Example Staff"
        scopes = ["openid", "email"]
        keep_tokens = true
    """
    tables = {
        "google": {"client_id": "1.apps.googleusercontent.com", "client_secret": SECRET},
        "company": {
            "issuer": "https://login.example.com/realms/main",
            "client_id": "handstamp",
            "client_secret_file": "company.secret",
            "label": "Example Staff",
            "scopes": "openid email",
            "keep_tokens": "yes",
        },
    }
    settings = configure(toml)
    assert settings.providers == configure(PROVIDERS=json.dumps(tables)).providers
    google, own = settings.providers
    assert (google.preset, google.label, google.issuer) == ("google", "Google", "https://accounts.google.com")
    assert (own.preset, own.label, own.scopes, own.keeps_tokens) == ("", "Example Staff", ("openid", "email"), True)
    assert SECRET not in repr(settings) + repr(google)
    assert configure(PROVIDERS="").providers == configure().providers == ()


def test_a_file_with_a_client_secret_must_be_private(configure: Configure) -> None:
    """As one with the password of a database."""
    with pytest.raises(ConfigurationError, match="chmod 600"):
        configure(f'[providers.google]\nclient_id = "1"\nclient_secret = "{SECRET}"', 0o644)


def test_secrets_of_files(configure: Configure) -> None:
    """They are read without white space around them. Each that cannot be used is named with what to do."""
    google = {"client_id": "1", "client_secret_file": "google.secret"}
    settings = configure(PROVIDERS=json.dumps({"google": google, "github": google | {"client_secret_file": "github.secret"}}))
    google_file, github_file = Path("google.secret"), Path("github.secret")
    google_file.write_text(f"{SECRET}\n")
    google_file.chmod(0o644)
    with pytest.raises(ConfigurationError) as refused:
        load_providers(settings)
    first, second = refused.value.problems
    assert "chmod 600 google.secret" in first
    assert "github.secret of the provider github cannot be read" in second
    google_file.chmod(0o600)
    github_file.touch(0o600)
    with pytest.raises(ConfigurationError, match="github is empty"):
        load_providers(settings)
    github_file.write_text("other")
    assert [provider.client_secret for provider in load_providers(settings)] == [SECRET, "other"]


@pytest.mark.parametrize(
    ("table", "issuer"),
    [
        ({"preset": "google"}, "https://accounts.google.com"),
        ({"preset": "github"}, "https://github.com"),
        ({"preset": "github", "issuer": "https://github.example.com"}, "https://github.example.com"),
        ({"preset": "microsoft"}, "https://login.microsoftonline.com/common/v2.0"),
        ({"preset": "microsoft", "tenant": TENANT}, f"https://login.microsoftonline.com/{TENANT}/v2.0"),
        (
            {"preset": "microsoft", "tenant": "consumers"},
            "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
        ),
        ({"issuer": "https://example.eu.auth0.com/"}, "https://example.eu.auth0.com/"),
        ({"issuer": "http://localhost:8080/realms/x"}, "http://localhost:8080/realms/x"),
    ],
)
def test_presets_bring_the_issuer(table: dict[str, Any], issuer: str) -> None:
    """An issuer stays byte for byte as it was written."""
    assert one(**BASIC, **table).issuer == issuer


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ({"issuer": "https://a.example"}, "client_id is missing"),
        ({"client_id": "id", "issuer": "https://a.example"}, "set one of client_secret_file"),
        (BASIC | {"client_secret_file": "x", "issuer": "https://a.example"}, "set one of client_secret_file"),
        (BASIC, "issuer is missing"),
        (BASIC | {"issuer": "http://login.example.com"}, "issuer: write an https URL"),
        (BASIC | {"issuer": "https://login.example.com?x=1"}, "issuer: write an https URL"),
        (BASIC | {"issuer": "https://user:pw@login.example.com"}, "issuer: write an https URL"),
        (BASIC | {"issuer": "https://login.example.com/ x"}, "issuer: write an https URL"),
        (BASIC | {"issuer": "https://"}, "issuer: write an https URL"),
        (BASIC | {"issuer": 5}, "issuer: must be text"),
        (BASIC | {"issuer": "https://a.example", "client_secret_in": "body"}, "client_secret_in: must be 'header' or 'form'"),
        (BASIC | {"preset": "gogle"}, "preset: must be one of google"),
        (BASIC | {"preset": "microsoft", "tenant": "contoso.com"}, "tenant: write the id of your tenant"),
        (BASIC | {"preset": "microsoft", "issuer": "https://login.microsoftonline.com/x/v2.0"}, "leave out issuer"),
        (BASIC | {"preset": "google", "tenant": TENANT}, "tenant is for Microsoft"),
        (BASIC | {"preset": "github", "issuer": "https://github.example.com/"}, "slash"),
        ({"preset": "github", "client_id": "id", "private_key_file": "x"}, "GitHub knows no private_key_file"),
        (BASIC | {"preset": "apple"}, "Apple needs"),
        ({"preset": "apple", "client_id": "id", "private_key_file": "x", "key_id": "K"}, "Apple needs"),
        (BASIC | {"issuer": "https://a.example", "team_id": "T"}, "team_id is for Apple"),
        (BASIC | {"issuer": "https://a.example", "scopes": ["email"]}, "must contain openid"),
        (BASIC | {"issuer": "https://a.example", "scopes": []}, "scopes: must be a list"),
        (BASIC | {"issuer": "https://a.example", "scopes": ['"']}, "scopes: must be a list"),
        (BASIC | {"issuer": "https://a.example", "keep_tokens": "maybe"}, "keep_tokens: must be true or false"),
        (BASIC | {"preset": "google", "trust_email": True}, "trust_email is for a directory of your own"),
        (BASIC | {"preset": "microsoft", "trust_email": True}, "trust_email is for a directory of your own"),
        (BASIC | {"preset": "microsoft", "tenant": "consumers", "trust_email": True}, "trust_email is for a directory"),
        (BASIC | {"issuer": "https://a.example", "clientsecret": SECRET}, "clientsecret is not a key here"),
        (BASIC | {"issuer": "https://a.example", "client_secret": f"{SECRET}\n\x00"}, "client_secret: must be text"),
        (BASIC | {"issuer": "https://a.example", "client_id": ""}, "client_id: must be text"),
        (BASIC | {"issuer": "https://a.example", "label": "x" * 65}, "label: must have at most 64"),
    ],
)
def test_mistakes_are_named(table: dict[str, Any], part: str) -> None:
    """With the provider, the key, and what to write instead."""
    assert part in mistake(**table)
    assert mistake(**table).startswith("provider main: ")


@pytest.mark.parametrize("name", ["", "Google", "a_b", "a/b", "-a", "a-", "x" * 33, "a.b", "é", 5])
def test_names_are_parts_of_urls(name: Any) -> None:
    """A name of another form is refused, and not repeated."""
    assert mistake(name, **BASIC).startswith("provider number 1: its name must have")


def test_every_mistake_is_named_at_once() -> None:
    """One start shows them all."""
    with pytest.raises(ValueError, match=r"provider a: .*; provider b: "):
        parse_providers({"a": {}, "b": [], "google": BASIC})


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "1", '"x"', "null", '{"a": 1}', "[" * 10_000, '{"a": {}, "a": {}}'),
        '{"google": {"client_id": "1", "client_id": "2"}}',
    ],
)
def test_json_of_another_form_is_refused(text: str) -> None:
    """With a sentence."""
    with pytest.raises(ValueError, match=r"JSON|twice|deeply"):
        parse_providers(text)


def test_too_many_are_refused() -> None:
    """A page of buttons has an end."""
    with pytest.raises(ValueError, match="at most 32"):
        parse_providers({f"p{number}": BASIC for number in range(33)})


KEYS = st.one_of(
    st.text(), st.sampled_from(["google", "client_id", "client_secret", "issuer", "scopes", "preset", "tenant", "label"])
)


@given(
    value=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.floats()),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(KEYS, inner)),
    )
)
def test_any_value_is_parsed_or_refused_with_a_sentence(value: Any) -> None:
    """As a table of the file, and as JSON."""
    for given_value in (value, {"google": value}, json.dumps(value)):
        with suppress(ValueError):
            parse_providers(given_value)


def test_a_key_that_cannot_sign_is_refused_at_the_start() -> None:
    """With the name of the provider, before anybody presses its button."""
    apple = {"preset": "apple", "client_id": "id", "private_key_file": "x", "key_id": "KEY1", "team_id": "TEAM1"}
    (described,) = parse_providers({"apple": apple})
    with pytest.raises(ConfigurationError, match=r"'apple'.*PEM"):
        make_providers([msgspec.structs.replace(described, private_key="x")], Outbound())


def test_an_issuer_that_cannot_be_requested_is_refused_at_the_start() -> None:
    """A private address needs the operator's word."""
    settings = one(**BASIC, issuer="https://10.0.0.1/realms/x")
    with pytest.raises(ConfigurationError, match="HANDSTAMP_OUTBOUND_ALLOW"):
        make_providers([settings], Outbound())
    assert set(make_providers([settings], Outbound(allow=["10.0.0.1"]))) == {"main"}
