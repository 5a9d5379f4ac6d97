"""Handstamp and the usual alternatives behind one interface."""
