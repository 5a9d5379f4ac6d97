"""The OpenAPI document, made of the table of operations and the types that parse their bodies."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from ..crypto.proofs import MAX_PROOF_LENGTH
from ..errors import HandstampError, InvalidFields, InvalidRequest, InvalidToken, TooManyAttempts, Unavailable
from ..wire.bearer import BOUND_TOKEN
from ..wire.problems import MEDIA_TYPE, Problem, row_of
from .api.tokens import TokenAnswer
from .body import FORM
from .cookies import Cookies
from .oauth.common import OAuthProblem
from .oauth.token import OAuthTokenAnswer
from .operation import Operation
from .repeatable import HEADER, MAX_LENGTH, MIN_LENGTH
from .routing import OPERATIONS

_JSON = "application/json"
_RETRY_AFTER = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "RFC 6750 §3, RFC 9449 §7.1", "schema": {"type": "string"}}},
    405: {"Allow": {"schema": {"type": "string"}}},
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}
_REPEATABLE = (
    "A random value for this request, such as a UUID. The same request, sent again within a minute with the same value, gets the "
    "same answer again (draft-ietf-httpapi-idempotency-key-header)"
)
_PROOF = (
    "The proof of a key (RFC 9449). At a sign-in with `json` delivery it binds the session to the key, and every renewal of that "
    "session needs a new one"
)
_ACCESS: list[dict[str, list[str]]] = [{"accessToken": []}, {"accessCookie": []}, {"boundAccessToken": []}]
_CREDENTIALS: dict[str, tuple[str, list[dict[str, list[str]]]]] = {
    "access": (
        "Needs the access token: as `Authorization: Bearer`, as `Authorization: DPoP` if it is bound to a key, or as its cookie.",
        _ACCESS,
    ),
    "refresh": (
        "Needs the refresh token: as its cookie, which browsers send by themselves, or in the body; never both.",
        [{"refreshCookie": []}, {}],
    ),
    "client": ("Needs the id and the secret of a service credential, by HTTP Basic.", [{"serviceCredential": []}]),
    "operator": (
        "Needs a service credential with the scope `admin`, or the access token of an administrator with a fresh second factor.",
        [{"serviceCredential": []}, *_ACCESS],
    ),
    "any": (
        "Takes every token of the session, as cookies, as `Authorization` of any scheme or in the body.",
        [*_ACCESS, {"refreshCookie": []}, {}],
    ),
}
"""What an operation says about its credential, and its security requirements, by `Operation.credential`."""
_TAGS = {
    first: tag
    for tag, paths in {
        "Sign in and out": ("register", "login", "refresh", "logout", "logout-everywhere", "sessions", "device"),
        "Account": ("profile", "me", "password", "email"),
        "Administration": ("admin",),
        "Second factors": ("factors", "totp", "recovery-codes", "passkeys"),
    }.items()
    for first in paths
}
"""The heading under which an operation is listed, by the first part of its path. Those of the service itself have none here."""


def document(*, issuer: str, version: str, cookies: Cookies, operations: Sequence[Operation] = OPERATIONS) -> bytes:
    """Return the OpenAPI 3.1 document as JSON."""
    shapes = {
        shape for operation in operations for shape in (operation.body, operation.form, operation.answer) if shape is not None
    }
    ordered = sorted(shapes, key=lambda shape: shape.__name__)
    _, components = msgspec.json.schema_components([*ordered, OAuthProblem, Problem], ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for operation in operations:
        paths[operation.path][operation.method.lower()] = _describe(operation)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Handstamp",
                "version": version,
                "summary": "Sign in once, stay signed in, sign out everywhere at once",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": issuer}],
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                    "boundAccessToken": {"type": "http", "scheme": "DPoP", "description": BOUND_TOKEN},
                    "accessCookie": {"type": "apiKey", "in": "cookie", "name": cookies.access},
                    "refreshCookie": {"type": "apiKey", "in": "cookie", "name": cookies.refresh},
                    "serviceCredential": {"type": "http", "scheme": "basic"},
                },
            },
        }
    )


def _describe(operation: Operation) -> dict[str, Any]:
    description: dict[str, Any] = {
        "operationId": operation.run.__name__,
        "summary": operation.summary,
        "tags": ["OAuth 2" if operation.form is not None else _TAGS.get(operation.path.split("/")[1], "Service")],
        "responses": _answers(operation),
    }
    if operation.credential is not None:
        description["description"], description["security"] = _CREDENTIALS[operation.credential]
    if parameters := [*_path_parameters(operation), *_query_parameters(operation), *_header_parameters(operation)]:
        description["parameters"] = parameters
    if operation.form is not None:
        description["requestBody"] = {"required": True, "content": {FORM: {"schema": _reference(operation.form)}}}
    if operation.body is not None:
        content = {_JSON: {"schema": _reference(operation.body), "example": _example(operation)}}
        description["requestBody"] = {"required": operation.body_required, "content": content}
    return description


_PATH_PARAMETERS = {"id": "The id in the list", "provider": "The name of the provider in the settings of the service"}


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": _PATH_PARAMETERS[name]}
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "required": False, "schema": {"type": "string"}, "description": text}
        for name, text in operation.query.items()
    ]


def _header_parameters(operation: Operation) -> list[dict[str, Any]]:
    fields = []
    if operation.is_repeatable:
        fields.append((HEADER, {"type": "string", "minLength": MIN_LENGTH, "maxLength": MAX_LENGTH}, _REPEATABLE))
    if operation.answer in (TokenAnswer, OAuthTokenAnswer) and operation.credential != "access":
        fields.append(("DPoP", {"type": "string", "maxLength": MAX_PROOF_LENGTH}, _PROOF))
    return [
        {"name": name, "in": "header", "required": False, "schema": schema, "description": text} for name, schema, text in fields
    ]


def _example(operation: Operation) -> dict[str, Any]:
    """Return the fields of a body that declare an example; the others have a default or travel as a cookie."""
    _, components = msgspec.json.schema_components([operation.body])
    (shape,) = components.values()
    return {name: field["examples"][0] for name, field in shape["properties"].items() if "examples" in field}


def _answers(operation: Operation) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done" if operation.answer is None else _first_line(operation.answer)}
    if operation.answer is not None:
        good["content"] = {_JSON: {"schema": _reference(operation.answer)}}
    if operation.form is not None:
        return {str(operation.status): good} | _oauth_refusals(operation)
    codes: dict[int, set[str]] = defaultdict(set)
    for error in _errors(operation):
        codes[row_of(error)[0]].add(error.code)
    problems = {
        str(status): {
            "description": " or ".join(f"`{code}`" for code in sorted(codes[status])),
            "content": {MEDIA_TYPE: {"schema": _reference(Problem)}},
        }
        | ({"headers": _HEADERS[status]} if status in _HEADERS else {})
        for status in sorted(codes)
    }
    return {str(operation.status): good} | _accepted(operation) | problems


def _accepted(operation: Operation) -> dict[str, Any]:
    if operation.accepted is None:
        return {}
    content = {_JSON: {"schema": _reference(operation.accepted)}}
    return {"202": {"description": _first_line(operation.accepted), "content": content}}


def _errors(operation: Operation) -> list[type[HandstampError]]:
    """Return the errors of an operation, with those that every one may answer."""
    limited = [TooManyAttempts] if operation.budget is not None else []
    return [*operation.errors, *limited, InvalidRequest, Unavailable, HandstampError]


def _oauth_refusals(operation: Operation) -> dict[str, Any]:
    content = {_JSON: {"schema": _reference(OAuthProblem)}}
    statuses = {400 if issubclass(error, InvalidToken | InvalidFields) else row_of(error)[0] for error in _errors(operation)}
    return {
        str(status): {"description": "RFC 6749 §5.2", "content": content}
        | ({"headers": _HEADERS[status]} if status in _HEADERS else {})
        for status in sorted(statuses)
    }


def _reference(shape: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


def _first_line(shape: type[msgspec.Struct]) -> str:
    return (shape.__doc__ or "").partition("\n")[0]
