"""djangorestframework-simplejwt as its documentation sets it up: rotation and the blacklist application on.

`python -m bench.systems.simplejwt_app` makes the tables; `bench.systems.simplejwt_app:application` is the WSGI application.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import django
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from .base import ARGON2


class Argon2(Argon2PasswordHasher):
    """Argon2id at the common cost of all systems."""

    time_cost = ARGON2["time_cost"]
    memory_cost = ARGON2["memory_cost"]
    parallelism = ARGON2["parallelism"]


settings.configure(
    DEBUG=False,
    SECRET_KEY="0123456789abcdef" * 4,
    ALLOWED_HOSTS=["localhost"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework_simplejwt.token_blacklist",
    ],
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"],
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
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ("rest_framework_simplejwt.authentication.JWTAuthentication",),
        "DEFAULT_RENDERER_CLASSES": ("rest_framework.renderers.JSONRenderer",),
        "DEFAULT_PARSER_CLASSES": ("rest_framework.parsers.JSONParser",),
    },
    SIMPLE_JWT={
        "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
        "REFRESH_TOKEN_LIFETIME": timedelta(days=14),
        "ROTATE_REFRESH_TOKENS": True,
        "BLACKLIST_AFTER_ROTATION": True,
    },
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402 - needs the settings
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import generics, permissions, serializers  # noqa: E402
from rest_framework_simplejwt.views import TokenBlacklistView, TokenObtainPairView, TokenRefreshView  # noqa: E402


class UserSerializer(serializers.ModelSerializer):
    """A person; the e-mail address is the user name."""

    class Meta:
        """The fields of an account."""

        model = User
        fields = ("id", "username", "password", "date_joined")
        extra_kwargs = {"password": {"write_only": True}}  # noqa: RUF012 - as Django REST framework requires

    def create(self, validated_data: dict[str, Any]) -> User:
        """Create the account with a hashed password."""
        return User.objects.create_user(**validated_data)


class Register(generics.CreateAPIView):
    """The view that creates accounts."""

    serializer_class = UserSerializer
    authentication_classes = ()


class Profile(generics.RetrieveAPIView):
    """The profile view."""

    serializer_class = UserSerializer
    permission_classes = (permissions.IsAuthenticated,)

    def get_object(self) -> User:
        """Return the account of the access token."""
        return self.request.user


def durability(_: HttpRequest) -> JsonResponse:
    """Return how the connection commits."""
    with connection.cursor() as cursor:
        return JsonResponse({name: cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")})


urlpatterns = [
    path("register", Register.as_view()),
    path("api/token/", TokenObtainPairView.as_view()),
    path("api/token/refresh/", TokenRefreshView.as_view()),
    path("api/token/blacklist/", TokenBlacklistView.as_view()),
    path("profile", Profile.as_view()),
    path("durability", durability),
]
application = get_wsgi_application()

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
