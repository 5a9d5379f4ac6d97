"""Sign-in with GitHub, against answers as its documentation shows them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from handstamp.domain.provider import ProviderTokens
from handstamp.errors import HandstampError, InvalidProviderAnswer, InvalidToken, ProviderRefused, ProviderUnavailable
from handstamp.outbound.client import Outbound
from handstamp.relying_party.github import GitHubProvider
from tests.conformance.builders import ABSENT, members
from tests.hostile import Asked, Hostile, Script, answer, html, redirect
from tests.relying_party.upstream import CODE, REDIRECT_URI, Client, query_of

TOKEN, USER, EMAILS = "/login/oauth/access_token", "/api/v3/user", "/api/v3/user/emails"


class GitHub(Hostile):
    """An installation of GitHub Enterprise Server, whose API has the shape of github.com's."""

    def __init__(self) -> None:
        """Listen on a loopback port."""
        super().__init__()
        self.token: dict[str, Any] = {}  # type: ignore[assignment]  # of this server, not of the issuer that it extends
        self.user: dict[str, Any] = {}
        self.emails: Any = [
            {"email": "old@example.com", "verified": True, "primary": False, "visibility": None},
            {"email": "octocat@github.com", "verified": True, "primary": True, "visibility": "private"},
        ]
        self.forms: list[dict[str, str]] = []
        self.answers |= {TOKEN: self._redeem, USER: self._tell, EMAILS: lambda _: answer(self.emails)}

    def _redeem(self, asked: Asked) -> Script:
        self.forms.append(asked.form)
        usual = {
            "access_token": "gho_16C7e42F292c6912E7710c838347Ae178B4a",
            "scope": "read:user,user:email",
            "token_type": "bearer",
        }
        return answer(members(usual, self.token))

    def _tell(self, _: Asked) -> Script:
        usual = {
            "login": "octocat",
            "id": 583231,
            "node_id": "MDQ6VXNlcjU4MzIzMQ==",
            "type": "User",
            "site_admin": False,
            "name": "monalisa octocat",
            "email": "public@example.com",
            "two_factor_authentication": True,
        }
        return answer(members(usual, self.user))

    def client(self, **settings: Any) -> Client:
        """Return a client of it."""
        scopes = ("read:user", "user:email")
        return Client(None, **{"preset": "github", "name": "github", "issuer": self.url, "scopes": scopes, **settings})


@pytest.fixture
def github() -> Iterator[GitHub]:
    """Run GitHub."""
    with GitHub() as running:
        yield running


def refusal(github: GitHub, kind: type[HandstampError] = ProviderUnavailable, **options: Any) -> str:
    """Return why a sign-in fails."""
    with pytest.raises(kind) as refused:
        github.client().sign_in(**options)
    why: str = refused.value.why  # type: ignore[attr-defined]
    assert "gho_" not in why
    return why


def test_a_person_signs_in(github: GitHub) -> None:
    """The number of the account names the person, and the primary address is theirs if it is verified."""
    client = github.client()
    begun = client.begin(login_hint="octocat", prompt="login")
    assert begun.url.startswith(f"{github.url}/login/oauth/authorize?")
    fields = query_of(begun)
    assert (fields["scope"], fields["state"], fields["code_challenge_method"]) == ("read:user user:email", "state-1", "S256")
    assert (fields["prompt"], fields["login"]) == ("select_account", "octocat")
    identity = client.finish(begun.request, {"code": CODE, "state": "state-1"})
    assert (identity.issuer, identity.subject, identity.name) == (github.url, "583231", "monalisa octocat")
    assert (identity.email, identity.email_verified, identity.tokens) == ("octocat@github.com", True, None)
    (form,) = github.forms
    assert (form["code"], form["code_verifier"], form["redirect_uri"]) == (CODE, begun.request.verifier, REDIRECT_URI)
    asked = {asked.path: asked.headers for asked in github.asked}
    for path in (USER, EMAILS):
        assert asked[path]["authorization"] == "Bearer gho_16C7e42F292c6912E7710c838347Ae178B4a"
        assert asked[path]["accept"] == "application/vnd.github+json"
        assert asked[path]["user-agent"]


