"""Prometheus's own tool, which reads metrics, rules and their tests."""

from __future__ import annotations

import os
import shutil

import pytest

_MISSING = "promtool is not installed here (Debian: apt install prometheus)"


def find_promtool() -> str:
    """Return where it is. Without it, fail in CI and skip the test elsewhere."""
    found = shutil.which("promtool")
    if found is None:
        assert "CI" not in os.environ, _MISSING
        pytest.skip(_MISSING)
    return found
