"""Fixtures for all tests of embedding."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def time_limit(in_time: None) -> None:
    """Fail a test that hangs, because hooks and applications may block."""
