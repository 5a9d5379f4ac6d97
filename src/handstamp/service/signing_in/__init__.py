"""The ways of signing in. Each proves who a person is; only `service.sessions.begin` begins the session."""
