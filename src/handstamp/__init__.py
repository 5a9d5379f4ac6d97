"""Handstamp signs people in once, keeps them signed in, and signs them out everywhere at once.

The base install is what a service needs that verifies access tokens; `handstamp[server]` adds the service itself.
"""

from .crypto.jwk import KeySet
from .domain.claims import AccessClaims
from .errors import (
    AccountExists,
    ConfigurationError,
    CrossSite,
    ExpiredToken,
    HandstampError,
    InsufficientScope,
    InvalidClient,
    InvalidCredentials,
    InvalidFields,
    InvalidRequest,
    InvalidToken,
    MissingToken,
    NotAllowed,
    NotFound,
    NotSignedIn,
    RequestTooLarge,
    SessionEnded,
    TooManyAttempts,
    Unavailable,
    UnsupportedMediaType,
)
from .verify.verifier import Verifier, VerifierStatus

__all__ = [
    "AccessClaims",
    "AccountExists",
    "ConfigurationError",
    "CrossSite",
    "ExpiredToken",
    "HandstampError",
    "InsufficientScope",
    "InvalidClient",
    "InvalidCredentials",
    "InvalidFields",
    "InvalidRequest",
    "InvalidToken",
    "KeySet",
    "MissingToken",
    "NotAllowed",
    "NotFound",
    "NotSignedIn",
    "RequestTooLarge",
    "SessionEnded",
    "TooManyAttempts",
    "Unavailable",
    "UnsupportedMediaType",
    "Verifier",
    "VerifierStatus",
]
