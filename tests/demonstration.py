"""Run `handstamp demo` in a separate process."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.commands import command


@contextmanager
def demo(*options: str, folder: Path | None = None, **environment: str) -> Iterator[tuple[str, str, subprocess.Popen[str]]]:
    """Run the demonstration; yield its URL, its first lines of output and its process."""
    process = subprocess.Popen(
        command("demo", "--no-browser", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
    try:
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(3))
        match = re.search(r"(http://localhost:\d+)/park", said)
        assert match is not None, said
        yield match[1], said, process
    finally:
        process.terminate()  # not kill, so that it deletes its folder
        process.communicate(timeout=30)
