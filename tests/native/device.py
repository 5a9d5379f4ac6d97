"""A device with an application that uses `@handstamp/browser/native`, in Node."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.serving import PASSWORD

APPLICATION = Path(__file__).with_name("device.mjs")


class Device:
    """A device with an application: a process, and a file that outlives it."""

    def __init__(self, library: Path, url: str, file: Path, email: str) -> None:
        """Start the application."""
        self.email = email
        self.file = file
        self._command = ["node", str(APPLICATION), str(library), url, str(file)]
        self.open()

    def open(self) -> None:
        """Start the application, without its client."""
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def kill(self) -> None:
        """Kill the application, as a device does that needs its memory."""
        self.process.kill()
        self.process.communicate()

    def restart(self) -> None:
        """Kill the application and start it again, with its client."""
        self.kill()
        self.open()
        self.run("start()")

    def run(self, code: str) -> Any:
        """Run an expression in the application and return its value. A rejection is its name and code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def sign_in(self) -> str:
        """Sign in and return the session's id."""
        assert self.run(f"auth.signIn({self.email!r}, {PASSWORD!r})")["status"] == "signed-in"
        return str(self.run("auth.state.sessionId"))

    @property
    def stored(self) -> dict[str, Any]:
        """What the store has."""
        try:
            (item,) = json.loads(self.file.read_text()).values()
        except FileNotFoundError:
            return {}
        return dict(json.loads(item))
