"""Handstamp signs people in once, keeps them signed in, and signs them out everywhere at once.

The base install verifies access tokens; `handstamp[server]` adds the service itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    AccountExists,
    ConfigurationError,
    CrossSite,
    DeletionBlocked,
    EmailNotVerified,
    ExpiredToken,
    FactorRequired,
    HandstampError,
    InsufficientAuthentication,
    InsufficientScope,
    InvalidChallenge,
    InvalidClient,
    InvalidCode,
    InvalidCredentials,
    InvalidFields,
    InvalidPasskey,
    InvalidRequest,
    InvalidToken,
    LastWay,
    MissingToken,
    NotAllowed,
    NotFound,
    NotSignedIn,
    RequestTooLarge,
    SecondFactorRequired,
    SessionEnded,
    TooManyAttempts,
    Unavailable,
    UnknownPasskey,
    UnsupportedMediaType,
)

if TYPE_CHECKING:
    from .crypto.jwk import KeySet
    from .domain.claims import AccessClaims
    from .verify.status import VerifierStatus
    from .verify.verifier import Verifier

__all__ = [
    "AccessClaims",
    "AccountExists",
    "ConfigurationError",
    "CrossSite",
    "DeletionBlocked",
    "EmailNotVerified",
    "ExpiredToken",
    "FactorRequired",
    "HandstampError",
    "InsufficientAuthentication",
    "InsufficientScope",
    "InvalidChallenge",
    "InvalidClient",
    "InvalidCode",
    "InvalidCredentials",
    "InvalidFields",
    "InvalidPasskey",
    "InvalidRequest",
    "InvalidToken",
    "KeySet",
    "LastWay",
    "MissingToken",
    "NotAllowed",
    "NotFound",
    "NotSignedIn",
    "RequestTooLarge",
    "SecondFactorRequired",
    "SessionEnded",
    "TooManyAttempts",
    "Unavailable",
    "UnknownPasskey",
    "UnsupportedMediaType",
    "Verifier",
    "VerifierStatus",
]

if not TYPE_CHECKING:  # a type checker would take any misspelt name for one that __getattr__ returns
    _LAZY = {
        "AccessClaims": ".domain.claims",
        "KeySet": ".crypto.jwk",
        "Verifier": ".verify.verifier",
        "VerifierStatus": ".verify.status",
    }

    def __getattr__(name: str) -> Any:
        """Import a name on first use (PEP 562): the command line and pytest import this package and need no cryptography."""
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_LAZY[name], __name__), name)
        return value
