"""The use cases of the operator: signing keys, service credentials, housekeeping."""
