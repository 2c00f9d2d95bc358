"""Migrations of the database, in their order."""
