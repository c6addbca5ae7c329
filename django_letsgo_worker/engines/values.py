"""INSERT ... VALUES for the engines without arrays: one row, or many spaced so that their order holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from .base import Engine
from .records import NewRow

# What insert_columns() gives values for, in its order.
INSERTED = (
    "type, payload, headers, queue, priority, max_attempts, unique_key, scheduled_job_id, planned_at, "
    "errors, attempts, receipt, deaths, enqueued_at, visible_at, deadline"
)


class ValuesInserting(Engine):
    def insert_columns(
        self, row: NewRow, now: datetime | None, n: int = 0, ahead: int = 0
    ) -> tuple[str, dict[str, Any]]:
        """One VALUES row for the columns INSERTED, and its parameters, numbered n.

        `ahead` is how many microseconds before the clock it becomes visible, if it is not delayed.
        """
        clock = self.now_sql(now)
        delay = row.delay_seconds if row.delay_seconds else -ahead / 1_000_000
        deadline = (
            f"%(deadline{n})s" if row.deadline_seconds is None else self.plus_sql(clock, f"%(deadline{n})s")
        )
        values = {
            **row.plain(),
            "unique_key": row.unique_key,
            "scheduled_job_id": row.scheduled_job_id,
            "planned_at": self.moment(row.planned_at),
        }
        plain = ", ".join(f"%({name}{n})s" for name in values)
        visible = f"%(visible{n})s" if row.visible_at else self.plus_sql(clock, f"%(visible{n})s")
        params = {f"{name}{n}": value for name, value in values.items()}
        params[f"visible{n}"] = self.moment(row.visible_at) if row.visible_at else self.amount(delay)
        params[f"deadline{n}"] = (
            self.moment(row.deadline) if row.deadline_seconds is None else self.amount(row.deadline_seconds)
        )
        params["now"] = self.now_param(now)
        return f"({plain}, '[]', 0, 0, 0, {clock}, {visible}, {deadline})", params

    def insert_columns_of_many(
        self, rows: Sequence[NewRow], now: datetime | None
    ) -> tuple[str, dict[str, Any]]:
        """All VALUES rows, spaced by microseconds backwards from the clock so that their order holds."""
        parts, params = [], {}
        for n, row in enumerate(rows):
            part, values = self.insert_columns(row, now, n, len(rows) - 1 - n)
            parts.append(part)
            params.update(values)
        return ", ".join(parts), params
