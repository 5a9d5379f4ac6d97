"""Look at settings, files, database, keys and mail server of the deployment that is configured here. Nothing is changed."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import shutil
import stat
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from ..assemble.deployment import Deployment
from ..assemble.mailing import REMEDIES, MailTools
from ..assemble.stores import is_behind
from ..clock import now_ms
from ..config.loading import load
from ..config.secret_file import load_master_secret
from ..config.settings import Settings
from ..crypto.certificate import read_certificate
from ..domain.issuer import Issuer
from ..domain.policy import DAY_MS
from ..errors import ConfigurationError, NotReady, Unavailable
from ..service.mailing.delivery import DeliveryFailed
from ..web.certificate import load_certificate
from .finding import Finding, Report, Unseen, make_finding
from .inside_rules import RULES

LOW_MIB = 200
SOON_DAYS = 14
CLOCK_TOLERANCE_MS = 2_000
_LOCAL = "http://localhost:8000"
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?((?:[<>=!]=?[\w.]+,?)*)(?:; *(.*))?")


def _found(rule: str, /, **values: object) -> Finding:
    return make_finding(RULES, rule, values)


def examine_here(database: str | None = None) -> Report:
    """Return what is wrong with the deployment that the settings name. `database` is the URL of `--database`."""
    findings = list(_versions())
    try:
        settings = load(database=database)
    except ConfigurationError as wrong:
        findings += [_found("settings", problem=problem) for problem in wrong.problems]
        return Report(tuple(findings), (Unseen("all else", "this comes first"),))
    findings += _settings(settings)
    findings += _tls(settings)
    if not settings.issuer:
        settings = dataclasses.replace(settings, issuer=_LOCAL)
    return asyncio.run(_examine(settings, findings))


async def _examine(settings: Settings, findings: list[Finding]) -> Report:
    unseen: list[Unseen] = []
    path = settings.database_path
    findings += _files(settings)
    if path is not None and not path.exists():
        findings.append(_found("no_database", database=path.absolute()))
        unseen.append(Unseen("secret, schema and keys", "they come with the database"))
    elif secret := list(_secret(settings)):
        findings += secret
        unseen.append(Unseen("schema and keys", "the secret comes first"))
    else:
        findings += await _database(settings)
    findings += await _mail(settings)
    return Report(tuple(findings), tuple(unseen))


def _versions() -> Iterator[Finding]:
    for text in metadata.requires("handstamp") or ():
        match = _REQUIREMENT.fullmatch(text.replace(" ", "").replace(";", "; "))
        if match is None or (match[3] and "server" not in match[3]):
            continue
        try:
            found = metadata.version(match[1])
        except metadata.PackageNotFoundError:
            if not match[3]:
                yield _found("versions", name=match[1], found="not", wanted=match[2])
            continue
        if any(not _satisfies(found, bound) for bound in match[2].split(",") if bound):
            yield _found("versions", name=match[1], found=found, wanted=match[2])


def _satisfies(found: str, bound: str) -> bool:
    """Return whether a version keeps a bound such as ">=1.2". Bounds of other kinds are not judged."""
    have, want = (tuple(map(int, re.findall(r"\d+", text)[:3])) for text in (found, bound))
    return have >= want if bound.startswith(">=") else have < want if bound.startswith("<") and bound[1] != "=" else True


def _settings(settings: Settings) -> Iterator[Finding]:
    if not settings.issuer:
        yield _found("no_issuer")
    elif Issuer(settings.issuer).is_https and settings.tls_cert is None and not settings.trusted_proxies:
        yield _found("proxies_unset")


def _tls(settings: Settings) -> Iterator[Finding]:
    chain, key = settings.tls_cert, settings.tls_key
    if chain is None or key is None:
        return
    try:
        load_certificate(chain, key)
        facts = read_certificate(chain.read_bytes())
    except (OSError, ValueError) as problem:
        yield _found("tls", file=chain, problem=problem)
        return
    left_days = (facts.ends_at_ms - now_ms()) // DAY_MS
    if left_days < 0:
        yield _found("tls_ends", file=chain, days=-left_days)
    elif left_days < SOON_DAYS:
        yield _found("tls_ends_soon", file=chain, days=left_days)
    host = Issuer(settings.issuer).host if settings.issuer else ""
    if host and not facts.is_for(host):
        yield _found("tls_name", file=chain, names=", ".join(facts.names) or "nobody", host=host)


def _files(settings: Settings) -> Iterator[Finding]:
    path = settings.database_path
    if path is None:
        return
    with_room = path.parent if path.parent.exists() else Path.cwd()
    free = shutil.disk_usage(with_room).free // 2**20
    if free < LOW_MIB:
        yield _found("disk_low", path=path.absolute(), free=free)
    for file in (path, path.with_name(f"{path.name}-wal")):
        if file.exists() and file.stat().st_mode & stat.S_IROTH:
            yield _found("readable", file=file.absolute())


def _secret(settings: Settings) -> Iterator[Finding]:
    try:
        load_master_secret(settings, may_create=False)
    except ConfigurationError as wrong:
        for problem in wrong.problems:
            yield _found("secret", problem=problem)


async def _database(settings: Settings) -> list[Finding]:
    try:
        if is_behind(settings):
            return [_found("schema_behind")]
        deployment = Deployment(settings)
        async with deployment.open():
            return [*await _clock(deployment), *await _parts(deployment)]
    except ConfigurationError as wrong:
        return [_found("database", problem=problem) for problem in wrong.problems]
    except Unavailable as wrong:
        return [_found("database", problem=f"The database does not answer: {wrong.why}")]


async def _clock(deployment: Deployment) -> list[Finding]:
    there = await deployment.store.time()
    if there is None:
        return []  # SQLite has no clock of its own
    off_ms = now_ms() - there.time_ms
    if abs(off_ms) <= CLOCK_TOLERANCE_MS + there.within_ms:
        return []
    return [_found("clock_off", seconds=abs(off_ms) // 1000, direction="ahead of" if off_ms > 0 else "behind")]


async def _parts(deployment: Deployment) -> list[Finding]:
    """Ask what `/readyz` asks. A key is made by the first start, so none is missing before it."""
    try:
        states = await deployment.readiness.look(is_stopping=False)
    except NotReady as wrong:
        states = dict(wrong.parts)
    looked_at = ("clock", "store", "keys", "timetable", "mail")
    return [_found("part", part=name, state=states[name]) for name in looked_at if states[name] != "ok"]


async def _mail(settings: Settings) -> list[Finding]:
    try:
        tools = MailTools(settings)
        if tools.way != "smtp":
            return [_found("no_mail")] if tools.way == "off" else []
        transport = (await tools.load()).transport
    except ConfigurationError as wrong:
        return [_found("settings", problem=problem) for problem in wrong.problems]
    try:
        await (await transport.connect()).close()
    except DeliveryFailed as failed:
        server, remedy = tools.require_server().describe(), REMEDIES[failed.stage]
        return [_found("mail", server=server, stage=failed.stage, problem=failed.why, remedy=remedy)]
    return []
