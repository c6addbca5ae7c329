"""Why a message does not run, and what became of it: one sentence, a code, what to press, and the timeline.

What happened before is in timeline; what is wrong with queues and types as a whole is in diagnosis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import messages
from ..engines import TABLE, AtLeast
from ..errors import MessageNotFound
from ..models import ArchivedMessage, Message, Pause, Process, ScheduledJob
from .actions import Action, action, action_on, manage
from .lengths import at_clock, how_far, number, share_done, span
from .queue_problems import is_known, unknown_because
from .runs import waits_for
from .snapshot import Snapshot
from .timeline import Event, entries_of, holder_of, in_short, timeline_of
from .work import MOST_COUNTED, state_of

NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a message does not run, or what became of it, as every door shows it.

    `code` is running, ready, behind, scheduled, retrying, queue_paused, type_paused, queue_unserved,
    type_unknown, succeeded, dead, cancelled, expired or not_found. `sentence` says cause, thing and what to
    do; `state` is that of state_of(), or not_found. `actions` are dictionaries of a verb, a command and a
    URL. `timeline` are dictionaries of `at` (aware), `event`, `sentence` and the facts of the event, the
    oldest first. No payload is in any of them.
    """

    code: str
    sentence: str
    state: str
    actions: list[Action] = field(default_factory=list)
    timeline: list[Event] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Cause:
    """What keeps a message, or kept it: the part of an explanation that differs by its code."""

    code: str
    sentence: str
    actions: Sequence[Action] = ()


def explain(id: int, using: str | None = None, now: datetime | None = None) -> Explanation:
    """Return why the message `id` does not run, or what became of it; not_found where there is none.

    `using` is a database alias, the setting DATABASE if None, and `now` an aware datetime, the database's
    clock if None. It takes at most eight statements, each with a cap.
    """
    snapshot = Snapshot(using, now)
    try:
        return explanation_of(messages.find(id, using=snapshot.using), snapshot)
    except MessageNotFound:
        sentence = _(
            "There is no message %(id)s: none was ever enqueued, or it ended and is no longer kept "
            "(the settings KEEP_SUCCEEDED_FOR and KEEP_DEAD_FOR)."
        ) % {"id": id}
        return Explanation(NOT_FOUND, sentence, NOT_FOUND)


def explanation_of(row: Message | ArchivedMessage, snapshot: Snapshot) -> Explanation:
    """Return the explanation of a message that was read already, for pages that have a snapshot."""
    state = state_of(row, snapshot.now)
    if isinstance(row, ArchivedMessage):
        cause = _end(row, snapshot.now)
    else:
        cause = {"running": _running, "ready": _due}.get(state, _later)(row, snapshot)
    return Explanation(cause.code, cause.sentence, state, list(cause.actions), timeline_of(row, snapshot))


def _cancel(row: Message) -> Action:
    return action_on("cancel", manage("letsgo", "message", "cancel", str(row.pk)), "message", row.pk)


def _at(moment: datetime, now: datetime) -> str:
    """Return a moment by the clock and by how far it is: `22:25, 2h ago`."""
    return f"{at_clock(moment, now)}, {how_far(moment, now)}"


# -- it runs -----------------------------------------------------------------------------------------------


def _running(row: Message, snapshot: Snapshot) -> Cause:
    name, now = holder_of(row, snapshot), snapshot.now
    sentence = _("Runs: try %(try)s of %(most)s on %(process)s%(since)s.") % {
        **_try_of(row),
        "process": name,
        "since": _(" since %(when)s") % {"when": _at(row.leased_at, now)} if row.leased_at else "",
    }
    holder = next((process for process in snapshot.processes if process.pk == row.leased_by), None)
    progress = holder.progress_of(row.pk, row.receipt) if holder is not None else None
    if progress is not None:
        sentence += " " + _("Its handler says: %(progress)s.") % {"progress": share_done(progress)}
    if holder is None or holder not in snapshot.living:
        sentence += " " + _(
            "But %(process)s gives no sign of life; if it is dead, another worker takes over at %(lapse)s."
        ) % {"process": name, "lapse": _at(row.visible_at, now)}
    return Cause("running", sentence, [_cancel(row)])


