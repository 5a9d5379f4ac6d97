"""For whoever receives access tokens: verifying them needs no database and no other service."""

from .verifier import Verifier

__all__ = ["Verifier"]
