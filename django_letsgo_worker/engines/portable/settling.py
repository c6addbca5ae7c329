"""Settle: lock what is held, archive what has ended, put back what goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from ..base import ARCHIVE, TABLE
from ..records import GOING_ON, MOVED, Settlement
from ..values import ValuesInserting

# The columns of the relation `s` that settlements are joined as, in their order in the JSON rows.
SETTLED = (
    "id", "outcome", "attempts", "errors", "delay", "deaths", "started", "seconds", "result",
    "error_class", "error_fingerprint",
)  # fmt: skip
# Those of a success without a result: each column that is read out of JSON costs as much as its write.
PLAIN = ("id", "started", "seconds")


class Settling(ValuesInserting):
    # What follows a SELECT that locks.
    locking = ""

    def select(self, columns: Sequence[str], rest: str, params: dict[str, Any]) -> list[Any]:
        """Return the rows of SELECT `columns` `rest`, moments as read_moment() takes them."""
        return self.execute(f"SELECT {', '.join(columns)} {rest}", params)

    def settled_relation(self, columns: Sequence[str]) -> str:
        """The settlements in the parameter `rows`, as a relation s with these of the columns SETTLED."""
        raise NotImplementedError

    def update_joined(self, assignments: dict[str, str]) -> str:
        """UPDATE messages m with the settlements s: a column and its expression each."""
        raise NotImplementedError

    def lock_held(self, process: UUID, leases: Sequence[tuple[int, int]], *, wait: bool = False) -> list[Any]:
        these, params = self.among([id for id, _ in leases])
        locking = self.locking.removesuffix("SKIP LOCKED") if wait else self.locking
        rows = self.select(
            ("id", "receipt", "deadline", self.now_sql(None)),
            f"FROM {TABLE} WHERE id {these} AND leased_by = %(process)s {locking}",
            {**params, "process": self.process(process), "now": self.now_param(None)},
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
        self.settle_more(settlements, outcomes, now)
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
        return {"rows": json.dumps(rows, ensure_ascii=False), "now": self.now_param(now)}

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
