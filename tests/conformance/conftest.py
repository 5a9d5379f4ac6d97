"""Fixtures: one key of each algorithm per test session, because generating an RSA key is slow."""

from __future__ import annotations

import pytest

from handstamp.crypto.algorithms import ALGORITHMS, Algorithm
from handstamp.crypto.jwk import SigningKey
from tests.conformance.builders import Issuer


@pytest.fixture(scope="session")
def signing_keys() -> dict[Algorithm, SigningKey]:
    """Return a key of each algorithm."""
    return {algorithm: SigningKey.generate(algorithm) for algorithm in ALGORITHMS}


@pytest.fixture
def issuer(signing_keys: dict[Algorithm, SigningKey]) -> Issuer:
    """Return an issuer that signs with ES256."""
    return Issuer(signing_keys["ES256"])


@pytest.fixture(params=ALGORITHMS)
def every_issuer(request: pytest.FixtureRequest, signing_keys: dict[Algorithm, SigningKey]) -> Issuer:
    """Return an issuer of each algorithm in turn."""
    return Issuer(signing_keys[request.param])
