"""The composition root: names the concrete parts and puts them together."""
