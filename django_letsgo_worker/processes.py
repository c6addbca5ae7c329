"""Verbs on process rows: register, beat, change state, stop, finish, forget; the only writer of Process.

Nothing is recovered from these rows: leases lapse by themselves. inspection tells which processes live.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from .conf import settings
from .engines import engine_for
from .errors import ProcessAlive, ProcessNotFound
from .models import ArchivedMessage, Message, Process, Progress
from .validation import exact_json

TABLE = Process._meta.db_table
# Rows of processes that ended, or fell silent, are kept this long.
KEPT_FOR = timedelta(days=1)
# Processes beat every third of the lease; a scheduler, which has none, not more often than this, in seconds.
SCHEDULER_BEATS_EVERY = 5.0
# The number of missed heartbeats after which a process counts as silent.
MISSED = 3


def scheduler_beats_every() -> float:
    """Return the seconds between a scheduler's heartbeats."""
    return max(SCHEDULER_BEATS_EVERY, settings().lease_seconds / 3)


def silent_after(kind: str) -> timedelta:
    """Return how long a process counts as living after a heartbeat: three beats, or a lease if longer."""
    lease = settings().lease_seconds
    beats_every = SCHEDULER_BEATS_EVERY if kind == Process.Kind.SCHEDULER else lease / 3
    return timedelta(seconds=max(MISSED * beats_every, lease))


def register(process: Process, using: str) -> None:
    """Write the row of a process that starts."""
    process.started_at = process.heartbeat_at = engine_for(using).clock()
    process.save(using=using, force_insert=True)


def beat(process: Process, *, busy: int, using: str) -> bool:
    """Record a heartbeat of a process; return whether it was asked to stop."""
    return beat_and_ask(process, (), busy=busy, using=using)[0]


def beat_and_ask(
    process: Process, asked: Sequence[str], *, busy: int = 0, using: str
) -> tuple[bool, tuple[Any, ...]]:
    """Record a heartbeat of a process; return whether it was asked to stop, and the answers.

    What is `asked`, expressions of SQL with the parameter `now`, costs no further statement.
    """
    engine = engine_for(using)
    params = {
        "id": engine.process(process.pk),
        "busy": busy,
        "state": process.state,
        "awake": engine.moment(process.awake_since),
        "overrunning": exact_json(process.overrunning),
        "progress": exact_json(process.progress),
        "now": engine.dialect.now_param(None),
    }
    update = (
        f"UPDATE {TABLE} SET heartbeat_at = {engine.dialect.clock}, busy = %(busy)s, state = %(state)s, "
        "overrunning = %(overrunning)s, progress = %(progress)s, awake_since = %(awake)s WHERE id = %(id)s"
    )
    wanted = ", ".join(("stop_requested", *asked))
    if engine.can_return_updated:
        rows = engine.execute(f"{update} RETURNING {wanted}", params)
    else:
        engine.execute(update, params)
        rows = engine.execute(f"SELECT {wanted} FROM {TABLE} WHERE id = %(id)s", params)
    if not rows:
        # The row was deleted as a dead process's: this one slept for a day.
        process.busy = busy
        register(process, using)
        return beat_and_ask(process, asked, busy=busy, using=using)
    stop_requested, *answers = rows[0]
    return bool(stop_requested), tuple(answers)


def tell_types(process: Process, types: list[str], using: str) -> None:
    """Write which types a process knows, if they have changed."""
    if types != process.types:
        process.types = types
        Process.objects.using(using).filter(pk=process.pk).update(types=types)


def progress_of(message: Message | ArchivedMessage, using: str | None = None) -> Progress | None:
    """Return how far a message is, as its handler last said it in this attempt; None where it did not.

    It is as old as the worker's last heartbeat; a message that ended has none.
    """
    if isinstance(message, ArchivedMessage) or message.leased_by is None:
        return None
    rows = Process.objects.using(using or settings().database).filter(pk=message.leased_by)
    holder = rows.only("progress").first()
    return None if holder is None else holder.progress_of(message.pk, message.receipt)


def set_state(process: Process, state: str, using: str) -> None:
    """Write a new state at once, without waiting for the next heartbeat."""
    process.state = state
    Process.objects.using(using).filter(pk=process.pk).update(state=state)


def finish(process: Process, using: str) -> None:
    """Record that a process has ended."""
    process.state, process.progress = Process.State.STOPPED, {}
    beat(process, busy=0, using=using)


def request_stop(process_id: Any, *, using: str | None = None) -> bool:
    """Ask a process to drain and stop, at its next heartbeat; return whether it is there and running."""
    alias = using or settings().database
    rows = Process.objects.using(alias).filter(pk=process_id).exclude(state=Process.State.STOPPED)
    return bool(rows.update(stop_requested=True))


def forget_old(*, now: datetime | None = None, using: str | None = None) -> int:
    """Delete the rows of processes that ended or fell silent a day ago; return how many."""
    alias = using or settings().database
    clock = now or engine_for(alias).clock()
    return Process.objects.using(alias).filter(heartbeat_at__lt=clock - KEPT_FOR).delete()[0]


def forget(name: str, *, now: datetime | None = None, using: str | None = None) -> int:
    """Delete the rows of silent processes of this name, so that nobody is told of them; return how many.

    What they held is taken up by others in any case. Raises ProcessAlive if one of the name lives and none is
    silent, ProcessNotFound if there is neither.
    """
    alias = using or settings().database
    clock = now or engine_for(alias).clock()
    rows = Process.objects.using(alias).filter(name=name).exclude(state=Process.State.STOPPED)
    there = list(rows)
    silent = [row.pk for row in there if row.heartbeat_at < clock - silent_after(row.kind)]
    # One that beats at this moment is not deleted.
    beats = {row.pk: row.heartbeat_at for row in there}
    done = sum(rows.filter(pk=pk, heartbeat_at=beats[pk]).delete()[0] for pk in silent)
    if not done and len(there) > len(silent):
        raise ProcessAlive(there[0].kind, name)
    if not done:
        raise ProcessNotFound(name)
    return done
