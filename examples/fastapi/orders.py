"""An orders API on FastAPI.

pip install 'handstamp[fastapi]' uvicorn
AUTH_ISSUER=http://localhost:8000 AUTH_CREDENTIAL=ID:SECRET uvicorn orders:app --port 9000
"""

import os
from itertools import count
from typing import Annotated

from fastapi import Depends, FastAPI

from handstamp import AccessClaims, Verifier
from handstamp.verify.fastapi import Require

issuer = os.environ["AUTH_ISSUER"]
verifier = Verifier(issuer, audience=issuer, credential=os.environ["AUTH_CREDENTIAL"])
require = Require(verifier)
app = FastAPI(title="Orders")
owners: dict[int, str] = {}
numbers = count(1)


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/orders")
async def list_orders(claims: Annotated[AccessClaims, Depends(require())]) -> dict[str, list[int]]:
    return {"orders": [number for number, owner in owners.items() if owner == claims.sub]}


@app.post("/orders", status_code=201)
async def place_order(claims: Annotated[AccessClaims, Depends(require())]) -> dict[str, int]:
    number = next(numbers)
    owners[number] = claims.sub
    return {"id": number}


@app.delete("/orders/{number}", status_code=204, dependencies=[Depends(require(scope="orders:write", check="live"))])
async def cancel_order(number: int) -> None:
    owners.pop(number, None)


@app.post("/orders/{number}/refund", status_code=202, dependencies=[Depends(require(fresh="5m"))])
async def refund_order(number: int) -> dict[str, int]:
    return {"refunded": number}


@app.get("/reports", dependencies=[Depends(require(role="admin"))])
async def reports() -> dict[str, int]:
    return {"orders": len(owners)}
