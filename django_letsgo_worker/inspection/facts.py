"""What is said of each queue and each type wherever they are listed: work, workers, pause, what ended lately.

What is wrong with them is found in diagnosis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from .. import registry
from ..conf import settings
from ..models import PausedType, Queue
from .evidence import LATELY, minutes_of_success
from .rates import Rate, history_lately
from .snapshot import Snapshot
from .work import Work, total


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """A queue: its pause, its work by state, its dead letters, and how many living workers serve it.

    `attempts`, and how many of them `failed`, are those of the last quarter of an hour; `per_minute` is how
    many messages ended in a minute of the last hour.
    """

    row: Queue
    work: Work
    dead: int
    workers: int
    attempts: int
    failed: int
    per_minute: float

    @property
    def failed_share(self) -> float | None:
        """The share of the attempts that failed, from 0 to 1; None where there was none."""
        return self.failed / self.attempts if self.attempts else None


def queue_names(snapshot: Snapshot) -> set[str]:
    """Return all queues that a handler, a living worker, the settings, a pause or a message names."""
    served = {name for worker in snapshot.workers for name in worker.named_queues or ()}
    return used_queues(snapshot) | served | _destinations() | set(settings().queues or ())


def _destinations(type: str | None = None) -> set[str]:
    """Return the queues that messages go to unless told otherwise: those of a registered type, or of all."""
    return {one.queue or registry.DEFAULT_QUEUE for one in registry.handlers() if type in (None, one.type)}


def used_queues(snapshot: Snapshot) -> set[str]:
    """Return the queues that have messages, dead letters, or were paused once."""
    return {*snapshot.queue_rows, *snapshot.dead, *(lane.queue for lane in snapshot.lanes)}


def facts_of_queues(snapshot: Snapshot, names: Iterable[str] | None = None) -> list[QueueFacts]:
    """Return the facts of these queues, or of all that anything names, sorted by name."""
    wanted = sorted(queue_names(snapshot) if names is None else set(names))
    work = snapshot.work(wanted)
    ended = snapshot.ended
    attempts, failed = Counter[str](), Counter[str]()
    for one in snapshot.attempts:
        attempts[one.queue] += one.failed + one.succeeded
        failed[one.queue] += one.failed
    return [
        QueueFacts(
            snapshot.queue_rows.get(name) or Queue(name=name),
            work[name],
            snapshot.dead.get(name, 0),
            snapshot.workers_of(name),
            attempts[name],
            failed[name],
            ended.get(name, 0) * 60 / LATELY.total_seconds(),
        )
        for name in wanted
    ]


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """A type: where its messages go, how many wait, who knows it, its pause, and how it went lately.

    `workers` are the living ones that have a handler; `is_known` says whether they or this process have.
    `rate` is that of the last hour, None where nothing became of it. `last_success` is the beginning of the
    minute, or of an hour long ago, in which a message succeeded; None where none did in the last seven days.
    """

    name: str
    queues: tuple[str, ...]
    waiting: int
    workers: tuple[str, ...]
    is_known: bool
    pause: PausedType | None
    rate: Rate | None
    last_success: datetime | None


def type_names(snapshot: Snapshot) -> set[str]:
    """Return all types that are registered here or in a living worker, wait, are paused or ended lately."""
    waiting = {type for _queue, type in snapshot.waiting}
    met = {one.type for one in snapshot.met}
    return {*snapshot.types_known, *waiting, *snapshot.paused_types, *met}


def facts_of_types(snapshot: Snapshot, names: Iterable[str] | None = None) -> list[TypeFacts]:
    """Return the facts of these types, or of all that anything names, sorted by name."""
    wanted = sorted(type_names(snapshot) if names is None else set(names))
    rates = {rate.type or "": rate for rate in history_lately(snapshot, types=wanted).rates(by=["type"])}
    successes = _last_successes(snapshot, wanted, rates)
    return [
        TypeFacts(
            name,
            _queues_of(snapshot, name),
            total(count for (_queue, type), count in snapshot.waiting.items() if type == name),
            tuple(sorted(worker.name for worker in snapshot.workers if name in (worker.types or ()))),
            snapshot.knows(name),
            snapshot.paused_types.get(name),
            rates.get(name),
            successes.get(name),
        )
        for name in wanted
    ]


def _queues_of(snapshot: Snapshot, name: str) -> tuple[str, ...]:
    """Return the queues in which a type waits or was met, and the one that its handler here names."""
    waits = {queue for queue, type in snapshot.waiting if type == name}
    met = {one.queue for one in snapshot.met if one.type == name}
    return tuple(sorted({*waits, *met, *_destinations(name)}))


def _last_successes(
    snapshot: Snapshot, names: Collection[str], rates: Mapping[str, Rate]
) -> dict[str, datetime]:
    """Return when each type succeeded last; what the rates of the last hour do not tell is searched for."""
    lately = {name: rate.last_success for name, rate in rates.items() if rate.last_success is not None}
    hours: dict[str, datetime] = {}
    for one in snapshot.met:
        if one.type in names and one.type not in lately and one.succeeded_in is not None:
            hours[one.type] = max(one.succeeded_in, hours.get(one.type, one.succeeded_in))
    return lately | hours | minutes_of_success(snapshot.using, hours)
