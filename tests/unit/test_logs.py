"""Log lines: JSON or text, nothing that can steer a terminal, no local variables, and no failure of their own."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from handstamp.config.logs import JsonFormatter, TextFormatter, configure_logging
from handstamp.domain.event import Event
from handstamp.logger import Logger
from handstamp.service.parts.audit import Audit
from tests.serving import PASSWORD

HOSTILE = "\x1b[2J\r\n\u202e'\"é"


@pytest.fixture(autouse=True)
def configured_logging() -> Iterator[None]:
    """Configure as a process of ours does, and put everything back."""
    root, ours = logging.getLogger(), logging.getLogger("handstamp")
    before = root.handlers, root.level, ours.level
    configure_logging()
    yield
    root.handlers, root.level = before[0], before[1]
    ours.setLevel(before[2])


class Terminal(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


class Full(io.StringIO):
    """Standard error on a full disk."""

    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_line_is_one_json_object_in_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """Fields stand beside the event, its logger, level and time, whatever characters they contain."""
    Logger("handstamp.web").warning("request_failed", why=HOSTILE, code="unavailable")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert found.pop("timestamp").endswith("Z")
    expected = {"event": "request_failed", "why": HOSTILE, "code": "unavailable", "logger": "handstamp.web", "level": "warning"}
    assert found == expected


def test_a_field_cannot_forge_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    """What a line says about itself overrides its fields."""
    Logger("handstamp.web").info("sign_in_failed", event="signed_in", level="debug")
    found = json.loads(capsys.readouterr().err)
    assert (found["event"], found["level"]) == ("sign_in_failed", "info")


def test_lines_have_no_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, control characters of fields and of other libraries' messages are escaped."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    configure_logging()
    Logger("handstamp.web").warning("request_failed", why=HOSTILE)
    logging.getLogger("other").error("what %s", HOSTILE)
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert "request_failed" in lines[0]


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_a_traceback_shows_no_local_variables(formatter: logging.Formatter) -> None:
    """Local variables contain passwords and tokens (R83)."""

    def refuse(password: str) -> None:
        raise ValueError(f"{len(password)} characters")

    with pytest.raises(ValueError, match="characters") as refused:
        refuse(PASSWORD)
    exc_info = (refused.type, refused.value, refused.tb)
    record = logging.LogRecord("handstamp.web", logging.ERROR, "", 0, "unexpected_error", (), exc_info)
    text = formatter.format(record)
    assert "in refuse" in text
    assert PASSWORD not in text


def test_a_log_write_error_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk or a closed stream must not decide how a request is answered."""
    closed = io.StringIO()
    closed.close()
    for stream in (Full(), closed):
        monkeypatch.setattr(sys, "stderr", stream)
        Logger("handstamp.web").warning("request_failed")


def test_routine_events_are_for_debugging(capsys: pytest.CaptureFixture[str]) -> None:
    """A refresh is logged at DEBUG alone, a reuse as a warning, and other libraries from WARNING on."""
    for kind in ("refreshed", "signed_in", "reuse_detected"):
        Audit().log(Event(at_ms=0, kind=kind, subject="ada", detail={"why": "x"}))
    logging.getLogger("uvicorn.error").info("Started")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [("signed_in", "info"), ("reuse_detected", "warning")]


def test_configuring_again_writes_no_line_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """The command line configures, and so does the application that it serves."""
    configure_logging()
    Logger("handstamp.web").info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1