def _try_of(row: Message | ArchivedMessage) -> dict[str, int]:
    return {"try": row.attempts, "most": row.max_attempts}


# -- its time has not come ---------------------------------------------------------------------------------


def _later(row: Message, snapshot: Snapshot) -> Cause:
    """Return what a message waits for, and what will keep it even then."""
    retry = manage("letsgo", "message", "retry", str(row.pk))
    actions = [action_on("retry", retry, "message", row.pk), _cancel(row)]
    waits = " ".join([_wait(row, snapshot), _("`%(retry)s` runs it now.") % {"retry": retry}])
    obstacle = _obstacle(row, snapshot)
    if obstacle is not None:
        waits += " " + _("Even then: %(obstacle)s") % {"obstacle": obstacle.sentence}
        actions += [one for one in obstacle.actions if one not in actions]
    return Cause("retrying" if row.attempts else "scheduled", waits, actions)


def _wait(row: Message, snapshot: Snapshot) -> str:
    facts: dict[str, object] = {"when": _at(row.visible_at, snapshot.now)}
    if row.attempts:
        facts |= {"next": row.attempts + 1, "most": row.max_attempts, "failure": _failure(row)}
        return _("Waits for try %(next)s of %(most)s at %(when)s: %(failure)s.") % facts
    if row.first_started_at:
        return _("Waits until %(when)s: its handler snoozed it.") % facts
    return _held_back(row, snapshot) or _("Waits until %(when)s: it was enqueued for then.") % facts


def _held_back(row: Message, snapshot: Snapshot) -> str:
    """Return that a message waits for an earlier run of its schedule, or nothing."""
    if row.scheduled_job_id is None:
        return ""
    jobs = ScheduledJob.objects.using(snapshot.using).filter(pk=row.scheduled_job_id)
    job = jobs.filter(waiting_message_id=row.pk).defer("payload").first()
    if job is None:
        return ""
    earlier = waits_for(job, using=snapshot.using)
    if earlier is None:
        return _("It waits for an earlier message of its schedule to end.")
    return _("It waits for an earlier message of its schedule to end: message %(id)s.") % {"id": earlier}


def _failure(row: Message) -> str:
    newest = next((one for one in reversed(entries_of(row)) if one.get("attempt") == row.attempts), None)
    if newest is None:
        return _("try %(try)s failed") % _try_of(row)
    return _("try %(try)s failed with %(error)s") % {**_try_of(row), "error": in_short(newest).rstrip(".")}


# -- its time has come -------------------------------------------------------------------------------------


def _due(row: Message, snapshot: Snapshot) -> Cause:
    obstacle = _obstacle(row, snapshot)
    if obstacle is not None:
        sentence = _("Waits: %(obstacle)s") % {"obstacle": obstacle.sentence}
        return Cause(obstacle.code, sentence, [*obstacle.actions, _cancel(row)])
    return _behind(row, snapshot) or _next(row, snapshot)


def _obstacle(row: Message, snapshot: Snapshot) -> Cause | None:
    """Return what keeps any worker from taking a message that is due."""
    queue, type = snapshot.queue_rows.get(row.queue), snapshot.paused_types.get(row.type)
    if queue is not None and queue.is_paused:
        return _paused("queue", row.queue, queue, snapshot.now)
    if type is not None:
        return _paused("type", row.type, type, snapshot.now)
    if not snapshot.workers_of(row.queue):
        return _unserved(row.queue, snapshot)
    if not is_known(snapshot, row.queue, row.type):
        cause, cure = unknown_because(snapshot, row.type, repr(row.queue))
        run = action("run", manage("runworker", "--queues", row.queue))
        return Cause("type_unknown", f"{cause}: {cure}", [run])
    return None


