"""Several nodes on one database, and what can befall them."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.serving import Server

NODES = 3


class SkewedServer(Server):
    """A server on a machine whose clock is wrong."""

    def __init__(self, folder: Path, *options: str, ahead_s: float, **settings: str) -> None:
        """Take how many seconds the clock is ahead."""
        super().__init__(folder, *options, **settings)
        self.ahead_s = ahead_s

    def command(self, *arguments: str) -> list[str]:
        """Set the clock before anything reads it."""
        start = (
            "import time; right = time.time_ns; "
            f"time.time_ns = lambda: right() + {int(self.ahead_s * 10**9)}; time.time = lambda: time.time_ns() / 10**9; "
            "from handstamp.cli import main; main()"
        )
        return [sys.executable, "-c", start, *arguments]


@asynccontextmanager
async def nodes_in(
    folder: Path, database: str, *, ahead_s: Sequence[float] = (0.0,) * NODES, settings: Mapping[str, str] | None = None
) -> AsyncIterator[list[Server]]:
    """Run nodes on one database, each in a folder of its own; their clocks differ as `ahead_s` says."""
    common = {"DATABASE": database, "ISSUER": "http://localhost:8000", "SECRET": "0123456789abcdef" * 4, **(settings or {})}
    nodes: list[Server] = []
    try:
        for number, ahead in enumerate(ahead_s):
            (home := folder / f"node-{number}").mkdir()
            node: Server = SkewedServer(home, ahead_s=ahead, **common)
            await asyncio.to_thread(node.start)
            nodes.append(node)
        yield nodes
    finally:
        for node in nodes:
            node.kill()


async def kill_nodes(nodes: Sequence[Server], chance: random.Random, *, seconds: float, at_least: int) -> int:
    """Kill one node after another with SIGKILL and start it again, for so long and so often; return how often."""
    end = time.monotonic() + seconds
    kills = 0
    while kills < at_least or time.monotonic() < end:
        await asyncio.sleep(chance.uniform(0, 0.3))
        node = chance.choice(nodes)
        node.kill(signal.SIGKILL)
        kills += 1
        await asyncio.to_thread(node.start)
    return kills
