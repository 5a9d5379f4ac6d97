"""Sign-in with other services: OpenID providers and GitHub. It answers who has signed in there, and nothing more."""
