"""A page for the people of one organisation, who sign in with its OpenID provider: Handstamp runs inside, under /auth.

pip install 'handstamp[server,fastapi]'
export STAFF_ISSUER=https://login.example.com/realms/main STAFF_CLIENT_SECRET=…
uvicorn staff:app --port 9000

At the provider, register the redirect URI http://localhost:9000/auth/sign-in/with/company/callback.
"""

import os
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse

from handstamp import AccessClaims
from handstamp.embedded import Handstamp
from handstamp.verify.fastapi import Require

COMPANY = {
    "label": "Example Staff",
    "issuer": os.environ.get("STAFF_ISSUER", "https://login.example.com/realms/main"),
    "client_id": "staff-page",
    "client_secret": os.environ.get("STAFF_CLIENT_SECRET", "to be set"),
    "keep_tokens": True,  # for /calendar; without it, the tokens of the provider are dropped
}
auth = Handstamp(
    database="sqlite:///staff.db", issuer="http://localhost:9000/auth", providers={"company": COMPANY}, registration="open"
)
app = FastAPI(title="Staff", lifespan=auth.lifespan)
app.mount("/auth", auth.asgi)
require = Require(auth.verifier)
Person = Annotated[AccessClaims, Depends(require())]


@app.get("/")
async def start() -> HTMLResponse:
    return HTMLResponse('<a href="/auth/sign-in/with/company?return_to=/me&amp;delivery=cookie">Sign in</a>')


@app.get("/me")
async def me(person: Person) -> dict[str, str]:
    return {"subject": person.sub, "how": " ".join(person.amr)}


@app.get("/calendar")
async def calendar(person: Person) -> dict[str, str]:
    tokens = await auth.provider_tokens(person.sub, "company")  # renewed if they are about to expire
    return {"Authorization": f"Bearer {tokens.access_token[:4]}…"}  # send it to the provider's API instead
