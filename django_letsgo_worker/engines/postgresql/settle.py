"""Settle: one statement that guards, deletes, archives and puts back, and claims what is next if asked to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from ..base import ARCHIVE, TABLE
from ..records import MOVED, Claim, ClaimRequest, Settlement
from .claim import LOOKED, Claiming

GONE = ", ".join(f"m.{name}" for name in (*MOVED, "attempts", "errors", "first_started_at"))
ARCHIVED = ", ".join(MOVED)

SETTLING = f"""
s AS (
    SELECT * FROM unnest(
        %(ids)s::bigint[], %(receipts)s::bigint[], %(outcomes)s::text[], %(attempts)s::int[],
        %(errors)s::text[], %(delays)s::bigint[], %(deaths)s::int[], %(started)s::bigint[],
        %(seconds)s::float8[], %(results)s::text[], %(classes)s::text[], %(fingerprints)s::text[]
    ) AS s(id, receipt, outcome, attempts, errors, delay, deaths, started, seconds, result, error_class,
           error_fingerprint)
),
-- The guard: what this process still holds. A retry beyond the deadline becomes expired.
held AS MATERIALIZED (
    SELECT m.id, s.attempts AS new_attempts, s.errors AS new_errors, s.delay, s.deaths AS new_deaths,
           s.seconds, s.result, s.error_class, s.error_fingerprint, {{started}} AS started_at,
           CASE WHEN s.outcome = 'again' AND m.deadline < {{visible}} THEN 'expired'
                ELSE s.outcome END AS outcome
    FROM {TABLE} m JOIN s ON m.id = s.id AND m.receipt = s.receipt
    -- `id = ANY` beside the join: with the statistics of an empty table, the join alone reads the whole
    -- primary key.
    WHERE m.id = ANY(%(ids)s::bigint[]) AND m.leased_by = %(process)s
    FOR UPDATE OF m SKIP LOCKED
),
gone AS (
    DELETE FROM {TABLE} m USING held h
    WHERE m.id = h.id AND m.id = ANY(%(ids)s::bigint[]) AND h.outcome NOT IN ('again', 'released')
    RETURNING {GONE}, h.new_attempts, h.new_errors, h.started_at, h.outcome, h.seconds, h.result,
              h.error_class, h.error_fingerprint
),
archived AS (
    INSERT INTO {ARCHIVE} ({ARCHIVED}, attempts, errors, first_started_at, outcome, finished_at, seconds,
                           result, error_class, error_fingerprint)
    SELECT {ARCHIVED}, COALESCE(new_attempts, attempts), COALESCE(new_errors::json, errors),
           COALESCE(first_started_at, started_at), outcome, {{clock}}, seconds, result::json, error_class,
           error_fingerprint
    FROM gone WHERE outcome = ANY(%(keep)s::text[])
),
back AS (
    UPDATE {TABLE} m
    SET visible_at = {{back}}, leased_by = NULL, leased_at = NULL, deaths = h.new_deaths,
        attempts = COALESCE(h.new_attempts, m.attempts), errors = COALESCE(h.new_errors::json, m.errors),
        first_started_at = COALESCE(m.first_started_at, h.started_at)
    FROM held h
    WHERE m.id = h.id AND m.id = ANY(%(ids)s::bigint[]) AND h.outcome IN ('again', 'released')
)"""

# One message that ends, as an atomic handler's own transaction writes it: planned in a fraction of the time.
SETTLE_ONE = f"""
WITH gone AS (
    DELETE FROM {TABLE} m
    WHERE m.id = %(id)s AND m.receipt = %(receipt)s AND m.leased_by = %(process)s
    RETURNING {GONE}
),
archived AS (
    INSERT INTO {ARCHIVE} ({ARCHIVED}, attempts, errors, first_started_at, outcome, finished_at, seconds,
                           result, error_class, error_fingerprint)
    SELECT {ARCHIVED}, COALESCE(%(attempts)s::int, attempts), COALESCE(%(errors)s::json, errors),
           COALESCE(first_started_at, {{started}}), %(outcome)s::text, {{clock}}, %(seconds)s::float8,
           %(result)s::json, %(class)s, %(fingerprint)s
    FROM gone WHERE %(kept)s::boolean
)
SELECT id, %(outcome)s::text FROM gone
"""
LOCK_ONE = f"""
SELECT id, deadline, STATEMENT_TIMESTAMP() FROM {TABLE}
WHERE id = %(id)s AND receipt = %(receipt)s AND leased_by = %(process)s FOR UPDATE
"""
LOCK_HELD = f"""
SELECT m.id, m.deadline, STATEMENT_TIMESTAMP() FROM {TABLE} m
JOIN unnest(%(ids)s::bigint[], %(receipts)s::bigint[]) AS s(id, receipt)
     ON m.id = s.id AND m.receipt = s.receipt
