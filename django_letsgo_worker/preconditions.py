"""What must hold before a worker or a scheduler starts: real threads, a database that others see, its tables.

Each refusal is one sentence, raised as NotReady. Signals and exit codes are the commands'.
"""

from __future__ import annotations

import logging
import random
import sys
import threading
from collections.abc import Callable

from django.core import checks
from django.db import Error, connections

from .engines import engine_for
from .errors import NotReady
from .inspection import not_migrated

logger = logging.getLogger("django_letsgo_worker.startup")

FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 10.0


def refuse_failed_checks() -> None:
    """Refuse settings and handlers in which our checks find errors."""
    found = checks.run_checks(tags=["letsgo_worker"])
    errors = [message for message in found if message.is_serious() and not message.is_silenced()]
    if errors:
        raise NotReady(" ".join(str(part) for part in (errors[0].msg, errors[0].hint) if part))


def refuse_unfit_connection(using: str) -> None:
    """Refuse a database whose rows no other connection would see: in a transaction, or in private memory."""
    connection = connections[using]
    if connection.in_atomic_block:
        raise NotReady(
            "This cannot run inside a transaction, which hides its rows from all others: "
            "in tests use django_letsgo_worker.testing.drain()."
        )
    name = str(connection.settings_dict["NAME"])
    in_memory = ":memory:" in name or "mode=memory" in name
    if connection.vendor == "sqlite" and in_memory and "cache=shared" not in name:
        raise NotReady(
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
    raise NotReady(
        f"A worker needs real threads, but {name} has replaced them in this process: "
        "run it in one that does not call it."
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
        raise NotReady(
            f"The database {using!r} has no SKIP LOCKED: "
            "MariaDB 10.6 or MySQL 8.0.13 is the oldest version supported."
        )
    if (missing := not_migrated(using)) is not None:
        raise NotReady(missing.sentence)
