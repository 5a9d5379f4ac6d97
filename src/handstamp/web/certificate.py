"""The TLS certificate that the server shows. It is read again when its files change or on SIGHUP; no restart is needed."""

from __future__ import annotations

import asyncio
import signal
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..logger import Logger

POLL_INTERVAL_S = 5.0
"""How often the files are looked at. A renewed certificate is served this soon."""
_log = Logger("handstamp.web")
_Version = tuple[tuple[int, ...] | None, ...]
"""What changes when one of the files is written, renamed over or, behind a symbolic link, exchanged. None: it is missing."""


def load_certificate(chain: Path, key: Path) -> ssl.SSLContext:
    """Return a TLS context for servers.

    Args:
        chain: The certificate and those that lead to its root, PEM.
        key: Its private key, PEM, without a passphrase.

    Raises:
        OSError: A file cannot be read.
        ssl.SSLError: A file is invalid or encrypted, or the key is not the certificate's.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key, password="")
    return context


class Certificate:
    """A certificate with its key, in two files. New connections get the newest pair that was valid."""

    def __init__(self, chain: Path, key: Path) -> None:
        """Read the files. Raises as `load_certificate`."""
        self._files = (chain, key)
        self._version = self._read_version()
        self._newest = load_certificate(chain, key)
        self._refused: _Version | None = None
        self.context: ssl.SSLContext = load_certificate(chain, key)
        """For the server. Each handshake takes the certificate from the newest context instead.

        So a pair is replaced as a whole. `load_cert_chain` on this context would replace the certificate before it reads the key.
        """
        self.context.sni_callback = self._choose
        self._follower: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow the files while the running event loop runs."""
        self._follower = asyncio.get_running_loop().create_task(self._follow())

    def read_again(self, *, is_asked: bool = False) -> None:
        """Read the files if they have changed, or in any case if `is_asked`. An invalid pair is logged; the old one is kept."""
        version = self._read_version()
        if version == self._version and not is_asked:
            return
        chain, key = map(str, self._files)
        try:
            self._newest = load_certificate(*self._files)
        except OSError as problem:  # ssl.SSLError too. Files may be half written: they are read again, and logged once
            if version != self._refused or is_asked:
                _log.warning("certificate_refused", certificate=chain, key=key, why=str(problem), kept="the previous one")
            self._refused = version
            return
        self._version, self._refused = version, None
        _log.info("certificate_renewed", certificate=chain, key=key)

    async def _follow(self) -> None:
        """Read the files again whenever that is needed. SIGHUP has been blocked until now: see `server.hold_hangup`."""
        asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL_S):
                    await asked.wait()
            is_asked = asked.is_set()
            asked.clear()
            await asyncio.to_thread(self.read_again, is_asked=is_asked)  # the files may be on a network

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _read_version(self) -> _Version:
        return tuple(_stat(file) for file in self._files)


def follow_certificate(chain: Path, key: Path, *_: Any) -> ssl.SSLContext:
    """Return the TLS context for the server of the running event loop, as uvicorn asks for it. Raises as `load_certificate`."""
    certificate = Certificate(chain, key)
    certificate.start()
    return certificate.context


def _stat(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