def _paused(kind: str, name: str, row: Pause, now: datetime) -> Cause:
    resume = manage("letsgo", kind, "resume", name)
    queue = _("%(by)s paused %(name)s%(since)s%(why)s%(until)s. `%(resume)s` ends the pause.")
    type = _("%(by)s paused the type %(name)s%(since)s%(why)s%(until)s. `%(resume)s` ends the pause.")
    text, place = (queue, "queue") if kind == "queue" else (type, "message")
    sentence = text % {
        "by": row.paused_by or _("someone"),
        "name": name,
        "since": f" {how_far(row.paused_at, now)}" if row.paused_at else "",
        "why": f" ({row.pause_reason})" if row.pause_reason else "",
        "until": _(", until %(when)s") % {"when": at_clock(row.resume_at, now)} if row.resume_at else "",
        "resume": resume,
    }
    return Cause(f"{kind}_paused", sentence, [action("resume", resume, place)])


def _unserved(queue: str, snapshot: Snapshot) -> Cause:
    run, now = manage("runworker", "--queues", queue), snapshot.now
    last = next((one for one in snapshot.processes if _served(one, queue)), None)
    facts = {"queue": queue, "run": run}
    if last is None:
        sentence = _("no worker serves %(queue)s. Run `%(run)s`.") % facts
    else:
        facts |= {"name": last.name, "when": at_clock(last.heartbeat_at, now)}
        sentence = (
            _("no worker serves %(queue)s; the last was %(name)s, until %(when)s. Run `%(run)s`.") % facts
        )
    return Cause("queue_unserved", sentence, [action("run", run)])


def _served(process: Process, queue: str) -> bool:
    return process.kind == Process.Kind.WORKER and process.serves(queue)


def _behind(row: Message, snapshot: Snapshot) -> Cause | None:
    """Return that others are claimed first: those before it in its lane, and those of higher priorities."""
    # The first of each lane that is due, by priority: one that is first itself needs no count.
    heads = {
        lane.priority: lane.next_visible_at
        for lane in snapshot.lanes
        if lane.queue == row.queue and lane.next_visible_at and lane.next_visible_at <= snapshot.now
    }
    before = _before(row, snapshot) if heads.get(row.priority, row.visible_at) < row.visible_at else 0
    is_outranked = any(priority > row.priority for priority in heads)
    if not before and not is_outranked:
        return None
    run = manage("runworker", "--queues", row.queue)
    text = _waits_behind(before, is_outranked)
    sentence = text % {"count": number(before), "queue": row.queue, "priority": row.priority, "run": run}
    look = action("look", place="message", queue=row.queue, state="ready")
    return Cause("behind", sentence, [action("run", run), look, _cancel(row)])


def _waits_behind(before: int, is_outranked: bool) -> str:
    if before and is_outranked:
        return ngettext(
            "Waits: %(count)s due message is before it in its lane (%(queue)s, priority %(priority)s), and "
            "messages of a higher priority come first. More workers take it sooner: `%(run)s`.",
            "Waits: %(count)s due messages are before it in its lane (%(queue)s, priority %(priority)s), and "
            "messages of a higher priority come first. More workers take it sooner: `%(run)s`.",
            before,
        )
    if is_outranked:
        return _("Waits: messages of a higher priority come first. More workers take it sooner: `%(run)s`.")
    return ngettext(
        "Waits: %(count)s due message is before it in its lane (%(queue)s, priority %(priority)s). "
        "More workers take it sooner: `%(run)s`.",
        "Waits: %(count)s due messages are before it in its lane (%(queue)s, priority %(priority)s). "
        "More workers take it sooner: `%(run)s`.",
        before,
    )


