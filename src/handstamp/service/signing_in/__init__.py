"""One prover per way of signing in. A prover only proves who a person is; `service.sessions.begin` starts the session."""
