"""Insert, one message or many, and tell a few of the workers that wait, and no others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Any

from ..base import TABLE, Engine
from ..records import Inserted, NewRow
from . import fastpath
from .dialect import DIALECT
from .waiting import FEW, IS_WAITED_FOR, TELL

# Below so many rows, arrays in one statement are as fast as COPY.
COPIED_FROM = 200
COPIED_AT_ONCE = 100

INSERT = f"""
WITH new AS (
    INSERT INTO {TABLE} ({{columns}}) VALUES ({{values}})
    {{on_conflict}}
    RETURNING id, enqueued_at, visible_at, deadline
)
SELECT new.*, CASE WHEN {IS_WAITED_FOR} THEN ({TELL.format(most=FEW)}) END IS NOT NULL FROM new
"""
ON_CONFLICT = "ON CONFLICT (type, unique_key) WHERE unique_key IS NOT NULL DO NOTHING"

ALWAYS = ("type", "payload", "headers", "queue", "priority", "max_attempts")
OPTIONAL = ("unique_key", "scheduled_job_id", "planned_at", "visible_at", "deadline")
ARRAYS = {
    "type": "text", "payload": "text", "headers": "text", "queue": "text", "priority": "int",
    "max_attempts": "int", "visible_at": "timestamptz", "delay": "bigint", "deadline": "timestamptz",
    "deadline_in": "bigint", "scheduled_job_id": "bigint", "planned_at": "timestamptz",
}  # fmt: skip
RESERVE = f"""
SELECT ARRAY(SELECT nextval(pg_get_serial_sequence('{TABLE}', 'id')) FROM generate_series(1, %(count)s::int)),
       {{clock}}
"""
NULL = r"\N"
COPY = f"""
COPY {TABLE} (id, type, payload, headers, queue, priority, max_attempts, errors, enqueued_at, visible_at,
              deadline, scheduled_job_id, planned_at) FROM STDIN
