"""Visit a deployment as a browser and as a verifier would, and name what is wrong with it.

Nobody signs in and nothing changes. What a stranger can see is looked at without a secret. With a service credential the doctor
also reads the feed, and `GET /diagnostics`, which answers what proxies have made of the request.
"""

from __future__ import annotations

import asyncio
import base64
import math
import re
from collections.abc import Callable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, NamedTuple

import msgspec

from ..clock import now_ms
from ..domain.keyring import JWKS_MAX_AGE_S
from .finding import Finding, Report, Unseen, make_finding
from .outside_rules import RULES
from .visit import Answer, Target, Visitor

WAIT_S = 5
"""How long a verifier lets a request for revocations wait, as `handstamp.verify` does."""
LARGE_BYTES = 6 * 1024
"""What the cookies of a session and of a site's other programs take at most, in practice."""
CLOCK_TOLERANCE_S = 5
SPOOFED = "203.0.113.7"
"""An address for documentation (RFC 5737), which no client has."""
STRANGER = "https://handstamp-doctor.invalid"
"""An origin that nobody can have (RFC 6761)."""
_NEVER_CACHED = (
    ("GET", "/healthz", "answers_cached"),
    ("GET", "/sign-in", "answers_cached"),
    ("GET", "/profile", "answers_cached"),
    ("POST", "/refresh", "renewals_cached"),
    ("GET", "/revocations?wait=0", "feed_cached"),
)
"""Requests whose answers no cache may keep, also those that refuse a stranger."""
_ASKS = 8
"""How many requests at once look for the processes of a service. A proxy needs a connection for each."""
_PROTECTION = ("content-security-policy", "x-content-type-options", "referrer-policy", "cross-origin-resource-policy")
_NO_MIRROR = "needs a service credential: handstamp credentials create doctor"


class Visit(NamedTuple):
    """What the checks go by."""

    visitor: Visitor
    authorization: str
    """The value of `Authorization`, "" without a credential."""

    @property
    def target(self) -> Target:
        """The address that is visited."""
        return self.visitor.target

    async def get(self, path: str, *headers: tuple[str, str], **options: Any) -> Answer:
        """Get a path below the address."""
        return await self.visitor.fetch("GET", self.target.path + path, headers, **options)

    async def ask(self, path: str, *headers: tuple[str, str], **options: Any) -> Answer:
        """Get a path with the credential."""
        return await self.get(path, ("Authorization", self.authorization), *headers, **options)


def _found(rule: str, /, **values: object) -> Finding:
    return make_finding(RULES, rule, values)


async def examine(
    visitor: Visitor, *, credential: str = "", origins: Sequence[str] = (), port_80: Visitor | None = None
) -> Report:
    """Return what is wrong with a deployment.

    Args:
        visitor: Reaches it.
        credential: `ID:SECRET` of a service credential; "" to look as a stranger.
        origins: Those of applications whose pages call the service, beside those that the service trusts.
        port_80: Reaches the same host without TLS, None not to look.
    """
    authorization = f"Basic {base64.b64encode(credential.encode()).decode()}" if credential else ""
    visit = Visit(visitor, authorization)
    findings = await _reach(visit)
    if findings:
        return Report(tuple(findings), (Unseen("all else", "this comes first"),))
    unseen = []
    for check in (_identity, _clock, _keys, _caches, _page, _sizes, _errors, _upgrade):
        findings += await check(visit)
    if port_80 is not None:
        findings += await _without_tls(port_80)
    mirror = await _mirror(visit) if credential else None
    if mirror is None:
        why = "the credential was refused, or the proxy keeps it back" if credential else _NO_MIRROR
        unseen.append(Unseen("what the proxy tells the service, waiting for revocations, keep-alive", why))
        findings += await _feed_as_stranger(visit)
    else:
        found, not_seen = await _told(visit, mirror.request)
        from_cache = any(finding.id == "feed_cached" for finding in findings)
        findings += [*found, *([] if from_cache else await _feed(visit)), *await _large_answer(visit), *await _keep_alive(visit)]
        unseen += not_seen
    trusted = () if mirror is None else mirror.trusted_origins
    findings += await _origins(visit, tuple(dict.fromkeys((*origins, *trusted))))
    return Report(tuple(dict.fromkeys(findings)), tuple(unseen))


