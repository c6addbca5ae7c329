"""The database's clock, for rows that are planned when they are saved.

The engines run the statements for messages, and read the clock on the way.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections
from django.db.models import DateTimeField, Func

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# SQLite has no clock but the machine's, and tells its milliseconds, which is enough for a column's default;
# everything else reads machine_clock().
CLOCK_SQL = {
    "postgresql": "STATEMENT_TIMESTAMP()",
    "mysql": "UTC_TIMESTAMP(6)",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
}


def machine_clock() -> datetime:
    """Return the clock of this machine, to the microsecond.

    It is read in a way that no test's frozen time reaches: delays and leases count from the clock of the
    database, on every engine.
    """
    return EPOCH + timedelta(microseconds=time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000)


class Clock(Func):
    """The database's clock as a column's default, for rows that another program, or SQL alone, inserts."""

    arity = 0
    output_field = DateTimeField()

    def as_sql(self, compiler: Any, connection: Any, *args: Any, **kwargs: Any) -> Any:
        # Twice: once for the template, once for the statement that it stands in.
        template = CLOCK_SQL[connection.vendor].replace("%", "%%%%")
        return super().as_sql(compiler, connection, template=template)


def database_clock(using: str) -> datetime:
    """Return what the clock of this database shows, aware and in UTC, in one statement at most."""
    connection = connections[using]
    if connection.vendor == "sqlite":
        return machine_clock()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {CLOCK_SQL[connection.vendor]}")
        moment: datetime = cursor.fetchone()[0]
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
