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
from .rows import GOING_ON, MOVED, Claim, Claimed, ClaimRequest, Lane, Looked, Settlement, choose
from .values import ValuesInserting

LOOKED = ("id", "type", "visible_at", "attempts", "max_attempts", "leased_by IS NOT NULL", "deaths")
CLAIMED = (
    "id", "type", "payload", "headers", "queue", "priority", "attempts", "max_attempts", "receipt", "deaths",
    "errors", "enqueued_at", "deadline", "planned_at", "leased_at",
)  # fmt: skip
# The columns of the relation `s` that settlements are joined as, in their order in the JSON rows.
SETTLED = (
    "id", "outcome", "attempts", "errors", "delay", "deaths", "started", "seconds", "result",
    "error_class", "error_fingerprint",
)  # fmt: skip
# Those of a success without a result: each column that is read out of JSON costs as much as its write.
PLAIN = ("id", "started", "seconds")


class PortableEngine(ValuesInserting):
    # What follows a SELECT that locks.
    locking = ""
    # What is true of the rows behind a lane, in words that the engine's index search understands.
    after_lane = "queue > %(queue)s OR (queue = %(queue)s AND priority > %(priority)s)"
    # What follows the table's name where an engine would not choose the lane's index by itself.
    lane_hint = ""

    def select(self, columns: Sequence[str], rest: str, params: dict[str, Any]) -> list[Any]:
        """Return the rows of SELECT `columns` `rest`, moments as read_moment() takes them."""
        return self.execute(f"SELECT {', '.join(columns)} {rest}", params)

    def settled_relation(self, columns: Sequence[str]) -> str:
        """The settlements in the parameter `rows`, as a relation s with these of the columns SETTLED."""
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
                "now": self.moment(request.now),
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
            "now": self.moment(request.now),
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

    # -- settle -----------------------------------------------------------------------------------------

    def lock_held(self, process: UUID, leases: Sequence[tuple[int, int]], *, wait: bool = False) -> list[Any]:
        these, params = self.among([id for id, _ in leases])
        locking = self.locking.removesuffix("SKIP LOCKED") if wait else self.locking
        rows = self.select(
            ("id", "receipt", "deadline", self.now_sql(None)),
            f"FROM {TABLE} WHERE id {these} AND leased_by = %(process)s {locking}",
            {**params, "process": self.process(process)},
        )
        if not rows:
            return []
        read, clock, pairs = self.read_moment, self.read_moment(rows[0][-1]), set(leases)
        return [(id, read(deadline), clock) for id, receipt, deadline, _ in rows if (id, receipt) in pairs]

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
        kept = [s for s in settlements if outcomes.get(s.id) in keep]
        self._archive([s for s in kept if s.is_plain], PLAIN, outcomes, now)
        self._archive([s for s in kept if not s.is_plain], SETTLED, outcomes, now)
        self._delete([id for id, outcome in outcomes.items() if outcome not in GOING_ON])
        self._put_back([s for s in settlements if outcomes.get(s.id) in GOING_ON], outcomes, now)
        return outcomes

    def _rows(
        self,
        settlements: Sequence[Settlement],
        columns: Sequence[str],
        outcomes: dict[int, str],
        now: datetime | None,
    ) -> dict[str, Any]:
        rows: list[Sequence[Any]]
        if columns is PLAIN:
            rows = [(s.id, self._started(s), s.seconds) for s in settlements]
        else:
            rows = [
                (
                    s.id, outcomes[s.id], s.attempts, s.errors, self.amount(s.delay_seconds), s.deaths,
                    self._started(s), s.seconds, s.result, s.error_class, s.error_fingerprint,
                )
                for s in settlements
            ]  # fmt: skip
        return {"rows": json.dumps(rows, ensure_ascii=False), "now": self.moment(now)}

    def _started(self, settlement: Settlement) -> Any:
        ago = settlement.started_seconds_ago
        return None if ago is None else self.amount(-ago)

    def _archive(
        self,
        settlements: Sequence[Settlement],
        columns: Sequence[str],
        outcomes: dict[int, str],
        now: datetime | None,
    ) -> None:
        if not settlements:
            return
        clock, moved = self.now_sql(now), ", ".join(MOVED)
        facts = {
            "attempts": "COALESCE(s.attempts, m.attempts)",
            "errors": "COALESCE(s.errors, m.errors)",
            "first_started_at": f"COALESCE(m.first_started_at, {self.plus_sql(clock, 's.started')})",
            "outcome": "s.outcome",
            "finished_at": clock,
            "seconds": "s.seconds",
            "result": "s.result",
            "error_class": "s.error_class",
            "error_fingerprint": "s.error_fingerprint",
        }
        if columns is PLAIN:
            facts |= {"attempts": "m.attempts", "errors": "m.errors", "outcome": "'succeeded'",
                      "result": "NULL", "error_class": "''", "error_fingerprint": "''"}  # fmt: skip
        self.execute(
            f"""
            INSERT INTO {ARCHIVE} ({moved}, {", ".join(facts)})
            SELECT {", ".join(f"m.{name}" for name in MOVED)}, {", ".join(facts.values())}
            FROM {TABLE} m JOIN {self.settled_relation(columns)} ON m.id = s.id
            """,
            self._rows(settlements, columns, outcomes, now),
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
        self.execute(self.update_joined(assignments), self._rows(settlements, SETTLED, outcomes, now))


def _outcome(settlement: Settlement, deadline: datetime | None, clock: datetime) -> str:
    """A retry that would be visible after the deadline is expired."""
    if settlement.outcome == "again" and deadline is not None:
        left = (deadline - clock).total_seconds()
        return "expired" if settlement.delay_seconds > left else "again"
    return settlement.outcome
