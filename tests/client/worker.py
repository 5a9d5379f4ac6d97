"""A program that uses the tokens of a file, as a process of its own: `python -m tests.client.worker ISSUER API FILE TASKS`.

It prints `ready`, waits for a line, sends its requests at once and prints their statuses.
"""

from __future__ import annotations

import asyncio
import json
import sys

from handstamp.client import Auth, FileTokens
from tests.client.applications import async_client_with


async def main(issuer: str, api: str, path: str, tasks: int) -> list[int]:
    """Request the profile in `tasks` tasks at once and return the statuses."""
    async with async_client_with(Auth(issuer, FileTokens(path), origins=[api], timeout_s=20), base_url=api) as application:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        answers = await asyncio.gather(*(application.get("/profile") for _ in range(tasks)))
    return [answer.status_code for answer in answers]


if __name__ == "__main__":
    issuer, api, path, tasks = sys.argv[1:]
    sys.stdout.write(json.dumps(asyncio.run(main(issuer, api, path, int(tasks)))))
