"""django-allauth's headless API as its documentation sets it up, with its JWT strategy and Django's sessions in the database.

`python -m bench.systems.allauth_app` makes the tables and the key; `bench.systems.allauth_app:application` is the application.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import django
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from .base import ARGON2

_KEY = Path(os.environ["BENCH_DATABASE"]).with_name("signing-key.pem")


class Argon2(Argon2PasswordHasher):
    """Argon2id at the common cost of all systems."""

    time_cost = ARGON2["time_cost"]
    memory_cost = ARGON2["memory_cost"]
    parallelism = ARGON2["parallelism"]


if not _KEY.exists():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _KEY.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

settings.configure(
    DEBUG=False,
    SECRET_KEY="0123456789abcdef" * 4,
    ALLOWED_HOSTS=["localhost"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "rest_framework",
        "allauth",
        "allauth.account",
        "allauth.headless",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "allauth.account.middleware.AccountMiddleware",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    AUTHENTICATION_BACKENDS=["allauth.account.auth_backends.AuthenticationBackend"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["BENCH_DATABASE"],
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
            },
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    PASSWORD_HASHERS=[f"{__name__}.Argon2"],
    ACCOUNT_LOGIN_METHODS={"email"},
    ACCOUNT_SIGNUP_FIELDS=["email*", "password1*"],
    ACCOUNT_EMAIL_VERIFICATION="none",
    ACCOUNT_RATE_LIMITS=False,  # the default allows thirty sign-ins a minute
    HEADLESS_ONLY=True,
    HEADLESS_CLIENTS=("app",),
    HEADLESS_TOKEN_STRATEGY="allauth.headless.tokens.strategies.jwt.JWTTokenStrategy",
    HEADLESS_JWT_PRIVATE_KEY=_KEY.read_text(encoding="ascii"),
    HEADLESS_JWT_ACCESS_TOKEN_EXPIRES_IN=900,
    HEADLESS_JWT_REFRESH_TOKEN_EXPIRES_IN=14 * 86400,
    REST_FRAMEWORK={
        "DEFAULT_RENDERER_CLASSES": ("rest_framework.renderers.JSONRenderer",),
        "DEFAULT_PARSER_CLASSES": ("rest_framework.parsers.JSONParser",),
    },
)
django.setup()

from allauth.headless.contrib.rest_framework.authentication import JWTTokenAuthentication  # noqa: E402 - needs the settings
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import include, path  # noqa: E402
from rest_framework import permissions, views  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402


class Profile(views.APIView):
    """The profile view."""

    authentication_classes = (JWTTokenAuthentication,)
    permission_classes = (permissions.IsAuthenticated,)

    def get(self, request: Request) -> Response:
        """Return the account of the access token."""
        user: Any = request.user
        return Response({"id": user.pk, "email": user.email, "date_joined": user.date_joined})


def durability(_: HttpRequest) -> JsonResponse:
    """Return how the connection commits."""
    with connection.cursor() as cursor:
        return JsonResponse({name: cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")})


urlpatterns = [
    path("_allauth/", include("allauth.headless.urls")),
    path("accounts/", include("allauth.urls")),
    path("profile", Profile.as_view()),
    path("durability", durability),
]
application = get_wsgi_application()

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
