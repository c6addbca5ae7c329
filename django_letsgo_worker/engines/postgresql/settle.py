"""Settle: one statement that guards, deletes, archives and puts back, and claims what is next if asked to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from ..base import ARCHIVE, TABLE, Engine
from ..records import MOVED, Claim, ClaimRequest, Settlement
from .claim import DUE_AT, ID, LOOKED, TYPE, claim_params, claiming, read_claims
from .dialect import DIALECT

GONE = ", ".join(f"m.{name}" for name in (*MOVED, "attempts", "errors", "first_started_at"))
ARCHIVED = ", ".join(MOVED)

# What is to be written of each message.
SETTLED = """
    SELECT * FROM unnest(
        %(ids)s::bigint[], %(receipts)s::bigint[], %(outcomes)s::text[], %(attempts)s::int[],
        %(errors)s::text[], %(delays)s::bigint[], %(deaths)s::int[], %(started)s::bigint[],
        %(seconds)s::float8[], %(results)s::text[], %(classes)s::text[], %(fingerprints)s::text[],
        %(keeps)s::boolean[]
    ) AS s(id, receipt, outcome, attempts, errors, delay, deaths, started, seconds, result, error_class,
           error_fingerprint, keep)"""
# The same of plain successes: to make, send and read a list costs as much as what it is written to.
PLAIN = """
    SELECT id, receipt, 'succeeded' AS outcome, NULL::int AS attempts, NULL AS errors, 0::bigint AS delay,
           0 AS deaths, started, seconds, NULL AS result, '' AS error_class, '' AS error_fingerprint,
           NULL::boolean AS keep
    FROM unnest(%(ids)s::bigint[], %(receipts)s::bigint[], %(started)s::bigint[], %(seconds)s::float8[])
         AS s(id, receipt, started, seconds)"""
SETTLING = f"""
s AS ({{settled}}
),
-- The guard: what this process still holds. A retry beyond the deadline becomes expired.
held AS MATERIALIZED (
    SELECT m.id, s.attempts AS new_attempts, s.errors AS new_errors, s.delay, s.deaths AS new_deaths,
           s.seconds, s.result, s.error_class, s.error_fingerprint, s.keep, {{started}} AS started_at,
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
              h.error_class, h.error_fingerprint, h.keep
),
archived AS (
    INSERT INTO {ARCHIVE} ({ARCHIVED}, attempts, errors, first_started_at, outcome, finished_at, seconds,
                           result, error_class, error_fingerprint)
    SELECT {ARCHIVED}, COALESCE(new_attempts, attempts), COALESCE(new_errors::json, errors),
           COALESCE(first_started_at, started_at), outcome, {{clock}}, seconds, result::json, error_class,
           error_fingerprint
    FROM gone WHERE COALESCE(keep, outcome = ANY(%(keep)s::text[]))
),
back AS (
    UPDATE {TABLE} m
    SET visible_at = {{back}}, leased_by = NULL, leased_at = NULL, deaths = h.new_deaths,
        attempts = COALESCE(h.new_attempts, m.attempts), errors = COALESCE(h.new_errors::json, m.errors),
        first_started_at = COALESCE(m.first_started_at, h.started_at),
        error_fingerprint = COALESCE(NULLIF(h.error_fingerprint, ''), m.error_fingerprint)
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
# What was settled, behind what was looked at: as many columns as LOOKED has, and never due.
WRITTEN = f"UNION ALL SELECT outcome, id{', NULL' * 18} FROM held"


@cache
def _settling(clock: str, are_plain: bool) -> str:
    """The CTEs of a settlement."""
    return SETTLING.format(
        settled=PLAIN if are_plain else SETTLED,
        clock=clock,
        started=DIALECT.plus_sql(clock, "s.started"),
        visible=DIALECT.plus_sql(clock, "s.delay"),
        back=DIALECT.plus_sql(clock, "h.delay"),
    )


@cache
def settle_one_sql(clock: str) -> str:
    """SETTLE_ONE with this clock."""
    return SETTLE_ONE.format(clock=clock, started=DIALECT.plus_sql(clock, "%(started)s"))


@cache
def _settle_and_claim_sql(clock: str, known_only: bool, are_plain: bool) -> str:
    return f"WITH {_settling(clock, are_plain)}, {claiming(clock, known_only, OTHERS)} {LOOKED} {WRITTEN}"


def lock_held(
    engine: Engine, process: UUID, leases: Sequence[tuple[int, int]], *, wait: bool = False
) -> list[Any]:
    if wait and len(leases) == 1:
        ((id, receipt),) = leases
        return engine.execute(LOCK_ONE, {"id": id, "receipt": receipt, "process": process})
    params = {"ids": [id for id, _ in leases], "receipts": [r for _, r in leases], "process": process}
    return engine.execute(LOCK_HELD.format(waiting="" if wait else "SKIP LOCKED"), params)


def settle(
    engine: Engine,
    process: UUID,
    settlements: Sequence[Settlement],
    *,
    keep: frozenset[str],
    now: datetime | None = None,
) -> dict[int, str]:
    are_plain = _are_plain(settlements)
    sql = f"WITH {_settling(DIALECT.now_sql(now), are_plain)} SELECT id, outcome FROM held"
    written = dict(engine.execute(sql, _params(process, settlements, keep, now, are_plain)))
    engine.settle_more(settlements, written, now)
    return written


def settle_locked(
    engine: Engine,
    process: UUID,
    settlement: Settlement,
    *,
    keep: frozenset[str],
    now: datetime | None = None,
) -> dict[int, str]:
    if settlement.goes_on:
        return engine.settle(process, [settlement], keep=keep, now=now)
    s, ago = settlement, settlement.started_seconds_ago
    params = {
        "id": s.id, "receipt": s.receipt, "process": process, "attempts": s.attempts, "errors": s.errors,
        "outcome": s.outcome, "kept": s.is_kept(s.outcome, keep),
        "started": None if ago is None else -DIALECT.amount(ago), "seconds": s.seconds, "result": s.result,
        "class": s.error_class, "fingerprint": s.error_fingerprint, "now": now,
    }  # fmt: skip
    written = dict(engine.execute(settle_one_sql(DIALECT.now_sql(now)), params))
    engine.settle_more([settlement], written, now)
    return written


def settle_and_claim(
    engine: Engine,
    process: UUID,
    settlements: Sequence[Settlement],
    keep: frozenset[str],
    request: ClaimRequest,
) -> tuple[dict[int, str], Claim]:
    are_plain = _are_plain(settlements)
    params = _params(process, settlements, keep, request.now, are_plain)
    params.update(claim_params(request, request.limit))
    sql = _settle_and_claim_sql(DIALECT.now_sql(request.now), request.known_only, are_plain)
    rows = engine.execute(sql, params)
    written = {row[ID]: row[TYPE] for row in rows if row[DUE_AT] is None}
    engine.settle_more(settlements, written, request.now)
    claim = read_claims([row for row in rows if row[DUE_AT] is not None], request, request.limit)
    return written, claim


def _are_plain(settlements: Sequence[Settlement]) -> bool:
    return all(s.is_plain and s.keep is None for s in settlements)


def _params(
    process: UUID,
    settlements: Sequence[Settlement],
    keep: frozenset[str],
    now: datetime | None,
    are_plain: bool,
) -> dict[str, Any]:
    ago = [s.started_seconds_ago for s in settlements]
    plain = {
        "keep": sorted(keep),
        "process": process,
        "now": now,
        "ids": [s.id for s in settlements],
        "receipts": [s.receipt for s in settlements],
        "started": [None if seconds is None else -DIALECT.amount(seconds) for seconds in ago],
        "seconds": [s.seconds for s in settlements],
    }
    if are_plain:
        return plain
    return plain | {
        "outcomes": [s.outcome for s in settlements],
        "attempts": [s.attempts for s in settlements],
        "errors": [s.errors for s in settlements],
        "delays": [DIALECT.amount(s.delay_seconds) for s in settlements],
        "deaths": [s.deaths for s in settlements],
        "results": [s.result for s in settlements],
        "classes": [s.error_class for s in settlements],
        "fingerprints": [s.error_fingerprint for s in settlements],
        "keeps": [s.keep for s in settlements],
    }
