"""Columns that must read back exactly what was written, on every engine.

No model is defined here.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Func, Value

from ..validation import exact_json


class JSONText(Func):
    """A JSON text as a column's default.

    As an expression: MySQL refuses a plain text as the default of a long one, and a plain None would be
    SQL's NULL.
    """

    arity = 1
    template = "%(expressions)s"

    def __init__(self, text: str) -> None:
        super().__init__(Value(text))


class ExactJSONField(models.JSONField):
    """JSON that comes back identical: numbers, the order of keys and None included.

    Stored as `json` on PostgreSQL, since `jsonb` rewrites numbers and order, and as text elsewhere.
    None is stored as JSON's null, or as SQL's NULL where the column allows it.
    """

    # A value that an INSERT returns does not go through select_format(). So in Python these columns have a
    # plain default beside the database's.
    db_returning = False

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        if connection.vendor == "postgresql":
            return "json"
        if connection.vendor == "mysql":
            return "longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        return "text"

    def db_check(self, connection: BaseDatabaseWrapper) -> None:
        # The text is made by json.dumps; having the database parse it again costs every message.
        return None

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        # psycopg would parse `json` by itself, and a parsed string cannot be told from a text.
        if compiler.connection.vendor == "postgresql":
            return f"({sql})::text", params
        return sql, params

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        if value is None:
            return None
        try:
            return json.loads(value, cls=self.decoder)
        except ValueError:
            # Where the column is text, SQL can write what is not JSON: people should still see it.
            return value

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        if value is None and self.null:
            return None
        return self.get_db_prep_value(value, connection)

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        if hasattr(value, "as_sql"):
            return value
        return exact_json(value)


class MomentField(models.DateTimeField):
    """An instant, always with microseconds.

    SQLite compares moments as text, where '12:00:00' and '12:00:00.000000' are different ones: a
    compare-and-set on a whole second would never match.
    """

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        value = value if prepared else self.get_prep_value(value)
        if connection.vendor == "sqlite" and isinstance(value, datetime) and value.tzinfo is not None:
            # Not strftime(): it leaves the zeros off early years.
            return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        return super().get_db_prep_value(value, connection, prepared=True)


class BytewiseCharField(models.CharField):
    """Text compared byte for byte.

    The usual collations of MySQL and MariaDB take A for a, and even utf8mb4_bin takes "a " for "a".
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            parameters["collation"] = (
                "utf8mb4_nopad_bin" if connection.mysql_is_mariadb else "utf8mb4_0900_bin"  # type: ignore[attr-defined]
            )
        return parameters