async def _reach(visit: Visit) -> list[Finding]:
    url = visit.target.url
    answer = await visit.get("/healthz")
    if not answer.status:
        return [_found("unreachable", url=url, problem=answer.problem)]
    if answer.status == 200 and answer.json().get("status") == "alive":
        if visit.target.scheme == "http" and not visit.target.is_loopback:
            return [_found("no_https", url=url)]
        refused = await visit.get("/profile")
        return [_found("scheme_wrong")] if "X-Forwarded-Proto" in str(refused.json().get("detail", "")) else []
    if answer.code == "not_found" and visit.target.path:
        return [_found("path_prefix", url=url, path=visit.target.path)]
    if answer.status in (502, 503, 504) and not answer.code:
        return [_found("bad_gateway", answer=answer.describe())]
    return [_found("path_not_passed", url=url, answer=answer.describe())]


async def _identity(visit: Visit) -> list[Finding]:
    target = visit.target
    findings = []
    issuer = (await visit.get("/.well-known/oauth-authorization-server")).json().get("issuer", "")
    if issuer != target.url:
        findings.append(_found("wrong_issuer", issuer=issuer or "nothing", url=target.url))
    elif target.path:
        location = f"/.well-known/oauth-authorization-server{target.path}"
        answer = await visit.visitor.fetch("GET", location)
        if answer.json().get("issuer") != issuer:
            findings.append(_found("metadata_hidden", url=target.origin + location, answer=answer.describe()))
    return findings


async def _without_tls(visitor: Visitor) -> list[Finding]:
    answer = await visitor.fetch("GET", f"{visitor.target.path}/sign-in")
    return [_found("http_is_served", url=visitor.target.url)] if answer.status == 200 else []


async def _clock(visit: Visit) -> list[Finding]:
    answer = await visit.get("/healthz")
    try:
        there_ms = parsedate_to_datetime(answer.value("date")).timestamp() * 1000
    except ValueError:
        return []
    return _judge_clock(there_ms + 500, answer.seconds)  # the field has whole seconds


def _judge_clock(there_ms: float, took_s: float) -> list[Finding]:
    off_s = (there_ms - now_ms()) / 1000 + took_s / 2
    if abs(off_s) <= CLOCK_TOLERANCE_S + took_s:
        return []
    return [_found("clock_off", seconds=round(abs(off_s)), direction="ahead of" if off_s > 0 else "behind")]


async def _keys(visit: Visit) -> list[Finding]:
    answer = await visit.get("/.well-known/jwks.json")
    url = f"{visit.target.url}/.well-known/jwks.json"
    if answer.status != 200 or not answer.json().get("keys"):
        return [_found("keys_unreachable", url=url, answer=answer.describe())]
    age = re.fullmatch(r"\d{1,9}", answer.value("age"))
    if age is not None and int(age[0]) > JWKS_MAX_AGE_S:
        return [_found("keys_stale", url=url, seconds=int(age[0]), wanted=JWKS_MAX_AGE_S)]
    ages = [int(age) for age in re.findall(r"(?:max-age|s-maxage)=(\d{1,9})", answer.value("cache-control"))]
    if max(ages, default=0) > JWKS_MAX_AGE_S:
        return [_found("keys_cached", url=url, seconds=max(ages), wanted=JWKS_MAX_AGE_S)]
    return []


async def _caches(visit: Visit) -> list[Finding]:
    """Each answer of the service has a request id of its own. A cache may answer with that of another visitor."""
    for method, path, rule in _NEVER_CACHED:
        needs_credential = rule == "feed_cached"
        if needs_credential and not visit.authorization:
            continue  # wrong credentials of a network are limited
        headers = (("Authorization", visit.authorization),) if needs_credential else ()
        answers = [await visit.visitor.fetch(method, visit.target.path + path, headers) for _ in range(3)]
        ids = [answer.value("x-request-id") for answer in answers if answer.value("x-request-id")]
        if len(set(ids)) < len(ids) or answers[-1].value("age"):
            return [_found(rule, path=path)]
    return []


async def _page(visit: Visit) -> list[Finding]:
    answer = await visit.get("/sign-in", ("Accept", "text/html"))
    findings = list(_cookies(visit.target, answer))
    missing = [name for name in _PROTECTION if not answer.value(name)]
    if missing:
        findings.append(_found("headers_removed", names=", ".join(missing)))
    if visit.target.scheme == "https" and not answer.value("strict-transport-security"):
        findings.append(_found("no_hsts"))
    return findings


