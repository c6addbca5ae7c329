"""The database's clock, for rows that are planned when they are saved.

What runs statements for messages, and reads the clock on the way, is engines.
"""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import connections

CLOCK_SQL = {
    "postgresql": "STATEMENT_TIMESTAMP()",
    "mysql": "UTC_TIMESTAMP(6)",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
}


def database_clock(using: str) -> datetime:
    """Return what the clock of this database shows, aware and in UTC, in one statement."""
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {CLOCK_SQL[connection.vendor]}")
        moment: datetime | str = cursor.fetchone()[0]
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