def _before(row: Message, snapshot: Snapshot) -> int:
    """Count the messages that are claimed before this one in its lane, among its first ten thousand.

    Those that nobody may take are passed over.
    """
    # In the order of the index: otherwise a planner that thinks the lane is short may scan the table.
    sql = (
        f"SELECT type, COUNT(*) FROM (SELECT type FROM {TABLE} WHERE queue = %(queue)s "
        f"AND priority = %(priority)s AND visible_at < %(visible_at)s "
        f"ORDER BY visible_at LIMIT {MOST_COUNTED + 1}) earlier GROUP BY type"
    )
    engine = snapshot.engine
    lane = {"queue": row.queue, "priority": row.priority}
    found = dict(engine.execute(sql, {**lane, "visible_at": engine.moment(row.visible_at)}))
    taken = sum(
        count
        for type, count in found.items()
        if type not in snapshot.paused_types and is_known(snapshot, row.queue, type)
    )
    return AtLeast(min(taken, MOST_COUNTED)) if sum(found.values()) > MOST_COUNTED and taken else taken


def _next(row: Message, snapshot: Snapshot) -> Cause:
    """Return that nothing but a free seat is missing."""
    workers = [worker for worker in snapshot.workers if worker.serves(row.queue)]
    seats = sum(worker.seats for worker in workers)
    lost = {"process": holder_of(row, snapshot)} if row.leased_by else None
    run = manage("runworker", "--queues", row.queue)
    facts = {
        "since": _at(row.visible_at, snapshot.now),
        "lost": _(" after %(process)s let its lease lapse") % lost if lost else "",
        "workers": _one_of(workers),
        "count": number(seats),
        "run": run,
    }
    if not seats or sum(worker.busy for worker in workers) < seats:
        sentence = _("Is next, due since %(since)s%(lost)s: %(workers)s takes it.") % facts
        return Cause("ready", sentence, [_cancel(row)])
    sentence = ngettext(
        "Is next, due since %(since)s%(lost)s: %(workers)s takes it when a seat is free; "
        "%(count)s seat is busy. `%(run)s` adds seats.",
        "Is next, due since %(since)s%(lost)s: %(workers)s takes it when a seat is free; "
        "%(count)s seats are busy. `%(run)s` adds seats.",
        seats,
    )
    return Cause("ready", sentence % facts, [action("run", run), _cancel(row)])


def _one_of(workers: Sequence[Process]) -> str:
    others = len(workers) - 1
    if not others:
        return workers[0].name
    return _("%(name)s or %(count)s more") % {"name": workers[0].name, "count": others}


# -- it ended ----------------------------------------------------------------------------------------------


def _end(row: ArchivedMessage, now: datetime) -> Cause:
    facts = {**_try_of(row), "when": _at(row.finished_at, now)}
    if row.outcome == "dead":
        return _dead(row, facts)
    if row.outcome == "succeeded":
        facts["took"] = _(", in %(span)s") % {"span": span(row.seconds)} if row.seconds is not None else ""
        return Cause("succeeded", _("Succeeded at %(when)s, at try %(try)s of %(most)s%(took)s.") % facts)
    if row.outcome == "expired":
        facts["deadline"] = f" {at_clock(row.deadline, now)}" if row.deadline else ""
        text = _(
            "Expired at %(when)s, after %(try)s of %(most)s tries: its deadline%(deadline)s had passed. "
            "To have it done still, enqueue it again."
        )
    else:
        text = _(
            "Was cancelled at %(when)s, after %(try)s of %(most)s tries. "
            "To have it done still, enqueue it again."
        )
    return Cause(str(row.outcome), text % facts)


def _dead(row: ArchivedMessage, facts: dict[str, object]) -> Cause:
    entries = [entry for entry in entries_of(row) if "attempt" in entry]
    why = f": {in_short(entries[-1])}".rstrip(".") if entries else ""
    redrive = manage("letsgo", "dead", "redrive", str(row.pk))
    discard = manage("letsgo", "dead", "discard", str(row.pk))
    actions = [
        action_on("redrive", redrive, "deadletter", row.pk),
        action_on("discard", discard, "deadletter", row.pk),
    ]
    sentence = _(
        "Died at %(when)s, after %(try)s of %(most)s tries%(why)s. "
        "Once the cause is mended, `%(redrive)s` runs it again."
    ) % {**facts, "why": why, "redrive": redrive}
    return Cause("dead", sentence, actions)
