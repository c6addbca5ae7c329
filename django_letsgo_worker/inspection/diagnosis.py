"""All searches for problems, and the list of what they find: the one that every door prints.

What makes each problem is in the module of its search; problems of settings and code are found by the checks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from django.utils import translation

from ..signals import problems_found
from . import database_problems, failure_problems, process_problems, queue_problems, schedule_problems
from .problem import Problem, by_harm
from .snapshot import Snapshot

logger = logging.getLogger("django_letsgo_worker.inspection")

SEARCHES: tuple[Callable[[Snapshot], Iterator[Problem]], ...] = (
    failure_problems.failing,
    schedule_problems.of_plans,
    schedule_problems.failing,
    schedule_problems.missing,
    queue_problems.standing,
    process_problems.silent,
    queue_problems.growing,
    queue_problems.paused,
    failure_problems.dead_letters,
    database_problems.clocks,
    database_problems.old_snapshots,
    database_problems.bloated_tables,
)

# Those about queues and types; their rows are marked.
MARKED = (
    failure_problems.failing,
    queue_problems.standing,
    process_problems.silent,
    queue_problems.growing,
    queue_problems.paused,
)


def problems(using: str | None = None, now: datetime | None = None) -> list[Problem]:
    """Return all that is wrong, the worst first: an empty list says that all is well.

    `using` is a database alias, the setting DATABASE if None, and `now` an aware datetime, the database's
    clock if None. By harm: work that is lost or refused, that stands still, that is late, and dirt; then by
    how much each is about. It takes at most twenty statements, each with a cap.
    """
    return problems_in(Snapshot(using, now))


def problems_in(snapshot: Snapshot) -> list[Problem]:
    """Return the problems of what was read, or is read now, for one page, one command or one scrape."""
    unfit = database_problems.not_migrated(snapshot.using)
    if unfit is not None:
        return [unfit]
    return by_harm(problem for search in SEARCHES for problem in search(snapshot))


def tell_problems(using: str) -> None:
    """Send the list to the receivers of the signal; nothing is searched for where none wants it."""
    if not problems_found.is_wanted:
        return
    try:
        # No reader is known here: Slack and logs are English, whatever LANGUAGE_CODE is.
        with translation.override("en"):
            found = problems(using)
    except Exception:
        # Who asks does it beside its work, which goes on.
        logger.exception("The problems could not be searched for.")
        return
    problems_found.send_robust(sender=Problem, problems=found)


# -- marks -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Affected:
    """The worst problem of each queue and type that one is about: nothing beside it is marked as good."""

    queues: dict[str, Problem] = field(default_factory=dict)
    types: dict[str, Problem] = field(default_factory=dict)


def affected(snapshot: Snapshot) -> Affected:
    """Return the queues and types that problems are about; a type's problem is one of its queues, too."""
    found = Affected()
    for problem in by_harm(problem for search in MARKED for problem in search(snapshot)):
        if problem.code.startswith(("type_", "backlog_")):
            found.types.setdefault(problem.about, problem)
        for queue in _queues_of(snapshot, problem):
            found.queues.setdefault(queue, problem)
    return found


def _queues_of(snapshot: Snapshot, problem: Problem) -> set[str]:
    if problem.code == "no_worker":
        return {one.queue for one in snapshot.due}
    if problem.code == "process_silent":
        ids = {process.pk for process in snapshot.silent_workers if process.name == problem.about}
        return {queue for holder, queue in snapshot.held if holder in ids}
    if problem.code.startswith("queue_"):
        return {problem.about}
    tried = {one.queue for one in snapshot.attempts if one.type == problem.about and one.failed}
    return tried | {one.queue for one in snapshot.due if one.type == problem.about}
