"""A crowd of clients on several nodes, which records every request and answer for `tests.history`.

Each client has one session and sends each request to a random node. Its actions are random, with the weights in `_HABITS`:
refresh once or twice at once, lose an answer and retry, sign out here or everywhere, change the password, have a token stolen.
The sessions of every other person are bound to a key (DPoP), whose proof their thief does not have.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import httpx

from handstamp.crypto.dpop import make_dpop_proof
from handstamp.crypto.jwk import SigningKey
from tests.history import Kind, Operation
from tests.serving import PASSWORD

T = TypeVar("T")
PATIENCE_S = 60.0
"""A test fails after this time without an answer from any node."""
ANSWER_S = 10.0
_PAUSE_S = 0.1
_HABITS = {"renew": 60, "use": 25, "twice": 10, "lose": 8, "sign out": 3, "theft": 2, "sweep": 1, "change password": 1}
"""The actions of a device, with their weights."""


class Tokens:
    """The tokens of a device, and its key if they are bound to one."""

    def __init__(self, subject: str, answer: dict[str, Any], key: SigningKey | None) -> None:
        """Read a token answer of the subject."""
        self.subject = subject
        self.key = key
        assert answer["tokenType"] == ("Bearer" if key is None else "DPoP")
        self.sid: str = answer["sessionId"]
        self.access: str = answer["accessToken"]
        self.refresh: str = answer["refreshToken"]
        self.generation = _generation(self.refresh)


class Crowd:
    """People with several devices each, and the history of their requests."""

    def __init__(self, urls: Sequence[str], *, issuer: str, seed: int) -> None:
        """Set the URLs of the nodes, the URL for which proofs are made, and the seed of the random choices."""
        self.history: list[Operation] = []
        self._urls = urls
        self._issuer = issuer
        self._random = random.Random(seed)
        self._clients: list[httpx.AsyncClient] = []
        self._is_over = False

    async def run(self, meanwhile: Awaitable[T], *, people: int = 6, devices: int = 3) -> T:
        """Run all devices until `meanwhile` is done, then wait for outstanding answers. Return the result of `meanwhile`."""
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            # Of several, since a client looks at all its connections at each request.
            self._clients = [await stack.enter_async_context(_new_client()) for _ in range(people)]
            for number in range(people):
                email = f"person-{number}-{self._random.getrandbits(32):x}@example.com"
                await self._register(email)
                for _ in range(devices):
                    tasks.create_task(self._live(email, is_bound=number % 2 == 1))
            result = await meanwhile
            self._is_over = True
        return result

    def counts(self) -> str:
        """Return the number of operations by kind and answer, for the test's output."""
        counted = Counter(f"{operation.kind} {operation.answer}" for operation in self.history)
        return ", ".join(f"{count:,} {what}" for what, count in sorted(counted.items()))

    async def _live(self, email: str, *, is_bound: bool) -> None:
        while not self._is_over:
            tokens = await self._sign_in(email, SigningKey.generate("ES256") if is_bound else None)
            while tokens is not None and not self._is_over:
                tokens = await self._do_something(tokens)

    async def _do_something(self, tokens: Tokens) -> Tokens | None:
        """Do one random action; return the current tokens, or None if the session has ended."""
        new: Tokens | None
        names, weights = zip(*_HABITS.items(), strict=True)
        match self._random.choices(names, weights)[0]:
            case "use":
                new = tokens if await self._use(tokens) else None
            case "sign out":
                await self._sign_out("sign_out", "logout", "/logout", tokens)
                new = None
                await self._try_ended_session(tokens)
            case "sweep":
                await self._sign_out("sweep", "logout_everywhere", "/logout-everywhere", tokens)
                new = None
                await self._try_ended_session(tokens)
            case "change password":
                new = await self._change_password(tokens)
                await self._try_ended_session(tokens)
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
                await (self._refresh(copy) if copy.key is None else self._steal(copy))
            case _:
                new = await self._renew(tokens)
        return new

    async def _register(self, email: str) -> None:
        """Create an account. A 409 means that an earlier request succeeded but its answer was lost."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            answer = await self._ask("POST", "/register", {"email": email, "password": PASSWORD})
            if answer is not None and answer.status_code in (201, 409):
                return
            await asyncio.sleep(_PAUSE_S)
        raise AssertionError(f"no node has answered for {PATIENCE_S:g} s")

    async def _sign_in(self, email: str, key: SigningKey | None) -> Tokens | None:
        while not self._is_over:
            began = time.monotonic()
            answer = await self._ask("POST", "/login", {"email": email, "password": PASSWORD}, key=key)
            if answer is not None and answer.status_code == 200:
                tokens = Tokens(email, answer.json(), key)
                self._record("start", tokens, began, "ok", "")
                return tokens
            await asyncio.sleep(_PAUSE_S)
        return None

    async def _renew(self, tokens: Tokens) -> Tokens | None:
        """Refresh, with retries until a node answers."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            operation, new = await self._refresh(tokens)
            if operation.answer != "unknown":
                return new
            await asyncio.sleep(_PAUSE_S)
        raise AssertionError(f"no node has answered for {PATIENCE_S:g} s")

    async def _refresh(self, tokens: Tokens, patience_s: float = ANSWER_S) -> tuple[Operation, Tokens | None]:
        began = time.monotonic()
        answer = await self._ask("POST", "/refresh", {"refreshToken": tokens.refresh}, key=tokens.key, patience_s=patience_s)
        said, reason = _classify(answer)
        new = Tokens(tokens.subject, answer.json(), tokens.key) if answer is not None and said == "ok" else None
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

    async def _steal(self, tokens: Tokens) -> None:
        """Use copies of bound tokens without their key: they open nothing, and end nothing that the history would show."""
        body = {"refreshToken": tokens.refresh}
        for answer in (
            await self._ask("POST", "/refresh", body),
            await self._ask("POST", "/refresh", body, key=SigningKey.generate("ES256")),
            await self._ask("GET", "/profile", access_token=tokens.access),
            await self._ask("GET", "/profile", access_token=tokens.access, key=SigningKey.generate("ES256")),
        ):
            assert answer is None or answer.status_code in (400, 401, 503), answer.text

    async def _use(self, tokens: Tokens) -> bool:
        """Use the access token; return False if the session has ended."""
        began = time.monotonic()
        answer = await self._ask("GET", "/profile", access_token=tokens.access, key=tokens.key)
        said, reason = _classify(answer)
        self._record("use", tokens, began, said, reason)
        return bool(said != "ended")

    async def _sign_out(self, kind: Kind, reason: str, path: str, tokens: Tokens) -> None:
        """Request a sign-out, with retries until a node answers."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            began = time.monotonic()
            answer = await self._ask("POST", path, access_token=tokens.access, key=tokens.key)
            said, why = _classify(answer)
            self._record(kind, tokens, began, said, reason if said in ("ok", "unknown") else why)
            if said != "unknown":
                return
            await asyncio.sleep(_PAUSE_S)
        raise AssertionError(f"no node has answered for {PATIENCE_S:g} s")

    async def _change_password(self, tokens: Tokens) -> Tokens | None:
        """Set the same password again; return the tokens of the new session, or None if it is refused."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            began = time.monotonic()
            body = {"currentPassword": PASSWORD, "newPassword": PASSWORD}
            answer = await self._ask("POST", "/password", body, access_token=tokens.access, key=tokens.key)
            said, why = _classify(answer)
            self._record("sweep", tokens, began, said, "password_changed" if said in ("ok", "unknown") else why)
            if answer is not None and said == "ok":
                new = Tokens(tokens.subject, answer.json(), tokens.key)
                self._record("start", new, began, "ok", "")
                return new
            if said != "unknown":
                return None
            await asyncio.sleep(_PAUSE_S)
        raise AssertionError(f"no node has answered for {PATIENCE_S:g} s")

    async def _try_ended_session(self, tokens: Tokens) -> None:
        """Use the tokens of an ended session as often as there are nodes, at once and again after a short pause."""
        for _ in range(2):
            for _ in self._urls:
                await self._use(tokens)
                await self._refresh(tokens)
            await asyncio.sleep(self._random.uniform(0, 0.3))

    def _record(self, kind: Kind, tokens: Tokens, began: float, answer: Any, reason: str) -> None:
        sid = "" if kind == "sweep" else tokens.sid
        self.history.append(
            Operation(
                kind=kind, subject=tokens.subject, sid=sid, began=began, ended=time.monotonic(), answer=answer, reason=reason
            )
        )

    async def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, str] | None = None,
        *,
        access_token: str = "",
        key: SigningKey | None = None,
        patience_s: float = ANSWER_S,
    ) -> httpx.Response | None:
        """Send a request to a random node, with a proof of `key`; return None if no answer came."""
        headers = {"authorization": f"{'Bearer' if key is None else 'DPoP'} {access_token}"} if access_token else {}
        if key is not None:
            now_s = int(time.time())
            headers["dpop"] = make_dpop_proof(key, method=method, url=self._issuer + path, now_s=now_s, access_token=access_token)
        url = self._random.choice(self._urls) + path
        try:
            async with asyncio.timeout(patience_s):
                return await self._random.choice(self._clients).request(method, url, json=body, headers=headers)
        except (httpx.HTTPError, TimeoutError):
            return None


def _new_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, verify=False, limits=httpx.Limits(max_connections=200))


def _classify(answer: httpx.Response | None) -> tuple[Any, str]:
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
