"""Benchmarks: each prints promises beside the measured figures. README.md describes them."""

import logging

# Benchmarks kill services on purpose: the warnings of verifiers would interrupt the report.
logging.getLogger("handstamp.verify").setLevel(logging.CRITICAL)
