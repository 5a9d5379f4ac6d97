"""Messages and the mail server: what mail says, how a message is built, and SMTP."""
