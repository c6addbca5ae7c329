"""Checks that both long-running commands make before they start, and the signals that stop them.

Each refusal is one sentence, raised as CommandError. The work itself is in the worker and the scheduler.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType

from django.core.management.base import CommandError
from django.db import Error, connections

from ..engines import engine_for
from ..errors import LetsGoError
from ..inspection import not_migrated

logger = logging.getLogger("django_letsgo_worker.startup")

FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 10.0


def refuse_unfit_connection(using: str) -> None:
    """Refuse a database whose rows no other connection would see: in a transaction, or in private memory."""
    connection = connections[using]
    if connection.in_atomic_block:
        raise CommandError(
            "This cannot run inside a transaction, which hides its rows from all others: "
            "in tests use django_letsgo_worker.testing.drain()."
        )
    name = str(connection.settings_dict["NAME"])
    in_memory = ":memory:" in name or "mode=memory" in name
    if connection.vendor == "sqlite" and in_memory and "cache=shared" not in name:
        raise CommandError(
            "This cannot run on a SQLite database in memory, which only one connection sees: "
            "in tests use django_letsgo_worker.testing.drain()."
        )


def refuse_green_threads() -> None:
    """Refuse green threads: one that computes would hold up the heartbeats and all other threads."""
    gevent, eventlet = (sys.modules.get(name) for name in ("gevent.monkey", "eventlet.patcher"))
    if gevent is not None and gevent.is_module_patched("threading"):
        name = "gevent's monkey.patch_all()"
    elif eventlet is not None and eventlet.is_monkey_patched("thread"):
        name = "eventlet's monkey_patch()"
    else:
        return
    raise CommandError(
        f"A worker needs real threads, but {name} has replaced them in this process: "
        "start it with a manage.py that does not call it."
    )


def wait_for_database(using: str, stop: threading.Event, ask: Callable[[], None] = lambda: None) -> bool:
    """Wait until the database answers, and `ask` succeeds; False if told to stop first."""
    failures = 0
    while not stop.is_set():
        try:
            connections[using].ensure_connection()
            ask()
        except Error as error:
            if not engine_for(using).is_outage(error):
                raise
            connections[using].close()
            if not failures:
                # A wrong name or password may be put right meanwhile, as an outage may end.
                logger.warning(
                    "Waiting for the database %r, which is tried again until it answers or this is stopped: "
                    "%s",
                    using,
                    str(error).strip(),
                )
            failures += 1
            longest = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(failures, 10))
            stop.wait(longest * random.uniform(0.5, 1.0))
        else:
            if failures:
                logger.info("The database %r answers.", using)
            return True
    return False


def require_tables(using: str) -> None:
    """Refuse a database that lacks a feature that we need, or our migrations or tables."""
    connection = connections[using]
    if connection.vendor == "mysql" and not connection.features.has_select_for_update_skip_locked:
        raise CommandError(
            f"The database {using!r} has no SKIP LOCKED: "
            "MariaDB 10.6 or MySQL 8.0.13 is the oldest version supported."
        )
    if (missing := not_migrated(using)) is not None:
        raise CommandError(missing.sentence)


def adopt_databases(names: Mapping[str, str]) -> None:
    """Use the parent's database names, which may differ from those of a fresh start."""
    for alias, name in names.items():
        connections[alias].settings_dict["NAME"] = name


def stop_at_end_of_input(stop: threading.Event) -> None:
    """Set `stop` when standard input ends: the parent that holds its other end is gone."""

    def wait() -> None:
        # Not sys.stdin: a buffered read in progress at the interpreter's exit aborts it.
        while os.read(0, 1024):
            continue
        stop.set()

    threading.Thread(target=wait, name="letsgo-parent", daemon=True).start()


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """End a command with one sentence on any error of this app."""
    try:
        yield
    except LetsGoError as error:
        raise CommandError(str(error)) from error


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event, hurry: threading.Event | None = None) -> Iterator[None]:
    """Set `stop` at the first SIGTERM or SIGINT, and `hurry` at the next; outside the main thread do nothing.

    The previous handlers are restored at the end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(_number: int, _frame: FrameType | None) -> None:
        event = hurry if hurry is not None and stop.is_set() else stop
        # On another thread: the signal may have interrupted wait() while it held the event's
        # lock, and set() would then wait for itself.
        threading.Thread(target=event.set, daemon=True).start()

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
