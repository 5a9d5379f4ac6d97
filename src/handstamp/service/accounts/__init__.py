"""The use cases that make and change accounts."""
