"""The demonstration's page, and the few things that exist for it alone: nothing here is part of `handstamp serve`."""
