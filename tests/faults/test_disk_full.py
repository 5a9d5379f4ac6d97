"""The disk fills up under SQLite, again and again: 503 until there is room, and nothing that was acknowledged is lost."""

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
SECONDS = float(os.environ.get("HANDSTAMP_TEST_SOAK_SECONDS", "8"))
_MORE_THAN_FIT = 500
_SQL = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1], timeout=60).execute(sys.argv[2]).fetchone()[0])"
_MOUNTED = 'mount -t tmpfs -o size=24m tmpfs "$0" && exec "$@"'


class Disk:
    """A service on a disk that a test fills. Here it is a limit to the size of its files, which everybody may set.

    What fits below the limit is written, so that a frame of the log may be torn in the middle.
    """

    complaint = ""
    """What SQLite says, for the log to show; here the limit is one to the log's size, too."""

    def __init__(self, server: Server, folder: Path) -> None:
        """Take a service that is started, and the folder of its database."""
        assert server.process is not None
        self.pid = server.process.pid
        self.database = folder / "handstamp.db"
        self.seen_from_here = self.database
        self._unlimited = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        """Leave room for next to nothing. The log is emptied before: SQLite writes where it was long without asking for room."""
        self.query("PRAGMA wal_checkpoint(TRUNCATE)")
        size = self.seen_from_here.with_name("handstamp.db-wal").stat().st_size
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size + random.randrange(10_000), self._unlimited[1]))

    def free(self) -> None:
        """Make room."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, self._unlimited)

    def query(self, sql: str, *enter: str) -> str:
        """Run a statement beside the service, in a process of its own."""
        arguments = [*enter, sys.executable, "-c", _SQL, str(self.database), sql]
        return subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=2 * PATIENCE_S).stdout.strip()


class SmallDisk(Disk):
    """A small disk in memory that only the service sees: no root is needed where user namespaces are allowed."""

    complaint = "database or disk is full"

    def __init__(self, server: Server, folder: Path) -> None:
        """See the service's files by way of its process."""
        super().__init__(server, folder)
        self.seen_from_here = Path(f"/proc/{self.pid}/root{self.database}")
        self._ballast = self.seen_from_here.with_name("ballast")

    def fill(self) -> None:
        """Write until the system says that nothing more fits."""
        self.query("PRAGMA wal_checkpoint(TRUNCATE)")
        with self._ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * 4096):
                pass

    def free(self) -> None:
        """Remove it."""
        self._ballast.unlink()

    def query(self, sql: str, *enter: str) -> str:
        """Go where the disk is seen."""
        return super().query(sql, "nsenter", "--preserve-credentials", "-U", "-m", "-t", str(self.pid), *enter)


async def until_refused(device: Device) -> AsyncIterator[httpx.Response]:
    """Renew until that fails, or for so long that nothing can have been written."""
    for _ in range(_MORE_THAN_FIT):
        answer = await device.renew()
        yield answer
        if answer.status_code != 200:
            break


@pytest.fixture(params=[Disk, SmallDisk], ids=["limit", "tmpfs"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, Disk]]:
    """Start a service on a disk of each kind."""
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


async def test_a_full_disk_is_503_until_there_is_room(served: tuple[Server, Disk], count: Callable[[str], None]) -> None:
    """Commits fail under a crowd; whoever asks again is served, from the same process; the crowd sees no rule broken."""
    server, disk = served
    server.register()
    seed = random.SystemRandom().getrandbits(32)
    trials = 0
    async with patient_client() as http:
        nodes = Nodes(http, [server.url])
        crowd = Crowd([server.url], seed=seed, http=http)
        staying = await nodes.sign_in()
        living = asyncio.create_task(crowd.run(asyncio.sleep(SECONDS)))
        while not living.done():
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
                await leaving.leaves()
            await leaving.is_out()
            await staying.goes_on()
            trials += 1
        await living
    count(f"disk full {trials} times, seed {seed}: {nodes.counts()}; the crowd: {crowd.counts()}")
    assert violations(crowd.history, grace_s=10) == [], f"seed {seed}"
    assert disk.query("PRAGMA integrity_check") == "ok"
    assert disk.complaint in server.log.read_text()
    assert trials > 1
