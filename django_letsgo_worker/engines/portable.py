"""Claim and settle for the engines that have no RETURNING from several tables at once.

A claim looks, chooses in Python, updates and reads back; what differs is left to the two engines.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from .base import ARCHIVE, IS_PAUSED, TABLE
from .rows import MOVED, Claim, Claimed, ClaimRequest, Lane, Looked, Settlement, choose
from .values import ValuesInserting

CLAIMED = (
    "id, type, payload, headers, queue, priority, attempts, max_attempts, receipt, deaths, errors, "
    "enqueued_at, deadline, planned_at, leased_at"
)
# The columns of the relation `s` that settlements are joined as, in their order in the JSON rows.
SETTLED = (
    "id", "outcome", "attempts", "errors", "delay", "deaths", "started", "seconds", "result",
    "error_class", "error_fingerprint",
)  # fmt: skip


class PortableEngine(ValuesInserting):
    # What follows a SELECT that locks.
    locking = ""
    # What is true of the rows behind a lane, in words that the engine's index search understands.
    after_lane = "queue > %(queue)s OR (queue = %(queue)s AND priority > %(priority)s)"
    # What follows the table's name where an engine would not choose the lane's index by itself.
    lane_hint = ""

    def settled_relation(self) -> str:
        """The settlements in the parameter `rows`, as a relation named s with the columns SETTLED."""
        raise NotImplementedError

    def update_joined(self, assignments: dict[str, str]) -> str:
        """UPDATE messages m with the settlements s: a column and its expression each."""
        raise NotImplementedError

    # -- claim ------------------------------------------------------------------------------------------

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
        rows = self.execute(
            f"""
            SELECT id, type, visible_at, attempts, max_attempts, leased_by IS NOT NULL, deaths
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
                "now": self.moment(request.now),
            },
        )
        return [Looked(*row) for row in rows]

    def _take(self, request: ClaimRequest, taken: Sequence[int]) -> list[Claimed]:
        clock = self.now_sql(request.now)
        these, params = self.among(taken)
        params = {
            **params,
            "process": self.process(request.process),
            "lease": self.amount(request.lease_seconds),
            "now": self.moment(request.now),
        }
        update = f"""
            UPDATE {TABLE}
            SET deaths = deaths + (leased_by IS NOT NULL), receipt = receipt + 1, attempts = attempts + 1,
                leased_by = %(process)s, leased_at = {clock}, visible_at = {self.plus_sql(clock, "%(lease)s")}
            WHERE id {these}
            """
        read = self.read_moment
        claimed = {
            row[0]: Claimed(*row[:-4], *map(read, row[-4:])) for row in self.take_rows(update, these, params)
        }
        return [claimed[id] for id in taken]

    def take_rows(self, update: str, these: str, params: dict[str, Any]) -> list[Any]:
        """Carry out the update of `these` rows, and return them as it leaves them."""
        self.execute(update, params)
        return self.execute(f"SELECT {CLAIMED} FROM {TABLE} WHERE id {these}", params)

    # -- settle -----------------------------------------------------------------------------------------

    def lock_held(self, process: UUID, leases: Sequence[tuple[int, int]], *, wait: bool = False) -> list[Any]:
        these, params = self.among([id for id, _ in leases])
        locking = self.locking.removesuffix("SKIP LOCKED") if wait else self.locking
        rows = self.execute(
            f"""
            SELECT id, receipt, deadline, {self.now_sql(None)} FROM {TABLE}
            WHERE id {these} AND leased_by = %(process)s {locking}
            """,
            {**params, "process": self.process(process)},
        )
        read, pairs = self.read_moment, set(leases)
        return [(id, read(until), read(now)) for id, receipt, until, now in rows if (id, receipt) in pairs]

    def settle(
        self,
        process: UUID,
        settlements: Sequence[Settlement],
        *,
        keep: frozenset[str],
        now: datetime | None = None,
    ) -> dict[int, str]:
        held = self.lock_held(process, [(s.id, s.receipt) for s in settlements])
        deadlines = {id: (deadline, now or clock) for id, deadline, clock in held}
        outcomes = {s.id: _outcome(s, *deadlines[s.id]) for s in settlements if s.id in deadlines}
        ours = [s for s in settlements if s.id in outcomes]
        self._archive([s for s in ours if outcomes[s.id] in keep], outcomes, now)
        self._delete([s.id for s in ours if outcomes[s.id] not in ("again", "released")])
        self._put_back([s for s in ours if outcomes[s.id] in ("again", "released")], outcomes, now)
        return outcomes

    def _rows(
        self, settlements: Sequence[Settlement], outcomes: dict[int, str], now: datetime | None
    ) -> dict[str, Any]:
        rows = [
            [
                s.id, outcomes[s.id], s.attempts, s.errors, self.amount(s.delay_seconds), s.deaths,
                None if s.started_seconds_ago is None else self.amount(-s.started_seconds_ago),
                s.seconds, s.result, s.error_class, s.error_fingerprint,
            ]
            for s in settlements
        ]  # fmt: skip
        return {"rows": json.dumps(rows, ensure_ascii=False), "now": self.moment(now)}

    def _archive(
        self, settlements: Sequence[Settlement], outcomes: dict[int, str], now: datetime | None
    ) -> None:
        if not settlements:
            return
        clock = self.now_sql(now)
        moved = ", ".join(MOVED)
        self.execute(
            f"""
            INSERT INTO {ARCHIVE} ({moved}, attempts, errors, first_started_at, outcome, finished_at, seconds,
                                   result, error_class, error_fingerprint)
            SELECT {", ".join(f"m.{name}" for name in MOVED)}, COALESCE(s.attempts, m.attempts),
                   COALESCE(s.errors, m.errors),
                   COALESCE(m.first_started_at, {self.plus_sql(clock, "s.started")}), s.outcome,
                   {clock}, s.seconds, s.result, s.error_class, s.error_fingerprint
            FROM {TABLE} m JOIN {self.settled_relation()} ON m.id = s.id
            """,
            self._rows(settlements, outcomes, now),
        )

    def _delete(self, ids: Sequence[int]) -> None:
        if ids:
            these, params = self.among(ids)
            self.execute(f"DELETE FROM {TABLE} WHERE id {these}", params)

    def _put_back(
        self, settlements: Sequence[Settlement], outcomes: dict[int, str], now: datetime | None
    ) -> None:
        if not settlements:
            return
        clock = self.now_sql(now)
        assignments = {
            "visible_at": self.plus_sql(clock, "s.delay"),
            "leased_by": "NULL",
            "leased_at": "NULL",
            "deaths": "s.deaths",
            "attempts": "COALESCE(s.attempts, m.attempts)",
            "errors": "COALESCE(s.errors, m.errors)",
            "first_started_at": f"COALESCE(m.first_started_at, {self.plus_sql(clock, 's.started')})",
        }
        self.execute(self.update_joined(assignments), self._rows(settlements, outcomes, now))


def _outcome(settlement: Settlement, deadline: datetime | None, clock: datetime) -> str:
    """A retry that would be visible after the deadline is expired."""
    if settlement.outcome == "again" and deadline is not None:
        left = (deadline - clock).total_seconds()
        return "expired" if settlement.delay_seconds > left else "again"
    return settlement.outcome
