"""Flask-JWT-Extended as its documentation shows it: automatic user loading, and the blocklist in a database."""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from flask import Flask, Response, jsonify, request
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    current_user,
    get_jwt,
    jwt_required,
)
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, event, text

from .base import ARGON2

application = Flask(__name__)
application.config |= {
    "SQLALCHEMY_DATABASE_URI": f"sqlite:///{os.environ['BENCH_DATABASE']}",
    "JWT_SECRET_KEY": "0123456789abcdef" * 4,
    "JWT_ACCESS_TOKEN_EXPIRES": timedelta(minutes=15),
    "JWT_REFRESH_TOKEN_EXPIRES": timedelta(days=14),
}
db: Any = SQLAlchemy(application)
jwt = JWTManager(application)
hasher = PasswordHasher(**ARGON2)


@event.listens_for(Engine, "connect")
def _durable(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


class User(db.Model):
    """A person."""

    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String(254), nullable=False, unique=True)
    password = db.Column(db.String(128), nullable=False)


class TokenBlocklist(db.Model):
    """A blocked token."""

    id = db.Column(db.Integer, primary_key=True)
    jti = db.Column(db.String(36), nullable=False, index=True)
    created_at = db.Column(db.DateTime, nullable=False)


with application.app_context():
    db.create_all()


@jwt.user_identity_loader
def _identity(user: User) -> str:
    return str(user.id)


@jwt.user_lookup_loader
def _user(_: Any, payload: dict[str, Any]) -> User | None:
    found: User | None = db.session.get(User, int(payload["sub"]))
    return found


@jwt.token_in_blocklist_loader
def _is_blocked(_: Any, payload: dict[str, Any]) -> bool:
    return db.session.query(TokenBlocklist.id).filter_by(jti=payload["jti"]).scalar() is not None


def _block() -> None:
    db.session.add(TokenBlocklist(jti=get_jwt()["jti"], created_at=datetime.now(UTC)))
    db.session.commit()


def _pair(user: User) -> Response:
    return jsonify(access_token=create_access_token(identity=user), refresh_token=create_refresh_token(identity=user))


@application.post("/register")
def register() -> tuple[str, int]:
    """Create an account."""
    body = request.get_json()
    db.session.add(User(email=body["email"], password=hasher.hash(body["password"])))
    db.session.commit()
    return "", 201


@application.post("/login")
def login() -> Response | tuple[Response, int]:
    """Return a pair."""
    body = request.get_json()
    user = User.query.filter_by(email=body.get("email")).one_or_none()
    try:
        if user is not None and hasher.verify(user.password, body.get("password")):
            return _pair(user)
    except VerificationError:
        pass
    return jsonify("Wrong e-mail address or password"), 401


@application.get("/profile")
@jwt_required()
def profile() -> Response:
    """Return the profile."""
    return jsonify(id=current_user.id, email=current_user.email)


@application.post("/refresh")
@jwt_required(refresh=True)
def refresh() -> Response:
    """Return the next pair, and block the used refresh token."""
    user = current_user
    _block()
    return _pair(user)


@application.delete("/logout")
@jwt_required(verify_type=False)
def logout() -> Response:
    """Block the token that was sent."""
    _block()
    return jsonify(msg="revoked")


@application.get("/durability")
def durability() -> Response:
    """Return how a connection commits."""
    return jsonify({name: db.session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous")})
