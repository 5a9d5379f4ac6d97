"""The ASGI edge: HTTP in, use case, HTTP out. Tokens enter in `edge` and leave in `api/tokens`, `oauth/token` and `cookies`."""
