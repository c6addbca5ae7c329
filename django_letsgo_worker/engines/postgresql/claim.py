"""Claim: one statement that looks, chooses and takes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from operator import itemgetter
from typing import Any
from uuid import UUID

from ..base import TABLE, Engine
from ..pauses import IS_PAUSED, PAUSED_TYPES, TYPE_GOES_ON, TYPE_READ
from ..records import Claim, Claimed, ClaimRequest, Lane, Lapse, lane_of
from .dialect import DIALECT

ALL_LANES = f"""
-- Skips through the index from lane to lane, whatever their length.
lanes AS (
    (SELECT queue, priority, visible_at FROM {TABLE} ORDER BY queue, priority, visible_at LIMIT 1)
    UNION ALL
    SELECT next.* FROM lanes, LATERAL (
        SELECT queue, priority, visible_at FROM {TABLE} m
        WHERE (m.queue, m.priority) > (lanes.queue, lanes.priority)
        ORDER BY queue, priority, visible_at LIMIT 1) next
)"""
MARKED_LANES = f"""
lanes AS (
    SELECT marked.queue, marked.priority, (
        SELECT m.visible_at FROM {TABLE} m
        WHERE m.queue = marked.queue AND m.priority = marked.priority AND m.visible_at >= marked.visible_at
        ORDER BY m.visible_at LIMIT 1) AS visible_at
    FROM unnest(%(lane_queues)s::text[], %(lane_priorities)s::int[], %(lane_marks)s::timestamptz[])
         AS marked(queue, priority, visible_at)
)"""
LANES = f"""
SELECT queue, priority, visible_at, {IS_PAUSED.format(name="lanes.queue")}, {{clock}} FROM lanes
WHERE visible_at IS NOT NULL
"""

# As an array the paused types are read once; for IN each claim would build a hash table.
READ = TYPE_READ.format(is_paused=f"type = ANY(ARRAY({PAUSED_TYPES}))")
# The due rows, that nobody else has locked, of lanes in turn, and of them those that are taken.
CLAIMING = f"""
looked AS MATERIALIZED (
    -- A lane is read when those before it have too few: as the list is the outer side of the join, it is
    -- gone through in its order, and the LIMIT ends that.
    SELECT due.*, lane.turn
    FROM unnest(%(queues)s::text[], %(priorities)s::int[], %(starts)s::timestamptz[])
             WITH ORDINALITY AS lane(queue, priority, start_at, turn),
         LATERAL (
            SELECT id, {READ} AS type, visible_at, attempts, max_attempts,
                   CASE WHEN leased_by IS NOT NULL THEN leased_by || ' ' || leased_at END AS lapse,
                   leased_by IS NOT NULL AS held, deaths + (leased_by IS NOT NULL)::int AS deaths
            FROM {TABLE}
            WHERE queue = lane.queue AND priority = lane.priority AND visible_at <= {{clock}}
              AND visible_at >= COALESCE(lane.start_at, '-infinity') {{only}}
              AND NOT {IS_PAUSED.format(name="lane.queue")}
            ORDER BY visible_at LIMIT %(window)s
            FOR UPDATE SKIP LOCKED
         ) due
    LIMIT %(window)s
),
-- Those of known types, in order, each with its place in its lane and the number of suspects up to it.
lined_up AS (
    SELECT id, turn, visible_at, held OR attempts + 1 >= max_attempts AS risky,
           %(taken)s::bigint + row_number() OVER line AS place,
           count(*) FILTER (WHERE attempts < max_attempts AND (deaths >= 2
               OR (deaths = 1 AND attempts + 1 = max_attempts))) OVER line AS suspects
    FROM looked WHERE type = ANY(%(types)s::text[])
    WINDOW line AS (PARTITION BY turn ORDER BY visible_at, id)
),
-- A suspect is taken when it is the first of its lane; nothing behind it is, of this lane or the next ones.
placed AS (
    SELECT id, risky, suspects, %(taken)s::bigint + row_number() OVER line AS place,
           count(*) FILTER (WHERE suspects > 0) OVER line AS suspects_so_far
    FROM lined_up WHERE suspects = 0 OR place = 1
    WINDOW line AS (ORDER BY turn, visible_at, id)
),
-- Nothing risky beyond a free seat.
due AS (
    SELECT id FROM placed
    WHERE (place <= %(free)s::bigint OR NOT risky) AND suspects_so_far = suspects
    ORDER BY place LIMIT %(limit)s
),
taken AS (
    UPDATE {TABLE} m
    SET receipt = m.receipt + 1, attempts = m.attempts + 1,
        deaths = m.deaths + (m.leased_by IS NOT NULL)::int,
        leased_by = %(process)s, leased_at = {{clock}}, visible_at = {{lapse}}
    WHERE m.id = ANY(ARRAY(SELECT id FROM due))
    RETURNING m.id, m.type, m.payload::text, m.headers::text, m.queue, m.priority, m.attempts, m.max_attempts,
              m.receipt, m.deaths, m.errors::text, m.enqueued_at, m.deadline, m.planned_at, m.leased_at
)"""
LOOKED = """
SELECT looked.type, looked.id, taken.*, looked.visible_at, looked.lapse, looked.turn
FROM looked LEFT JOIN taken USING (id)
"""
TYPE, ID, TAKEN, DUE_AT, TURN = 0, 1, 2, 17, -1
AGE = itemgetter(DUE_AT, ID)


def lanes(engine: Engine, marked: Sequence[Lane] | None = None) -> list[Lane]:
    found, params = finding(marked)
    sql = f"WITH RECURSIVE {found} {LANES.format(clock=DIALECT.clock)}"
    return [lane_of(row, DIALECT.read_moment) for row in engine.execute(sql, params)]


def finding(marked: Sequence[Lane] | None) -> tuple[str, dict[str, Any]]:
    """Return the CTE `lanes`, of all lanes or of the marked ones, and its parameters."""
    if marked is None:
        return ALL_LANES, {}
    return MARKED_LANES, {
        "lane_queues": [lane.queue for lane in marked],
        "lane_priorities": [lane.priority for lane in marked],
        "lane_marks": [lane.next_visible_at for lane in marked],
    }


def claim_within(engine: Engine, request: ClaimRequest, window: int) -> Claim:
    sql = _claim_sql(DIALECT.now_sql(request.now), request.known_only)
    return read_claims(engine.execute(sql, claim_params(request, window)), request, window)


@cache
def _claim_sql(clock: str, known_only: bool) -> str:
    return f"WITH {claiming(clock, known_only)} {LOOKED}"


def claiming(clock: str, known_only: bool, others: str = "") -> str:
    """The CTEs of a claim; `others` is a further condition on the rows that it looks at."""
    return CLAIMING.format(
        clock=clock,
        lapse=DIALECT.plus_sql(clock, "%(lease)s"),
        only=f"{others} AND type = ANY(%(types)s::text[]) AND {TYPE_GOES_ON}" if known_only else others,
    )


def claim_params(request: ClaimRequest, window: int) -> dict[str, Any]:
    lanes = request.lanes
    return {
        "queues": [lane.queue for lane in lanes], "priorities": [lane.priority for lane in lanes],
        "starts": [request.start_at, *(lane.next_visible_at for lane in request.further)],
        "types": list(request.types), "free": request.free, "taken": request.taken, "limit": request.limit,
        "window": window, "process": request.process, "lease": DIALECT.amount(request.lease_seconds),
        "now": request.now,
    }  # fmt: skip


def read_claims(rows: list[Any], request: ClaimRequest, window: int) -> Claim:
    """The answer of LOOKED as the claim of the first lane, with those of the others that were reached."""
    if not request.further:
        return read_claim(rows, request, window)
    by_turn: dict[int, list[Any]] = {}
    for row in rows:
        by_turn.setdefault(row[TURN], []).append(row)
    reached = len(request.lanes) if len(rows) < window else max(by_turn)
    claims, left = [], window
    for turn in range(1, reached + 1):
        of_lane = by_turn.get(turn, [])
        claims.append(read_claim(of_lane, request, left))
        left -= len(of_lane)
    claims[0].further = claims[1:]
    return claims[0]


def read_claim(rows: list[Any], request: ClaimRequest, window: int) -> Claim:
    """The rows of one lane as its claim, oldest first; `window` is how many of it could be seen."""
    rows.sort(key=AGE)
    unknown = {row[TYPE] for row in rows}.difference(request.types)
    # Django's connections are in UTC, and so are their moments.
    claim = Claim([Claimed(*row[TAKEN:TURN]) for row in rows if row[TAKEN] is not None], unknown)
    for claimed in claim.rows:
        if claimed.lapse is not None:
            claimed.lapse = _read_lapse(str(claimed.lapse))
    is_left = [row[TAKEN] is None and row[TYPE] not in unknown for row in rows]
    claim.note_looked(is_left, [row[DUE_AT] for row in rows], window, DIALECT.read_moment)
    return claim


def _read_lapse(text: str) -> Lapse:
    process, _, leased_at = text.partition(" ")
    return Lapse(UUID(process), datetime.fromisoformat(leased_at).astimezone(UTC))
