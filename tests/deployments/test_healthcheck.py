"""The health check of the image asks the service where it really listens."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import certificates
from tests.commands import refusal_of, run_command
from tests.serving import Server, free_port

pytestmark = [
    pytest.mark.xdist_group("healthcheck"),
    pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="the image runs on Linux"),
]
DOCKERFILE = (Path(__file__).parents[2] / "Dockerfile").read_text("utf-8")
IMAGE = {"HOST": "0.0.0.0", "ISSUER": "https://auth.example.com"}
"""What the image and its user set in any case."""


class Container(Server):
    """A service as the image runs it: the port is set by a variable, or by the options of the test."""

    is_warm = False  # the check reads its command line

    def command(self, *arguments: str) -> list[str]:
        """Return the command of the image, without the port that other tests choose."""
        if "PORT" in self.settings:
            arguments = tuple(word for word in arguments if word not in ("--port", str(self.port)))
        return super().command(*arguments)

    def client(self, **options: Any) -> httpx.Client:
        """Return a client that checks no certificate."""
        has_tls = "TLS_CERT" in self.settings or any("--tls-cert" in word for word in self.options)
        host = "[::1]" if "::" in (self.settings["HOST"], *self.options) else "localhost"
        return super().client(**{"verify": False, "base_url": f"http{'s' * has_tls}://{host}:{self.port}"} | options)


@contextmanager
def container(folder: Path, *options: str, **settings: str) -> Iterator[Container]:
    """Run a service with the settings of a container for the length of a `with` block."""
    server = Container(folder, *options, **IMAGE | settings)
    server.port = int(settings.get("PORT", server.port))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def check(server: Container) -> subprocess.CompletedProcess[str]:
    """Run the health check beside the service, which stands in for the container's first process."""
    assert server.process is not None
    return run_command(server.folder, "healthcheck", "--process", str(server.process.pid), **server.settings)


@pytest.mark.parametrize(
    ("by", "host", "has_tls"),
    [
        ("options", "0.0.0.0", True),
        pytest.param("variables", "0.0.0.0", False, marks=pytest.mark.slow),
        pytest.param("variables", "::", True, marks=pytest.mark.slow),
        pytest.param("options", "127.0.0.1", False, marks=pytest.mark.slow),
    ],
)
def test_it_follows_address_port_and_scheme(tmp_path: Path, by: str, host: str, has_tls: bool) -> None:
    """Variables and options, both spellings of an option, and a certificate for the public name alone."""
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    subprocess.run(certificates.build_command(cert, key, name="auth.example.com"), check=True, capture_output=True)
    tls = {"TLS_CERT": str(cert), "TLS_KEY": str(key)} if has_tls else {}
    if by == "variables":
        running = container(tmp_path, PORT=str(free_port()), HOST=host, **tls)
    else:
        options = [f"--{name.lower().replace('_', '-')}={value}" for name, value in tls.items()]
        running = container(tmp_path, "--host", host, *options)
    with running as server:
        healthy = check(server)
        assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "", "")
    if by == "variables":  # the options are gone with the process, and at the default port there may be another service
        assert "nothing answers" in refusal_of(check(server), 1)


@pytest.mark.slow
def test_a_service_that_cannot_answer_is_not_healthy(tmp_path: Path) -> None:
    """A stopped process accepts connections and answers none. The check gives up before Docker does."""
    with container(tmp_path, PORT=str(free_port())) as server:
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        assert "nothing answers" in refusal_of(check(server), 1)
        server.process.send_signal(signal.SIGCONT)
        assert check(server).returncode == 0


def test_the_image_runs_it() -> None:
    """The Dockerfile names the command. The help does not: it is for programs."""
    assert re.search(r'^HEALTHCHECK .* CMD \["handstamp", "healthcheck"\]$', DOCKERFILE, re.MULTILINE)
    assert re.search(r"^ENV .*HANDSTAMP_HOST=0\.0\.0\.0", DOCKERFILE, re.MULTILINE)
