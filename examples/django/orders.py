"""An orders API on Django, in one file. The middleware protects every view; decorators declare what a view requires.

pip install 'handstamp[django]'
AUTH_ISSUER=http://localhost:8000 AUTH_CREDENTIAL=ID:SECRET python orders.py runserver 9000
"""

import os
import sys
from itertools import count

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.urls import path

from handstamp.verify.django import public, require

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.urandom(32),
    ALLOWED_HOSTS=["localhost"],
    MIDDLEWARE=["handstamp.verify.django.HandstampMiddleware", "django.middleware.csrf.CsrfViewMiddleware"],
    HANDSTAMP={
        "ISSUER": os.environ["AUTH_ISSUER"],
        "AUDIENCE": os.environ["AUTH_ISSUER"],
        "CREDENTIAL": os.environ["AUTH_CREDENTIAL"],
    },
)
django.setup()
owners: dict[int, str] = {}
numbers = count(1)


@public
def healthz(_: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


def orders(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        number = next(numbers)
        owners[number] = request.claims.sub
        return JsonResponse({"id": number}, status=201)
    return JsonResponse({"orders": [number for number, owner in owners.items() if owner == request.claims.sub]})


@require(scope="orders:write", check="live")
def order(request: HttpRequest, number: int) -> HttpResponse:
    if request.method != "DELETE":
        return HttpResponseNotAllowed(["DELETE"])
    owners.pop(number, None)
    return HttpResponse(status=204)


@require(fresh="5m")
def refund(request: HttpRequest, number: int) -> HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    return JsonResponse({"refunded": number}, status=202)


@require(role="admin")
def reports(_: HttpRequest) -> HttpResponse:
    return JsonResponse({"orders": len(owners)})


urlpatterns = [
    path("healthz", healthz),
    path("orders", orders),
    path("orders/<int:number>", order),
    path("orders/<int:number>/refund", refund),
    path("reports", reports),
]
wsgi = WSGIHandler()
asgi = ASGIHandler()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
