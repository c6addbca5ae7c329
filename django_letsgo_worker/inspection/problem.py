"""A problem: its code and severity for programs, its sentence and actions for people, and the order of all.

What is wrong is found in the modules beside this one. Sentences are made in the active language, and
whole, since nobody can translate pieces, with clauses that may be missing as placeholders.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.translation import gettext as _

from ..engines import AtLeast
from ..hints import nearest
from .actions import Action

ERROR, WARNING, NOTICE = "error", "warning", "notice"
SEVERITIES = (ERROR, WARNING, NOTICE)
# The harm that is done, the worst first: work is lost or refused, stands still, is late; or dirt gathers.
LOST, STANDING, LATE, DIRT = range(4)

# Each code with its usual severity and its harm.
CODES = {
    "not_migrated": (ERROR, LOST),
    "type_failing": (WARNING, LOST),
    "schedule_broken": (ERROR, LOST),
    "schedule_failing": (ERROR, LOST),
    "schedule_of_unknown_type": (ERROR, LOST),
    "no_worker": (ERROR, STANDING),
    "no_scheduler": (ERROR, STANDING),
    "queue_unserved": (ERROR, STANDING),
    "type_unknown": (ERROR, STANDING),
    "schedule_missing": (ERROR, STANDING),
    "process_silent": (WARNING, STANDING),
    "backlog_growing": (WARNING, LATE),
    "schedule_late": (WARNING, LATE),
    "schedule_never_fires": (WARNING, LATE),
    "queue_paused": (NOTICE, LATE),
    "type_paused": (NOTICE, LATE),
    "schedules_paused": (NOTICE, LATE),
    "dead_letters": (NOTICE, DIRT),
    "clock_skew": (WARNING, DIRT),
    "old_snapshot": (WARNING, DIRT),
    "table_bloat": (WARNING, DIRT),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, as every door shows it.

    `code` is one of the table in docs/reference/problems.md, or the id of a check; `severity` error, warning
    or notice; `about` the name of a queue, type, schedule, process or table, or empty. `sentence` says cause,
    thing and what to do, `since` since when, if that is known. `count` says how many messages, schedules or
    attempts it is about; `capped`: or more. `actions` are dictionaries of a verb, a command and a URL.
    """

    code: str
    severity: str
    about: str
    sentence: str
    since: datetime | None = None
    count: int = 1
    capped: bool = False
    actions: list[Action] = field(default_factory=list)


def problem(
    code: str,
    about: str,
    sentence: str,
    *actions: Action,
    since: datetime | None = None,
    count: int = 1,
    severity: str = "",
) -> Problem:
    """Return a problem of ours; its severity is the usual one of its code unless another is given."""
    usual, _harm = CODES[code]
    capped = isinstance(count, AtLeast)
    return Problem(code, severity or usual, about, sentence, since, int(count), capped, list(actions))


def by_harm(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems by the harm that they do, then by how much they are about."""
    return sorted(problems, key=lambda one: (CODES[one.code][1], -one.count))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ' Did you mean ...?' when a known word is near, else nothing."""
    close = nearest(word, known)
    return _(" Did you mean %(name)r?") % {"name": close} if close else ""
