"""The words of HTTP, without a framework: problems, the cross-site rule, and how credentials are read from headers."""
