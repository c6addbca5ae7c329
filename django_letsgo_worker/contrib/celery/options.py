"""The options of tasks and calls, in Celery's words: which count, which are so anyway, which are refused.

Each refusal is one sentence that says what to do instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ...hints import no_option
from ...validation import check_moment, check_seconds, show
from .exceptions import UnsupportedCelery

# Options of @shared_task and @app.task that count here; the last two are our own.
OF_TASKS = frozenset(
    (
        "autoretry_for", "bind", "default_retry_delay", "dont_autoretry_for", "expires", "ignore_result",
        "max_retries", "priority", "queue", "retry_backoff", "retry_backoff_max", "retry_jitter",
        "retry_kwargs", "typing", "atomic", "on_dead",
    )
)  # fmt: skip
OF_CALLS = frozenset(("countdown", "eta", "expires", "ignore_result", "priority", "queue"))
# What is so here whatever an option says, if it says this.
ALWAYS: Mapping[str, tuple[Any, ...]] = {
    "acks_late": (True, None),
    "acks_on_failure_or_timeout": (True, None),
    "reject_on_worker_lost": (True, None),
    "send_events": (True, False, None),
    "serializer": ("json", None),
    "shared": (True, None),
    "lazy": (True, None),
    "store_errors_even_if_ignored": (True, None),
    "track_started": (True, False, None),
    "trail": (True, False, None),
    "add_to_parent": (True, False, None),
    "retry": (True, False, None),
    "retry_policy": (None,),
    "link": (None, [], ()),
    "link_error": (None, [], ()),
    "compression": (None,),
}

_NO_TIME_LIMIT = (
    "a running task is a thread, which nothing can kill: give the calls that may hang, as HTTP requests do, "
    "time-outs of their own, or write it as a @handler with timeout="
)
_NO_EXCHANGE = "there are queues and nothing else: write queue="
REFUSED = {
    "acks_late": "a message is always acknowledged after its task has run: leave it out, and write "
    "max_retries=0 for a task that must not begin twice",
    "acks_on_failure_or_timeout": "a failed task is a dead letter, which people can run again: leave it out",
    "reject_on_worker_lost": "the message of a lost worker is always run again: leave it out, and write "
    "max_retries=0 for a task that must not begin twice",
    "rate_limit": "runs per minute cannot be limited: give the task its own queue, and a worker with "
    "--queues and a small --concurrency",
    "time_limit": _NO_TIME_LIMIT,
    "soft_time_limit": _NO_TIME_LIMIT,
    "serializer": "a message is JSON: send text, numbers, lists, dictionaries, and of a row its primary key",
    "compression": "a message is JSON: keep what is large elsewhere, and send its key",
    "store_errors_even_if_ignored": "a failure is always kept: leave it out",
    "throws": "no exception is expected: catch those that are, or leave it out",
    "task_id": "the database gives ids: keep that of the result; a message that must not exist twice has a "
    "unique_key in enqueue()",
    "link": "write a chain, first.s(...) | second.s()",
    "link_error": "name a type in on_dead= of the task: its message is enqueued when this one is dead",
    "shadow": "a message has the name of its task: leave it out",
    "headers": "a task is given its arguments and nothing else: make it one of them",
    "exchange": _NO_EXCHANGE,
    "routing_key": _NO_EXCHANGE,
    "group_id": "there are no groups",
    "chord": "there are no chords",
    "pydantic": "arguments are JSON as it is: let the task make its model of them, or write a @message_type",
    "retry_policy": "a message is written in your transaction, and no broker can be away: leave it out",
}


def check_of_task(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options of a task: UnsupportedCelery for those of Celery's, TypeError for unknown ones."""
    _check(f"The task {name}", options, OF_TASKS)


def refused_of_class(task_class: type) -> dict[str, Any]:
    """Return what the class of a task says about options that are refused."""
    return {option: getattr(task_class, option) for option in REFUSED if hasattr(task_class, option)}


def check_of_call(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options of a call: UnsupportedCelery for those of Celery's, TypeError for unknown ones."""
    _check(f"A call of {name}", options, OF_CALLS)


def _check(what: str, options: Mapping[str, Any], known: Iterable[str]) -> None:
    for option, value in options.items():
        if option in known or any(value == always for always in ALWAYS.get(option, ())):
            continue
        if option in REFUSED:
            # What may hold more than a word may hold a secret.
            given = f"{option}={show(value, 40) if isinstance(value, (str, int, float)) else '...'}"
            raise UnsupportedCelery(f"{what} cannot have {given}: {REFUSED[option]}.")
        raise TypeError(no_option(what, [option], known))


def as_message(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a call in the words of enqueue()."""
    found: dict[str, Any] = {name: options.get(name) for name in ("queue", "priority")}
    eta, countdown = options.get("eta"), options.get("countdown")
    if eta is not None:
        found["visible_at"] = check_moment("eta", eta)
    elif countdown is not None:
        # Celery takes 0 and less for now.
        found["delay"] = check_seconds("countdown", max(countdown, type(countdown)(0)))
    expires = options.get("expires")
    if isinstance(expires, datetime):
        found["deadline"] = check_moment("expires", expires)
    elif expires is not None:
        found["deadline"] = timedelta(seconds=check_seconds("expires", expires, least_exclusive=True))
    return found
