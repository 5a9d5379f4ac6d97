"""The least that a Starlette application can answer, served as Handstamp is: what everything else is measured in."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from handstamp.cli.serve import listen, uvicorn_config


async def _small(_: Request) -> JSONResponse:
    return JSONResponse({"status": "ok", "text": "as little as there is to say"})


if __name__ == "__main__":
    application = Starlette(routes=[Route("/", _small)])
    uvicorn.Server(uvicorn_config(application)).run(sockets=[listen("127.0.0.1", int(sys.argv[1]))])
