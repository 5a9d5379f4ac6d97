"""An orders API on Django REST framework, in one file.

pip install 'handstamp[drf]'
AUTH_ISSUER=http://localhost:8000 AUTH_CREDENTIAL=ID:SECRET python orders.py runserver 9000
"""

import os
import sys
from itertools import count
from typing import ClassVar

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import execute_from_command_line
from django.urls import path

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.urandom(32),
    ALLOWED_HOSTS=["localhost"],
    INSTALLED_APPS=["rest_framework"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["handstamp.verify.drf.HandstampAuthentication"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,  # this project has no user table
    },
    HANDSTAMP={
        "ISSUER": os.environ["AUTH_ISSUER"],
        "AUDIENCE": os.environ["AUTH_ISSUER"],
        "CREDENTIAL": os.environ["AUTH_CREDENTIAL"],
    },
)
django.setup()

from rest_framework.request import Request  # noqa: E402 - needs the settings above
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from handstamp.verify.drf import require  # noqa: E402

owners: dict[int, str] = {}
numbers = count(1)


class Health(APIView):
    """The public health check."""

    def get(self, _: Request) -> Response:
        return Response({"status": "ok"})


class Orders(APIView):
    """The orders of the signed-in person."""

    permission_classes: ClassVar = [require()]

    def get(self, request: Request) -> Response:
        return Response({"orders": [number for number, owner in owners.items() if owner == request.auth.sub]})

    def post(self, request: Request) -> Response:
        number = next(numbers)
        owners[number] = request.auth.sub
        return Response({"id": number}, status=201)


class Order(APIView):
    """One order. Cancelling it requires a scope."""

    permission_classes: ClassVar = [require(scope="orders:write", check="live")]

    def delete(self, _: Request, number: int) -> Response:
        owners.pop(number, None)
        return Response(status=204)


class Refund(APIView):
    """The refund of an order. It requires a proof of the last five minutes."""

    permission_classes: ClassVar = [require(fresh="5m")]

    def post(self, _: Request, number: int) -> Response:
        return Response({"refunded": number}, status=202)


class Reports(APIView):
    """The reports. They require a role."""

    permission_classes: ClassVar = [require(role="admin")]

    def get(self, _: Request) -> Response:
        return Response({"orders": len(owners)})


urlpatterns = [
    path("healthz", Health.as_view()),
    path("orders", Orders.as_view()),
    path("orders/<int:number>", Order.as_view()),
    path("orders/<int:number>/refund", Refund.as_view()),
    path("reports", Reports.as_view()),
]
wsgi = WSGIHandler()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
