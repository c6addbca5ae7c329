"""Failures: the groups of failed attempts, with how many of their messages still wait and how many are dead.

Groups are written by the verbs in the module failures; here they are read, in few statements however many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from .. import messages
from ..engines import ARCHIVE, TABLE, AtLeast, Engine
from ..errors import AmbiguousFailure, FailureNotFound, InvalidMessage, MessageNotFound
from ..failures import HOURS, OTHER, hour_of
from ..models import ArchivedMessage, BulkOperation, BulkOperationItem, Failure, Message, Process
from ..validation import check_moment, check_name, storable
from .lengths import length
from .snapshot import Snapshot
from .timeline import entries_of
from .work import MOST_COUNTED

# Where the messages are. The outcome is written out: a partial index is of no use to a parameter.
LIVE, DEAD = f"FROM {TABLE} WHERE", f"FROM {ARCHIVE} WHERE outcome = 'dead' AND"
FAILURE_STATES = ("retrying", "dead", "over")
# The most groups of one list, and those that are looked at for it; SQLite takes 500 SELECTs in one.
MOST_LISTED, MOST_FAILURES = 200, 400
# The messages that all counts of a list may read, and the least that each may.
MOST_READ, LEAST_COUNTED = 60_000, 200
# The number of messages that are shown of a failure, and how long after a start it began with that version.
SAMPLES, NEW_FOR = 3, timedelta(days=1)
# Among so many operations the last one about a failure is looked for.
MOST_OPERATIONS = 100
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
        words = next((line for each in self.message.splitlines() if (line := each.strip())), "")
        name = short_class(self.error_class)
        return f"{name}: {words[:WORDS]}" if words else name


def short_class(name: str) -> str:
    """Return the class of an error without its module."""
    parts = name.split(".")
    first = next((place for place, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    return ".".join(parts[first:])


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
    messages of that queue are counted, among the first ten thousand of a failure, and failures without any
    are left out. With a queue or a state, the 400 failures that were met last are looked at. `using` is a
    database alias, the setting DATABASE if None. Raises InvalidMessage for an invalid type, queue, moment or
    state.
    """
    page = Snapshot(using)
    rows = _rows(page, type, since)
    most = max(0, min(limit, MOST_LISTED))
    if state is None and queue is None:
        return groups_of(list(rows[:most]), page)
    found = _narrowed(list(rows[:MOST_FAILURES]), page, queue, state)
    return groups_of(found[:most], page, queue=queue)


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
    live, dead = (_counts(rows, page.engine, source, queue) for source in (LIVE, DEAD))
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


def _rows(page: Snapshot, type: str | None, since: datetime | None) -> QuerySet[Failure]:
    rows = Failure.objects.using(page.using).defer("last_traceback").order_by("-last_at", "-pk")
    if type is not None:
        rows = rows.filter(type=check_name("type", type))
    return rows if since is None else rows.filter(last_at__gte=check_moment("since", since))


def _narrowed(rows: Sequence[Failure], page: Snapshot, queue: str | None, state: str | None) -> list[Failure]:
    """Return those whose messages are in a state, or in a queue at all."""
    if state is not None and state not in FAILURE_STATES:
        raise InvalidMessage(f"A failure is {', '.join(FAILURE_STATES[:-1])} or over, not {state!r}.")
    if queue is not None:
        check_name("queue", queue)
    found = failure_states(rows, page, queue=queue)
    return [
        row
        for row, states in zip(rows, found, strict=True)
        if (state in states if state is not None else "over" not in states)
    ]


def failure_states(
    rows: Sequence[Failure], page: Snapshot, *, queue: str | None = None
) -> list[frozenset[str]]:
    """Return what the messages of each failure do, in a queue if one is given, by two statements.

    Some may be retried while others are dead; where there are none, it is over. Of a queue only the first
    ones of a failure are looked at.
    """
    most = 1 if queue is None else None
    live, dead = (_counts(rows, page.engine, source, queue, most) for source in (LIVE, DEAD))
    found = []
    for n in range(len(rows)):
        states = {name for name, count in (("retrying", live[n]), ("dead", dead[n])) if count}
        found.append(frozenset(states or {"over"}))
    return found


# -- how many ------------------------------------------------------------------------------------------------


def _counts(
    rows: Sequence[Failure], engine: Engine, source: str, queue: str | None, most: int | None = None
) -> dict[int, int]:
    """Count the messages of each failure in one statement that reads at most MOST_READ of them.

    The failures' values are in the statement itself, not joined: the planner then knows which are rare.
    """
    if not rows:
        return {}
    most = most or max(LEAST_COUNTED, min(MOST_COUNTED, MOST_READ // len(rows)))
    wanted = "COUNT(*)" if queue is None else "SUM(CASE WHEN queue = %(queue)s THEN 1 ELSE 0 END)"
    params: dict[str, Any] = {"queue": queue}
    parts = []
    for n, row in enumerate(rows):
        params |= {f"mark{n}": row.fingerprint, f"type{n}": row.type}
        some = (
            f"SELECT queue {source} error_fingerprint = %(mark{n})s AND type = %(type{n})s LIMIT {most + 1}"
        )
        parts.append(f"SELECT {n}, COUNT(*), {wanted} FROM ({some}) counted")
    found = engine.execute(" UNION ALL ".join(parts), params)
    return {n: _capped(int(count or 0), looked > most, most) for n, looked, count in found}


def _capped(count: int, is_cut: bool, most: int) -> int:
    return AtLeast(min(count, most)) if is_cut else count


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


def samples_of(row: Failure, page: Snapshot) -> list[Message | ArchivedMessage]:
    """Return the newest messages of a failure themselves, live ones first, by four statements at most."""
    ids = _samples(page.engine, row)
    found: dict[int, Message | ArchivedMessage] = {}
    for model in (Message, ArchivedMessage):
        if missing := [id for id in ids if id not in found]:
            found |= model.objects.using(page.using).defer("headers").in_bulk(missing)
    return [found[id] for id in ids if id in found]


def last_tried(row: Failure, page: Snapshot) -> Message | ArchivedMessage | None:
    """Return the message of a failure that people redrove or retried last, as it is now; None if unknown.

    It is looked for in the last hundred bulk operations and, without one, among the failure's samples.
    """
    done = BulkOperation.objects.using(page.using).filter(kind__in=("redrive", "retry")).order_by("-pk")
    for operation in done.only("filter")[:MOST_OPERATIONS]:
        if _is_about(operation, row):
            return _last_of(operation, page.using)
    tried = {at: one for one in samples_of(row, page) if (at := _tried_at(one))}
    return tried[max(tried)] if tried else None


def _is_about(operation: BulkOperation, row: Failure) -> bool:
    given = operation.filter if isinstance(operation.filter, dict) else {}
    return given.get("fingerprint") == row.fingerprint and given.get("type", row.type) == row.type


def _last_of(operation: BulkOperation, using: str) -> Message | ArchivedMessage | None:
    item = BulkOperationItem.objects.using(using).filter(operation=operation).order_by("-pk").first()
    try:
        return messages.find(item.message_id, using=using) if item is not None else None
    except MessageNotFound:
        return None


def _tried_at(message: Message | ArchivedMessage) -> str:
    """Return when people redrove or retried a message last, as ISO text, nothing if they did not."""
    marks = [entry for entry in entries_of(message) if "redrive" in entry or "retry" in entry]
    return str(marks[-1].get("at", "")) if marks else ""


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
    return _("began %(after)s after version %(version)s started") % {"after": after, "version": version}
