"""A Django project in this process. `conftest` imports it first; tests override single settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import django
from django.conf import settings
from django.test import override_settings
from django.urls import path

from tests.adapters.local import APP_ORIGIN, AUDIENCE, ISSUER, KEYS

OURS = "handstamp.verify.django.HandstampMiddleware"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
HANDSTAMP: Mapping[str, Any] = {
    "ISSUER": ISSUER,
    "AUDIENCE": AUDIENCE,
    "KEYS": KEYS,
    "CHECK": "offline",
    "TRUSTED_ORIGINS": [APP_ORIGIN],
}

settings.configure(
    ALLOWED_HOSTS=["testserver"],
    SECRET_KEY="not a secret",
    INSTALLED_APPS=["rest_framework"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["handstamp.verify.drf.HandstampAuthentication"],
        "UNAUTHENTICATED_USER": None,
    },
    HANDSTAMP=HANDSTAMP,
)
django.setup()


@contextmanager
def site(views: Mapping[str, Any], *, middleware: tuple[str, ...] = (OURS, CSRF), **changes: Any) -> Iterator[None]:
    """Route each name to its view for the length of a `with` block."""
    urls = type("urls", (), {"urlpatterns": [path(name, view) for name, view in views.items()]})
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=list(middleware), **changes):
        yield
