"""Alembic's revisions, run by db/migrate.py."""
