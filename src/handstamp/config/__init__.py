"""How a deployment is configured: settings and log output."""
