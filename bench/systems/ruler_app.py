"""The least that a Starlette application can answer, on uvicorn as it comes: what everything else is measured in."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from handstamp.cli.serve import listen


async def _small(_: Request) -> JSONResponse:
    return JSONResponse({"status": "ok", "text": "as little as there is to say"})


if __name__ == "__main__":
    application = Starlette(routes=[Route("/", _small)])
    config = uvicorn.Config(application, access_log=False, log_level="warning")  # uvloop and httptools, since they are there
    uvicorn.Server(config).run(sockets=[listen("127.0.0.1", int(sys.argv[1]))])
