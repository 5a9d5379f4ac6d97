"""Fixtures for several kinds of test. Files, sockets and processes are real."""

from __future__ import annotations

import gc
import os
import re
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from handstamp.buckets import Buckets
from handstamp.crypto.passwords import COSTS
from handstamp.service.parts.bounded_logger import BURST, PER_S, BoundedLogger
from tests import hashing, postgres
from tests.commands import PATIENCE_S, interrupted_after
from tests.packaging.npm import ClientPackage, build_client
from tests.serving import Server

# A slow machine must not make a test fail.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

COSTS["owasp"] = hashing.CHEAP


@pytest.fixture
def anyio_backend() -> str:
    """Run `async` tests on asyncio."""
    return "asyncio"


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new folder. pytest's own fixture finds a number for its name by looking at the folders of all tests before."""
    name = re.sub(r"\W", "_", request.node.name)[:20]
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=tmp_path_factory.getbasetemp()))


@pytest.fixture
def in_time() -> Iterator[None]:
    """Fail a test that hangs."""
    with interrupted_after(PATIENCE_S):
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Give the URL of a real PostgreSQL server, one for all test processes."""
    with postgres.server() as url:
        yield url


@pytest.fixture(scope="session")
def default_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service with default settings, one for each test process. Each test creates its own accounts."""
    server = Server(tmp_path_factory.mktemp("default"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def client_package(tmp_path_factory: pytest.TempPathFactory) -> ClientPackage:
    """Build the browser client's package. Tests that use it are in the group `npm-clients`, so that one process builds it."""
    return build_client(tmp_path_factory.mktemp("npm"))


@pytest.fixture
def real_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords of this process at the default cost of the service."""
    monkeypatch.setitem(COSTS, "owasp", hashing.REAL)


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Return pytest's fixture, after filling the budgets of log lines: earlier tests of this process may have used them up."""
    ours = [module for name, module in sys.modules.items() if name.startswith("handstamp.")]
    for logger in (value for module in ours for value in vars(module).values() if isinstance(value, BoundedLogger)):
        logger._buckets = Buckets(burst=BURST, per_s=PER_S)
    return caplog


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Return a function that records a test's number of trials and their outcome. The end of pytest's output shows it."""
    return partial(record_property, "count")


def pytest_xdist_auto_num_workers() -> int:
    """Run three tests for every two processors, because many tests wait for a server, a browser or a clock."""
    return -(-3 * (os.cpu_count() or 1) // 2)


_GC_THRESHOLD = (20_000, 10, 10)
"""Services leave many cycles. With the default, 700, looking for them takes a tenth of the processor time of their tests."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector, and keep it from visiting the collected objects later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLD)
        gc.enable()


_LONGEST_GROUPS = (
    *("browser-client", "npm-clients", "request-cost", "history", "browser-docs", "browser", "locked", "park", "certificate"),
    *("browser-bound", "revocations", "server-check", "wheel", "pool", "proxy", "workers", "disk-full", "browser-accounts"),
    *("demo", "sockets", "fail-over", "healthcheck", "browser-examples"),
)
"""The groups of tests that take longest, longest first. One process runs a group, so the others wait for one that comes last."""


def _place(item: pytest.Item) -> int:
    group = item.get_closest_marker("xdist_group")
    return _LONGEST_GROUPS.index(group.args[0]) if group and group.args[0] in _LONGEST_GROUPS else len(_LONGEST_GROUPS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest groups first, and mark tests that need Chromium or PostgreSQL, by their folder and fixtures."""
    items.sort(key=_place)
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.browser)
        if "postgres_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.postgres)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests recorded with `count`, in all test processes."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    counts = [f"{report.nodeid}\n  {text}" for report in reports for name, text in report.user_properties if name == "count"]
    if counts:
        terminalreporter.section("trials")
        terminalreporter.write_line("\n".join(counts))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Return a function that starts `handstamp serve` in a new folder. All servers are stopped at the end."""
    started: list[Server] = []

    def start(*options: str, **environment: str) -> Server:
        server = Server(tmp_path, *options, **environment)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()
