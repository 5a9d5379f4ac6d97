"""For services that receive access tokens: they verify them without a database and without Handstamp's service."""
