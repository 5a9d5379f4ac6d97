"""Test that docs/walk.md, which follows one `POST /refresh`, names every file of the package that the request enters."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import pytest

import handstamp
from handstamp.embedded import Handstamp

pytestmark = pytest.mark.anyio
ROOT = Path(handstamp.__file__).parent
WALK = Path(__file__).parents[2] / "docs" / "walk.md"
NOT_PART_OF_THE_WALK = {"embedded/handstamp.py"}
"""Files that run only because this test mounts the service in its own process."""


is_request: ContextVar[bool] = ContextVar("is_request", default=False)
"""True in the context of the request, False in the service's background tasks on the same event loop."""


class Recorder:
    """Records, while `is_on`, the package's files in which the request or a thread calls functions."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.is_on = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if self.is_on and event == "call" and (is_request.get() or threading.current_thread() is not threading.main_thread()):
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(ROOT):
                self.files.add(path.relative_to(ROOT).as_posix())


async def files_of_a_refresh(folder: Path) -> set[str]:
    """Return the files that the second refresh of a session enters. The first refresh fills caches."""
    recorder = Recorder()
    threading.setprofile(recorder)
    sys.setprofile(recorder)
    try:
        auth = Handstamp(database=f"sqlite:///{folder}/handstamp.db", issuer="http://localhost")
        async with auth, httpx.AsyncClient(transport=httpx.ASGITransport(auth.asgi), base_url="http://localhost") as client:
            token = (await auth.sessions.start("42")).refresh_token
            is_request.set(True)
            for recorder.is_on in (False, True):
                answer = await client.post("/refresh", json={"refreshToken": token})
                assert answer.status_code == 200
                token = answer.json()["refreshToken"]
            recorder.is_on = False
            is_request.set(False)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return recorder.files - NOT_PART_OF_THE_WALK


async def test_the_walk_names_every_file_that_a_refresh_enters(tmp_path: Path, count: Callable[[str], None]) -> None:
    """docs/walk.md names every file that a refresh enters."""
    files = await files_of_a_refresh(tmp_path)
    count(f"a refresh enters {len(files)} files: {', '.join(sorted(files))}")
    text = WALK.read_text("utf-8")
    missing = {file for file in files if f"src/handstamp/{file})" not in text}
    assert missing == set(), "docs/walk.md does not name files that a refresh enters: name each at its stop"
