"""A mailbox: what a mail server received for one address, and the codes and links in it."""

from __future__ import annotations

import re

from tests.mail_server import MailServer
from tests.verifying import eventually

CODE, TOKEN = r"^(\d{6})$", r"[?]token=([\w-]{43})"


class Mailbox:
    """What came to one address. Each mail is read once."""

    def __init__(self, server: MailServer, address: str) -> None:
        """Read the mail of an address."""
        self._server = server
        self.address = address
        self._read = 0

    def find(self, pattern: str) -> str:
        """Wait for a mail that was not read yet and matches a pattern; return its text. Mails before it count as read."""
        found: list[tuple[int, str]] = []

        def look() -> bool:
            mails = [received for received in self._server.received if self.address in received.to]
            texts = [mail.part("plain").replace("\r\n", "\n") for mail in mails]
            found.extend((n, text) for n, text in enumerate(texts) if n >= self._read and re.search(pattern, text, re.MULTILINE))
            return bool(found)

        assert eventually(look), f"no mail to {self.address} matches {pattern}"
        self._read = found[0][0] + 1
        return found[0][1]

    def code(self) -> str:
        """Wait for the next mail with a code, and return the code."""
        return group(CODE, self.find(CODE))

    def token(self) -> str:
        """Wait for the next mail with a link, and return the token of the link."""
        return group(TOKEN, self.find(TOKEN))


def group(pattern: str, text: str) -> str:
    """Return what the pattern's group finds in a text."""
    found = re.search(pattern, text, re.MULTILINE)
    assert found is not None, text
    return found[1]