@pytest.mark.parametrize(
    ("emails", "email", "verified"),
    [
        ([], "", False),
        ([{"email": "a@example.com", "verified": False, "primary": True}], "a@example.com", False),
        ([{"email": "a@example.com", "verified": True, "primary": False}], "", False),
        ([{"email": "a", "verified": True, "primary": True}], "", False),
    ],
)
def test_only_the_primary_address_counts(emails: Any, email: str, verified: bool, github: GitHub) -> None:
    """The address of the public profile is never used: it is whatever the person wrote."""
    github.emails = emails
    identity = github.client().sign_in()
    assert (identity.email, identity.email_verified) == (email, verified)


def test_a_person_without_a_name(github: GitHub) -> None:
    """The documentation allows null."""
    github.user = {"name": None}
    assert github.client().sign_in().name == ""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("bad_verification_code", InvalidProviderAnswer),
        ("incorrect_client_credentials", ProviderUnavailable),
        ("redirect_uri_mismatch", ProviderUnavailable),
        ("unverified_user_email", ProviderUnavailable),
    ],
)
def test_errors_come_with_status_200(error: str, kind: type[HandstampError], github: GitHub) -> None:
    """As GitHub documents them."""
    github.answers[TOKEN] = answer({"error": error, "error_description": "The code passed is incorrect or expired."})
    assert refusal(github, kind)


@pytest.mark.parametrize(
    "user",
    [
        {"id": ABSENT}, {"id": "583231"}, {"id": None}, {"id": 0}, {"id": -1}, {"id": 2**70}, {"id": 1.5},
        {"id": True}, {"name": 5},
    ],
)  # fmt: skip
def test_a_person_without_a_number_is_nobody(user: dict[str, Any], github: GitHub) -> None:
    """The login does not name a person: it can be given up, and taken by another."""
    github.user = user
    assert refusal(github)


@pytest.mark.parametrize("path", [USER, EMAILS])
@pytest.mark.parametrize(
    "script",
    [
        answer({"message": "Bad credentials"}, 401), answer({"message": "rate limit"}, 403),
        answer({"message": "Not Found"}, 404), html(502),
        html(200), answer(b"{"), answer("x"), redirect("/elsewhere"), answer(b" " * 300_000), answer(b"[" * 5000),
    ],
    ids=range(10),
)  # fmt: skip
def test_an_api_that_fails_is_an_outage(path: str, script: Any, github: GitHub) -> None:
    """Also without addresses alone: else a new account would be made for a person who has one."""
    github.answers[path] = script
    assert refusal(github)


def test_answers_are_checked_as_those_of_other_providers(github: GitHub) -> None:
    """State, code and issuer."""
    assert "state" in refusal(github, InvalidProviderAnswer, fields={"state": "x"})
    assert "iss" in refusal(github, InvalidProviderAnswer, fields={"iss": "https://evil.example"})
    assert "access_denied" in refusal(github, ProviderRefused, fields={"code": ABSENT, "error": "access_denied"})
    assert github.forms == []


def test_what_github_cannot_do(github: GitHub) -> None:
    """It does not say when a person has signed in, and sends no logout tokens."""
    client = github.client()
    for options in ({"max_age_s": 0}, {"prompt": "none"}):
        with pytest.raises(ProviderUnavailable):
            client.begin(**options)
    with pytest.raises(InvalidToken):
        asyncio.run(client.provider.read_logout("x", now_ms=0))


def test_tokens_are_kept_only_if_asked_for_and_can_be_renewed(github: GitHub) -> None:
    """Tokens of GitHub Apps expire."""
    github.token = {"refresh_token": "ghr_1", "expires_in": 28800}
    client = github.client(keeps_tokens=True)
    tokens = client.sign_in().tokens
    assert tokens is not None
    assert (tokens.refresh_token, tokens.scope) == ("ghr_1", "read:user,user:email")
    assert asyncio.run(client.provider.renew(tokens, now_ms=0)).expires_at_ms == 28_800_000
    assert github.forms[-1]["grant_type"] == "refresh_token"
    with pytest.raises(ProviderRefused):
        asyncio.run(client.provider.renew(ProviderTokens(access_token="x"), now_ms=0))
    github.answers[TOKEN] = answer({"error": "bad_refresh_token"})
    with pytest.raises(ProviderRefused):
        asyncio.run(client.provider.renew(tokens, now_ms=0))


def test_the_api_of_github_com_has_a_host_of_its_own() -> None:
    """As documented."""
    settings = Client(None, preset="github", issuer="https://github.com").provider.settings
    provider = GitHubProvider(settings, "x", Outbound())
    assert (provider._api, provider._token) == ("https://api.github.com", "https://github.com/login/oauth/access_token")
