"""The JSON API: one module per capability, each with its messages, handlers and operations."""
