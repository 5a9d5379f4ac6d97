"""Basic credentials of services (RFC 7617), with id and secret form-encoded inside (RFC 6749 §2.3.1)."""

from __future__ import annotations

import base64

import pytest

from handstamp.errors import InvalidClient, InvalidRequest
from handstamp.wire.basic import basic_credential


def header(text: str, scheme: str = "Basic") -> str:
    """Return an `Authorization` value whose credential is this text."""
    return f"{scheme} {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (header("id:secret"), ("id", "secret")),
        (header("id:secret", "bAsIc"), ("id", "secret")),
        (header("id:", "Basic "), ("id", "")),
        (header("id:a:b"), ("id", "a:b")),
        (header("a%3Ab:c%25d+e"), ("a:b", "c%d e")),
        (header(":secret"), ("", "secret")),
    ],
)
def test_id_and_secret_are_decoded(value: str, expected: tuple[str, str]) -> None:
    """The first colon divides, and each half is form-decoded after that."""
    assert basic_credential([value]) == expected


@pytest.mark.parametrize("values", [[], ["Bearer x"], [""], ["Basicx eDp5"], ["Bearer x", header("id:secret")]])
def test_other_schemes_have_no_basic_credential(values: list[str]) -> None:
    """None tells that the credential may come another way."""
    assert basic_credential(values) is None


@pytest.mark.parametrize(
    "value",
    [
        "Basic",
        "Basic ",
        "Basic !!!!",
        header("no colon"),
        header("ä:ö"),
        header("%ff:x"),
        "Basic aWQ6c2VjcmV0\n",
        header("id:" + "s" * 1000),
    ],
)
def test_undecodable_credentials_are_refused(value: str) -> None:
    """No guess: the client is not authenticated (RFC 6749 §5.2)."""
    with pytest.raises(InvalidClient):
        basic_credential([value])


def test_two_headers_are_refused() -> None:
    """A proxy may take the first, and this service the last."""
    with pytest.raises(InvalidRequest):
        basic_credential([header("id:secret"), header("other:secret")])