WHERE m.id = ANY(%(ids)s::bigint[]) AND m.leased_by = %(process)s
FOR UPDATE OF m {{waiting}}
"""

# One statement can change a row only once: what it settles, it does not claim.
OTHERS = "AND (leased_by IS DISTINCT FROM %(process)s OR id <> ALL(%(ids)s::bigint[]))"
# What was settled, behind what was looked at: as many columns as LOOKED has.
SETTLED = f"UNION ALL SELECT NULL, outcome, id{', NULL' * 16} FROM held"


class Settling(Claiming):
    def lock_held(self, process: UUID, leases: Sequence[tuple[int, int]], *, wait: bool = False) -> list[Any]:
        if wait and len(leases) == 1:
            ((id, receipt),) = leases
            return self.execute(LOCK_ONE, {"id": id, "receipt": receipt, "process": process})
        params = {"ids": [id for id, _ in leases], "receipts": [r for _, r in leases], "process": process}
        return self.execute(LOCK_HELD.format(waiting="" if wait else "SKIP LOCKED"), params)

    def settle(
        self,
        process: UUID,
        settlements: Sequence[Settlement],
        *,
        keep: frozenset[str],
        now: datetime | None = None,
    ) -> dict[int, str]:
        sql = f"WITH {self.settling(now)} SELECT id, outcome FROM held"
        written = dict(self.execute(sql, self.settle_params(process, settlements, keep, now)))
        self.settle_more(settlements, written, now)
        return written

    def settle_locked(
        self, process: UUID, settlement: Settlement, *, keep: frozenset[str], now: datetime | None = None
    ) -> dict[int, str]:
        if settlement.goes_on:
            return self.settle(process, [settlement], keep=keep, now=now)
        clock, ago = self.now_sql(now), settlement.started_seconds_ago
        params = {
            "id": settlement.id,
            "receipt": settlement.receipt,
            "process": process,
            "attempts": settlement.attempts,
            "errors": settlement.errors,
            "outcome": settlement.outcome,
            "kept": settlement.outcome in keep,
            "started": None if ago is None else -self.amount(ago),
            "seconds": settlement.seconds,
            "result": settlement.result,
            "class": settlement.error_class,
            "fingerprint": settlement.error_fingerprint,
            "now": now,
        }
        sql = SETTLE_ONE.format(clock=clock, started=self.plus_sql(clock, "%(started)s"))
        written = dict(self.execute(sql, params))
        self.settle_more([settlement], written, now)
        return written

    def settle_and_claim(
        self, process: UUID, settlements: Sequence[Settlement], keep: frozenset[str], request: ClaimRequest
    ) -> tuple[dict[int, str], Claim]:
        params = self.settle_params(process, settlements, keep, request.now)
        params.update(self.claim_params(request, request.limit))
        rows = self.execute(
            f"WITH {self.settling(request.now)}, {self.claiming(request, OTHERS)} {LOOKED} {SETTLED}", params
        )
        written = {row[2]: row[1] for row in rows if row[0] is None}
        self.settle_more(settlements, written, request.now)
        claim = self.read_claim([row for row in rows if row[0] is not None], request, request.limit)
        return written, claim

    def settling(self, now: datetime | None) -> str:
        """The CTEs of a settlement."""
        clock = self.now_sql(now)
        return SETTLING.format(
            clock=clock,
            started=self.plus_sql(clock, "s.started"),
            visible=self.plus_sql(clock, "s.delay"),
            back=self.plus_sql(clock, "h.delay"),
        )

    def settle_params(
        self,
        process: UUID,
        settlements: Sequence[Settlement],
        keep: frozenset[str],
        now: datetime | None,
    ) -> dict[str, Any]:
        return {**self._columns(settlements), "keep": sorted(keep), "process": process, "now": now}

    def _columns(self, settlements: Sequence[Settlement]) -> dict[str, list[Any]]:
        ago = [s.started_seconds_ago for s in settlements]
        return {
            "ids": [s.id for s in settlements],
            "receipts": [s.receipt for s in settlements],
            "outcomes": [s.outcome for s in settlements],
            "attempts": [s.attempts for s in settlements],
            "errors": [s.errors for s in settlements],
            "delays": [self.amount(s.delay_seconds) for s in settlements],
            "deaths": [s.deaths for s in settlements],
            "started": [None if seconds is None else -self.amount(seconds) for seconds in ago],
            "seconds": [s.seconds for s in settlements],
            "results": [s.result for s in settlements],
            "classes": [s.error_class for s in settlements],
            "fingerprints": [s.error_fingerprint for s in settlements],
        }
