"""The words of HTTP, without a framework: problems, the cross-site rule, and how credentials are read from headers."""

from collections.abc import Callable, Sequence

HeaderValues = Callable[[str], Sequence[str]]
"""Returns all values of the header of that lower-case name."""
