"""HTTP requests of the service to other servers. Nothing else in the service sends any."""
