"""Alembic's environment: every change of the schema is a new file in ``versions``."""
