"""Messages: the states of live ones, capped counts, and long lists in batches.

Counts follow the index of lanes and end at a cap, so that no table is read whole, whatever its size. What
queues and workers have to do with it is found in snapshot.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from ..engines import ARCHIVE, TABLE, AtLeast, Engine, Lane
from ..models import LIVE_STATES, ArchivedMessage, Message

# Counts end here; a larger number is shown as at least this many.
MOST_COUNTED = 10_000
# How many messages of a lane are examined for their types: those at its head hold it up.
LOOK_AT = 1_000
# Rows that are read of all lanes together, beyond LOOK_AT of each.
READ_OF_ALL = 50_000
# The number of rows that bulk operations change at a time.
BATCH = 500
# Lanes that one statement counts: SQLite takes 500 SELECTs in one, and each lane is two.
LANES_AT_ONCE = 100


# -- states ----------------------------------------------------------------------------------------------


OUTCOMES = tuple(value for value, _label in ArchivedMessage._meta.get_field("outcome").choices or ())
LATER = tuple(name for name, state in LIVE_STATES.items() if state.sign == ">")


def state_of(message: Message | ArchivedMessage, now: datetime) -> str:
    """Return ready, running, retrying or scheduled of a live message, and the outcome of an archived one.

    `message` is a row of Message or ArchivedMessage, and `now` an aware datetime: the database's clock, by
    which messages become visible. The outcomes are succeeded, dead, cancelled and expired.
    """
    return str(message.outcome) if isinstance(message, ArchivedMessage) else message.state_at(now)


# -- counts ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Work:
    """The work in a queue; a count that hit the cap is an AtLeast.

    `later` is all that is not ready. It is divided into its states, and `unknown` is counted among the ready
    ones, only on request.
    """

    ready: int = 0
    later: int = 0
    running: int = 0
    retrying: int = 0
    scheduled: int = 0
    unknown: int = 0
    oldest_ready: datetime | None = None


def most_of_each(lanes: Sequence[Lane]) -> int:
    """Return how many rows of each of these lanes are read."""
    return min(MOST_COUNTED, max(LOOK_AT, READ_OF_ALL // max(len(lanes), 1)))


def work_in(
    engine: Engine,
    lanes: Sequence[Lane],
    now: datetime,
    *,
    by_state: bool = True,
    known: Collection[str] | None = None,
) -> dict[str, Work]:
    """Return by queue what waits in these lanes, by one statement for each hundred lanes.

    The rows themselves are read only to divide `later` into states (`by_state`) or to find types that are
    not `known`; otherwise the index is enough.
    """
    found: dict[str, Work] = {}
    most = most_of_each(lanes)
    for start in range(0, len(lanes), LANES_AT_ONCE):
        some = lanes[start : start + LANES_AT_ONCE]
        sql, params = _count_sql(some, LATER if by_state else (), known, most)
        for place, *numbers in engine.execute(sql, {**params, "now": engine.moment(now)}):
            lane = some[place // 2]
            work = found.setdefault(lane.queue, Work())
            names = ("later", *LATER) if place % 2 else ("ready", "unknown")
            _add(work, dict(zip(names, (int(number or 0) for number in numbers), strict=False)), most)
            first = lane.next_visible_at
            if first is not None and first <= now:
                work.oldest_ready = min(first, work.oldest_ready or first)
    return found


def _add(work: Work, numbers: dict[str, int], most: int) -> None:
    """Add the counts of a lane; if they hit the cap, each part that is not zero may be larger."""
    is_cut = max(numbers.values()) > most
    for name, number in numbers.items():
        if number:
            before = getattr(work, name)
            total = min(before + min(number, most), MOST_COUNTED)
            at_least = is_cut or isinstance(before, AtLeast) or total < before + number
            setattr(work, name, AtLeast(total) if at_least else total)


def _count_sql(
    lanes: Sequence[Lane], states: Sequence[str], known: Collection[str] | None, most: int
) -> tuple[str, dict[str, Any]]:
    params: dict[str, Any] = {f"type{n}": name for n, name in enumerate(known or ())}
    strange = f"type NOT IN ({', '.join(f'%({mark})s' for mark in params)})" if params else "1 = 1"
    ready = [] if known is None else [strange]
    later = [LIVE_STATES[name].sql for name in states]
    width = max(len(ready), len(later))
    parts = []
    for place, lane in enumerate(lanes):
        params |= {f"queue{place}": lane.queue, f"priority{place}": lane.priority}
        due = _rows(place, "<=", "type" if ready else "visible_at", most)
        rest = _rows(place, ">", "leased_by, attempts" if later else "visible_at", most)
        parts += [
            f"SELECT {2 * place}, {_sums(ready, width)} FROM ({due}) due",
            f"SELECT {2 * place + 1}, {_sums(later, width)} FROM ({rest}) later",
        ]
    return " UNION ALL ".join(parts), params


def _sums(rules: Sequence[str], width: int) -> str:
    sums = [f"SUM(CASE WHEN {rule} THEN 1 ELSE 0 END)" for rule in rules]
    return ", ".join(["COUNT(*)", *sums, *["0"] * (width - len(sums))])


def _rows(place: int, sign: str, columns: str, most: int) -> str:
    # In the order of the index: otherwise a planner that thinks the lane is short may scan the table.
    return (
        f"SELECT {columns} FROM {TABLE} WHERE queue = %(queue{place})s "
        f"AND priority = %(priority{place})s AND visible_at {sign} %(now)s "
        f"ORDER BY visible_at LIMIT {most + 1}"
    )


def dead_by_queue(engine: Engine) -> dict[str, int]:
    """Return each queue's share of the newest ten thousand dead letters, as AtLeast if there are more."""
    newest = f"SELECT queue FROM {ARCHIVE} WHERE outcome = 'dead' ORDER BY finished_at DESC"
    some = f"{newest} LIMIT {MOST_COUNTED + 1}"
    found = dict(engine.execute(f"SELECT queue, COUNT(*) FROM ({some}) newest GROUP BY queue", {}))
    is_cut = sum(found.values()) > MOST_COUNTED
    return {queue: AtLeast(min(n, MOST_COUNTED)) if is_cut else n for queue, n in found.items()}


