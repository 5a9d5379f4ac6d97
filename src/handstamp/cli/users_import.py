"""`handstamp users import`: add the accounts of a file."""

from __future__ import annotations

import io
import os
import sqlite3
import sys
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, BinaryIO, TextIO

import msgspec
import typer

from ..assemble.deployment import Deployment
from ..errors import ConfigurationError, InvalidFields
from ..service.accounts.import_accounts import Candidate, ImportAccounts, Outcome
from ..service.parts.caller import Caller
from ..transfer.fields import Ignored, Unusable
from ..transfer.hashes import note_hashes, read_firebase_parameters
from ..transfer.notes import Notes
from ..transfer.reading import Row, Skipped, read_rows
from ..transfer.report import open_report, write_skipped
from ..transfer.sources import SOURCES, Help, MakeHash, Source
from .common import Database, Progress, print_error, print_line
from .operating import operate

BATCH = 500
"""Accounts that are added in one transaction. Others wait a few milliseconds for it."""
_SHOWN = 10
"""Skipped rows that are printed if there is no report."""
_WHY: dict[Outcome, str] = {
    "address taken": "this address has an account already, which does not come from this import",
    "id taken": "this id belongs to another account",
    "id deleted": "this id belonged to an account that was deleted here; --new-ids gives another",
}


def import_accounts(  # noqa: PLR0917 - Typer makes options of them
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines, a JSON list or CSV; - for standard input.")],
    source: Annotated[
        str, typer.Option("--from", metavar="SYSTEM", help=f"Who wrote the file: {', '.join(SOURCES)}.")
    ] = "handstamp",
    hashes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The password hashes of auth0, the table account of better-auth, the hash parameters of firebase.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and add nothing.")] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the rows that are skipped to FILE, as CSV.")] = None,
    new_ids: Annotated[bool, typer.Option("--new-ids", help="Do not keep the ids that people have in the other system.")] = False,
    drop_hashes: Annotated[
        bool,
        typer.Option("--drop-unusable-hashes", help="Add accounts whose password hash cannot be checked, without a password."),
    ] = False,
    database: Database = None,
) -> None:
    """Add the accounts of FILE. An account that exists is never changed, so an interrupted import continues when it is repeated.

    Passwords keep working. They are hashed again when their owners sign in.

    Example:  handstamp users import users.json --from django --dry-run
    """
    if source not in SOURCES:
        raise ConfigurationError(f"--from {source} is unknown. It can be {', '.join(SOURCES)}.")
    with ExitStack() as opened:
        notes, tally = opened.enter_context(closing(Notes())), _Tally(is_dry_run=dry_run)
        try:
            found = _open(file, opened)
            make_hash = _read_hashes(SOURCES[source], hashes, notes) if hashes else None
            work = _Import(SOURCES[source], found, notes, make_hash, tally, keeps_ids=not new_ids, drops_hashes=drop_hashes)
        except OSError as problem:
            raise ConfigurationError(f"The file cannot be read: {problem}") from None
        if report is not None:
            tally.report = opened.enter_context(open_report(report))
        try:
            operate(work.run, database, may_create=not dry_run)
        except (KeyboardInterrupt, OSError, sqlite3.Error) as problem:  # errors of the files; those of the store are others
            print_error(f"Interrupted{f': {problem}' if str(problem) else ''}. Repeat the command to continue.")
            raise typer.Exit(1) from None
    if tally.counts["skipped"]:
        raise typer.Exit(1)


