"""Filters on live messages that no index answers: looked for among those that come first in their lanes.

Which filters there are stands in filters.py, how the list shows what was found in messages.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from ..engines import Lane
from ..models import Message
from .paging import AtLeast, CappedPaginator
from .snapshot import Reading

# So many messages are looked at, over all lanes together, however many there are.
WINDOW = 10_000
# Where in its lane a message of this state stands, and what else makes it so.
STATES = {
    "ready": ("AND visible_at <= %(now)s", ""),
    "running": ("AND visible_at > %(now)s", "leased_by IS NOT NULL"),
    "retrying": ("AND visible_at > %(now)s", "leased_by IS NULL AND attempts > 0"),
    "scheduled": ("AND visible_at > %(now)s", "leased_by IS NULL AND attempts = 0"),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list of live messages is narrowed to; None means all."""

    queue: str | None = None
    state: str | None = None
    types: Sequence[str] | None = None


def find_ids(page: Reading, wanted: Wanted) -> list[int]:
    """Return the ids of what is wanted, higher priorities and earlier ones first, by one statement."""
    lanes = [lane for lane in page.lanes if wanted.queue in (None, lane.queue)]
    if not lanes or (wanted.state is not None and wanted.state not in STATES):
        return []
    sql, params = _sql(lanes, wanted)
    return [row[0] for row in page.engine.execute(sql, {**params, "now": page.engine.moment(page.now)})]


def _sql(lanes: Sequence[Lane], wanted: Wanted) -> tuple[str, dict[str, Any]]:
    place_in_lane, rule = STATES[wanted.state] if wanted.state else ("", "")
    each = -(-WINDOW // len(lanes))
    parts: list[str] = []
    params: dict[str, Any] = {}
    for n, lane in enumerate(lanes):
        params |= {f"queue{n}": lane.queue, f"priority{n}": lane.priority}
        # In the order of the index, so that it ends after the first ones.
        parts.append(
            f"SELECT * FROM (SELECT id, type, priority, visible_at, leased_by, attempts "
            f"FROM {Message._meta.db_table} WHERE queue = %(queue{n})s AND priority = %(priority{n})s "
            f"{place_in_lane} ORDER BY visible_at LIMIT {each}) lane{n}"
        )
    rules = [rule] if rule else []
    if wanted.types is not None:
        marks = {f"type{n}": name for n, name in enumerate(wanted.types)}
        rules.append(f"type IN ({', '.join(f'%({mark})s' for mark in marks)})")
        params |= marks
    where = f"WHERE {' AND '.join(rules)}" if rules else ""
    return (
        f"SELECT id FROM ({' UNION ALL '.join(parts)}) lanes {where} ORDER BY priority DESC, visible_at, id",
        params,
    )


class WindowPaginator(CappedPaginator):
    """Pages of a list whose ids are known: each reads its own fifty rows and no more."""

    def __init__(self, ids: list[int], per_page: int, rows: QuerySet[Any]) -> None:
        found = AtLeast(len(ids)) if len(ids) >= WINDOW else len(ids)
        super().__init__(ids, per_page)
        self.count = found
        self.rows = rows

    def page(self, number: Any) -> Any:
        page = super().page(number)
        page.object_list = self.rows.filter(pk__in=list(page.object_list))
        return page