def ended_by_outcome(engine: Engine) -> dict[str, int]:
    """Count archived messages by outcome up to the cap, and all of them as `ended`, by one statement."""
    parts = [
        f"SELECT '{outcome}', COUNT(*) FROM (SELECT 1 AS one FROM {ARCHIVE} WHERE outcome = '{outcome}' "
        f"LIMIT {MOST_COUNTED + 1}) counted"
        for outcome in OUTCOMES
    ]
    found = {
        outcome: AtLeast(MOST_COUNTED) if count > MOST_COUNTED else count
        for outcome, count in engine.execute(" UNION ALL ".join(parts), {})
    }
    return {"ended": total(found.values()), **found}


def count_capped(rows: QuerySet[Any], most: int | None = None) -> int:
    """Count rows no further than the cap, or than `most` if that is less."""
    limit = MOST_COUNTED + 1 if most is None else min(most, MOST_COUNTED + 1)
    # The first column of the order leads through its index; what only breaks ties is in none, and a planner
    # that takes rows for few would read and sort them all.
    order = rows.query.order_by[:1]
    found = rows.order_by(*order).values(*(str(name).removeprefix("-") for name in order or ["pk"]))
    count = found[:limit].count()
    return AtLeast(MOST_COUNTED) if count > MOST_COUNTED else count


def total(counts: Iterable[int]) -> int:
    """Return the sum of counts: an AtLeast where one of them is."""
    given = list(counts)
    whole = sum(int(count) for count in given)
    return AtLeast(whole) if any(isinstance(count, AtLeast) for count in given) else whole


def types_waiting(using: str, lanes: Sequence[Lane], *, until: datetime | None = None) -> dict[str, str]:
    """Return the types at the head of each lane, each with its queue; `until`: only what is due by then."""
    found: dict[str, str] = {}
    for lane in lanes:
        rows = Message.objects.using(using).filter(queue=lane.queue, priority=lane.priority)
        rows = rows if until is None else rows.filter(visible_at__lte=until)
        types = rows.order_by("visible_at").values_list("type", flat=True)[:LOOK_AT]
        found |= dict.fromkeys(types, lane.queue)
    return found


# -- batches ---------------------------------------------------------------------------------------------


def ended_until(rows: QuerySet[Any], until: datetime, most: int | None = None) -> Iterator[list[Any]]:
    """Yield archived messages that ended by `until`, oldest first, with id and type only, `most` in all.

    Messages that end later are left out: one redriven meanwhile may fail again at once.
    """
    left = float("inf") if most is None else most
    ordered = (
        rows.filter(finished_at__lte=until).order_by("finished_at", "pk").only("pk", "type", "finished_at")
    )
    further = ordered
    while left and (batch := list(further[: int(min(left, BATCH))])):
        yield batch
        left -= len(batch)
        at, pk = batch[-1].finished_at, batch[-1].pk
        further = ordered.filter(finished_at__gte=at).filter(Q(finished_at__gt=at) | Q(pk__gt=pk))


def first_ones(rows: QuerySet[Any], seen: Collection[Any]) -> Iterator[list[Any]]:
    """Yield the first rows again and again, as long as there are any that are not among the `seen` ones.

    For lists that show only the first rows.
    """
    some = rows.only("pk", "type")
    while batch := list(some.exclude(pk__in=list(seen))[:BATCH]):
        yield batch
