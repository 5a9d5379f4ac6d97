"""A single-page application and its API, on an origin other than the service's.

pip install 'handstamp[fastapi]' uvicorn
AUTH_ISSUER=http://localhost:8000 AUTH_CREDENTIAL=ID:SECRET uvicorn orders:app --port 9000

Start the service with this origin:  HANDSTAMP_TRUSTED_ORIGINS=http://localhost:9000 handstamp serve
"""

import os
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles

from handstamp import AccessClaims, Verifier
from handstamp.verify.fastapi import Require

issuer = os.environ["AUTH_ISSUER"]
verifier = Verifier(issuer, audience=issuer, credential=os.environ["AUTH_CREDENTIAL"])
require = Require(verifier)
app = FastAPI(title="Orders")
owners: dict[int, str] = {}
numbers = count(1)
POLICY = f"default-src 'self'; script-src 'self' {issuer}; connect-src 'self' {issuer}; frame-ancestors 'none'"


@app.middleware("http")
async def add_policy(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers["Content-Security-Policy"] = POLICY
    return response


@app.get("/settings")
async def settings() -> dict[str, str]:
    return {"auth": issuer}


@app.get("/orders")
async def list_orders(claims: Annotated[AccessClaims, Depends(require())]) -> dict[str, list[int]]:
    return {"orders": [number for number, owner in owners.items() if owner == claims.sub]}


@app.post("/orders", status_code=201)
async def place_order(claims: Annotated[AccessClaims, Depends(require())]) -> dict[str, int]:
    number = next(numbers)
    owners[number] = claims.sub
    return {"id": number}


app.mount("/", StaticFiles(directory=Path(__file__).with_name("page"), html=True))
