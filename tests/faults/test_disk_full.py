"""The disk under SQLite fills up repeatedly: requests get 503 until there is space, and no acknowledged commit is lost."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.crowd import Crowd
from tests.faults.outage import PATIENCE_S, Device, Nodes, ask_everything, patient_client
from tests.history import violations
from tests.serving import Server

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.xdist_group("disk-full")]
SECONDS = float(os.environ.get("HANDSTAMP_TEST_SOAK_SECONDS", "0"))
TRIALS = 3
"""How often the disk is filled, at least."""
_MORE_THAN_FIT = 500
_SQL = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1], timeout=60).execute(sys.argv[2]).fetchone()[0])"
_MOUNTED = 'mount -t tmpfs -o size=24m tmpfs "$0" && exec "$@"'


class Disk:
    """A disk that a test can fill. This class uses the limit for file sizes, which needs no root.

    The part below the limit is written, so a frame of the write-ahead log may be incomplete.
    """

    complaint = ""
    """A message of SQLite that the log must contain. Empty here, because the limit applies to the log file as well."""

    def __init__(self, server: Server, folder: Path) -> None:
        """Keep the process of a running service and the path of its database."""
        assert server.process is not None
        self.pid = server.process.pid
        self.database = folder / "handstamp.db"
        self.seen_from_here = self.database
        self._unlimited = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        """Leave almost no space. Truncate the WAL first, because SQLite can overwrite its old frames without more space."""
        self.query("PRAGMA wal_checkpoint(TRUNCATE)")
        size = self.seen_from_here.with_name("handstamp.db-wal").stat().st_size
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size + random.randrange(10_000), self._unlimited[1]))

    def free(self) -> None:
        """Remove the limit."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, self._unlimited)

    def query(self, sql: str, *enter: str) -> str:
        """Run a statement in a separate process."""
        arguments = [*enter, sys.executable, "-c", _SQL, str(self.database), sql]
        return subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=2 * PATIENCE_S).stdout.strip()


class SmallDisk(Disk):
    """A small tmpfs that is mounted only for the service. It needs no root if the system allows user namespaces."""

    complaint = "database or disk is full"

    def __init__(self, server: Server, folder: Path) -> None:
        """Find the service's files through its process in /proc."""
        super().__init__(server, folder)
        self.seen_from_here = Path(f"/proc/{self.pid}/root{self.database}")
        self._ballast = self.seen_from_here.with_name("ballast")

    def fill(self) -> None:
        """Write a file until no space is left."""
        self.query("PRAGMA wal_checkpoint(TRUNCATE)")
        with self._ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * 4096):
                pass

    def free(self) -> None:
        """Remove the file."""
        self._ballast.unlink()

    def query(self, sql: str, *enter: str) -> str:
        """Run the statement in the namespace of the service."""
        return super().query(sql, "nsenter", "--preserve-credentials", "-U", "-m", "-t", str(self.pid), *enter)


async def until_refused(device: Device) -> AsyncIterator[httpx.Response]:
    """Refresh until it fails, but not more often than could fit on the disk."""
    for _ in range(_MORE_THAN_FIT):
        answer = await device.renew()
        yield answer
        if answer.status_code != 200:
            break


@pytest.fixture(params=[Disk, SmallDisk], ids=["limit", "tmpfs"])
def server_on_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, Disk]]:
    """Start a service on each kind of disk."""
    (folder := tmp_path / "disk").mkdir()
    server = Server(tmp_path, DATABASE=f"sqlite:///{folder}/handstamp.db", SECRET="0123456789abcdef" * 4)
    if request.param is SmallDisk:
        server.wrapper = ["unshare", "-rm", "sh", "-c", _MOUNTED, str(folder)]
        try:
            subprocess.run([*server.wrapper, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("this system allows no user namespaces")
    try:
        server.start()
        yield server, request.param(server, folder)
    finally:
        server.kill()


async def test_a_full_disk_is_503_until_there_is_room(server_on_disk: tuple[Server, Disk], count: Callable[[str], None]) -> None:
    """Commits fail under load. Retries succeed in the same process, and the history of the crowd breaks no rule."""
    server, disk = server_on_disk
    server.register()
    seed = random.SystemRandom().getrandbits(32)
    trials = 0
    async with patient_client() as http:
        nodes = Nodes(http, [server.url])
        crowd = Crowd([server.url], issuer=server.url, seed=seed)
        staying = await nodes.sign_in()
        enough = asyncio.Event()
        living = asyncio.create_task(crowd.run(enough.wait(), people=3, devices=2))
        end = asyncio.get_running_loop().time() + SECONDS
        while trials < TRIALS or asyncio.get_running_loop().time() < end:
            await asyncio.sleep(random.uniform(0.1, 0.5))
            leaving = await nodes.sign_in()
            await asyncio.to_thread(disk.fill)
            try:
                answers = [answer async for answer in until_refused(staying)]
                assert answers[-1].status_code == 503, answers[-1].text
                done = await ask_everything(nodes, staying, leaving)
                await asyncio.sleep(random.uniform(0, 0.5))
            finally:
                disk.free()
            if "/logout" not in done:
                await leaving.sign_out_with_retries()
            await leaving.require_ended()
            await staying.require_active()
            trials += 1
        enough.set()
        await living
    count(f"disk full {trials} times, seed {seed}: {nodes.counts()}; the crowd: {crowd.counts()}")
    assert violations(crowd.history, grace_s=10) == [], f"seed {seed}"
    assert disk.query("PRAGMA integrity_check") == "ok"
    assert disk.complaint in server.log.read_text()
