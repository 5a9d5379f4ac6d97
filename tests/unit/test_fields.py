"""Header fields: found as Starlette finds them."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from handstamp.web.fields import HeaderFields

A, B, TWICE = (b"a", b"1"), (b"b", "é".encode("latin-1")), (b"a", b"2")


@pytest.mark.parametrize("fields", [[], [A], [A, B], [A, B, TWICE], [A, A], [(b"a", b""), B], [[b"a", b"1"]]])
def test_fields_are_found_as_starlette_finds_them(fields: list[tuple[bytes, bytes]]) -> None:
    """The first value, all values, and whether there is one, if a field came once, twice, empty or not at all."""
    mine, theirs = HeaderFields(fields), Headers(raw=fields)
    for name in ("a", "b", "c"):
        assert (mine.get(name), mine.get(name, "none")) == (theirs.get(name), theirs.get(name, "none"))
        assert (mine.getlist(name), name in mine) == (theirs.getlist(name), name in theirs)