"""


@cache
def _insert_sql(clock: str, given: tuple[str, ...]) -> str:
    """The statement for a message of which these facts are given: each parameter costs its time."""
    facts = {name: f"%({name})s" for name in given if name not in ("lane", "delay", "deadline_in", "now")}
    facts |= {"payload": "%(payload)s::json", "headers": "%(headers)s::json", "errors": "'[]'"}
    facts["enqueued_at"] = clock
    if "visible_at" not in given:
        facts["visible_at"] = DIALECT.plus_sql(clock, "%(delay)s") if "delay" in given else clock
    if "deadline_in" in given:
        facts["deadline"] = DIALECT.plus_sql(clock, "%(deadline_in)s")
    return INSERT.format(
        columns=", ".join(facts),
        values=", ".join(facts.values()),
        on_conflict=ON_CONFLICT if "unique_key" in given else "",
    )


@cache
def _insert_arrays_sql(clock: str) -> str:
    # As NewRow.waits() says it in Python.
    offset = "(s.place - CASE WHEN s.delay IS NULL THEN %(count)s::int ELSE 1 END) * INTERVAL '1 microsecond'"
    arrays = ", ".join(f"%({name})s::{kind}[]" for name, kind in ARRAYS.items())
    return f"""
        INSERT INTO {TABLE} (type, payload, headers, queue, priority, max_attempts, errors, enqueued_at,
                             visible_at, deadline, scheduled_job_id, planned_at)
        SELECT s.type, s.payload::json, s.headers::json, s.queue, s.priority, s.max_attempts, '[]',
               {clock}, COALESCE(s.visible_at, {DIALECT.plus_sql(clock, "COALESCE(s.delay, 0)")} + {offset}),
               COALESCE(s.deadline, {DIALECT.plus_sql(clock, "s.deadline_in")}), s.scheduled_job_id,
               s.planned_at
        FROM unnest({arrays}) WITH ORDINALITY AS s({", ".join(ARRAYS)}, place)
        ORDER BY s.place
        RETURNING id
        """


def insert(engine: Engine, row: NewRow, now: datetime | None = None) -> Inserted | None:
    params = _insert_params(row, now)
    sql = _insert_sql(DIALECT.now_sql(now), tuple(params))
    alone = row.unique_key is None and engine.connection.get_autocommit()
    if alone and fastpath.is_open(engine.connection):
        # Not where it may wait for a twin, in a call that nothing interrupts; and in a transaction of
        # the caller's a statement that was discarded would break that.
        rows = fastpath.send_prepared(engine.connection, sql, params)
    else:
        rows = engine.execute(sql, params)
    # Django's connections are in UTC, and so are their moments.
    return Inserted(*rows[0]) if rows else None


def _insert_params(row: NewRow, now: datetime | None) -> dict[str, Any]:
    """What is given of a row, by the names in _insert_sql()."""
    params: dict[str, Any] = {name: getattr(row, name) for name in ALWAYS}
    params["lane"] = f"{row.queue}:{row.priority}"
    params |= {name: value for name in OPTIONAL if (value := getattr(row, name)) is not None}
    if row.delay_seconds:
        params["delay"] = DIALECT.amount(row.delay_seconds)
    if row.deadline_seconds is not None:
        params["deadline_in"] = DIALECT.amount(row.deadline_seconds)
    if now is not None:
        params["now"] = now
    return params


def insert_many(engine: Engine, rows: Sequence[NewRow], now: datetime | None = None) -> list[int]:
    engine.connection.ensure_connection()
    # COPY executes nothing that a watcher would be told of.
    copied = len(rows) >= COPIED_FROM and not fastpath.is_observed(engine.connection)
    ids = _copy(engine, rows, now) if copied else _insert_arrays(engine, rows, now)
    for (queue, priority), messages in sorted(Counter((row.queue, row.priority) for row in rows).items()):
        engine.notify(queue, priority, messages)
    return ids


def _insert_arrays(engine: Engine, rows: Sequence[NewRow], now: datetime | None) -> list[int]:
    params: dict[str, Any] = {name: [] for name in ARRAYS}
    for row in rows:
        values = _insert_params(row, now)
        for name in ARRAYS:
            params[name].append(values.get(name))
    sql = _insert_arrays_sql(DIALECT.now_sql(now))
    return sorted(row[0] for row in engine.execute(sql, {**params, "count": len(rows), "now": now}))


def _copy(engine: Engine, rows: Sequence[NewRow], now: datetime | None) -> list[int]:
    """Reserve the ids, and send all rows in one stream."""
    reserve = RESERVE.format(clock=DIALECT.now_sql(now))
    ids: list[int]
    ((ids, clock),) = engine.execute(reserve, {"count": len(rows), "now": now})
    lines = _copied_lines(zip(ids, rows, strict=True), clock, len(rows))
    with engine.connection.cursor() as cursor, cursor.copy(COPY) as copy:
        # In pieces, so that the server reads the first while the next is made.
        while piece := "".join(islice(lines, COPIED_AT_ONCE)):
            copy.write(piece)
    return ids


def _copied_lines(rows: Iterable[tuple[int, NewRow]], clock: datetime, count: int) -> Iterator[str]:
    """Yield the lines of COPY, in the format "text"."""
    enqueued_at = clock.isoformat()
    for place, (id, row) in enumerate(rows):
        visible_at, deadline = row.moments(clock, place, count)
        # JSON escapes all that ends a field or a line; names have none of it.
        payload, headers = row.payload.replace("\\", r"\\"), row.headers.replace("\\", r"\\")
        yield (
            f"{id}\t{row.type}\t{payload}\t{headers}\t{row.queue}\t{row.priority}\t{row.max_attempts}\t[]"
            f"\t{enqueued_at}\t{visible_at.isoformat()}\t{deadline or NULL}"
            f"\t{row.scheduled_job_id or NULL}\t{row.planned_at or NULL}\n"
        )
