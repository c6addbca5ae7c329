"""The plan of an import: a row for each row of the other package, with what becomes of it here, and why.

The packages' modules make the rows of a plan; their order and form on the screen are those of __init__.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.apps import apps

from .... import planning, registry
from ....models import ScheduledJob
from .comparing import Rule, best

TASK = "letsgo:task:"


@dataclass(frozen=True, slots=True)
class Planned:
    """A row of the plan. `verdict` is same, different or skipped; `does` is what --apply does about it."""

    name: str
    theirs: str
    ours: str = ""
    timezone: str = ""
    type: str = ""
    enabled: bool = True
    next_run_at: datetime | None = None
    verdict: str = "same"
    why: str = ""
    differs_at: datetime | None = None
    notes: tuple[str, ...] = ()
    does: str = "nothing"
    # The arguments of the verb that writes it.
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of a plan, as they are made; how many these will be; and remarks about all that is no row."""

    rows: Iterator[Planned]
    total: int
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Foreign:
    """A schedule of another package in words of ours: what it sends, when, and what cannot come along.

    `choices` are the parts of our fields that say when, the preferred one first; `rule` tells its runs, on
    the clock of `zone`.
    """

    name: str
    theirs: str
    fields: Mapping[str, Any] = field(repr=False)
    choices: Sequence[Mapping[str, Any]]
    rule: Rule
    zone: str
    notes: tuple[str, ...] = ()
    # A difference that no comparison of runs shows.
    why: str = ""


class Skipped(Exception):
    """A row cannot come along; the text says why."""


def skipped(name: str, theirs: str, why: object, enabled: bool = True) -> Planned:
    return Planned(name, theirs, enabled=enabled, verdict="skipped", why=str(why))


def planned(foreign: Foreign, now: datetime, using: str) -> Planned:
    """Choose an expression, compare, and look at the schedule that has the name here."""
    compared = best(foreign.name, foreign.fields, foreign.choices, foreign.rule, foreign.zone, now)
    fields = compared.fields
    row = Planned(
        foreign.name,
        foreign.theirs,
        ours=fields["schedule"],
        timezone=fields["timezone"],
        type=fields["type"],
        enabled=fields["enabled"],
        next_run_at=compared.next_run_at if fields["enabled"] else None,
        notes=foreign.notes,
        fields=fields,
    )
    if compared.refusal:
        return replace(row, verdict="skipped", why=compared.refusal, next_run_at=None)
    if why := foreign.why or compared.why:
        row = replace(row, verdict="different", why=why, differs_at=compared.differs_at)
    return _beside_what_is_here(row, using)


def _beside_what_is_here(row: Planned, using: str) -> Planned:
    """Say what ensure() would do: its `enabled` counts only where the schedule is added."""
    job = ScheduledJob.objects.using(using).filter(name=row.name).first()
    if job is None:
        return replace(row, does="add")
    wanted = {name: value for name, value in planning.as_columns(row.fields).items() if name != "enabled"}
    if all(getattr(job, name) == value for name, value in wanted.items()):
        return replace(row, does="leave")
    if job.declared_in_code:
        return replace(row, verdict="skipped", why="the code declares a schedule of this name")
    if _path(job.type) != _path(row.type):
        return replace(row, verdict="skipped", why=f"a schedule of this name is here, which sends {job.type}")
    return replace(row, does="change")


def _path(type: str) -> str:
    """Return the path of a task, which may be Celery's at one import and Django's at the next."""
    return type.rpartition(":")[2]


def type_of(path: str, *prefixes: str) -> str | None:
    """Return the type under which the function of this path is registered here, if it is.

    A task's module is imported for that, as workers do, but only one of an app that is installed: nothing
    else is imported by a name that stands in a row.
    """
    if found := next((prefix + path for prefix in prefixes if registry.find(prefix + path)), None):
        return found
    module = path.rpartition(".")[0]
    if module and apps.get_containing_app_config(module) is not None:
        with suppress(ImportError):
            importlib.import_module(module)
    return TASK + path if registry.find(TASK + path) else None


def unique_names(names: Iterable[tuple[Any, str | None, str]]) -> dict[Any, str]:
    """Return a name for each (id, name, otherwise): its own if no other row has it."""
    rows = list(names)
    own = [name for _id, name, _otherwise in rows if name]
    return {
        id: name if name and own.count(name) == 1 else f"{name or otherwise} ({id})"
        for id, name, otherwise in rows
    }
