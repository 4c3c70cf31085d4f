"""Alembic's revisions of the database schema, run by db/migrate.py: versions/ has one file for each."""
