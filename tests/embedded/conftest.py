"""What holds for every test of embedding."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def nothing_hangs(in_time: None) -> None:
    """Nothing may wait for ever here, whatever hooks and applications do."""
