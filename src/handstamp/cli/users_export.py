"""`handstamp users export`: write the accounts as JSON lines, or all data of one person."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer

from ..assemble.deployment import Deployment
from ..domain.account_record import record_of
from ..errors import ConfigurationError
from ..service.parts.caller import Caller
from ..transfer.own_data import write_own_data
from .common import Database, print_line
from .operating import operate


def export_accounts(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Where to write them; standard output if missing.")
    ] = None,
    with_hashes: Annotated[
        bool, typer.Option("--with-password-hashes", help="Write the password hashes too. Needs FILE.")
    ] = False,
    account: Annotated[
        str | None,
        typer.Option(metavar="EMAIL", help="Write all that is stored about this person instead, as one JSON object."),
    ] = None,
    database: Database = None,
) -> None:
    """Write all accounts as JSON lines, which `handstamp users import` reads. FILE is new, and only you can read it.

    Example:  handstamp users export accounts.jsonl --with-password-hashes
    """
    if with_hashes and file is None:
        raise ConfigurationError("Password hashes are written to a file that only you can read: name one.")
    if with_hashes and account is not None:
        raise ConfigurationError("--with-password-hashes is for all accounts. What is written about one person has no hash.")
    with _create(file) if file else nullcontext(sys.stdout.buffer) as target:

        async def write_one(deployment: Deployment, caller: Caller) -> None:
            found = await deployment.accounts.get_by_email(account or "")
            sections = await deployment.export_data.of(found, caller)
            async for piece in write_own_data(found.id, sections, caller.now_ms):
                target.write(piece)
            target.write(b"\n")

        async def write_all(deployment: Deployment, caller: Caller) -> int:
            await deployment.accounts.begin_export(caller)
            encode, count, after = msgspec.json.Encoder().encode, 0, ""
            while page := await deployment.accounts.list_page(after=after):
                target.writelines(encode(record_of(account, with_hash=with_hashes)) + b"\n" for account in page)
                count, after = count + len(page), page[-1].email
            return count

        if account is not None:
            operate(write_one, database)
            wrote = "all data of one person"
        else:
            wrote = f"{operate(write_all, database):,} accounts"
    if file is not None:
        print_line(f"Wrote {wrote} to {file}.{' Delete it when it is imported.' if with_hashes else ''}")


@contextmanager
def _create(file: Path) -> Iterator[BinaryIO]:
    """Create a file with mode 0600 for the block, and delete it again if the block fails."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as problem:
        raise ConfigurationError(f"{file} cannot be created: {problem.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as opened:
            yield opened
    except BaseException:
        file.unlink(missing_ok=True)
        raise
