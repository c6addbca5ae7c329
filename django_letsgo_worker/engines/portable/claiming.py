"""Claim: look, choose in Python, update, read back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from ..base import IS_PAUSED, TABLE
from ..records import Claim, Claimed, ClaimRequest, Lane, Lapse, Looked, choose
from .settling import Settling

LOOKED = (
    "id", "type", "visible_at", "attempts", "max_attempts", "leased_by IS NOT NULL", "deaths",
    "leased_by", "leased_at",
)  # fmt: skip
CLAIMED = (
    "id", "type", "payload", "headers", "queue", "priority", "attempts", "max_attempts", "receipt", "deaths",
    "errors", "enqueued_at", "deadline", "planned_at", "leased_at",
)  # fmt: skip


# What is true of the rows of one lane from a moment on.
FROM_MARK = "queue = %(queue)s AND priority = %(priority)s AND visible_at >= %(visible_at)s"


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
        if marked is not None:
            return [lane for mark in marked for lane in self._first("WHERE " + FROM_MARK, self._place(mark))]
        found = self._first("", {})
        # Skips through the index from lane to lane, whatever their length.
        while following := self._first(f"WHERE {self.after_lane}", self._place(found[-1])) if found else []:
            found += following
        return found

    def _place(self, lane: Lane) -> dict[str, Any]:
        moment = self.moment(lane.next_visible_at)
        return {"queue": lane.queue, "priority": lane.priority, "visible_at": moment}

    def _first(self, where: str, params: dict[str, Any]) -> list[Lane]:
        """Return the lane of the first message that this is true of, none when there is no such message."""
        rows = self.execute(
            f"SELECT queue, priority, visible_at, {IS_PAUSED.format(name='queue')}, {self.now_sql(None)} "
            f"FROM {TABLE} {where} ORDER BY queue, priority, visible_at LIMIT 1",
            {**params, "now": self.now_param(None)},
        )
        return [self.read_lane(row) for row in rows]

    def claim_within(self, request: ClaimRequest, window: int) -> Claim:
        looked = self._look(request, window)
        known = set(request.types)
        taken = choose(looked, request)
        claim = Claim(self._take(request, taken) if taken else [], {row.type for row in looked} - known)
        chosen = set(taken)
        lapses = {row.id: self._lapse(row) for row in looked if row.held and row.leased_at is not None}
        for claimed in claim.rows if lapses else ():
            claimed.lapse = lapses.get(claimed.id)
        is_left = [row.id not in chosen and row.type in known for row in looked]
        claim.note_looked(is_left, [row.visible_at for row in looked], window, self.read_moment)
        return claim

    def _lapse(self, row: Looked) -> Lapse:
        process = row.leased_by if isinstance(row.leased_by, UUID) else UUID(row.leased_by)
        leased_at = self.read_moment(row.leased_at)
        assert leased_at is not None
        return Lapse(process, leased_at)

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
