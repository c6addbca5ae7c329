"""Tables of other packages, read by their names: the packages need not be installed.

Only SELECT statements are made here. What the rows mean is decided by the modules of the packages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError
from django.db import connections
from django.db.backends.utils import CursorWrapper
from django.utils.dateparse import parse_datetime

from ....conf import check_alias

Row = dict[str, Any]
FETCHED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of the database `alias`."""

    alias: str

    @classmethod
    def of(cls, alias: str) -> Tables:
        """Check the alias: ImproperlyConfigured for one that DATABASES does not have."""
        check_alias(alias)
        return cls(alias)

    def need(self, table: str, package: str) -> None:
        """Refuse in one sentence a database that lacks this table of `package`."""
        with connections[self.alias].cursor() as cursor:
            there = connections[self.alias].introspection.table_names(cursor)
        if table not in there:
            raise CommandError(
                f"The database {self.alias!r} has no table {table}, so no {package}: "
                "name the database that has it with --from-database."
            )

    def rows(self, table: str, order: str = "id", **where: Any) -> Iterator[Row]:
        """Yield rows as they come, all columns by name, where columns have one of the values given."""
        quote = connections[self.alias].ops.quote_name
        conditions = [
            f"{quote(column)} IN ({', '.join(['%s'] * len(found))})" for column, found in where.items()
        ]
        sql = f"SELECT * FROM {quote(table)}"
        sql += f" WHERE {' AND '.join(conditions)}" if conditions else ""
        with connections[self.alias].cursor() as cursor:
            cursor.execute(f"{sql} ORDER BY {order}", [value for found in where.values() for value in found])
            yield from _named(cursor)

    def by_id(self, table: str) -> dict[Any, Row]:
        """Return all rows of a table by their ids."""
        return {row["id"]: row for row in self.rows(table)}

    def counts(self, table: str, column: str | None = None) -> dict[Any, int]:
        """Count the rows of a table by the values of a column, or all of them under None."""
        quote = connections[self.alias].ops.quote_name
        name = "NULL" if column is None else quote(column)
        group = "" if column is None else f" GROUP BY {name}"
        with connections[self.alias].cursor() as cursor:
            cursor.execute(f"SELECT {name}, COUNT(*) FROM {quote(table)}{group}")
            return dict(cursor.fetchall())

    def moment(self, value: Any) -> datetime | None:
        """Return a time as UTC: SQLite gives text, and MariaDB what its connection's zone shows."""
        found = parse_datetime(value) if isinstance(value, str) else value
        if not isinstance(found, datetime):
            return None
        if found.tzinfo is None:
            found = found.replace(tzinfo=connections[self.alias].timezone or UTC)
        return found.astimezone(UTC)


def _named(cursor: CursorWrapper) -> Iterator[Row]:
    names = [column[0] for column in cursor.description or ()]
    while found := cursor.fetchmany(FETCHED_AT_ONCE):
        yield from (dict(zip(names, values, strict=True)) for values in found)


def json_of(value: Any, kind: type, otherwise: Any) -> Any:
    """Return the value of JSON text, or of a column of JSON; ValueError unless it is of this kind."""
    if value is None or value == "":
        return otherwise
    if isinstance(value, str):
        with suppress(RecursionError):
            value = json.loads(value)
    if not isinstance(value, kind):
        raise ValueError
    return value