def _cookies(target: Target, answer: Answer) -> Iterator[Finding]:
    """Judge the cookies of the sign-in page, which have the attributes of all others."""
    cookies = answer.values("set-cookie")
    if not cookies:
        yield _found("cookies_removed")
    for cookie in cookies:
        name = cookie.partition("=")[0].strip()
        pairs = [pair.partition("=")[::2] for pair in cookie.split(";")[1:]]
        attributes = {key.strip().lower(): value.strip() for key, value in pairs}
        if target.scheme == "https":
            if not name.startswith("__Host-"):
                yield _found("cookie_prefix", name=name)
            if "secure" not in attributes:
                yield _found("cookie_insecure", name=name)
        if "domain" in attributes:
            yield _found("cookie_domain", name=name, value=attributes["domain"])
        if attributes.get("path") != "/":
            yield _found("cookie_path", name=name, value=attributes.get("path", ""))
        if "httponly" not in attributes:
            yield _found("cookie_readable", name=name)
        if attributes.get("samesite", "").lower() not in ("lax", "strict"):
            yield _found("cookie_samesite", name=name, value=attributes.get("samesite", ""))


async def _sizes(visit: Visit) -> list[Finding]:
    """Send cookies as large as those of several programs on one site."""
    answer = await visit.get("/healthz", ("Cookie", "handstamp-doctor=" + "x" * LARGE_BYTES))
    return [] if answer.status == 200 else [_found("request_too_large", size=LARGE_BYTES, answer=answer.describe())]


async def _errors(visit: Visit) -> list[Finding]:
    """Provoke refusals. They must arrive as the service wrote them."""
    findings = []
    answer = await visit.get("/profile")
    if answer.code != "missing_token":
        findings.append(_found("errors_replaced", path="/profile", answer=answer.describe()))
    for method, path in (("DELETE", "/sessions/none"), ("PATCH", "/passkeys/none")):
        refused = await visit.visitor.fetch(method, visit.target.path + path, (("Origin", visit.target.origin),))
        if not refused.code and answer.code:
            findings.append(_found("methods_blocked", method=method, answer=refused.describe()))
    return findings


