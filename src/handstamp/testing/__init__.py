"""For the tests of applications: access tokens without a service, and the service itself without a deployment.

pytest finds the fixtures of `handstamp.testing.plugin` by itself. See docs/how-to/testing.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clock import VirtualClock
    from .issuer import LocalIssuer, SignedIn

__all__ = ["LocalIssuer", "SignedIn", "VirtualClock"]

if not TYPE_CHECKING:
    _LAZY = {"LocalIssuer": ".issuer", "SignedIn": ".issuer", "VirtualClock": ".clock"}

    def __getattr__(name: str) -> Any:
        """Import a name on first use (PEP 562): pytest imports this package in every run, whether its names are used or not."""
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_LAZY[name], __name__), name)
        return value
