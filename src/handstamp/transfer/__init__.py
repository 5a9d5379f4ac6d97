"""Files with accounts: of this service, and of those that people come from. No framework and no database."""