async def _upgrade(visit: Visit) -> list[Finding]:
    wanted = (("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
    answer = await visit.get("/healthz", *wanted, ("Sec-WebSocket-Key", base64.b64encode(b"handstamp-doctor").decode()))
    return [_found("upgrade_passed")] if answer.status == 101 else []


async def _feed_as_stranger(visit: Visit) -> list[Finding]:
    answer = await visit.get("/revocations")
    if answer.status == 401:
        return []
    return [_found("feed_blocked", url=f"{visit.target.url}/revocations", answer=answer.describe())]


async def _feed(visit: Visit) -> list[Finding]:
    answer = await visit.ask("/revocations?wait=0")
    cursor = answer.json().get("cursor")
    if answer.status != 200 or not isinstance(cursor, str):
        return [_found("feed_blocked", url=f"{visit.target.url}/revocations", answer=answer.describe())]
    findings = []
    now_s = answer.json().get("now")
    if isinstance(now_s, int | float) and math.isfinite(now_s):
        findings += _judge_clock(float(now_s) * 1000 + 500, answer.seconds)
    waited = await visit.ask(f"/revocations?after={cursor}&wait={WAIT_S}", timeout_s=WAIT_S + 10)
    if waited.status != 200:
        values = {"answer": waited.describe(), "seconds": round(waited.seconds, 1), "wait": WAIT_S}
        findings.append(_found("feed_cut", **values))
    elif waited.seconds < WAIT_S / 2 and waited.json().get("cursor") == cursor:
        findings.append(_found("feed_early", seconds=round(waited.seconds, 1), wait=WAIT_S))
    return findings


async def _large_answer(visit: Visit) -> list[Finding]:
    answer = await visit.ask(f"/diagnostics?padding={LARGE_BYTES}")
    return [] if answer.status == 200 else [_found("answer_too_large", size=LARGE_BYTES, answer=answer.describe())]


class _Arrived(msgspec.Struct, rename="camel"):
    """What the service says of a request, as `web.api.diagnostics` answers it. The server may be another program."""

    peer: str
    client: str
    is_peer_trusted: bool
    is_tls: bool
    host: str | None
    x_forwarded_for: str | None
    x_forwarded_proto: str | None
    connection: str | None
    origin: str | None
    sec_fetch_site: str | None
    idle_closings: int


class _Mirror(msgspec.Struct, rename="camel"):
    process: str
    request: _Arrived
    keep_alive: int
    trusted_origins: Annotated[tuple[str, ...], msgspec.Meta(max_length=50)]


async def _mirror(visit: Visit, *headers: tuple[str, str]) -> _Mirror | None:
    """Return what arrives of a request, None if the answer is none."""
    answer = await visit.ask("/diagnostics", ("Origin", visit.target.origin), ("Sec-Fetch-Site", "same-origin"), *headers)
    try:
        return msgspec.json.decode(answer.body, type=_Mirror) if answer.status == 200 else None
    except (msgspec.DecodeError, RecursionError):
        return None


async def _told(visit: Visit, arrived: _Arrived) -> tuple[list[Finding], list[Unseen]]:
    """Judge what arrived of a request."""
    findings, unseen = await _address(visit, arrived)
    if visit.target.scheme == "https" and not arrived.is_tls:
        findings += _scheme(arrived)
    if arrived.host != visit.target.authority:
        findings.append(_found("host_rewritten", host=arrived.host, wanted=visit.target.authority))
    removed = [name for name, value in (("Origin", arrived.origin), ("Sec-Fetch-Site", arrived.sec_fetch_site)) if value is None]
    if removed:
        findings.append(_found("origin_removed", names=" and ".join(removed)))
    if "upgrade" in str(arrived.connection).lower():
        findings.append(_found("connection_upgrade", value=arrived.connection))
    return findings, unseen


async def _keep_alive(visit: Visit) -> list[Finding]:
    """Look at idle connections last: the requests before have made some. Each process of the service counts its own."""
    answers = await asyncio.gather(*(_mirror(visit) for _ in range(_ASKS)))
    by_process = {mirror.process: mirror for mirror in answers if mirror is not None}
    count = sum(mirror.request.idle_closings for mirror in by_process.values())
    for mirror in by_process.values():
        arrived = mirror.request
        if arrived.idle_closings and (arrived.x_forwarded_for is not None or arrived.is_peer_trusted):
            return [_found("keep_alive", count=count, peer=arrived.peer, seconds=mirror.keep_alive)]
    return []


async def _address(visit: Visit, arrived: _Arrived) -> tuple[list[Finding], list[Unseen]]:
    """Judge how the service learns the address of a client."""
    peer = arrived.peer
    if not arrived.is_peer_trusted:
        return ([] if arrived.x_forwarded_for is None else [_found("proxy_not_trusted", peer=peer)]), []
    spoofed = await _mirror(visit, ("X-Forwarded-For", SPOOFED))
    if spoofed is not None and spoofed.request.client == SPOOFED:
        chain = [entry.strip() for entry in str(spoofed.request.x_forwarded_for).split(",")]
        if len(chain) == 1:
            return [_found("address_believed")], []
        if chain[-1] == peer:
            return [], [Unseen("X-Forwarded-For", f"the doctor has the proxy's address {peer}: run it on another machine")]
        return [_found("trusts_too_many", addresses=", ".join(chain[1:]))], []
    return ([_found("address_missing", peer=peer)] if arrived.x_forwarded_for is None else []), []


def _scheme(arrived: _Arrived) -> Iterator[Finding]:
    if arrived.x_forwarded_proto != "https":
        yield _found("scheme_missing", value=arrived.x_forwarded_proto or "nothing")


async def _origins(visit: Visit, origins: Sequence[str]) -> list[Finding]:
    findings: list[Finding] = []
    for origin in origins:
        findings += _judge_origin(origin, await _preflight(visit, origin))
        if not _same_site(origin, visit.target):
            findings.append(_found("other_site", origin=origin, url=visit.target.url))
    strange = await visit.get("/profile", ("Origin", STRANGER))
    asked = await _preflight(visit, STRANGER)
    if any(value in (STRANGER, "*") for answer in (strange, asked) for value in answer.values("access-control-allow-origin")):
        findings.append(_found("cors_open", origin=STRANGER))
    return findings


async def _preflight(visit: Visit, origin: str) -> Answer:
    """Ask what browsers ask before a page of another origin may send JSON (Fetch §4.8)."""
    wanted = (("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type"))
    return await visit.visitor.fetch("OPTIONS", f"{visit.target.path}/refresh", (("Origin", origin), *wanted))


def _judge_origin(origin: str, answer: Answer) -> Iterator[Finding]:
    allowed = answer.values("access-control-allow-origin")
    judgements: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("cors_refused", lambda: answer.code == "cross_site"),
        ("cors_doubled", lambda: len(allowed) > 1 or any("," in value for value in allowed)),
        ("cors_wildcard", lambda: allowed == ["*"]),
        ("cors_preflight", lambda: allowed != [origin]),
        ("cors_credentials", lambda: answer.value("access-control-allow-credentials") != "true"),
    )
    for name, is_so in judgements:
        if is_so():
            yield _found(name, origin=origin, answer=answer.describe())
            return


def _same_site(origin: str, target: Target) -> bool:
    """Return whether two hosts may share a site. It knows no list of public suffixes, so it is sure only where it says no."""
    host = origin.partition("://")[2].rpartition(":")[0] or origin.partition("://")[2]
    return target.is_loopback or host.rsplit(".", 2)[-2:] == target.host.rsplit(".", 2)[-2:]
