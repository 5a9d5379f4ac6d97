"""Log lines: JSON or text, nothing that can steer a terminal, no local variables, and no failure of their own."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import pty
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from handstamp.config.logs import JsonFormatter, TextFormatter, configure_logging
from handstamp.current_request import CurrentRequest
from handstamp.domain.event import Event
from handstamp.logger import Logger
from handstamp.service.parts import bounded_logger
from handstamp.service.parts.audit import Audit
from tests.serving import PASSWORD

HOSTILE = "\x1b[2J\r\n\u202e'\"é"


@pytest.fixture(autouse=True)
def configured_logging() -> Iterator[None]:
    """Configure as a process of ours does, and put everything back."""
    root, ours = logging.getLogger(), logging.getLogger("handstamp")
    before = root.handlers, root.level, ours.level
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    configure_logging()
    yield
    logging.captureWarnings(capture=False)
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
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
    monkeypatch.setenv("NO_COLOR", "1")
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


def test_messages_of_other_libraries_are_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    """Their text is no event name: programs find these lines by `library_message`."""
    logging.getLogger("httptools").warning("Invalid HTTP request %s", HOSTILE)
    found = json.loads(capsys.readouterr().err)
    assert (found["event"], found["logger"], found["message"]) == (
        "library_message",
        "httptools",
        f"Invalid HTTP request {HOSTILE}",
    )


def test_what_python_prints_is_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings and exceptions in threads and destructors are lines of the log, not plain text between them."""

    class Failing:
        def __del__(self) -> None:
            raise ValueError(HOSTILE)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn(HOSTILE, stacklevel=1)
    Failing()
    thread = threading.Thread(target=[].pop)
    thread.start()
    thread.join()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["logger"]) for line in lines] == [
        ("library_message", "py.warnings"),
        ("library_message", "python"),
        ("library_message", "python"),
    ]
    assert "ValueError" in lines[1]["exception"]
    assert "IndexError" in lines[2]["exception"]


def test_a_library_cannot_fill_the_disk(capsys: pytest.CaptureFixture[str]) -> None:
    """A flood of one library's messages leaves a bounded number of lines, and others leave theirs."""
    for _ in range(1_000):
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request")
    logging.getLogger("asyncio").error("once")
    lines = [json.loads(line)["logger"] for line in capsys.readouterr().err.splitlines()]
    assert len(lines) < 30
    assert lines[-1] == "asyncio"


@pytest.mark.anyio
async def test_a_flood_of_refusals_is_counted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each kind a bounded number of lines is written. A summary says how many were left out."""
    monkeypatch.setattr(bounded_logger, "_SUMMARY_AFTER_S", 0.01)
    log = bounded_logger.BoundedLogger("handstamp.web")
    for _ in range(1_000):
        log.info("request_refused", code="invalid_token", status=401, path="/refresh")
    log.info("request_refused", code="invalid_client", status=401, path="/revocations")
    lines: list[dict[str, object]] = []
    while not lines or lines[-1]["event"] != "lines_left_out":
        await asyncio.sleep(0.01)
        lines += [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    written = [line for line in lines if line.get("code") == "invalid_token"]
    assert len(written) < 30
    assert [line for line in lines if line.get("code") == "invalid_client"], "another kind is not left out"
    assert lines[-1]["kind"] == "request_refused 401 invalid_token /refresh"
    assert lines[-1]["count"] == 1_000 - len(written)


_LOG_ONE = (
    "from handstamp.config.logs import *; from handstamp.logger import Logger; "
    "configure_logging(log_format={!r}); Logger('handstamp.web').warning('request_failed', why='\\x1b[2J')"
)


@pytest.mark.parametrize(
    ("log_format", "environment", "is_text", "has_colors"),
    [
        ("auto", {}, True, True),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"TERM": "dumb"}, True, False),
        ("json", {}, False, False),
    ],
)
def test_a_terminal_shows_colors_unless_told_otherwise(
    log_format: str, environment: dict[str, str], *, is_text: bool, has_colors: bool
) -> None:
    """On a real terminal lines are text with colours. A field cannot add its own."""
    terminal, end = pty.openpty()
    command = [sys.executable, "-c", _LOG_ONE.format(log_format)]
    inherited = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "TERM"}}
    subprocess.run(command, stderr=end, env={**inherited, "TERM": "xterm", **environment}, check=True)
    line = os.read(terminal, 4096)
    os.close(end)
    os.close(terminal)
    assert (not line.startswith(b"{")) == is_text
    assert (b"\x1b[33mwarning" in line) == has_colors
    assert b"\x1b[2J" not in line


@pytest.mark.parametrize("log_format", ["auto", "json", "text"])
def test_a_file_has_no_colors(tmp_path: Path, log_format: str) -> None:
    """Away from a terminal lines are JSON, unless the setting says text."""
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", _LOG_ONE.format(log_format)], stderr=log, check=True)
    line = (tmp_path / "log").read_text()
    assert line.startswith("{") == (log_format != "text")
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("sent", "trace_id"),
    [
        (["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"], "4bf92f3577b34da6a3ce929d0e0e4736"),
        (["42-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"], "4bf92f3577b34da6a3ce929d0e0e4736"),
        (["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"], ""),
        (["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"], ""),
        (["00-00000000000000000000000000000000-00f067aa0ba902b7-01"], ""),
        (["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"], ""),
        (["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"], ""),
        (["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"] * 2, ""),
        (["01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-" + "x" * 600], ""),
        (["\x1b[2J"], ""),
        ([], ""),
    ],
)
def test_a_trace_id_is_that_of_a_valid_traceparent(sent: list[str], trace_id: str) -> None:
    """Anything else belongs to no trace (W3C Trace Context §3.2.2)."""
    request = CurrentRequest("1", [(b"traceparent", value.encode()) for value in sent])
    assert request.trace_id == trace_id
