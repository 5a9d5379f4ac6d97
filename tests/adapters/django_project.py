"""A Django project in this process. `conftest` imports it first; tests override single settings."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import django
import msgspec
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
    "CREDENTIAL": "tests:not used",
    "TRUSTED_ORIGINS": [APP_ORIGIN],
}

settings.configure(
    ALLOWED_HOSTS=["testserver"],
    SECRET_KEY="not a secret",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework", "drf_spectacular"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["handstamp.verify.drf.HandstampAuthentication"],
        "UNAUTHENTICATED_USER": None,
        "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
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


@contextmanager
def serve_introspection() -> Iterator[tuple[str, list[str]]]:
    """Answer every introspection with "active"; yield the URL and the list of requested paths."""
    asked: list[str] = []
    yes = msgspec.json.encode({"active": True, "sid": "session-1", "jti": "token-1"})

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            asked.append(self.path)
            self.send_response(200)
            self.send_header("content-length", str(len(yes)))
            self.end_headers()
            self.wfile.write(yes)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{listening.server_address[1]}", asked
        listening.shutdown()
        thread.join()
