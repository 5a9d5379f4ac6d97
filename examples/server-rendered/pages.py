"""A server-rendered site. Handstamp runs in the same process, and both tokens are cookies that no script can read.

pip install 'handstamp[server]'
uvicorn pages:app --port 9000
"""

import html
import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from handstamp import AccessClaims, HandstampError, NotSignedIn
from handstamp.embedded import Handstamp, TokenPair

issuer = os.environ.get("SITE_ISSUER", "http://localhost:9000/auth")
auth = Handstamp(database="sqlite:///site.db", issuer=issuer)
PAGE = """<!doctype html><html lang="en"><title>A site</title><link rel="icon" href="data:,"><h1>A site</h1>
<p>You are {subject}, in session {session}.</p>
<p><a href="/auth/account">Your account</a></p>
<form method="post" action="/auth/account/sign-out"><button>Sign out</button></form></html>"""


async def visitor(request: Request) -> tuple[AccessClaims, TokenPair | None]:
    """Return the visitor's claims, and new tokens if the access token had expired. Raises `NotSignedIn`."""
    try:
        return await auth.verifier.verify_async(request.cookies.get(auth.cookies.access, "")), None
    except NotSignedIn:
        # Several pages may renew at the same time: all get the same new refresh token.
        pair = await auth.sessions.refresh(request.cookies.get(auth.cookies.refresh, ""), delivery="cookie")
        return await auth.verifier.verify_async(pair.access_token), pair


async def home(request: Request) -> Response:
    try:
        claims, renewed = await visitor(request)
    except NotSignedIn:
        return RedirectResponse("/auth/sign-in?delivery=cookie&return_to=/", 303)
    page = HTMLResponse(PAGE.format(subject=html.escape(claims.sub), session=html.escape(claims.sid)))
    page.headers["cache-control"] = "no-store"
    for cookie in auth.answer(renewed).headers.getlist("set-cookie") if renewed else ():
        page.headers.append("set-cookie", cookie)
    return page


async def refuse(_: Request, error: HandstampError) -> Response:
    return auth.answer(error)  # for example 503 if the database is unavailable


app = Starlette(
    routes=[Route("/", home), Mount("/auth", app=auth.asgi)],
    lifespan=auth.lifespan,
    exception_handlers={HandstampError: refuse},
)
