"""How pages write a history: the sentences, newest first."""

from __future__ import annotations

from typing import Any

from ...service.operating.history import History
from ..edge import Call
from .times import describe_time
from .visitor import name_session

MAX_ENTRIES = 40
"""Shown on a page."""


def describe_entries(history: History, call: Call) -> list[dict[str, Any]]:
    """Return the last entries of a history for a template, newest first."""
    translate = call.language.translate
    devices = {each.id: name_session(each, call) for each in history.sessions}
    return [
        {
            "time": describe_time(entry.at_ms, call),
            "sentence": translate(entry.sentence),
            "session": entry.sid or "",
            "device": devices.get(entry.sid or "", ""),
        }
        for entry in history.entries[: -MAX_ENTRIES - 1 : -1]
    ]
