"""Waiting: the list of the workers that an INSERT tells, a few for each queue, and how it tells them.

A NOTIFY wakes every server process that listens to anything in the database, so a whole fleet must not
listen: a worker that is not on a list closes its listening connection and polls. A listener is named after
the server process behind its connection, so it is known when one has died.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..base import IDLE, Engine
from ..records import Lane, Rest, lane_of
from .claim import LANES, finding
from .dialect import DIALECT

# All workers that listen do so on the channel of this name, and each on one with its own name behind it.
CHANNEL = "letsgo_worker"
# How many workers hear of one message. One of them may have died a moment ago, or be at work by then.
FEW = 2

# -- who is told -------------------------------------------------------------------------------------------

# Only workers that wait: an unconditional NOTIFY serialises all commits. And a few of them, at random; all
# who listen where nobody is on the list, as for a queue that is new.
IS_WAITED_FOR = f"COALESCE((SELECT waiting FROM {IDLE} WHERE name = %(queue)s), TRUE)"
TELL = f"""
SELECT count(pg_notify('{CHANNEL}' || COALESCE('_' || few.listener, ''), %(lane)s))
FROM (VALUES (1)) AS always LEFT JOIN (
    SELECT listener FROM {IDLE}, unnest(string_to_array(listeners, ' ')) AS listener
    WHERE name = %(queue)s ORDER BY random() LIMIT {{most}}) AS few ON TRUE
"""


def notify(engine: Engine, queue: str, priority: int, messages: int = 1) -> None:
    engine.execute(
        f"SELECT ({TELL.format(most='%(most)s::int')}) WHERE {IS_WAITED_FOR}",
        {"queue": queue, "lane": f"{queue}:{priority}", "most": max(messages, FEW)},
    )


# -- the list ----------------------------------------------------------------------------------------------

LISTED = "COALESCE(strpos(' ' || listeners || ' ', ' ' || %(listener)s::text || ' ') > 0, FALSE)"
NUMBER = "cardinality(string_to_array(listeners, ' '))"
OTHERS = f"array_to_string(array_remove(string_to_array({IDLE}.listeners, ' '), %(listener)s::text), ' ')"
LIVING = "SELECT pid::text FROM pg_stat_get_activity(NULL)"
RESTING = f"""
-- Lists that still name a process that has gone. Most queues share one list, so each list is looked at once.
departed AS MATERIALIZED (
    SELECT listeners FROM (SELECT DISTINCT listeners FROM {IDLE}) AS lists
    WHERE NOT string_to_array(listeners, ' ') <@ ARRAY({LIVING})
),
within_reach AS (
    SELECT name FROM {IDLE}
    WHERE ({LISTED} OR {NUMBER} < %(most)s::int OR listeners IN (SELECT listeners FROM departed)) {{served}}
),
-- Where the caller joins or leaves the list. Locked in one order, so that two callers never deadlock.
changing AS MATERIALIZED (
    SELECT name FROM {IDLE}
    WHERE %(listener)s::text IS NOT NULL AND name = ANY(ARRAY(SELECT name FROM within_reach))
      AND CASE WHEN {LISTED} THEN {NUMBER} > %(most)s::int OR NOT waiting
               ELSE {NUMBER} < %(most)s::int OR listeners IN (SELECT listeners FROM departed) END
    ORDER BY name FOR UPDATE
),
said AS (
    UPDATE {IDLE} SET waiting = TRUE, listeners = CASE
        WHEN {LISTED} AND {NUMBER} > %(most)s::int THEN {OTHERS}
        WHEN {LISTED} THEN listeners
        ELSE concat_ws(' ', (
            SELECT string_agg(one, ' ') FROM unnest(string_to_array(listeners, ' ')) AS one
            WHERE one IN ({LIVING})), %(listener)s::text) END
    WHERE name = ANY(ARRAY(SELECT name FROM changing))
)"""


def last_look(engine: Engine, rest: Rest, marked: Sequence[Lane] | None = None) -> tuple[list[Lane], bool]:
    served = "" if rest.queues is None else "AND name = ANY(%(queues)s::text[])"
    served += " AND name <> ALL(%(excluded)s::text[])" if rest.excluded else ""
    lanes, params = finding(marked)
    found = f"{lanes}, found AS ({LANES.format(clock=DIALECT.clock)})"
    sql = f"""
        WITH RECURSIVE {RESTING.format(served=served)}, {found}
        SELECT found.*, is_needed
        FROM (SELECT EXISTS (SELECT 1 FROM within_reach) AS is_needed) AS asked LEFT JOIN found ON TRUE
    """
    params |= {"queues": [*(rest.queues or ())], "excluded": [*rest.excluded]}
    rows = engine.execute(sql, {**params, "listener": rest.listener, "most": rest.most})
    found_lanes = [lane_of(row[:-1], DIALECT.read_moment) for row in rows if row[0] is not None]
    return found_lanes, bool(rows[0][-1])


def name_queues(engine: Engine, queues: Iterable[str]) -> None:
    engine.execute(
        f"INSERT INTO {IDLE} (name) SELECT unnest(%(queues)s::text[]) ON CONFLICT (name) DO NOTHING",
        {"queues": sorted(queues)},
    )


def say_busy(engine: Engine, queues: Iterable[str], listener: str | None) -> None:
    engine.execute(
        f"""
        INSERT INTO {IDLE} (name, waiting) SELECT unnest(%(queues)s::text[]), FALSE
        ON CONFLICT (name) DO UPDATE SET listeners = {OTHERS}, waiting = {OTHERS} <> ''
        WHERE {IDLE}.waiting
        """,
        {"queues": sorted(queues), "listener": listener},
    )