class _Tally:
    """Counts what became of the rows, and reports those that are skipped."""

    def __init__(self, *, is_dry_run: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.is_dry_run = is_dry_run
        self.report: TextIO | None = None

    def skip(self, skipped: Skipped) -> None:
        """Count and report a row."""
        self.counts["skipped"] += 1
        if self.report is not None:
            write_skipped(self.report, skipped)
        elif self.counts["skipped"] <= _SHOWN:
            about = f"{skipped.email}: " if skipped.email else ""
            print_error(f"line {skipped.line}: {about}{skipped.why}".replace("\n", "?"))

    def print_summary(self) -> None:
        """Print the counts."""
        added, unchanged, skipped = (self.counts[outcome] for outcome in ("added", "unchanged", "skipped"))
        done = "Would import" if self.is_dry_run else "Imported"
        print_line(f"{done} {_count(added, 'account')}. Imported before: {unchanged:,}.")
        if skipped:
            others = "" if self.report or skipped <= _SHOWN else f" The first {_SHOWN} are above; --report FILE lists all."
            print_line(f"Skipped {_count(skipped, 'row')}.{others}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class _Import:
    """One run of the command."""

    def __init__(
        self, source: Source, file: BinaryIO, notes: Notes, make_hash: MakeHash | None, tally: _Tally, *, keeps_ids: bool,
        drops_hashes: bool,
    ) -> None:  # fmt: skip
        self._source = source
        self._file = file
        self._rows = read_rows(file, list_name=source.list_name, find_problem=source.find_problem)
        self._notes = notes
        self._make_hash = make_hash
        self._tally = tally
        self._keeps_ids = keeps_ids
        self._drops_hashes = drops_hashes

    async def run(self, deployment: Deployment, caller: Caller) -> None:
        """Add the accounts in batches, and print how many there were."""
        importing = deployment.import_accounts
        size = os.fstat(self._file.fileno()).st_size if isinstance(self._file, io.FileIO) else 0
        batch: list[tuple[int, Candidate]] = []
        try:
            with Progress("read") as progress:
                try:
                    for row in self._rows:
                        candidate = await self._prepare(row, importing, caller)
                        if candidate is not None:
                            batch.append((row.line, candidate))
                        if len(batch) == BATCH:
                            full, batch = batch, []
                            await self._add(full, importing, caller)
                            if size:
                                progress.report(self._file.tell(), size)
                finally:  # also before the message that the file is broken from here on
                    await self._add(batch, importing, caller)
        finally:
            self._tally.print_summary()

    async def _prepare(self, row: Row | Skipped, importing: ImportAccounts, caller: Caller) -> Candidate | None:
        """Return the account of a row, None if there is none or if it is skipped."""
        if isinstance(row, Skipped):
            self._tally.skip(row)
            return None
        email = ""
        try:
            record = self._source.read(row.values, Help(caller.now_ms, self._notes.find_hash, self._make_hash))
            email = record.email
            if not self._keeps_ids:
                record = msgspec.structs.replace(record, id="")
            candidate = await importing.prepare(record, caller, drops_hashes=self._drops_hashes)
        except Ignored:
            return None
        except (Unusable, InvalidFields) as refused:
            self._tally.skip(Skipped(row.line, _describe(refused), email))
            return None
        repeated = self._find_repeated(candidate, row.line)
        if repeated:
            self._tally.skip(Skipped(row.line, repeated, email))
            return None
        return candidate

    def _find_repeated(self, candidate: Candidate, line: int) -> str:
        """Return what an earlier row of the file has too, "" if nothing."""
        for word, key in (("address", candidate.account.email), ("id", candidate.record.id)):
            first = self._notes.find_first(f"{word} {key}", line) if key else line
            if first != line:
                return f"the {word} is the same as in line {first}"
        return ""

    async def _add(self, batch: list[tuple[int, Candidate]], importing: ImportAccounts, caller: Caller) -> None:
        candidates = [candidate for _, candidate in batch]
        look_or_add = importing.look(candidates) if self._tally.is_dry_run else importing.add(candidates, caller)
        for (line, candidate), outcome in zip(batch, await look_or_add, strict=True):
            if outcome in _WHY:
                self._tally.skip(Skipped(line, _WHY[outcome], candidate.account.email))
            else:
                self._tally.counts[outcome] += 1


def _describe(refused: Unusable | InvalidFields) -> str:
    if isinstance(refused, InvalidFields):
        return "; ".join(f"{name} {why}" for name, why in refused.fields)
    return str(refused)


def _open(file: Path, opened: ExitStack) -> BinaryIO:
    return sys.stdin.buffer if str(file) == "-" else opened.enter_context(file.open("rb", buffering=0))


def _read_hashes(source: Source, file: Path, notes: Notes) -> MakeHash | None:
    """Note the hashes of a file, or return what makes hashes with the parameters in it."""
    if source.read_hash is not None:
        note_hashes(file, source.read_hash, notes)
        return None
    if source is not SOURCES["firebase"]:
        raise ConfigurationError("--hashes is for auth0, better-auth and firebase. Others have the hashes in FILE.")
    return read_firebase_parameters(file.read_text("utf-8", "replace"))
