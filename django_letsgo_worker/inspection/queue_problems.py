"""Problems of queues and types: nobody serves them, nobody knows them, their backlog grows, they are paused.

What is due is read in evidence; failures of types are in failure_problems.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import registry
from ..engines import ARCHIVE
from ..models import Pause
from .actions import action, action_on_many, manage
from .heads import Due
from .lengths import how_far, length, number
from .problem import Problem, did_you_mean, problem
from .snapshot import Snapshot
from .work import total

# A backlog is looked at when its oldest message has been due for this long, and it grows when what ended
# this long ago had waited at least a minute less.
OLD = timedelta(minutes=5)
GROWN = timedelta(minutes=1)
# How many types are compared with what they waited for before, and by how many messages of each.
TYPES_COMPARED, ENDED_COMPARED = 20, 50


def standing(snapshot: Snapshot) -> Iterator[Problem]:
    """Yield what nobody takes: with no worker at all, that is said alone."""
    due = _not_paused(snapshot)
    if due and not snapshot.workers:
        yield _no_worker(snapshot, due)
        return
    for queue, some_due in _grouped(due, "queue"):
        if not snapshot.workers_of(queue):
            yield _unserved(snapshot, queue, some_due)
    unknown = [one for one in due if not is_known(snapshot, one.queue, one.type)]
    for type, some_due in _grouped(unknown, "type"):
        yield _unknown(snapshot, type, some_due)


def is_known(snapshot: Snapshot, queue: str, type: str) -> bool:
    """Return whether a living worker knows the type: one of those that serve the queue, if any does."""
    workers = [worker for worker in snapshot.workers if worker.serves(queue)] or snapshot.workers
    # One that has told no types yet is taken to know what this code knows.
    return any(type in (worker.types or registry.types()) for worker in workers)


def _not_paused(snapshot: Snapshot) -> list[Due]:
    return [
        one
        for one in snapshot.due
        if one.queue not in snapshot.paused and one.type not in snapshot.paused_types
    ]


def _grouped(due: Iterable[Due], by: str) -> list[tuple[str, list[Due]]]:
    groups: dict[str, list[Due]] = {}
    for one in due:
        groups.setdefault(getattr(one, by), []).append(one)
    return sorted(groups.items())


def _total(due: Sequence[Due]) -> int:
    return total(one.count for one in due)


def _oldest(due: Sequence[Due]) -> datetime:
    return min(one.oldest for one in due)


def _no_worker(snapshot: Snapshot, due: Sequence[Due]) -> Problem:
    count, command = _total(due), manage("runworker")
    sentence = ngettext(
        "No worker is running, so nothing is handled: run `%(command)s`. %(count)s message is due.",
        "No worker is running, so nothing is handled: run `%(command)s`. %(count)s messages are due.",
        count,
    ) % {"command": command, "count": number(count)}
    heard = max((one.heartbeat_at for one in snapshot.processes if one.kind == "worker"), default=None)
    since = max(_oldest(due), heard) if heard else _oldest(due)
    return problem("no_worker", "", sentence, action("run", command), since=since, count=count)


def _unserved(snapshot: Snapshot, queue: str, due: Sequence[Due]) -> Problem:
    count, oldest, command = _total(due), _oldest(due), manage("runworker", "--queues", queue)
    last = next((p for p in snapshot.processes if p.kind == "worker" and p.serves(queue)), None)
    before = ""
    if last:
        when = how_far(last.heartbeat_at, snapshot.now)
        before = _(" (the last was %(name)s, until %(when)s)") % {"name": last.name, "when": when}
    sentence = ngettext(
        "Queue %(queue)r has %(count)s ready message, but no living worker serves it%(before)s: "
        "run `%(command)s`.",
        "Queue %(queue)r has %(count)s ready messages, but no living worker serves it%(before)s: "
        "run `%(command)s`.",
        count,
    ) % {"queue": queue, "count": number(count), "before": before, "command": command}
    look = action("look", place="message", queue=queue)
    return problem("queue_unserved", queue, sentence, action("run", command), look, since=oldest, count=count)


def _unknown(snapshot: Snapshot, type: str, due: Sequence[Due]) -> Problem:
    queues = ", ".join(repr(one.queue) for one in due)
    cause, cure = unknown_because(snapshot, type, queues)
    count = _total(due)
    sentence = ngettext(
        "%(cause)s, but %(count)s such message is due in %(queues)s: %(cure)s",
        "%(cause)s, but %(count)s such messages are due in %(queues)s: %(cure)s",
        count,
    ) % {"cause": capfirst(cause), "count": number(count), "queues": queues, "cure": cure}
    look = action("look", manage("letsgo", "message", "list", "--type", type), "message", type=type)
    cancel = action_on_many("cancel", type=type)
    return problem("type_unknown", type, sentence, look, cancel, since=_oldest(due), count=count)


def unknown_because(snapshot: Snapshot, type: str, queues: str) -> tuple[str, str]:
    """Return why nobody takes a type from these queues, for within a sentence, and what to do about it."""
    names = {"queues": queues, "type": type}
    known = {name for worker in snapshot.workers for name in worker.types or ()}
    if type in known:
        cause = _("no living worker that serves %(queues)s has a handler for %(type)r") % names
        return cause, _("let one that knows the type serve the queue too: `manage.py runworker --queues`.")
    if registry.find(type) is not None:
        cause = _("no living worker has a handler for %(type)r, though this code has") % names
        return cause, _("restart the workers with this code: `manage.py runworker`.")
    cure = _("deploy its handler and restart `manage.py runworker`, or cancel its messages.")
    return _("no living worker has a handler for %(type)r") % names, cure + did_you_mean(type, known)


# -- backlogs ----------------------------------------------------------------------------------------------


def growing(snapshot: Snapshot) -> Iterator[Problem]:
    """Yield the types whose oldest due message is old, and older than what ended before had waited."""
    due = [
        one
        for one in _not_paused(snapshot)
        if one.oldest < snapshot.now - OLD and snapshot.is_taken(one.queue, one.type)
    ]
    groups = sorted(_grouped(due, "type"), key=lambda group: -_total(group[1]))[:TYPES_COMPARED]
    waited = _waited_before(snapshot, [type for type, _due in groups])
    for type, some_due in groups:
        age = snapshot.now - _oldest(some_due)
        if type in waited and age < waited[type] + GROWN:
            continue
        yield _backlog(type, some_due, age, waited.get(type))


def _waited_before(snapshot: Snapshot, types: Sequence[str]) -> dict[str, timedelta]:
    """Return by type the shortest wait among the first messages that ended in the last five minutes."""
    if not types:
        return {}
    engine = snapshot.engine
    params = {f"type{place}": type for place, type in enumerate(types)}
    sql = " UNION ALL ".join(
        f"SELECT * FROM (SELECT type, enqueued_at, COALESCE(first_started_at, finished_at) FROM {ARCHIVE} "
        f"WHERE type = %(type{place})s AND finished_at >= %(from)s ORDER BY finished_at "
        f"LIMIT {ENDED_COMPARED}) ended{place}"
        for place in range(len(types))
    )
    read = engine.dialect.read_moment
    found: dict[str, timedelta] = {}
    for type, enqueued, started in engine.execute(sql, {**params, "from": engine.moment(snapshot.now - OLD)}):
        begun, ended = read(enqueued), read(started)
        assert begun is not None and ended is not None
        found[type] = min(ended - begun, found.get(type, ended - begun))
    return found


def _backlog(type: str, due: Sequence[Due], age: timedelta, before: timedelta | None) -> Problem:
    count = _total(due)
    queues = ", ".join(repr(one.queue) for one in due)
    was = (
        _("none ended in the last 5 minutes")
        if before is None
        else _("5 minutes ago it was %(length)s") % {"length": _long(before)}
    )
    sentence = ngettext(
        "The backlog of %(type)r in %(queues)s grows: the oldest of %(count)s due message waits for "
        "%(age)s, and %(was)s. Start more workers: `manage.py runworker`.",
        "The backlog of %(type)r in %(queues)s grows: the oldest of %(count)s due messages waits for "
        "%(age)s, and %(was)s. Start more workers: `manage.py runworker`.",
        count,
    ) % {"type": type, "queues": queues, "count": number(count), "age": _long(age), "was": was}
    look = action("look", place="message", type=type, state="ready")
    run = action("run", manage("runworker"))
    return problem("backlog_growing", type, sentence, run, look, since=_oldest(due) + OLD, count=count)


def _long(span: timedelta) -> str:
    return length(span.total_seconds())


# -- pauses ------------------------------------------------------------------------------------------------


def paused(snapshot: Snapshot) -> Iterator[Problem]:
    """Yield the paused queues and types, with who paused them, why and until when."""
    for name in sorted(snapshot.paused):
        waiting = [one for one in snapshot.due if one.queue == name]
        yield _paused(snapshot, "queue", name, snapshot.queue_rows[name], waiting)
    for name, row in sorted(snapshot.paused_types.items()):
        waiting = [one for one in snapshot.due if one.type == name]
        yield _paused(snapshot, "type", name, row, waiting)


def _paused(snapshot: Snapshot, kind: str, name: str, row: Pause, waiting: Sequence[Due]) -> Problem:
    when = how_far(row.resume_at, snapshot.now) if row.resume_at else ""
    clauses = {
        "name": name,
        "by": _(" by %(name)s") % {"name": row.paused_by} if row.paused_by else "",
        "until": _(", until %(when)s") % {"when": when} if when else "",
        "why": f": {row.pause_reason}" if row.pause_reason else "",
    }
    is_queue, count, command = kind == "queue", _total(waiting), manage("letsgo", kind, "resume", name)
    queue = _("Queue %(name)r is paused%(by)s%(until)s%(why)s.")
    pause = queue if is_queue else _("Type %(name)r is paused%(by)s%(until)s%(why)s.")
    wait = ngettext(
        "%(count)s message waits; `%(command)s` ends the pause.",
        "%(count)s messages wait; `%(command)s` ends the pause.",
        count,
    ) % {"count": number(count), "command": command}
    sentence = f"{pause % clauses} {wait}"
    resume = action("resume", command, "queue" if is_queue else "message")
    return problem(f"{kind}_paused", name, sentence, resume, since=row.paused_at, count=count)
