"""The service and the usual alternatives, each behind the same few words."""
