"""Ids: random, of one form, and never the same in two processes."""

from __future__ import annotations

import os

from handstamp.crypto.identifiers import new_id
from handstamp.crypto.strict import base64url_decode


def test_ids_are_distinct_and_have_128_bits() -> None:
    """Also across the drawing of new ones."""
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert {len(base64url_decode(each)) for each in ids} == {16}
    assert {len(each) for each in ids} == {22}


def test_a_forked_process_makes_ids_of_its_own() -> None:
    """It does not inherit those that its parent has drawn."""
    new_id()
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writable, " ".join(new_id() for _ in range(100)).encode())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        theirs = pipe.read().split()
    os.waitpid(child, 0)
    assert len(theirs) == 100
    assert {new_id() for _ in range(100)}.isdisjoint(theirs)
