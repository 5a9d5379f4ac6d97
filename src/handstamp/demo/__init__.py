"""The demonstration: a page that plays the life of both tokens. `handstamp serve` does not use it."""
