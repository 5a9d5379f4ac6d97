"""A provider in this process, which keeps the promises of `Provider`: for tests of what the service makes of its answers.

The real ones are tested in tests/relying_party, and with the whole service in tests/browser/test_provider_pages.py.
"""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import msgspec

from handstamp.assemble.application import make_application
from handstamp.assemble.deployment import Deployment
from handstamp.crypto.identifiers import new_id
from handstamp.domain.account import Account
from handstamp.domain.identity import Identity
from handstamp.domain.provider import ProviderIdentity, ProviderLogout, ProviderRequest, ProviderSettings, ProviderTokens
from handstamp.errors import InvalidProviderAnswer, InvalidToken, ProviderRefused
from handstamp.service.parts.providers import Begun, Prompt
from tests.builders import Clock
from tests.deployment import ISSUER, caller, deployed

HERE = {"sec-fetch-site": "same-origin"}
FROM_THERE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
_THERE = re.compile(r'http-equiv="refresh" content="0;url=([^"]*)"')


class FakeProvider:
    """A provider whose people are what a test says. It accepts each code once, with the right state and verifier."""

    def __init__(self, name: str = "google", **settings: Any) -> None:
        """Create it. Nobody is signed in there."""
        self.described = ProviderSettings(
            **{
                "name": name,
                "preset": "",
                "label": name.title(),
                "issuer": f"https://{name}.example",
                "client_id": "us",
                **settings,
            }
        )
        self.codes: dict[str, tuple[ProviderRequest, dict[str, Any]]] = {}
        self.began: list[dict[str, Any]] = []
        self.finished = 0
        self.logouts: dict[str, ProviderLogout] = {}
        self.renewed: list[ProviderTokens] = []
        self.refuses_renewal = False

    @property
    def settings(self) -> ProviderSettings:
        """What the operator says about it."""
        return self.described

    @property
    def posts_answer(self) -> bool:
        """Whether its answer comes as a form."""
        return self.described.preset == "apple"

    async def begin(
        self, state: str, *, redirect_uri: str, prompt: Prompt = "", login_hint: str = "", max_age_s: int | None = None
    ) -> Begun:
        """Begin a sign-in."""
        request = ProviderRequest(
            provider=self.described.name, state=state, nonce="n", verifier="v", redirect_uri=redirect_uri, max_age_s=max_age_s
        )
        self.began.append({"request": request, "prompt": prompt, "login_hint": login_hint, "max_age_s": max_age_s})
        return Begun(f"{self.described.issuer}/authorize?{urlencode({'state': state, 'nonce': 'n;1'})}", request)

    def sign_in(self, **person: Any) -> str:
        """Sign a person in, for the sign-in that was begun last. Return the code."""
        code = new_id()
        self.codes[code] = (self.began[-1]["request"], person)
        return code

    async def finish(self, request: ProviderRequest, answer: Mapping[str, str], *, now_ms: int) -> ProviderIdentity:  # noqa: ARG002 - the Protocol's
        """Redeem a code."""
        self.finished += 1
        if answer.get("state") != request.state:
            raise InvalidProviderAnswer("state")
        if "error" in answer:
            raise ProviderRefused("cancelled" if answer["error"] == "access_denied" else "other")
        asked, person = self.codes.pop(answer.get("code", ""), (None, {}))
        if asked != request:
            raise InvalidProviderAnswer("code")
        return ProviderIdentity(provider=self.described.name, issuer=self.described.issuer, **person)

    async def renew(self, tokens: ProviderTokens, *, now_ms: int) -> ProviderTokens:
        """Return the next tokens."""
        if self.refuses_renewal or not tokens.refresh_token:
            raise ProviderRefused
        self.renewed.append(tokens)
        number = len(self.renewed)
        return ProviderTokens(access_token=f"at-{number}", refresh_token=f"rt-{number}", expires_at_ms=now_ms + 3_600_000)

    async def read_logout(self, token: str, *, now_ms: int) -> ProviderLogout:  # noqa: ARG002 - the Protocol's
        """Return what a logout token says."""
        if token not in self.logouts:
            raise InvalidToken("signature")
        return self.logouts[token]


