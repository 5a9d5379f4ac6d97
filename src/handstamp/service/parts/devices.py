"""Recognise the devices on which a person has signed in before, so that the failures of strangers do not delay them there.

A browser keeps a cookie, `v1.DEVICE.TAG.TAG…`: a random id, and a tag for each of the last accounts that signed in there. Other
clients send a token of an earlier session. Both only choose a counter for failed attempts: they are no credentials.
"""

from __future__ import annotations

import re

import msgspec

from ...crypto.identifiers import new_id
from ...crypto.seal import DeviceTags
from .tokens import TokenIssuer

MAX_TAGS = 5
"""Accounts for which one browser is known: people share computers."""
MAX_TOKENS = 4
"""Tokens that are looked at. Each costs the event loop a signature check before anything is known of the client."""
_COOKIE = re.compile(rf"v1\.([A-Za-z0-9_-]{{22}})((?:\.[A-Za-z0-9_-]{{16}}){{1,{MAX_TAGS}}})", re.ASCII)


class EarlierSignIns(msgspec.Struct, frozen=True):
    """What a request shows of earlier sign-ins: the device cookie, "" if there is none, and tokens, whether expired or not."""

    cookie: str = ""
    tokens: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return a text without the tokens."""
        return "EarlierSignIns(****)"


NO_EARLIER = EarlierSignIns()


class Devices:
    """Recognises devices, and makes the cookie by which a browser is recognised."""

    def __init__(self, tags: DeviceTags, tokens: TokenIssuer) -> None:
        """Create it. `tags` signs the cookie; `tokens` reads the tokens of earlier sessions."""
        self._tags = tags
        self._tokens = tokens

    def find(self, account: str, shown: EarlierSignIns) -> str | None:
        """Return the name of the device, if the account has signed in there before: the id of the device or of a session."""
        device, tags = _parse(shown.cookie)
        if self._tags.find(device, account, tags) is not None:
            return device
        for token in shown.tokens[:MAX_TOKENS]:
            session = self._tokens.find_session(token)
            if session is not None and session.subject == account and not session.is_impersonated:
                return session.id
        return None

    def remember(self, cookie: str, account: str) -> str:
        """Return the cookie of a browser after an account has signed in there, given the one that it sent, or "".

        The tags of other accounts stay, newest first. They cannot be checked here; a wrong one is of no use.
        """
        device, tags = _parse(cookie)
        device = device or new_id()
        previous = self._tags.find(device, account, tags)
        others = [tag for tag in tags if tag != previous]
        return ".".join(("v1", device, *[self._tags.make(device, account), *others][:MAX_TAGS]))


def _parse(cookie: str) -> tuple[str, list[str]]:
    """Return the id and the tags of a device cookie, or "" and none."""
    found = _COOKIE.fullmatch(cookie)
    return (found[1], found[2].split(".")[1:]) if found else ("", [])
