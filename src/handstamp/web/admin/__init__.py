"""The operations of operators, all under /admin. `Call.operator` is who sends the request."""
