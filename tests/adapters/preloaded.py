"""Applications that gunicorn preloads, for test_workers.py. Their verifier is in use before the workers are forked."""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from flask import Flask, Response, g
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from handstamp import AccessClaims, Verifier
from handstamp.verify import fastapi as for_fastapi
from handstamp.verify import flask as for_flask
from handstamp.verify.metrics import measure

ISSUER = os.environ["AUTH_ISSUER"]
verifier = measure(Verifier(ISSUER, audience=ISSUER, credential=os.environ["AUTH_CREDENTIAL"], timeout_s=30))
assert verifier.wait_until_ready(60), verifier.status()

wsgi, require = Flask(__name__), for_flask.Require(verifier)
asgi, depend = FastAPI(), for_fastapi.Require(verifier)


@wsgi.after_request
def name_worker(response: Response) -> Response:
    """Say which process answers."""
    response.headers["x-worker"] = str(os.getpid())
    return response


@wsgi.get("/feed")
@require()
def feed() -> str:
    """Start to follow the feed."""
    return str(g.claims.sub)


@wsgi.get("/metrics")
def metrics() -> Response:
    """Return the metrics of all workers."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), content_type="text/plain")


@wsgi.get("/offline")
@require(check="offline")
def offline() -> str:
    """Ask nobody: only a session that is known to have ended is refused."""
    return str(g.claims.sub)


@wsgi.get("/live")
@require(check="live")
def live() -> str:
    """Ask the service."""
    return str(g.claims.sub)


@asgi.middleware("http")
async def name_asgi_worker(request: Request, call_next: Any) -> Any:
    """Say which process answers."""
    response = await call_next(request)
    response.headers["x-worker"] = str(os.getpid())
    return response


@asgi.get("/feed")
async def feed_async(claims: Annotated[AccessClaims, Depends(depend())]) -> str:
    """Start to follow the feed."""
    return claims.sub


@asgi.get("/offline")
async def offline_async(claims: Annotated[AccessClaims, Depends(depend(check="offline"))]) -> str:
    """Ask nobody."""
    return claims.sub


@asgi.get("/live")
async def live_async(claims: Annotated[AccessClaims, Depends(depend(check="live"))]) -> str:
    """Ask the service."""
    return claims.sub
