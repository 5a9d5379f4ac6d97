"""The version of Handstamp that runs."""

from __future__ import annotations

import functools
import importlib.metadata


@functools.cache
def running_version() -> str:
    """Return the version of the installed package. Finding it takes milliseconds, so it is found once."""
    return importlib.metadata.version("handstamp")
