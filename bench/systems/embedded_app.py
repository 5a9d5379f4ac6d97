"""Handstamp inside a FastAPI application, as docs/how-to/embed.md sets it up: its endpoints under /auth, one route of ours."""

from __future__ import annotations

import os
from typing import Annotated

from fastapi import Depends, FastAPI

from handstamp import AccessClaims
from handstamp.embedded import Handstamp
from handstamp.verify.fastapi import Require

auth = Handstamp(database=f"sqlite:///{os.environ['BENCH_DATABASE']}", issuer=os.environ["BENCH_ISSUER"])
application = FastAPI(lifespan=auth.lifespan)
application.mount("/auth", auth.asgi)
require = Require(auth.verifier)


@application.get("/profile")
async def profile(claims: Annotated[AccessClaims, Depends(require())]) -> dict[str, str]:
    """Return who is signed in."""
    return {"id": claims.sub, "session": claims.sid}
