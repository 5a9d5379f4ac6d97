"""The decoy, which makes an unknown address cost as much time as a known one."""

from __future__ import annotations

from typing import get_args

import argon2
import pytest

from handstamp.crypto.passwords import Cost, PasswordHasher


@pytest.mark.parametrize("cost", get_args(Cost))
def test_the_decoy_costs_a_full_hash_and_matches_nothing(cost: Cost) -> None:
    """It has the parameters, salt and tag of a real hash, so Argon2 computes all of it before it finds a mismatch."""
    hasher = PasswordHasher(cost)
    real, decoy = hasher.hash("kelp lantern rivet 41 of the tests"), hasher._decoy
    assert argon2.extract_parameters(decoy) == argon2.extract_parameters(real)
    assert len(decoy) == len(real)
    assert not hasher.is_outdated(decoy)
    with pytest.raises(argon2.exceptions.VerifyMismatchError):
        hasher._argon2.verify(decoy, "kelp lantern rivet 41 of the tests")
    assert not hasher.matches(None, "kelp lantern rivet 41 of the tests")
    assert not hasher.matches("", "kelp lantern rivet 41 of the tests")
    assert not hasher.matches("", "")


def test_every_process_has_a_decoy_of_its_own() -> None:
    """No password with that hash can be searched for."""
    assert PasswordHasher("owasp")._decoy != PasswordHasher("owasp")._decoy
