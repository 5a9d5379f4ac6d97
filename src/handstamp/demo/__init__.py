"""The demonstration: a page that shows the life of both tokens with real requests. `handstamp serve` does not use it."""
