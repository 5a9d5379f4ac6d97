"""Load the secrets that sign webhooks."""

from __future__ import annotations

from pathlib import Path

from ..crypto.webhooks import WebhookSecrets
from ..errors import ConfigurationError
from .private_files import require_secret

_SETTING = "HANDSTAMP_AUDIT_WEBHOOK_SECRET_FILE"


def load_webhook_secrets(file: Path | None) -> WebhookSecrets:
    """Return the secrets of a file: one, or while it is changed the new one and the old one.

    Raises:
        ConfigurationError: If there is no file, or if it cannot be read, is readable by others, or holds anything else.
    """
    if file is None:
        raise ConfigurationError(
            f"HANDSTAMP_AUDIT_WEBHOOK_URLS needs {_SETTING}, a file with the secret that signs what is sent. "
            "Make one with:  (umask 077; echo whsec_$(openssl rand -base64 32) > webhook.secret)"
        )
    try:
        require_secret(file, "file of the webhook's secret")
        return WebhookSecrets.parse(file.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"The file {file} of {_SETTING} cannot be read: {problem}") from None
    except ValueError as problem:
        raise ConfigurationError(f"The file {file} of {_SETTING} {problem}.") from None
