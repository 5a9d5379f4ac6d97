"""The ASGI edge: HTTP in, use case, HTTP out. Tokens enter and leave in `transport` alone."""
