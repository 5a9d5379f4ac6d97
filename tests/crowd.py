"""A crowd of clients over several nodes, which writes down every question and answer for `tests.history`.

Each client holds one session and does at random what people's devices do: renew, renew twice at once, lose an answer and ask
again, sign out, sign out everywhere, change the password; some have their token stolen. All of them ask whichever node comes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import httpx

from tests.history import Kind, Operation
from tests.serving import PASSWORD

T = TypeVar("T")
PATIENCE_S = 60.0
"""After so long without an answer from any node something is wrong for good."""
ANSWER_S = 10.0
_PAUSE_S = 0.05
_HABITS = {"renew": 60, "use": 25, "twice": 10, "lose": 8, "sign out": 3, "theft": 2, "sweep": 1, "change password": 1}
"""What a device does, and how often."""


class Tokens:
    """What a device holds."""

    def __init__(self, subject: str, answer: dict[str, Any]) -> None:
        """Take whose it is and a token answer."""
        self.subject = subject
        self.sid: str = answer["sessionId"]
        self.access: str = answer["accessToken"]
        self.refresh: str = answer["refreshToken"]
        self.generation = _generation(self.refresh)


class Crowd:
    """People with several devices each, and what they asked."""

    def __init__(self, urls: Sequence[str], *, seed: int, http: httpx.AsyncClient) -> None:
        """Take the nodes' addresses."""
        self.history: list[Operation] = []
        self._urls = urls
        self._random = random.Random(seed)
        self._http = http
        self._is_over = False

    async def run(self, meanwhile: Awaitable[T], *, people: int = 6, devices: int = 3) -> T:
        """Let everybody do what they do while something else goes on, and then hear whatever is still to be heard."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(people):
                email = f"person-{number}-{self._random.getrandbits(32):x}@example.com"
                await self._until_registered(email)
                for _ in range(devices):
                    tasks.create_task(self._live(email))
            result = await meanwhile
            self._is_over = True
        return result

    def counts(self) -> str:
        """Return how often what was answered how, for the test's output."""
        counted = Counter(f"{operation.kind} {operation.answer}" for operation in self.history)
        return ", ".join(f"{count:,} {what}" for what, count in sorted(counted.items()))

    async def _live(self, email: str) -> None:
        while not self._is_over:
            tokens = await self._sign_in(email)
            while tokens is not None and not self._is_over:
                tokens = await self._do_something(tokens)

    async def _do_something(self, tokens: Tokens) -> Tokens | None:
        """Do one thing; return the tokens that are held then, None if the session is over."""
        new: Tokens | None
        names, weights = zip(*_HABITS.items(), strict=True)
        match self._random.choices(names, weights)[0]:
            case "use":
                new = tokens if await self._use(tokens) else None
            case "sign out":
                await self._until_ended("sign_out", "logout", "/logout", tokens)
                new = None
                await self._refused_everywhere(tokens)
            case "sweep":
                await self._until_ended("sweep", "logout_everywhere", "/logout-everywhere", tokens)
                new = None
                await self._refused_everywhere(tokens)
            case "change password":
                new = await self._change_password(tokens)
                await self._refused_everywhere(tokens)
            case "twice":
                first, second = await asyncio.gather(self._renew(tokens), self._renew(tokens))
                new = first and second
            case "lose":
                await self._refresh(tokens, patience_s=self._random.uniform(0, 0.004))
                new = await self._renew(tokens)
            case "theft":
                copy, new = tokens, await self._renew(tokens)
                if new is not None:
                    new = await self._renew(new)
                await self._refresh(copy)
            case _:
                new = await self._renew(tokens)
        return new

    async def _until_registered(self, email: str) -> None:
        """Make an account; who is told that the address is taken has made it before and not heard so."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            answer = await self._ask("POST", "/register", {"email": email, "password": PASSWORD})
            if answer is not None and answer.status_code in (201, 409):
                return
            await asyncio.sleep(_PAUSE_S)
        raise AssertionError(f"no node has answered for {PATIENCE_S:g} s")

    async def _sign_in(self, email: str) -> Tokens | None:
        while not self._is_over:
            began = time.monotonic()
            answer = await self._ask("POST", "/login", {"email": email, "password": PASSWORD})
            if answer is not None and answer.status_code == 200:
                tokens = Tokens(email, answer.json())
                self._note("start", tokens, began, "ok", "")
                return tokens
            await asyncio.sleep(_PAUSE_S)
        return None

    async def _renew(self, tokens: Tokens) -> Tokens | None:
        """Ask until there is an answer."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            operation, new = await self._refresh(tokens)
            if operation.answer != "unknown":
                return new
            await asyncio.sleep(_PAUSE_S)
        raise AssertionError(f"no node has answered for {PATIENCE_S:g} s")

    async def _refresh(self, tokens: Tokens, patience_s: float = ANSWER_S) -> tuple[Operation, Tokens | None]:
        began = time.monotonic()
        answer = await self._ask("POST", "/refresh", {"refreshToken": tokens.refresh}, patience_s=patience_s)
        said, reason = _said(answer)
        new = Tokens(tokens.subject, answer.json()) if answer is not None and said == "ok" else None
        operation = Operation(
            kind="refresh",
            subject=tokens.subject,
            sid=tokens.sid,
            began=began,
            ended=time.monotonic(),
            answer=said,
            reason=reason,
            presented=tokens.generation,
            token="" if new is None else new.refresh,
            generation=-1 if new is None else new.generation,
        )
        self.history.append(operation)
        return operation, new

    async def _use(self, tokens: Tokens) -> bool:
        """Use the access token; say whether the session may live."""
        began = time.monotonic()
        answer = await self._ask("GET", "/profile", access_token=tokens.access)
        said, reason = _said(answer)
        self._note("use", tokens, began, said, reason)
        return bool(said != "ended")

    async def _until_ended(self, kind: Kind, reason: str, path: str, tokens: Tokens) -> None:
        """Ask for an end until it is answered."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            began = time.monotonic()
            answer = await self._ask("POST", path, access_token=tokens.access)
            said, why = _said(answer)
            self._note(kind, tokens, began, said, reason if said in ("ok", "unknown") else why)
            if said != "unknown":
                return
            await asyncio.sleep(_PAUSE_S)
        raise AssertionError(f"no node has answered for {PATIENCE_S:g} s")

    async def _change_password(self, tokens: Tokens) -> Tokens | None:
        """Change the password, to what it was; return what the new session holds, None if there is none or it is not known."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            began = time.monotonic()
            body = {"currentPassword": PASSWORD, "newPassword": PASSWORD}
            answer = await self._ask("POST", "/password", body, access_token=tokens.access)
            said, why = _said(answer)
            self._note("sweep", tokens, began, said, "password_changed" if said in ("ok", "unknown") else why)
            if answer is not None and said == "ok":
                new = Tokens(tokens.subject, answer.json())
                self._note("start", new, began, "ok", "")
                return new
            if said != "unknown":
                return None
            await asyncio.sleep(_PAUSE_S)
        raise AssertionError(f"no node has answered for {PATIENCE_S:g} s")

    async def _refused_everywhere(self, tokens: Tokens) -> None:
        """Try what was signed out at each node, at once and some moments later."""
        for _ in range(2):
            for _ in self._urls:
                await self._use(tokens)
                await self._refresh(tokens)
            await asyncio.sleep(self._random.uniform(0, 0.3))

    def _note(self, kind: Kind, tokens: Tokens, began: float, answer: Any, reason: str) -> None:
        sid = "" if kind == "sweep" else tokens.sid
        self.history.append(
            Operation(
                kind=kind, subject=tokens.subject, sid=sid, began=began, ended=time.monotonic(), answer=answer, reason=reason
            )
        )

    async def _ask(
        self, method: str, path: str, body: dict[str, str] | None = None, *, access_token: str = "", patience_s: float = ANSWER_S
    ) -> httpx.Response | None:
        """Ask any node; None where no answer came."""
        headers = {"authorization": f"Bearer {access_token}"} if access_token else {}
        url = self._random.choice(self._urls) + path
        try:
            async with asyncio.timeout(patience_s):
                return await self._http.request(method, url, json=body, headers=headers)
        except (httpx.HTTPError, TimeoutError):
            return None


def _said(answer: httpx.Response | None) -> tuple[Any, str]:
    if answer is None or answer.status_code == 503:
        return "unknown", ""
    if answer.status_code in (200, 204):
        return "ok", ""
    problem = answer.json()
    if (answer.status_code, problem["code"]) == (401, "session_ended"):
        return "ended", problem["reason"]
    return "refused", f"{answer.status_code} {problem['code']}"


def _generation(token: str) -> int:
    payload = token.split(".")[1]
    generation: int = json.loads(base64.urlsafe_b64decode(payload + "=="))["gen"]
    return generation
