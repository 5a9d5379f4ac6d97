"""The cost of a password hash in tests. Real hashing would take a fifth of their processor time."""

from __future__ import annotations

from handstamp.crypto.passwords import COSTS

REAL = COSTS["owasp"]
"""The default of the service. Tests of hashing use it, with the fixture `real_hashing` or a `tests.serving.ColdServer`."""
CHEAP = (1, 8, 1)
"""What all others use."""
SETTING = f"from handstamp.crypto.passwords import COSTS; COSTS['owasp'] = {CHEAP}; "
"""The statements that make hashing cheap in another process, before it starts."""
