"""The smallest answer of a Starlette application, on uvicorn with its defaults: the unit of the other figures."""

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
    config = uvicorn.Config(application, access_log=False, log_level="warning")  # with uvloop and httptools, which are installed
    uvicorn.Server(config).run(sockets=[listen("127.0.0.1", int(sys.argv[1]))])
