"""fastapi-users as its documentation's full example sets it up, with the strategy that `BENCH_STRATEGY` names."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin, schemas
from fastapi_users.authentication import AuthenticationBackend, BearerTransport, JWTStrategy
from fastapi_users.authentication.strategy.db import AccessTokenDatabase, DatabaseStrategy
from fastapi_users.db import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from fastapi_users.password import PasswordHelper
from fastapi_users_db_sqlalchemy.access_token import SQLAlchemyAccessTokenDatabase, SQLAlchemyBaseAccessTokenTableUUID
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from .base import ARGON2

_SECRET = "0123456789abcdef" * 4
_LIFETIME_S = 900

engine = create_async_engine(f"sqlite+aiosqlite:///{os.environ['BENCH_DATABASE']}")
make_session = async_sessionmaker(engine, expire_on_commit=False)


@event.listens_for(engine.sync_engine, "connect")
def _durable(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


class Base(DeclarativeBase):
    """All tables."""


class User(SQLAlchemyBaseUserTableUUID, Base):
    """A person."""


class AccessToken(SQLAlchemyBaseAccessTokenTableUUID, Base):
    """A token of the database strategy."""


class UserRead(schemas.BaseUser[uuid.UUID]):
    """The public fields of a person."""


class UserCreate(schemas.BaseUserCreate):
    """The fields of a registration."""


class UserManager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    """Creates and authenticates people."""


async def get_session() -> AsyncIterator[AsyncSession]:
    """Yield a database session for one request."""
    async with make_session() as session:
        yield session


async def get_user_database(session: Annotated[AsyncSession, Depends(get_session)]) -> AsyncIterator[Any]:
    """Yield the table of people."""
    yield SQLAlchemyUserDatabase(session, User)


async def get_token_database(session: Annotated[AsyncSession, Depends(get_session)]) -> AsyncIterator[Any]:
    """Yield the table of tokens."""
    yield SQLAlchemyAccessTokenDatabase(session, AccessToken)


async def get_user_manager(database: Annotated[Any, Depends(get_user_database)]) -> AsyncIterator[UserManager]:
    """Yield the manager, with the password hash at the common cost of all systems."""
    yield UserManager(database, PasswordHelper(PasswordHash((Argon2Hasher(**ARGON2),))))


def get_jwt_strategy() -> Any:
    """Return the strategy without storage: HS256."""
    return JWTStrategy(secret=_SECRET, lifetime_seconds=_LIFETIME_S)


def get_database_strategy(tokens: Annotated[AccessTokenDatabase[Any], Depends(get_token_database)]) -> Any:
    """Return the strategy that stores a random token in the database."""
    return DatabaseStrategy(tokens, lifetime_seconds=_LIFETIME_S)


@asynccontextmanager
async def _tables(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield


backend = AuthenticationBackend(
    name="bench",
    transport=BearerTransport(tokenUrl="auth/login"),
    get_strategy=get_database_strategy if os.environ["BENCH_STRATEGY"] == "database" else get_jwt_strategy,
)
users = FastAPIUsers[User, uuid.UUID](get_user_manager, [backend])
application = FastAPI(lifespan=_tables)
application.include_router(users.get_auth_router(backend), prefix="/auth")
application.include_router(users.get_register_router(UserRead, UserCreate), prefix="/auth")


@application.get("/profile", response_model=UserRead)
async def profile(user: Annotated[User, Depends(users.current_user(active=True))]) -> Any:
    """Return the profile."""
    return user


@application.get("/durability")
async def durability(session: Annotated[AsyncSession, Depends(get_session)]) -> dict[str, str]:
    """Return how a connection commits."""
    return {name: str(await session.scalar(text(f"PRAGMA {name}"))) for name in ("journal_mode", "synchronous")}
