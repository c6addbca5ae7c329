"""Why a message does not run, and what became of it: one sentence, a code, what to press, and the timeline.

What happened before is in timeline; what is wrong with queues and types as a whole is in diagnosis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from .. import messages
from ..engines import TABLE, AtLeast
from ..errors import MessageNotFound
from ..models import ArchivedMessage, Message, Pause, Process
from .actions import Action, action, action_on, manage
from .lengths import at_clock, how_far, span
from .liveness import serves
from .problem import some
from .queue_problems import is_known, unknown_because
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
        sentence = (
            f"There is no message {id}: none was ever enqueued, or it ended and is no longer kept "
            "(the settings KEEP_SUCCEEDED_FOR and KEEP_DEAD_FOR)."
        )
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


# -- it runs -----------------------------------------------------------------------------------------------


def _running(row: Message, snapshot: Snapshot) -> Cause:
    name, now = holder_of(row, snapshot), snapshot.now
    since = f" since {at_clock(row.leased_at, now)}, {how_far(row.leased_at, now)}" if row.leased_at else ""
    sentence = f"Runs: try {row.attempts} of {row.max_attempts} on {name}{since}."
    if all(process.pk != row.leased_by for process in snapshot.living):
        lapse = f"{at_clock(row.visible_at, now)}, {how_far(row.visible_at, now)}"
        sentence += f" But {name} gives no sign of life; if it is dead, another worker takes over at {lapse}."
    return Cause("running", sentence, [_cancel(row)])


# -- its time has not come ---------------------------------------------------------------------------------


def _later(row: Message, snapshot: Snapshot) -> Cause:
    """Return what a message waits for, and what will keep it even then."""
    now = snapshot.now
    moment = f"{at_clock(row.visible_at, now)}, {how_far(row.visible_at, now)}"
    retry = manage("letsgo", "message", "retry", str(row.pk))
    actions = [action_on("retry", retry, "message", row.pk), _cancel(row)]
    if row.attempts:
        waits = f"Waits for try {row.attempts + 1} of {row.max_attempts} at {moment}: {_failure(row)}."
        code = "retrying"
    else:
        why = "its handler snoozed it" if row.first_started_at else "it was enqueued for then"
        waits, code = f"Waits until {moment}: {why}.", "scheduled"
    waits += f" `{retry}` runs it now."
    obstacle = _obstacle(row, snapshot)
    if obstacle is not None:
        waits += f" Even then: {obstacle.sentence}"
        actions += [one for one in obstacle.actions if one not in actions]
    return Cause(code, waits, actions)


def _failure(row: Message) -> str:
    newest = next((one for one in reversed(entries_of(row)) if one.get("attempt") == row.attempts), None)
    return f"try {row.attempts} failed{f' with {in_short(newest)}' if newest else ''}".rstrip(".")


# -- its time has come -------------------------------------------------------------------------------------


def _due(row: Message, snapshot: Snapshot) -> Cause:
    obstacle = _obstacle(row, snapshot)
    if obstacle is not None:
        sentence = f"Waits: {obstacle.sentence}"
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
        return Cause("type_unknown", f"{cause[0].lower()}{cause[1:]}: {cure}", [run])
    return None


def _paused(kind: str, name: str, row: Pause, now: datetime) -> Cause:
    resume = manage("letsgo", kind, "resume", name)
    by = row.paused_by or "someone"
    since = f" {how_far(row.paused_at, now)}" if row.paused_at else ""
    why = f" ({row.pause_reason})" if row.pause_reason else ""
    end = f", until {at_clock(row.resume_at, now)}" if row.resume_at else ""
    thing = name if kind == "queue" else f"the type {name}"
    sentence = f"{by} paused {thing}{since}{why}{end}. `{resume}` ends the pause."
    place = "queue" if kind == "queue" else "message"
    return Cause(f"{kind}_paused", sentence, [action("resume", resume, place)])


def _unserved(queue: str, snapshot: Snapshot) -> Cause:
    run, now = manage("runworker", "--queues", queue), snapshot.now
    last = next((one for one in snapshot.processes if _served(one, queue)), None)
    was = f"; the last was {last.name}, until {at_clock(last.heartbeat_at, now)}" if last else ""
    return Cause("queue_unserved", f"no worker serves {queue}{was}. Run `{run}`.", [action("run", run)])


def _served(process: Process, queue: str) -> bool:
    return process.kind == Process.Kind.WORKER and serves(process, queue)


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
    lane = f"{row.queue}, priority {row.priority}"
    said = [f"{some(before, 'due message is', 'due messages are')} before it in its lane ({lane})"]
    said = said if before else []
    said += ["messages of a higher priority come first"] if is_outranked else []
    run = manage("runworker", "--queues", row.queue)
    sentence = f"Waits: {', and '.join(said)}. More workers take it sooner: `{run}`."
    look = action("look", place="message", queue=row.queue, state="ready")
    return Cause("behind", sentence, [action("run", run), look, _cancel(row)])


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
    workers = [worker for worker in snapshot.workers if serves(worker, row.queue)]
    seats = sum(worker.seats for worker in workers)
    names = f"{workers[0].name}{f' or {len(workers) - 1} more' if len(workers) > 1 else ''}"
    now = snapshot.now
    since = f"{at_clock(row.visible_at, now)}, {how_far(row.visible_at, now)}"
    lost = f" after {holder_of(row, snapshot)} let its lease lapse" if row.leased_by else ""
    if seats and sum(worker.busy for worker in workers) >= seats:
        run = manage("runworker", "--queues", row.queue)
        held = f"{some(seats, 'seat is', 'seats are')} busy"
        sentence = f"Is next, due since {since}{lost}: {names} takes it when a seat is free; {held}."
        return Cause("ready", f"{sentence} `{run}` adds seats.", [action("run", run), _cancel(row)])
    return Cause("ready", f"Is next, due since {since}{lost}: {names} takes it.", [_cancel(row)])


# -- it ended ----------------------------------------------------------------------------------------------


def _end(row: ArchivedMessage, now: datetime) -> Cause:
    when = f"{at_clock(row.finished_at, now)}, {how_far(row.finished_at, now)}"
    tries = f"{row.attempts} of {row.max_attempts} tries"
    if row.outcome == "dead":
        return _dead(row, when, tries)
    if row.outcome == "succeeded":
        took = f", in {span(row.seconds)}" if row.seconds is not None else ""
        return Cause("succeeded", f"Succeeded at {when}, at try {row.attempts} of {row.max_attempts}{took}.")
    if row.outcome == "expired":
        deadline = f" {at_clock(row.deadline, now)}" if row.deadline else ""
        sentence = f"Expired at {when}, after {tries}: its deadline{deadline} had passed."
        return Cause("expired", f"{sentence} To have it done still, enqueue it again.")
    return Cause(
        str(row.outcome), f"Was cancelled at {when}, after {tries}. To have it done still, enqueue it again."
    )


def _dead(row: ArchivedMessage, when: str, tries: str) -> Cause:
    entries = [entry for entry in entries_of(row) if "attempt" in entry]
    why = f": {in_short(entries[-1])}".rstrip(".") if entries else ""
    redrive = manage("letsgo", "dead", "redrive", str(row.pk))
    discard = manage("letsgo", "dead", "discard", str(row.pk))
    actions = [
        action_on("redrive", redrive, "deadletter", row.pk),
        action_on("discard", discard, "deadletter", row.pk),
    ]
    sentence = f"Died at {when}, after {tries}{why}. Once the cause is mended, `{redrive}` runs it again."
    return Cause("dead", sentence, actions)
