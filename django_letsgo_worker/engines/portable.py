"""Claim and settle where there are no arrays, and no RETURNING from several tables at once.

Functions that engines take as their methods; what differs between these engines is in their dialects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from .atomic import AtomicScope
from .base import ARCHIVE, TABLE, Engine
from .dialect import Dialect
from .pauses import IS_PAUSED, PAUSED_TYPES, TYPE_GOES_ON, TYPE_READ
from .records import (
    GOING_ON,
    MOVED,
    Claim,
    Claimed,
    ClaimRequest,
    Lane,
    Lapse,
    Looked,
    Settlement,
    choose,
    lane_of,
)

LOOKED = (
    "id", TYPE_READ.format(is_paused=f"type IN ({PAUSED_TYPES})"), "visible_at", "attempts", "max_attempts",
    "leased_by IS NOT NULL", "deaths", "leased_by", "leased_at",
)  # fmt: skip
CLAIMED = (
    "id", "type", "payload", "headers", "queue", "priority", "attempts", "max_attempts", "receipt", "deaths",
    "errors", "enqueued_at", "deadline", "planned_at", "leased_at",
)  # fmt: skip
# What is true of the rows of one lane from a moment on.
FROM_MARK = "WHERE queue = %(queue)s AND priority = %(priority)s AND visible_at >= %(visible_at)s"

# The columns of the relation `s` that settlements are joined as, in their order in the JSON rows.
SETTLED = (
    "id", "outcome", "attempts", "errors", "delay", "deaths", "started", "seconds", "result",
    "error_class", "error_fingerprint",
)  # fmt: skip
# Those of a success without a result: each column that is read out of JSON costs as much as its write.
PLAIN = ("id", "started", "seconds")


# -- claim: look, choose in Python, update, read back -------------------------------------------------


def lanes(engine: Engine, marked: Sequence[Lane] | None = None) -> list[Lane]:
    if marked is not None:
        return [lane for mark in marked for lane in _first_lane(engine, FROM_MARK, mark)]
    found = _first_lane(engine, "")
    behind = f"WHERE {engine.dialect.after_lane}"
    # Skips through the index from lane to lane, whatever their length.
    while following := _first_lane(engine, behind, found[-1]) if found else []:
        found += following
    return found


def _first_lane(engine: Engine, where: str, place: Lane | None = None) -> list[Lane]:
    """Return the lane of the first message that this is true of, none when there is no such message."""
    dialect = engine.dialect
    params = {"now": dialect.now_param(None)}
    if place is not None:
        moment = dialect.moment(place.next_visible_at)
        params |= {"queue": place.queue, "priority": place.priority, "visible_at": moment}
    rows = engine.execute(
        f"SELECT queue, priority, visible_at, {IS_PAUSED.format(name='queue')}, {dialect.clock} "
        f"FROM {TABLE} {where} ORDER BY queue, priority, visible_at LIMIT 1",
        params,
    )
    return [lane_of(row, dialect.read_moment) for row in rows]


def claim_within(engine: Engine, request: ClaimRequest, window: int) -> Claim:
    looks = _look_in_turn(engine, request, window)
    claimed = _take(engine, request, [id for look in looks for id in look.chosen])
    claims = [_claim_of(engine, look, claimed) for look in looks]
    claims[0].further = claims[1:]
    return claims[0]


class _Look(NamedTuple):
    """What was seen of one lane among `window` rows, and the ids that are to be taken of it."""

    rows: Sequence[Looked]
    chosen: Sequence[int]
    known: set[str]
    window: int


def _look_in_turn(engine: Engine, request: ClaimRequest, window: int) -> list[_Look]:
    """Look at one lane after the other, until there is enough or one begins with a suspect."""
    looks: list[_Look] = []
    left, known = request, set(request.types)
    for lane in request.lanes:
        if looks:
            left = replace(left, lane=lane, start_at=lane.next_visible_at)
        rows = _look(engine, left, window)
        chosen = choose(rows, left)
        looks.append(_Look(rows, chosen, known, window))
        used = min(left.free, len(chosen))
        left = replace(left, free=left.free - used, prefetch=left.prefetch - (len(chosen) - used))
        window -= len(rows)
        first = next((row for row in rows if row.type in known), None)
        if window <= 0 or left.limit <= 0 or (first is not None and first.is_suspect):
            break
    return looks


def _claim_of(engine: Engine, look: _Look, claimed: Mapping[int, Claimed]) -> Claim:
    chosen, read = set(look.chosen), engine.dialect.read_moment
    for row in look.rows:
        if row.id in chosen:
            claimed[row.id].due_at = read(row.visible_at)
            if row.held and row.leased_at is not None:
                claimed[row.id].lapse = _lapse(engine, row)
    claim = Claim([claimed[id] for id in look.chosen], {row.type for row in look.rows} - look.known)
    is_left = [row.id not in chosen and row.type in look.known for row in look.rows]
    claim.note_looked(is_left, [row.visible_at for row in look.rows], look.window, read)
    return claim


def _lapse(engine: Engine, row: Looked) -> Lapse:
    process = row.leased_by if isinstance(row.leased_by, UUID) else UUID(row.leased_by)
    leased_at = engine.dialect.read_moment(row.leased_at)
    assert leased_at is not None
    return Lapse(process, leased_at)


@cache
def _look_sql(dialect: Dialect, is_given: bool, has_start: bool, has_grace: bool, known: int) -> str:
    """`known` is the number of types that are searched for; 0 searches for all."""
    clock = dialect.given_clock if is_given else dialect.clock
    since = "AND visible_at >= %(start_at)s" if has_start else ""
    if known:
        since += f" AND type IN ({', '.join(f'%(type{n})s' for n in range(known))}) AND {TYPE_GOES_ON}"
    lapsed = ""
    if has_grace:
        lapsed = f"AND (leased_by IS NULL OR visible_at <= {dialect.plus_sql(clock, '%(grace)s')})"
    return _select(
        dialect,
        LOOKED,
        f"""
        FROM {TABLE} {dialect.lane_hint}
        WHERE queue = %(queue)s AND priority = %(priority)s AND visible_at <= {clock} {since} {lapsed}
          AND NOT {IS_PAUSED.format(name="%(queue)s")}
        ORDER BY visible_at LIMIT %(window)s {dialect.locking}
        """,
    )


def _look(engine: Engine, request: ClaimRequest, window: int) -> list[Looked]:
    dialect, grace = engine.dialect, engine.lapse_grace
    known = len(request.types) if request.known_only else 0
    rows = engine.execute(
        _look_sql(dialect, request.now is not None, request.start_at is not None, bool(grace), known),
        {
            "queue": request.lane.queue,
            "priority": request.lane.priority,
            "start_at": dialect.moment(request.start_at),
            "grace": dialect.amount(-grace * request.lease_seconds),
            **{f"type{n}": type for n, type in enumerate(request.types)},
            "window": window,
            "now": dialect.now_param(request.now),
        },
    )
    return [Looked._make(row) for row in dialect.read_rows(rows)]


@cache
def _take_sql(dialect: Dialect, is_given: bool) -> tuple[str, str]:
    """What takes rows, and what reads them back."""
    clock = dialect.given_clock if is_given else dialect.clock
    take = f"""
        UPDATE {TABLE}
        SET deaths = deaths + (leased_by IS NOT NULL), receipt = receipt + 1, attempts = attempts + 1,
            leased_by = %(process)s, leased_at = {clock}, visible_at = {dialect.plus_sql(clock, "%(lease)s")}
        WHERE id {{these}}
        """
    return take, _select(dialect, CLAIMED, f"FROM {TABLE} WHERE id {{these}}")


def _take(engine: Engine, request: ClaimRequest, taken: Sequence[int]) -> dict[int, Claimed]:
    dialect = engine.dialect
    if not taken:
        return {}
    these, params = dialect.among(taken)
    params |= {"lease": dialect.amount(request.lease_seconds), "now": dialect.now_param(request.now)}
    params["process"] = engine.process(request.process)
    take, read_back = _take_sql(dialect, request.now is not None)
    engine.execute(take.format(these=these), params)
    rows = dialect.read_rows(engine.execute(read_back.format(these=these), params))
    # All were claimed at one moment, which is read once.
    read, at = dialect.read_moment, [dialect.read_moment(rows[0][-1])]
    return {row[0]: Claimed(*row[:-4], *map(read, row[-4:-1]), *at) for row in rows}


def _select(dialect: Dialect, columns: Sequence[str], rest: str) -> str:
    return dialect.select.replace("{columns}", ", ".join(columns)).replace("{rest}", rest)


# -- settle: lock what is held, archive what has ended, put back what goes on -------------------------


@cache
def _lock_sql(dialect: Dialect, wait: bool) -> str:
    locking = dialect.locking.removesuffix("SKIP LOCKED") if wait else dialect.locking
    rest = f"FROM {TABLE} WHERE id {{these}} AND leased_by = %(process)s {locking}"
    return _select(dialect, ("id", "receipt", "deadline", dialect.clock), rest)


def lock_held(
    engine: Engine, process: UUID, leases: Sequence[tuple[int, int]], *, wait: bool = False
) -> list[Any]:
    dialect = engine.dialect
    these, params = dialect.among([id for id, _ in leases])
    params["now"] = dialect.now_param(None)
    if wait and not engine.skip_locked:
        # The first statement of a transaction must write: one that reads first, and writes while
        # another has written meanwhile, fails at once instead of waiting.
        engine.execute(f"UPDATE {TABLE} SET receipt = receipt WHERE id {these}", params)
    params["process"] = engine.process(process)
    rows = engine.execute(_lock_sql(dialect, wait).format(these=these), params)
    rows = dialect.read_rows(rows)
    if not rows:
        return []
    read, clock, pairs = dialect.read_moment, dialect.read_moment(rows[0][-1]), set(leases)
    return [(id, read(deadline), clock) for id, receipt, deadline, _ in rows if (id, receipt) in pairs]


def settle(
    engine: Engine,
    process: UUID,
    settlements: Sequence[Settlement],
    *,
    keep: frozenset[str],
    now: datetime | None = None,
) -> dict[int, str]:
    dialect, is_given = engine.dialect, now is not None
    held = engine.lock_held(process, [(s.id, s.receipt) for s in settlements])
    deadlines = {id: (deadline, now or clock) for id, deadline, clock in held}
    outcomes = {s.id: _outcome(s, *deadlines[s.id]) for s in settlements if s.id in deadlines}
    kept: dict[bool, list[Settlement]] = {True: [], False: []}
    for settlement in settlements:
        outcome = outcomes.get(settlement.id)
        if outcome is not None and settlement.is_kept(outcome, keep):
            kept[settlement.is_plain].append(settlement)
    for columns, ended in ((PLAIN, kept[True]), (SETTLED, kept[False])):
        if ended:
            rows = _settled_rows(dialect, ended, columns, outcomes, now)
            engine.execute(_archive_sql(dialect, columns, is_given), rows)
    gone = [id for id, outcome in outcomes.items() if outcome not in GOING_ON]
    if gone:
        these, params = dialect.among(gone)
        engine.execute(f"DELETE FROM {TABLE} WHERE id {these}", params)
    back = [s for s in settlements if outcomes.get(s.id) in GOING_ON]
    if back:
        rows = _settled_rows(dialect, back, SETTLED, outcomes, now)
        engine.execute(_put_back_sql(dialect, is_given), rows)
    engine.settle_more(settlements, outcomes, now)
    return outcomes


def settle_locked(
    engine: Engine,
    process: UUID,
    settlement: Settlement,
    *,
    keep: frozenset[str],
    now: datetime | None = None,
) -> dict[int, str]:
    return engine.settle(process, [settlement], keep=keep, now=now)


def atomic_scope(engine: Engine, process: UUID, lease: tuple[int, int]) -> AtomicScope:
    return AtomicScope(engine, process, lease)


def _outcome(settlement: Settlement, deadline: datetime | None, clock: datetime) -> str:
    """A retry that would be visible after the deadline is expired."""
    if settlement.outcome == "again" and deadline is not None:
        left = (deadline - clock).total_seconds()
        return "expired" if settlement.delay_seconds > left else "again"
    return settlement.outcome


def _settled_rows(
    dialect: Dialect,
    settlements: Sequence[Settlement],
    columns: Sequence[str],
    outcomes: dict[int, str],
    now: datetime | None,
) -> dict[str, Any]:
    amount = dialect.amount
    rows: list[tuple[Any, ...]] = []
    for s in settlements:
        ago = s.started_seconds_ago
        started = None if ago is None else amount(-ago)
        if columns is PLAIN:
            rows.append((s.id, started, s.seconds))
        else:
            rows.append(
                (s.id, outcomes[s.id], s.attempts, s.errors, amount(s.delay_seconds), s.deaths, started,
                 s.seconds, s.result, s.error_class, s.error_fingerprint)
            )  # fmt: skip
    return {"rows": json.dumps(rows, ensure_ascii=False), "now": dialect.now_param(now)}


@cache
def _archive_sql(dialect: Dialect, columns: tuple[str, ...], is_given: bool) -> str:
    clock, moved = dialect.given_clock if is_given else dialect.clock, ", ".join(MOVED)
    facts = {
        "attempts": "COALESCE(s.attempts, m.attempts)",
        "errors": "COALESCE(s.errors, m.errors)",
        "first_started_at": f"COALESCE(m.first_started_at, {dialect.plus_sql(clock, 's.started')})",
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
    return f"""
        INSERT INTO {ARCHIVE} ({moved}, {", ".join(facts)})
        SELECT {", ".join(f"m.{name}" for name in MOVED)}, {", ".join(facts.values())}
        FROM {TABLE} m JOIN {dialect.json_relation(columns)} ON m.id = s.id
        """


@cache
def _put_back_sql(dialect: Dialect, is_given: bool) -> str:
    clock = dialect.given_clock if is_given else dialect.clock
    assignments = {
        "visible_at": dialect.plus_sql(clock, "s.delay"),
        "leased_by": "NULL",
        "leased_at": "NULL",
        "deaths": "s.deaths",
        "attempts": "COALESCE(s.attempts, m.attempts)",
        "errors": "COALESCE(s.errors, m.errors)",
        "first_started_at": f"COALESCE(m.first_started_at, {dialect.plus_sql(clock, 's.started')})",
        "error_fingerprint": "COALESCE(NULLIF(s.error_fingerprint, ''), m.error_fingerprint)",
    }
    sets = [dialect.update_column.format(column=c, value=value) for c, value in assignments.items()]
    rows = dialect.json_relation(SETTLED)
    return dialect.update_joined.format(table=TABLE, rows=rows, sets=", ".join(sets))
