"""The database's clock, for rows that are planned when they are saved.

What runs statements for messages, and reads the clock on the way, is engines.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from django.db import connections

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# SQLite has no clock but the machine's, and tells milliseconds of it: see machine_clock().

CLOCK_SQL = {
    "postgresql": "STATEMENT_TIMESTAMP()",
    "mysql": "UTC_TIMESTAMP(6)",
}


def machine_clock() -> datetime:
    """Return the clock of this machine, to the microsecond.

    It is read where no test's frozen time reaches it: delays and leases count from the clock of the
    database, on every engine.
    """
    return EPOCH + timedelta(microseconds=time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000)


def database_clock(using: str) -> datetime:
    """Return what the clock of this database shows, aware and in UTC, in one statement at most."""
    connection = connections[using]
    if connection.vendor == "sqlite":
        return machine_clock()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {CLOCK_SQL[connection.vendor]}")
        moment: datetime = cursor.fetchone()[0]
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
