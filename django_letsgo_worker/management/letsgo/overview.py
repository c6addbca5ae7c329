"""`letsgo status|info|handlers`: what there is, how it fares, and what is wrong.

Nothing is changed here.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from typing import Any

import django

from ... import __version__, queues, registry
from ...models import ScheduledJob
from ...registry import Handler
from . import showing
from .call import Call, Verbs
from .counting import work_of_queues
from .liveness import counted, processes
from .problems import problems

SHOWN = ("name", "state", "ready", "oldest", "running", "scheduled", "retrying", "dead", "workers")


def add_to(verbs: Verbs) -> None:
    verbs.add("status", status, "shows queues, workers, schedules, and what is wrong")
    verbs.add("info", info, "shows who is alive, the queues, the engine and the versions")
    verbs.add("handlers", list_handlers, "lists the handlers that are registered here")


# -- status ----------------------------------------------------------------------------------------------


def status(call: Call) -> None:
    living = processes(call)
    work = work_of_queues(call, living)
    jobs = list(ScheduledJob.objects.using(call.using).defer("payload").order_by("name"))
    facts = {
        "at": call.clock,
        "queues": work,
        "workers": counted((row for row in living if row.kind == "worker"), call.clock),
        "schedulers": counted((row for row in living if row.kind == "scheduler"), call.clock),
        "schedules": _schedules(jobs),
        "problems": problems(call, work, living, jobs),
    }
    if call.out.as_json:
        call.out.document(facts)
    else:
        _print_status(call, facts)


def _schedules(jobs: Sequence[ScheduledJob]) -> dict[str, Any]:
    states = Counter(job.state for job in jobs)
    planned = [job for job in jobs if job.state == "on" and job.next_run_at is not None]
    first = min(planned, key=lambda job: job.next_run_at or job.created_at, default=None)
    return {
        **{state: states[state] for state in ("on", "off", "broken", "completed")},
        "next_run_at": first and first.next_run_at,
        "next_schedule": first and first.name,
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
        "Next": showing.NOTHING,
    }
    if schedules["next_run_at"] is not None:
        when = showing.how_far(schedules["next_run_at"], call.clock)
        lines["Next"] = f"{showing.printable(schedules['next_schedule'])} {when}"
    call.out.facts(lines)
    for problem in facts["problems"]:
        call.out.line(f"! {showing.printable(problem['sentence'])}")


def for_people(queue: dict[str, Any]) -> dict[str, Any]:
    """Return the work of a queue as SHOWN shows it."""
    oldest = queue["oldest_ready_seconds"]
    return queue | {"oldest": None if oldest is None else showing.length(oldest)}


def _listed(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in numbers.items())


# -- info ------------------------------------------------------------------------------------------------


def info(call: Call) -> None:
    living = processes(call)
    facts: dict[str, Any] = {
        "version": __version__,
        "django": django.get_version(),
        "python": platform.python_version(),
        "database": call.using,
        "engine": call.engine.display_name,
        "engine_version": ".".join(map(str, call.engine.connection.get_database_version())),
        "clock": call.clock,
        "queues": queues.names(using=call.using),
        "workers": counted((row for row in living if row.kind == "worker"), call.clock),
        "schedulers": counted((row for row in living if row.kind == "scheduler"), call.clock),
        "handlers": len(registry.handlers()),
    }
    if call.out.as_json:
        call.out.document(facts)
    else:
        call.out.facts(
            showing.labelled(facts)
            | {name.capitalize(): _listed(facts[name]) for name in ("workers", "schedulers")}
        )


# -- handlers --------------------------------------------------------------------------------------------


def list_handlers(call: Call) -> None:
    shown = ("type", "place", "queue", "priority", "max_attempts", "backoff", "timeout", "atomic", "where")
    call.out.rows([_facts_of(handler) for handler in registry.handlers()], shown)


def _facts_of(handler: Handler) -> dict[str, Any]:
    """Return a handler's options; None means what the settings say."""
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
