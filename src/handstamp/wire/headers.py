"""The header fields that every answer of the service has."""

from __future__ import annotations

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
}
"""On every answer that has no values of its own for them (OWASP ASVS 3.4)."""
