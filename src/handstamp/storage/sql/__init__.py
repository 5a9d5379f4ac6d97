"""The statements of every store that speaks SQL, one file an aggregate.

SQLite and PostgreSQL both understand the statements. `?` stands for each value.
"""
