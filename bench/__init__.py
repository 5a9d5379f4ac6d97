"""Benchmarks: each prints the figures of some promises beside them. What they measure stands in README.md."""

import logging

# Services are killed here on purpose; what verifiers say about that would stand between the lines of the report.
logging.getLogger("handstamp.verify").setLevel(logging.CRITICAL)
