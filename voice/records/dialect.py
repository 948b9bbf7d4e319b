"""What is the same in SQLite and PostgreSQL, and yet of two classes."""

import importlib
from typing import Any

from sqlalchemy import Connection, Table


def insert(connection: Connection, table: Table) -> Any:
    """An INSERT that may have an ON CONFLICT. Only the module of the database in use is loaded: 50 ms of a start."""
    return importlib.import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert(table)
