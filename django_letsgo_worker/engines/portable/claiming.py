"""Claim: look, choose in Python, update, read back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base import IS_PAUSED, TABLE
from ..rows import Claim, Claimed, ClaimRequest, Lane, Looked, choose
from .settling import Settling

LOOKED = ("id", "type", "visible_at", "attempts", "max_attempts", "leased_by IS NOT NULL", "deaths")
CLAIMED = (
    "id", "type", "payload", "headers", "queue", "priority", "attempts", "max_attempts", "receipt", "deaths",
    "errors", "enqueued_at", "deadline", "planned_at", "leased_at",
)  # fmt: skip


class Claiming(Settling):
    # What is true of the rows behind a lane, in words that the engine's index search understands.
    after_lane = "queue > %(queue)s OR (queue = %(queue)s AND priority > %(priority)s)"
    # What follows the table's name where an engine would not choose the lane's index by itself.
    lane_hint = ""

    def lanes(
        self,
        *,
        waiting: bool = False,
        queues: Sequence[str] | None = None,
        marked: Sequence[Lane] | None = None,
    ) -> list[Lane]:
        found: list[Lane] = []
        where = ""
        params: dict[str, Any] = {}
        while True:
            # Skips through the index from lane to lane, whatever their length.
            rows = self.execute(
                f"SELECT queue, priority, visible_at, {IS_PAUSED.format(name='queue')} FROM {TABLE} {where} "
                "ORDER BY queue, priority, visible_at LIMIT 1",
                params,
            )
            if not rows:
                return found
            found.append(self.read_lane(rows[0]))
            where = f"WHERE {self.after_lane}"
            params = {"queue": found[-1].queue, "priority": found[-1].priority}

    def claim_within(self, request: ClaimRequest, window: int) -> Claim:
        looked = self._look(request, window)
        known = set(request.types)
        taken = choose(looked, request)
        return Claim(
            rows=self._take(request, taken) if taken else [],
            unknown={row.type for row in looked} - known,
            looked=len(looked),
            looked_from=self.read_moment(looked[0].visible_at) if looked else None,
            looked_until=self.read_moment(looked[-1].visible_at) if looked else None,
        )

    def _look(self, request: ClaimRequest, window: int) -> list[Looked]:
        clock = self.now_sql(request.now)
        since = "AND visible_at >= %(start_at)s" if request.start_at else ""
        if request.known_only:
            since += f" AND type IN ({', '.join(f'%(type{n})s' for n in range(len(request.types)))})"
        lapsed = ""
        if self.lapse_grace:
            lapsed = f"AND (leased_by IS NULL OR visible_at <= {self.plus_sql(clock, '%(grace)s')})"
        rows = self.select(
            LOOKED,
            f"""
            FROM {TABLE} {self.lane_hint}
            WHERE queue = %(queue)s AND priority = %(priority)s AND visible_at <= {clock} {since} {lapsed}
              AND NOT {IS_PAUSED.format(name="%(queue)s")}
            ORDER BY visible_at LIMIT %(window)s {self.locking}
            """,
            {
                "queue": request.lane.queue,
                "priority": request.lane.priority,
                "start_at": self.moment(request.start_at),
                "grace": self.amount(-self.lapse_grace * request.lease_seconds),
                **{f"type{n}": type for n, type in enumerate(request.types)},
                "window": window,
                "now": self.now_param(request.now),
            },
        )
        return [Looked._make(row) for row in rows]

    def _take(self, request: ClaimRequest, taken: Sequence[int]) -> list[Claimed]:
        clock = self.now_sql(request.now)
        these, params = self.among(taken)
        params = {
            **params,
            "process": self.process(request.process),
            "lease": self.amount(request.lease_seconds),
            "now": self.now_param(request.now),
        }
        self.execute(
            f"""
            UPDATE {TABLE}
            SET deaths = deaths + (leased_by IS NOT NULL), receipt = receipt + 1, attempts = attempts + 1,
                leased_by = %(process)s, leased_at = {clock}, visible_at = {self.plus_sql(clock, "%(lease)s")}
            WHERE id {these}
            """,
            params,
        )
        rows = self.select(CLAIMED, f"FROM {TABLE} WHERE id {these}", params)
        # All were claimed at one moment, which is read once.
        read, at = self.read_moment, [self.read_moment(rows[0][-1])]
        claimed = {row[0]: Claimed(*row[:-4], *map(read, row[-4:-1]), *at) for row in rows}
        return [claimed[id] for id in taken]
