"""Failures: the groups of failed attempts, with how many of their messages still wait and how many are dead.

Groups are written by the verbs in the module failures; here they are read, in few statements however many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db.models import BooleanField, Q, QuerySet
from django.db.models.expressions import RawSQL

from ..engines import ARCHIVE, TABLE, AtLeast, Engine
from ..errors import AmbiguousFailure, FailureNotFound, InvalidMessage
from ..failures import HOURS, OTHER, hour_of
from ..models import Failure, Process
from ..validation import check_moment, check_name, storable
from .lengths import length
from .snapshot import Snapshot
from .work import MOST_COUNTED

FAILURES = Failure._meta.db_table
FAILURE_STATES = ("retrying", "dead", "over")
# The most groups of one list, the rows that all of its counts may read, and the least that each may.
MOST_LISTED, MOST_READ, LEAST_COUNTED = 200, 60_000, 200
# The number of messages that are shown of a failure, and how long after a start it began with that version.
SAMPLES, NEW_FOR = 3, timedelta(days=1)
# As many characters of a message as a title has.
WORDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """A failure: all failed attempts of a type that are the same to a person, and its messages now.

    `retrying` are live messages whose newest failed attempt was of this failure, also those that run or are
    due again, `dead` its dead letters; one that hit its cap is an AtLeast. `trend` are the numbers of failed
    attempts in each of the last 48 hours, the current one last. `began` says what its beginning followed,
    None where nothing is known. `samples`, its newest messages, and `traceback`, the last one, are there only
    where a single failure was asked for.
    """

    fingerprint: str
    type: str
    error_class: str
    message: str
    first_at: datetime
    last_at: datetime
    count: int
    versions: tuple[str, ...]
    message_id: int | None
    retrying: int
    dead: int
    trend: tuple[int, ...]
    began: str | None
    samples: tuple[int, ...] = ()
    traceback: str = ""

    @property
    def state(self) -> str:
        """What its messages do: retrying, dead, or over when there are none left."""
        if self.retrying:
            return "retrying"
        return "dead" if self.dead else "over"

    @property
    def title(self) -> str:
        """Its class without the module, and the first words of its message."""
        if self.fingerprint == OTHER:
            return "others, too many to tell apart"
        parts = self.error_class.split(".")
        first = next((place for place, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
        words = next((line for each in self.message.splitlines() if (line := each.strip())), "")
        name = ".".join(parts[first:])
        return f"{name}: {words[:WORDS]}" if words else name


def failures(
    using: str | None = None,
    *,
    type: str | None = None,
    queue: str | None = None,
    since: datetime | None = None,
    state: str | None = None,
    limit: int = 50,
) -> list[FailureGroup]:
    """Return the failures, the one met last first, at most `limit` and never more than 200.

    `type` chooses those of one type, `since` (aware) those met then or later, `state` those with messages
    that are still retried (retrying), with dead letters (dead), or with neither (over). With `queue` only
    messages of that queue are counted, and failures without any are left out. `using` is a database alias,
    the setting DATABASE if None. Raises InvalidMessage for an invalid type, queue, moment or state.
    """
    page = Snapshot(using)
    rows = _matching(page, type, queue, since, state)
    found = list(rows.order_by("-last_at", "-pk")[: max(0, min(limit, MOST_LISTED))])
    return groups_of(found, page, queue=queue)


def failure(fingerprint: str, type: str | None = None, *, using: str | None = None) -> FailureGroup:
    """Return one failure, with its newest messages and its last traceback.

    `fingerprint` may be its beginning only, if no other begins so; `type` narrows it to one type. `using` is
    a database alias, the setting DATABASE if None. Raises FailureNotFound, or AmbiguousFailure when it fits
    several.
    """
    page = Snapshot(using)
    rows = Failure.objects.using(page.using).filter(fingerprint__startswith=storable(fingerprint, 40))
    if type is not None:
        rows = rows.filter(type=check_name("type", type))
    found = list(rows.order_by("-last_at", "-pk")[:10]) if fingerprint else []
    whole = [row for row in found if row.fingerprint == fingerprint]
    chosen = whole or found
    if not chosen:
        raise FailureNotFound(fingerprint)
    if len(chosen) > 1:
        raise AmbiguousFailure(fingerprint, [(row.fingerprint, row.type) for row in chosen])
    (group,) = groups_of(chosen, page)
    row = chosen[0]
    return replace(group, samples=_samples(page.engine, row), traceback=row.last_traceback)


def groups_of(rows: Sequence[Failure], page: Snapshot, *, queue: str | None = None) -> list[FailureGroup]:
    """Return the groups of these rows, by three statements at most."""
    if not rows:
        return []
    live = _counts(rows, page.engine, f"FROM {TABLE} WHERE", queue)
    dead = _counts(rows, page.engine, f"FROM {ARCHIVE} WHERE outcome = 'dead' AND", queue)
    return [
        FailureGroup(
            fingerprint=row.fingerprint,
            type=row.type,
            error_class=row.error_class,
            message=row.message,
            first_at=row.first_at,
            last_at=row.last_at,
            count=row.count,
            versions=tuple(row.versions),
            message_id=row.last_message_id,
            retrying=live[place],
            dead=dead[place],
            trend=trend_of(row, page.now),
            began=_began(row, page.processes),
        )
        for place, row in enumerate(rows)
    ]


def trend_of(row: Failure, now: datetime) -> tuple[int, ...]:
    """Return the numbers of failed attempts by the hour, of 48 hours, the current one last."""
    counts = {datetime.fromisoformat(hour): count for hour, count in row.recent}
    last = hour_of(now)
    return tuple(counts.get(last - timedelta(hours=back), 0) for back in reversed(range(HOURS)))


# -- which ---------------------------------------------------------------------------------------------------


def _matching(
    page: Snapshot, type: str | None, queue: str | None, since: datetime | None, state: str | None
) -> QuerySet[Failure]:
    rows = Failure.objects.using(page.using).defer("last_traceback")
    if type is not None:
        rows = rows.filter(type=check_name("type", type))
    if since is not None:
        rows = rows.filter(last_at__gte=check_moment("since", since))
    if state is not None and state not in FAILURE_STATES:
        raise InvalidMessage(f"A failure is {', '.join(FAILURE_STATES[:-1])} or over, not {state!r}.")
    if queue is not None:
        check_name("queue", queue)
    live, dead = _has(TABLE, queue), _has(ARCHIVE, queue)
    conditions = {
        None: Q() if queue is None else Q(live) | Q(dead),
        "retrying": Q(live),
        "dead": Q(dead),
        "over": ~Q(live) & ~Q(dead),
    }
    return rows.filter(conditions[state])


def _has(table: str, queue: str | None) -> RawSQL:
    """Whether a failure has a message in this table, found through the partial index."""
    same = f"x.error_fingerprint = {FAILURES}.fingerprint AND x.type = {FAILURES}.type"
    sql = f"SELECT 1 FROM {table} x WHERE {same}"
    # Written out, since a partial index is of no use to a parameter.
    sql += " AND x.outcome = 'dead'" if table == ARCHIVE else ""
    sql += "" if queue is None else " AND x.queue = %s"
    # Not EXISTS, of which PostgreSQL may make a join that reads all messages.
    return RawSQL(
        f"(({sql} LIMIT 1) IS NOT NULL)", [] if queue is None else [queue], output_field=BooleanField()
    )


# -- how many ------------------------------------------------------------------------------------------------


def _counts(rows: Sequence[Failure], engine: Engine, source: str, queue: str | None) -> dict[int, int]:
    """Count the messages of each failure by one statement, in all no more than MOST_READ."""
    most = max(LEAST_COUNTED, min(MOST_COUNTED, MOST_READ // len(rows)))
    narrowed = "" if queue is None else "AND queue = %(queue)s"
    params: dict[str, Any] = {"queue": queue}
    parts = []
    for place, row in enumerate(rows):
        params |= {f"mark{place}": row.fingerprint, f"type{place}": row.type}
        some = (
            f"SELECT 1 AS one {source} error_fingerprint = %(mark{place})s AND type = %(type{place})s "
            f"{narrowed} LIMIT {most + 1}"
        )
        parts.append(f"SELECT {place}, COUNT(*) FROM ({some}) counted")
    found = dict(engine.execute(" UNION ALL ".join(parts), params))
    return {place: AtLeast(most) if count > most else count for place, count in found.items()}


def _samples(engine: Engine, row: Failure) -> tuple[int, ...]:
    """Return the ids of the newest messages of a failure, live ones first."""
    params = {"mark": row.fingerprint, "type": row.type}
    same = "error_fingerprint = %(mark)s AND type = %(type)s"
    live = engine.execute(f"SELECT id FROM {TABLE} WHERE {same} LIMIT {SAMPLES}", params)
    dead = engine.execute(
        f"SELECT id FROM {ARCHIVE} WHERE outcome = 'dead' AND {same} "
        f"ORDER BY finished_at DESC LIMIT {SAMPLES}",
        params,
    )
    return tuple(dict.fromkeys(id for (id,) in [*live, *dead]))[:SAMPLES]


# -- since when ----------------------------------------------------------------------------------------------


def _began(row: Failure, processes: Sequence[Process]) -> str | None:
    """Say which version had started before a failure began; None where the rows that knew it are gone."""
    if not row.versions:
        return None
    version = row.versions[0]
    starts = [each.started_at for each in processes if each.kind == "worker" and each.version == version]
    if not starts or not timedelta(0) <= row.first_at - min(starts) <= NEW_FOR:
        return None
    after = length((row.first_at - min(starts)).total_seconds())
    return f"began {after} after version {version} started"
