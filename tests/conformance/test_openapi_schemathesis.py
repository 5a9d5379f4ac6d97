"""The OpenAPI document against the running service: requests made up from it get only the answers that it promises."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from handstamp.web.openapi import document
from handstamp.web.routes import OPERATIONS, Operation
from handstamp.web.transport import Cookies
from tests.integration.helpers import make_client
from tests.serving import EMAIL, Server

pytestmark = pytest.mark.xdist_group("openapi")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]
EXAMPLES = 40
"""Made-up requests an endpoint, on top of those that try each rule of its schema once."""
READ_WITH_TOKEN = frozenset({"/profile", "/sessions"})
"""Called with a good access token; the others would end the session that it belongs to, or take none."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve one person for the length of the module."""
    server = Server(tmp_path_factory.mktemp("openapi"))
    try:
        server.start()
        assert server.register().status_code == 201
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def token(server: Server) -> str:
    """Return an access token of a session that nothing here ends."""
    access: str = server.login(EMAIL)["accessToken"]
    return access


@pytest.fixture(scope="module")
def credential(server: Server) -> str:
    """Return the `Authorization` header of a service."""
    service = make_client(server, "resource-server")
    return f"Basic {base64.b64encode(f'{service.id}:{service.secret}'.encode()).decode()}"


# Tests are collected before any server runs, so the document is made here; that the service publishes this very one is tested.
DOCUMENT = document(issuer="http://localhost", version=version("handstamp"), cookies=Cookies(secure=False))
schema = schemathesis.openapi.from_dict(json.loads(DOCUMENT))


def _check_of(operation: Operation) -> Any:
    """Return the test of one endpoint."""

    @schema.include(path=operation.path, method=operation.method).parametrize()
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def check(case: Any, server: Server, token: str, credential: str) -> None:
        """Whatever fits the document, or just does not, gets a status, type and body that the document names (R74, R81)."""
        headers = {"Authorization": f"Bearer {token}"} if operation.path in READ_WITH_TOKEN else {}
        if operation.credential == "client":
            headers = {"Authorization": credential}
        case.call_and_validate(base_url=f"http://localhost:{server.port}", headers=headers, checks=CHECKS)

    return check


# One test an endpoint, each with a name: Schemathesis 4.32 under pytest 9 gives all endpoints of a test one and the same, and
# pytest-xdist would run the first of them alone.
for _operation in OPERATIONS:
    globals()[f"test_{_operation.method}_{_operation.path}"] = _check_of(_operation)


def test_the_document_is_the_published_one(server: Server) -> None:
    """What is tested here is what `/openapi.json` answers, but for the address of the service."""
    with server.client() as client:
        published = client.get("/openapi.json").json()
    assert published == json.loads(DOCUMENT) | {"servers": [{"url": server.url}]}


def test_everybody_is_still_there(server: Server, token: str) -> None:
    """After all of it the service serves, the session lives, and no request made it stumble."""
    with server.client() as client:
        assert client.get("/profile", headers={"authorization": f"Bearer {token}"}).status_code == 200
    assert "Traceback" not in server.log.read_text()
    assert "unexpected_error" not in server.log.read_text()
