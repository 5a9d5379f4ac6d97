"""A receiver of webhooks: a real HTTP server whose messages are verified with the library of Standard Webhooks."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook

from tests.hostile import Answer, Asked, Hostile, answer

PATH = "/hook-with-a-secret-name"


def new_webhook_secret() -> str:
    """Return a secret as the specification has it."""
    return f"whsec_{base64.b64encode(os.urandom(32)).decode()}"


def write_secrets(file: Path, *secrets: str) -> Path:
    """Write a file of secrets that only the owner can read."""
    file.touch(mode=0o600)
    file.write_text("\n".join(secrets) + "\n")
    return file


class Receiver(Hostile):
    """A server that accepts webhooks, unless `answers` says otherwise."""

    def __init__(self) -> None:
        """Listen."""
        super().__init__()
        self.hook = f"{self.url}{PATH}"
        self.accept()

    def accept(self) -> None:
        """Answer 204."""
        self.answers[PATH] = answer(b"", 204)

    def refuse(self, script: Answer) -> None:
        """Answer as a script says."""
        self.answers[PATH] = script

    @property
    def hooks(self) -> list[Asked]:
        """The webhooks that came, those that were refused too."""
        return [asked for asked in self.asked if asked.path == PATH]

    def read(self, secret: str) -> list[dict[str, Any]]:
        """Return the messages, verified."""
        return [Webhook(secret).verify(asked.body, dict(asked.headers)) for asked in self.hooks]

    def events(self, secret: str) -> list[dict[str, Any]]:
        """Return the events of all messages, each message once."""
        by_id = {asked.headers["webhook-id"]: json.loads(asked.body) for asked in self.hooks}
        assert len(self.read(secret)) == len(self.hooks)
        return [event for message in by_id.values() for event in message["data"]["events"]]
