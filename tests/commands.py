"""Run the `handstamp` command: in this process, which is fast, or in a separate process."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from typer.testing import CliRunner

from handstamp.cli import main

PATIENCE_S = 180


def command(*arguments: str, first: str = "") -> list[str]:
    """Return the command line that starts `handstamp` with this interpreter, after the statements `first`."""
    return [sys.executable, "-c", f"{first}from handstamp.cli import main; main()", *arguments]


def environment_with(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with exactly these settings. Their names omit the prefix HANDSTAMP_."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HANDSTAMP_")}
    return clean | {f"HANDSTAMP_{name}": value for name, value in settings.items()}


def environment_without_coverage() -> dict[str, str]:
    """Return this process's environment without settings, for a process whose imports are counted: coverage has its own."""
    return {name: value for name, value in environment_with({}).items() if not name.startswith("COVERAGE_")}


def run_command(folder: Path, *arguments: str, stdin: str | bytes = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, with its own folder, environment and standard streams.

    A separate process takes ten times as long. Tests of terminals, signals and file descriptors need it; see `run_process`.
    """
    with _own_state(), interrupted_after(PATIENCE_S), contextlib.chdir(folder):
        os.environ.update(environment_with(settings))
        sys.argv = ["handstamp", *arguments]
        with CliRunner().isolation(input=stdin) as (out, err, _):
            status = _exit_status()
            sys.stdout.flush()
            sys.stderr.flush()
            texts = [stream.getvalue().decode("utf-8", "backslashreplace") for stream in (out, err)]
    return subprocess.CompletedProcess(sys.argv, status, *texts)


def run_process(folder: Path, *arguments: str, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a separate process."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment_with(settings),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def output_of(result: subprocess.CompletedProcess[str]) -> str:
    """Return what a command printed. Fails if the command failed or printed an error."""
    assert (result.returncode, result.stderr) == (0, ""), result
    return result.stdout


def refusal_of(result: subprocess.CompletedProcess[str], status: int) -> str:
    """Return the error message of a failed command. Fails if it has another exit status or printed output or a traceback."""
    assert result.returncode == status, result
    assert result.stdout == ""
    assert result.stderr.strip()
    assert "Traceback" not in result.stderr
    return result.stderr


@contextlib.contextmanager
def interrupted_after(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` in the block if it takes longer, even in a lock, a system call or an event loop."""

    def give_up(*_: object) -> None:
        raise TimeoutError(f"still not done after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _own_state() -> Iterator[None]:
    """Restore environment, arguments and logging after a command has changed them."""
    environment, arguments = dict(os.environ), sys.argv
    root, own = logging.getLogger(), logging.getLogger("handstamp")
    handlers, levels = root.handlers[:], (root.level, own.level)
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    for name in environment:
        if name.startswith("HANDSTAMP_"):
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = arguments
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        own.setLevel(levels[1])
        logging.captureWarnings(capture=False)
        sys.excepthook, sys.unraisablehook, threading.excepthook = hooks


def _exit_status() -> int:
    try:
        main()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0
