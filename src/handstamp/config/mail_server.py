"""Load the mail server of a deployment. Its URL can hold a password, so it may be in a file of its own."""

from __future__ import annotations

from typing import Literal

from ..domain.smtp import SmtpServer
from ..errors import ConfigurationError
from .private_files import require_secret
from .settings import Settings
from .values import parse_smtp_url


def load_mail_server(settings: Settings) -> SmtpServer | Literal["inbox"] | None:
    """Return the mail server that the settings or their file name, "inbox" for the development inbox, None if neither.

    Raises:
        ConfigurationError: If both name one, or the file cannot be read, is readable by others, or is no URL of a mail server.
    """
    file = settings.smtp_url_file
    if file is None:
        return settings.smtp_url
    if settings.smtp_url is not None:
        raise ConfigurationError("Both HANDSTAMP_SMTP_URL and HANDSTAMP_SMTP_URL_FILE are set: keep one.")
    try:
        require_secret(file, "file of the mail server's URL")
        return parse_smtp_url(file.read_text("utf-8-sig").strip())
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"The file {file} of HANDSTAMP_SMTP_URL_FILE cannot be read: {problem}") from None
    except ValueError as problem:
        raise ConfigurationError(f"The file {file} of HANDSTAMP_SMTP_URL_FILE: {problem}") from None
