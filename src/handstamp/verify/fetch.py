"""HTTP requests to the service. No other file of the verifier sends any.

It uses the standard library, so that verifying tokens needs no HTTP library. It is strict:

- One deadline covers connecting, sending and reading, however slowly the answer arrives.
- An answer has a size limit and must have status 200. Redirects are not followed: keys come from the configured address, and
  the credential goes nowhere else.
- Every failure is raised as `Unavailable`.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from ..clock import monotonic_ms
from ..errors import Unavailable
from .connections import Connections

_CHUNK_BYTES = 64 * 1024


class Document(NamedTuple):
    """An answer with status 200."""

    body: bytes
    cache_control: str = ""


def fetch(
    connections: Connections,
    path: str,
    *,
    timeout_s: float,
    limit: int,
    authorization: str | None = None,
    form: Mapping[str, str] | None = None,
    more_headers: Mapping[str, str] = {},
) -> Document:
    """Send a GET request, or a POST request with a form, and return the answer.

    The request must be safe to repeat: the other side may have closed an idle connection at the moment it is used.

    Args:
        connections: Those to the service.
        path: What follows the base URL, with a slash at its beginning.
        timeout_s: Seconds until the whole answer must have arrived.
        limit: The largest body to accept, in bytes.
        authorization: The value of the `Authorization` header.
        more_headers: Further header fields.
        form: Fields to send as `application/x-www-form-urlencoded`.

    Raises:
        Unavailable: if the service cannot be reached in time, or answers with another status or with a larger body.
    """
    deadline_ms = monotonic_ms() + int(timeout_s * 1000)
    headers = {"accept": "application/json", "user-agent": "handstamp-verifier", **more_headers}
    if authorization is not None:
        headers["authorization"] = authorization
    body = None
    if form is not None:
        body, headers["content-type"] = urlencode(form), "application/x-www-form-urlencoded"
    url = connections.url + path
    try:
        while True:
            connection, is_open = connections.take(deadline_ms)
            try:
                connection.request("GET" if form is None else "POST", urlsplit(connections.url).path + path, body, headers)
                return _read(connections, connection, url, limit)
            except ConnectionError:  # as an open connection that the other side has closed raises
                connection.close()
                if not is_open:
                    raise
            except BaseException:
                connection.close()
                raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(f"{url} did not answer: {error!r}") from None


def _read(connections: Connections, connection: http.client.HTTPConnection, url: str, limit: int) -> Document:
    """Return the answer, and keep the connection if all of it was read. Raises what `fetch` handles."""
    with connection.getresponse() as response:
        if response.status != 200:
            hint = ": it does not accept the credential" if response.status == 401 else ""
            raise Unavailable(f"{url} answered {response.status}{hint}")
        body = bytearray()
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            if len(body) > limit:
                raise Unavailable(f"{url} answered more than {limit} bytes")
        if response.length:
            raise Unavailable(f"{url} answered {response.length} bytes less than it announced")
        document = Document(bytes(body), response.headers.get("cache-control", ""))
    connections.give_back(connection)
    return document
