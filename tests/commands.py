"""Run the `handstamp` command: in this process, which is fast, or as a process of its own, as people run it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from typer.testing import CliRunner

from handstamp.cli import main

PATIENCE_S = 180


def command(*arguments: str) -> list[str]:
    """Return the command line that starts `handstamp` with this interpreter."""
    return [sys.executable, "-c", "from handstamp.cli import main; main()", *arguments]


def environment_with(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with these settings, names without the prefix, and no others."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HANDSTAMP_")}
    return clean | {f"HANDSTAMP_{name}": value for name, value in settings.items()}


def run_command(folder: Path, *arguments: str, stdin: str | bytes = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, with a folder, an environment and standard streams of its own.

    A process of its own costs ten times as much. It is needed for terminals, signals and file descriptors; see `run_process`.
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
    """Run a command as a process of its own."""
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
    """Return the message with which a command failed. Fails if it did not, or if it printed anything else or a traceback."""
    assert result.returncode == status, result
    assert result.stdout == ""
    assert result.stderr.strip()
    assert "Traceback" not in result.stderr
    return result.stderr


@contextlib.contextmanager
def interrupted_after(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` in the block if it takes longer, be it in a lock, in a system call or in an event loop."""

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
    """Restore afterwards what a command changes in its process: environment, arguments and logging."""
    environment, arguments = dict(os.environ), sys.argv
    root, own = logging.getLogger(), logging.getLogger("handstamp")
    handlers, levels = root.handlers[:], (root.level, own.level)
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


def _exit_status() -> int:
    try:
        main()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0
