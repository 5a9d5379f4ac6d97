"""An orders API on Flask.

pip install 'handstamp[flask]'
AUTH_ISSUER=http://localhost:8000 AUTH_CREDENTIAL=ID:SECRET flask --app orders run --port 9000
"""

import os
from itertools import count

from flask import Flask, g

from handstamp import Verifier
from handstamp.verify.flask import Require

issuer = os.environ["AUTH_ISSUER"]
verifier = Verifier(issuer, audience=issuer, credential=os.environ["AUTH_CREDENTIAL"])
require = Require(verifier)
app = Flask(__name__)
owners: dict[int, str] = {}
numbers = count(1)


@app.get("/healthz")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/orders")
@require()
def list_orders() -> dict[str, list[int]]:
    return {"orders": [number for number, owner in owners.items() if owner == g.claims.sub]}


@app.post("/orders")
@require()
def place_order() -> tuple[dict[str, int], int]:
    number = next(numbers)
    owners[number] = g.claims.sub
    return {"id": number}, 201


@app.delete("/orders/<int:number>")
@require(scope="orders:write", check="live")
def cancel_order(number: int) -> tuple[str, int]:
    owners.pop(number, None)
    return "", 204


@app.post("/orders/<int:number>/refund")
@require(fresh="5m")
def refund_order(number: int) -> tuple[dict[str, int], int]:
    return {"refunded": number}, 202


@app.get("/reports")
@require(role="admin")
def reports() -> dict[str, int]:
    return {"orders": len(owners)}