class Visitor:
    """A browser without script, and the provider that it goes to."""

    def __init__(self, running: Deployment, clock: Clock, client: httpx.AsyncClient, provider: FakeProvider) -> None:
        """Start without cookies."""
        self.running, self.clock, self.client, self.provider = running, clock, client, provider

    async def leave(self, query: str = "", *, provider: str = "") -> str:
        """Click the button of the provider. Return the state with which the browser comes back."""
        answer = await self.client.get(f"/sign-in/with/{provider or self.provider.settings.name}{query}", headers=HERE)
        assert answer.status_code == 303, answer.text
        return state_of(answer.headers["location"])

    async def come_back(self, state: str, *, provider: str = "", **answer: str) -> httpx.Response:
        """Come back from the provider, and return what the browser sees in the end, before it follows a redirect."""
        path = f"/sign-in/with/{provider or self.provider.settings.name}/callback"
        first = await self.client.get(path, params={"state": state, **answer}, headers=FROM_THERE)
        return await self.load_again(first)

    async def load_again(self, page: httpx.Response) -> httpx.Response:
        """Follow a page that loads another one."""
        assert page.status_code == 200, page.text
        there = html.unescape(_THERE.findall(page.text)[0])
        return await self.client.get(there, headers=HERE)

    async def sign_in(self, query: str = "", **person: Any) -> httpx.Response:
        """Sign in as a person at the provider."""
        state = await self.leave(query)
        return await self.come_back(state, code=self.provider.sign_in(**person))

    async def page(self, path: str) -> str:
        """Return a page."""
        return (await self.client.get(path, headers=HERE)).text

    async def send(self, path: str, **form: str) -> httpx.Response:
        """Send a form."""
        return await self.client.post(path, data=form, headers=HERE)

    async def account(self, email: str = "ada@example.com") -> Account:
        """Return an account."""
        return await self.running.accounts.get_by_email(email)

    async def identities(self, email: str = "ada@example.com") -> list[Identity]:
        """Return the identities of an account."""
        return await self.running.own_identities.list_of(await self.account(email))

    async def whoami(self) -> str:
        """Return the address of the person who is signed in; "" for nobody."""
        answer = await self.client.post("/refresh", headers=HERE)
        if answer.status_code != 200:
            return ""
        token = answer.json()["accessToken"]
        profile = await self.client.get("/profile", headers={"authorization": f"Bearer {token}"})
        email: str = profile.json()["email"]
        return email


def state_of(url: str) -> str:
    """Return the state of a URL of a provider."""
    return parse_qs(urlsplit(url).query)["state"][0]


def fields_of(url: str) -> dict[str, str]:
    """Return the fields of the query of a URL."""
    return dict(parse_qsl(urlsplit(url).query))


@asynccontextmanager
async def visiting(
    folder: Path, *others: FakeProvider, provider: FakeProvider | None = None, **settings: Any
) -> AsyncIterator[Visitor]:
    """Run the service with some providers, and open a browser."""
    clock = Clock()
    provider = provider or FakeProvider()
    async with deployed(folder, clock, **settings) as running, AsyncExitStack() as stack:
        for each in (provider, *others):
            add_provider(running, each)
        client = await stack.enter_async_context(open_browser(running))
        yield Visitor(running, clock, client, provider)


def add_provider(running: Deployment, provider: FakeProvider) -> None:
    """Let people sign in with a provider."""
    mapping: Any = running.providers
    mapping[provider.settings.name] = provider


def open_browser(running: Deployment) -> httpx.AsyncClient:
    """Return a browser without cookies."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(make_application(running)), base_url=ISSUER)


async def create_account(visitor: Visitor, email: str = "ada@example.com", *, password: str, is_verified: bool) -> Account:
    """Create an account with a password."""
    account = await visitor.running.create_account(email, password, caller(visitor.clock))
    if is_verified:
        account = msgspec.structs.replace(account, email_verified=True)
        await visitor.running.store.transact(lambda rows: rows.accounts.update(account))
    return account
