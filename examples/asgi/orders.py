"""An orders API on Starlette, protected by an ASGI middleware.

pip install handstamp starlette uvicorn
AUTH_ISSUER=http://localhost:8000 AUTH_CREDENTIAL=ID:SECRET uvicorn orders:app --port 9000
"""

import os
from itertools import count

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from handstamp import Verifier
from handstamp.verify.asgi import HandstampMiddleware

issuer = os.environ["AUTH_ISSUER"]
verifier = Verifier(issuer, audience=issuer, credential=os.environ["AUTH_CREDENTIAL"])
signed_in = [Middleware(HandstampMiddleware, verifier=verifier)]
admins = [Middleware(HandstampMiddleware, verifier=verifier, role="admin")]
writers = [Middleware(HandstampMiddleware, verifier=verifier, scope="orders:write", check="live")]
recent = [Middleware(HandstampMiddleware, verifier=verifier, fresh="5m")]
owners: dict[int, str] = {}
numbers = count(1)


async def healthz(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def list_orders(request: Request) -> Response:
    return JSONResponse({"orders": [number for number, owner in owners.items() if owner == request.state.claims.sub]})


async def place_order(request: Request) -> Response:
    number = next(numbers)
    owners[number] = request.state.claims.sub
    return JSONResponse({"id": number}, 201)


async def cancel_order(request: Request) -> Response:
    owners.pop(request.path_params["number"], None)
    return Response(status_code=204)


async def refund_order(request: Request) -> Response:
    return JSONResponse({"refunded": request.path_params["number"]}, 202)


async def reports(_: Request) -> Response:
    return JSONResponse({"orders": len(owners)})


app = Starlette(
    routes=[
        Route("/healthz", healthz),
        Route("/orders", list_orders, middleware=signed_in),
        Route("/orders", place_order, methods=["POST"], middleware=signed_in),
        Route("/orders/{number:int}", cancel_order, methods=["DELETE"], middleware=writers),
        Route("/orders/{number:int}/refund", refund_order, methods=["POST"], middleware=recent),
        Route("/reports", reports, middleware=admins),
    ]
)
