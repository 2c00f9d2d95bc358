"""The studio's database: tables, migrations, and transactions with one writer."""

from studio.database.database import Database, open_database

__all__ = ["Database", "open_database"]
