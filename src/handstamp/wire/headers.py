"""The header fields that every answer of the service has."""

from __future__ import annotations

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
}
"""On every answer that has no values of its own for them (OWASP ASVS 3.4)."""
OPENED_ALONE = {"cross-origin-opener-policy": "same-origin"}
"""On every page. A page of another origin that opens it in a window gets no reference to that window, nor this page to it."""
FORGET_COPIES = {"clear-site-data": '"cache"'}
"""When a session ends on a page: the browser drops what it has stored of this origin's answers, also for the back button.

Not "cookies", which would end the session of another deployment on this host and forget that this device is known. Not
"storage", which would delete what an application on the same origin keeps (docs/decisions/0024-deployments.md).
"""
