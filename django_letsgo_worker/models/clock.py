"""The database's clock, for rows that are planned when they are saved.

What runs statements for messages, and reads the clock on the way, is engines.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import connections
from django.db.models import DateTimeField, Func

CLOCK_SQL = {
    "postgresql": "STATEMENT_TIMESTAMP()",
    "mysql": "UTC_TIMESTAMP(6)",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
}


class Clock(Func):
    """What this clock shows, as a column's default: for rows that another program, or SQL alone, inserts."""

    arity = 0
    output_field = DateTimeField()

    def as_sql(self, compiler: Any, connection: Any, *args: Any, **kwargs: Any) -> Any:
        # Twice: once for the template, once for the statement that it stands in.
        template = CLOCK_SQL[connection.vendor].replace("%", "%%%%")
        return super().as_sql(compiler, connection, template=template)


def database_clock(using: str) -> datetime:
    """Return what the clock of this database shows, aware and in UTC, in one statement."""
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {CLOCK_SQL[connection.vendor]}")
        moment: datetime | str = cursor.fetchone()[0]
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
