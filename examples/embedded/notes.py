"""A notes API with its own sign-in: Handstamp runs in the same process, under /auth.

pip install 'handstamp[server,fastapi]'
uvicorn notes:app --port 9000                 # or with --workers 4: a sign-out applies to the next request in each worker
"""

import os
from typing import Annotated

from fastapi import Depends, FastAPI

from handstamp import AccessClaims
from handstamp.embedded import Handstamp
from handstamp.verify.fastapi import Require

auth = Handstamp(database="sqlite:///notes.db", issuer=os.environ.get("NOTES_ISSUER", "http://localhost:9000/auth"))
app = FastAPI(title="Notes", lifespan=auth.lifespan)
app.mount("/auth", auth.asgi)  # /auth/register, /auth/login, /auth/refresh, /auth/logout …
require = Require(auth.verifier)


@app.get("/notes")
async def read_notes(claims: Annotated[AccessClaims, Depends(require())]) -> dict[str, str]:
    return {"of": claims.sub, "process": str(os.getpid())}
