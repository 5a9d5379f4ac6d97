"""The SQL statements that both stores share, one file per aggregate."""
