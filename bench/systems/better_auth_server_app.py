"""better-auth-server as its documentation sets it up with FastAPI and SQLAlchemy, with the plugin that `BENCH_SETUP` names."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from better_auth import BetterAuth, EmailAndPassword, RateLimit
from better_auth.adapters.sqlalchemy import SQLAlchemyAdapter
from better_auth.integrations.fastapi import BetterAuthFastAPI
from better_auth.plugins_ext import JWTPlugin, OAuthProviderPlugin
from fastapi import Depends, FastAPI
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import create_async_engine

from .code_flow import CLIENT_ID, REDIRECT_URI

_LIFETIME_S = 900

engine = create_async_engine(f"sqlite+aiosqlite:///{os.environ['BENCH_DATABASE']}")


@event.listens_for(engine.sync_engine, "connect")
def _durable(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


plugins: list[Any] = [JWTPlugin(expiration_time=f"{_LIFETIME_S}s")]
if os.environ["BENCH_SETUP"] == "oauth-provider":
    plugins.append(OAuthProviderPlugin(login_page="/sign-in", consent_page="/consent", access_token_expires_in=_LIFETIME_S))
adapter = SQLAlchemyAdapter(engine)
auth = BetterAuth(
    secret="0123456789abcdef" * 4,
    base_url="http://localhost",
    adapter=adapter,
    email_and_password=EmailAndPassword(enabled=True),
    rate_limit=RateLimit(enabled=False),  # it is on in production and would answer three sign-ins in ten seconds
    plugins=plugins,
)
integration = BetterAuthFastAPI(auth)


@asynccontextmanager
async def _tables(_: FastAPI) -> AsyncIterator[None]:
    await adapter.create_tables()
    if os.environ["BENCH_SETUP"] == "oauth-provider" and not await adapter.count("oauthClient"):
        await adapter.create("oauthClient", _first_party_client())
    yield


def _first_party_client() -> dict[str, Any]:
    """Return a public client that needs no consent, as the one of the other OpenID provider."""
    return {
        "clientId": CLIENT_ID,
        "redirectUris": [REDIRECT_URI],
        "tokenEndpointAuthMethod": "none",
        "grantTypes": ["authorization_code", "refresh_token"],
        "responseTypes": ["code"],
        "scopes": ["openid", "email", "offline_access"],
        "skipConsent": True,
        "requirePKCE": True,
    }


application = FastAPI(lifespan=_tables)
application.include_router(integration.router)


@application.get("/profile")
async def profile(found: Annotated[dict[str, Any], Depends(integration.require_session)]) -> Any:
    """Return who is signed in."""
    return found["user"]


@application.get("/durability")
async def durability() -> dict[str, str]:
    """Return how a connection commits."""
    async with engine.connect() as connection:
        return {name: str(await connection.scalar(text(f"PRAGMA {name}"))) for name in ("journal_mode", "synchronous")}
