"""`letsgo status|doctor|info|handlers`: the state of the system and its problems.

Nothing is changed here. Inspection finds the problems of rows, the checks those of settings and code.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import django
from django.core import checks
from django.core.checks.registry import registry as all_checks
from django.core.management.base import CommandError

from ... import __version__, queues, registry
from ...inspection import (
    ERROR,
    NOTICE,
    WARNING,
    Problem,
    Snapshot,
    alias_of_queue,
    counted_by_liveness,
    facts_of_queues,
    problems_in,
    used_queues,
)
from ...registry import Handler
from . import formats
from .call import Call, Verbs
from .queues import facts_of as facts_of_queue
from .schedule_pauses import PAUSE

# The severity of a check's finding, by its level.
LEVELS = ((checks.ERROR, ERROR), (checks.WARNING, WARNING))
SHOWN = ("name", "state", "ready", "oldest", "running", "scheduled", "retrying", "dead", "workers")


def add_to(verbs: Verbs) -> None:
    verbs.add("status", status, "shows queues, workers, schedules and problems")
    parser = verbs.add(
        "doctor", doctor, "lists all problems, and exits with 1 if there are errors or warnings"
    )
    # It lists their findings itself.
    parser.set_defaults(skip_checks=True)
    verbs.add("info", info, "shows who is alive, the queues, the engine and the versions")
    verbs.add("handlers", list_handlers, "lists the handlers that are registered here")


# -- status ----------------------------------------------------------------------------------------------


def status(call: Call) -> None:
    snapshot = call.snapshot
    facts = {
        "at": call.clock,
        "queues": [facts_of_queue(queue, call) for queue in facts_of_queues(snapshot, used_queues(snapshot))],
        **counted_processes(call),
        "schedules": _schedules(snapshot),
        "problems": [asdict(problem) for problem in problems_in(snapshot)],
    }
    if call.out.as_json:
        call.out.document(facts)
    else:
        _print_status(call, facts)


def counted_processes(call: Call) -> dict[str, dict[str, int]]:
    """Return the numbers of living, silent and stopped workers and schedulers."""
    return {
        f"{kind}s": counted_by_liveness(call.snapshot.processes, kind, call.clock)
        for kind in ("worker", "scheduler")
    }


def _schedules(snapshot: Snapshot) -> dict[str, Any]:
    jobs = snapshot.jobs
    states = Counter(job.state for job in jobs)
    planned = [job for job in jobs if job.state == "on" and job.next_run_at is not None]
    first = min(planned, key=lambda job: job.next_run_at or job.created_at, default=None)
    return {
        **{state: states[state] for state in ("on", "off", "broken", "completed")},
        "next_run_at": first and first.next_run_at,
        "next_schedule": first and first.name,
        "pause": snapshot.schedules_pause and formats.facts_of(snapshot.schedules_pause, PAUSE),
    }


def _print_status(call: Call, facts: dict[str, Any]) -> None:
    if facts["queues"]:
        call.out.table([for_people(queue) for queue in facts["queues"]], SHOWN)
    else:
        call.out.line("No queue has messages.")
    call.out.line("")
    schedules = facts["schedules"]
    lines = {
        "Workers": _listed(facts["workers"]),
        "Schedulers": _listed(facts["schedulers"]),
        "Schedules": _listed({state: schedules[state] for state in ("on", "off", "broken", "completed")}),
        "Next": formats.NOTHING,
    }
    if (pause := schedules["pause"]) is not None:
        until = "" if pause["resume_at"] is None else f" until {formats.as_text(pause['resume_at'])}"
        lines["Next"] = f"all schedules are paused{until}"
    elif schedules["next_run_at"] is not None:
        when = formats.how_far(schedules["next_run_at"], call.clock)
        lines["Next"] = f"{formats.printable(schedules['next_schedule'])} {when}"
    call.out.facts(lines)
    _print_problems(call, facts["problems"])


def _print_problems(call: Call, problems: Sequence[dict[str, Any]]) -> None:
    """Print the sentence of each problem and, below it, since when."""
    for problem in problems:
        call.out.line(f"! {formats.printable(problem['sentence'])}")
        if (since := problem["since"]) is not None:
            call.out.line(f"  since {formats.as_text(since)}, {formats.how_far(since, call.clock)}")
    if not problems:
        call.out.line("All is well.")


def for_people(queue: dict[str, Any]) -> dict[str, Any]:
    """Return the work of a queue as SHOWN shows it."""
    oldest = queue["oldest_ready_seconds"]
    return queue | {"oldest": None if oldest is None else formats.length(oldest)}


def _listed(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in numbers.items())


# -- doctor ----------------------------------------------------------------------------------------------


def doctor(call: Call) -> None:
    found = [*_about_code(), *_about_rows(call)]
    listed = [asdict(problem) for problem in found]
    if call.out.as_json:
        call.out.document(listed)
    else:
        _print_problems(call, listed)
    said = f"{formats.counted(len(found), 'problem')} found."
    if any(problem.severity != NOTICE for problem in found):
        raise CommandError(said)
    if found:
        call.out.say(said)


def _about_code() -> Iterator[Problem]:
    """Yield the findings of our checks, those for deployments included."""
    tags = [tag for tag in all_checks.tags_available(True) if tag.startswith("letsgo_")]
    for message in checks.run_checks(tags=tags, include_deployment_checks=True):
        if not message.is_silenced():
            about = "" if message.obj is None else str(message.obj)
            sentence = " ".join(filter(None, (message.msg, message.hint)))
            severity = next((name for level, name in LEVELS if message.level >= level), NOTICE)
            yield Problem(message.id or "", severity, about, sentence)


def _about_rows(call: Call) -> list[Problem]:
    # Without an alias the checks have reported it.
    return [] if alias_of_queue() is None else problems_in(call.snapshot)


# -- info ------------------------------------------------------------------------------------------------


def info(call: Call) -> None:
    facts: dict[str, Any] = {
        "version": __version__,
        "django": django.get_version(),
        "python": platform.python_version(),
        "database": call.using,
        "engine": call.engine.display_name,
        "engine_version": ".".join(map(str, call.engine.connection.get_database_version())),
        "clock": call.clock,
        "queues": queues.names(using=call.using),
        **counted_processes(call),
        "handlers": len(registry.handlers()),
    }
    if call.out.as_json:
        call.out.document(facts)
    else:
        call.out.facts(
            formats.labelled(facts)
            | {name.capitalize(): _listed(facts[name]) for name in ("workers", "schedulers")}
        )


# -- handlers --------------------------------------------------------------------------------------------


def list_handlers(call: Call) -> None:
    shown = ("type", "place", "queue", "priority", "max_attempts", "backoff", "timeout", "atomic", "where")
    call.out.rows([_facts_of(handler) for handler in registry.handlers()], shown)


def _facts_of(handler: Handler) -> dict[str, Any]:
    """Return a handler's options; None means the value from the settings."""
    backoff: Any = handler.backoff
    if callable(backoff):
        backoff = f"{getattr(backoff, '__module__', '')}.{getattr(backoff, '__qualname__', repr(backoff))}"
    return {
        "type": handler.type,
        "function": handler.dotted,
        "place": handler.place,
        "queue": handler.queue,
        "priority": handler.priority,
        "max_attempts": handler.max_attempts,
        "backoff": backoff,
        "timeout": handler.timeout,
        "atomic": handler.atomic,
        "is_async": handler.is_async,
        "where": dict(handler.where),
    }
