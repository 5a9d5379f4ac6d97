"""Run and kill several nodes on one database."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.serving import Server

NODES = 3


class SkewedServer(Server):
    """A server whose clock is wrong."""

    def __init__(self, folder: Path, *options: str, ahead_s: float, **settings: str) -> None:
        """Set how many seconds the clock is ahead."""
        super().__init__(folder, *options, **settings)
        self.first = (
            f"{Server.first}import time; right = time.time_ns; "
            f"time.time_ns = lambda: right() + {int(ahead_s * 10**9)}; time.time = lambda: time.time_ns() / 10**9; "
        )


@asynccontextmanager
async def nodes_in(
    folder: Path, database: str, *, ahead_s: Sequence[float] = (0.0,) * NODES, settings: Mapping[str, str] | None = None
) -> AsyncIterator[list[Server]]:
    """Run a node for each item of `ahead_s`, the seconds its clock is ahead. All use one database; each has its own folder."""
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
    """Kill and restart random nodes for `seconds`, and at least `at_least` times; return the number of kills."""
    end = time.monotonic() + seconds
    kills = 0
    while kills < at_least or time.monotonic() < end:
        await asyncio.sleep(chance.uniform(0, 0.3))
        node = chance.choice(nodes)
        node.kill(signal.SIGKILL)
        kills += 1
        await asyncio.to_thread(node.start)
    return kills
