"""Handstamp inside your own application, with its accounts or with users of your own."""

from .handstamp import Handstamp, Session, Sessions, TokenPair

__all__ = ["Handstamp", "Session", "Sessions", "TokenPair"]
