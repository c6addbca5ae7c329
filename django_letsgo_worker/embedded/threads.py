"""The threads of a worker and a scheduler that live inside another process, from their start to their end.

Who starts them, and when they are to end, is said from outside.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from typing import Any

from django.db import connections

from .. import preconditions
from ..conf import check_alias, on_database
from ..engines import in_short
from ..errors import AlreadyRunning, InvalidMessage, LetsGoError, NotReady
from ..scheduler import Scheduler
from ..validation import check_name
from ..worker import Options, Worker

logger = logging.getLogger("django_letsgo_worker.startup")

# How long a start waits for the database's first answer, in seconds: its outage must not hold up a site.
PATIENCE = 3.0
# Tables that are missing when the start has gone on are looked for again after this many seconds.
AGAIN_SECONDS = 10.0


class Threads:
    """A worker, a scheduler or both on threads of this process; start() once, and stop()."""

    # The one of this process; in a process that was forked, those of its parent are not running.
    _only: tuple[int, Threads] | None = None
    _lock = threading.Lock()

    def __init__(
        self,
        *,
        worker: bool = True,
        scheduler: bool = True,
        concurrency: int | None = None,
        queues: Iterable[str] | None = None,
        exclude_queues: Iterable[str] = (),
        name: str | None = None,
        using: str | None = None,
    ) -> None:
        if not worker and not scheduler:
            raise NotReady("Neither a worker nor a scheduler is to run: one of the two has to be true.")
        if using is not None:
            check_alias(using)
        self.options = _options(concurrency, queues, exclude_queues, name, using)
        self.stopping, self.hurrying = threading.Event(), threading.Event()
        self.worker = Worker(self.options, self.stopping, self.hurrying) if worker else None
        # Beside a worker it ends with the worker.
        stop = None if worker else self.stopping
        self.scheduler = Scheduler(self.options.name, self.options.using, stop) if scheduler else None
        # Set when the database has answered, whatever it said; and what it refused.
        self.answered = threading.Event()
        self.refusal: Exception | None = None
        self.ended = threading.Event()
        # Whether start() has returned: a refusal is logged then.
        self.is_started = False
        self._thread = threading.Thread(target=self._run, name="letsgo-embedded", daemon=True)

    def start(self) -> None:
        """Start, unless that is refused; wait for the database for a few seconds at the most."""
        preconditions.refuse_green_threads()
        with on_database(self.options.using):
            preconditions.refuse_failed_checks()
        preconditions.refuse_unfit_connection(self.options.using)
        self._be_the_only_one()
        self._thread.start()
        self.answered.wait(PATIENCE)
        self.is_started = self.refusal is None
        if self.refusal is not None:
            self.stop()
            raise self.refusal

    def stop(self) -> None:
        """Drain and end; interrupted from the keyboard, give back at once what still runs."""
        self.stopping.set()
        # Not by join(): until Python 3.13 a thread whose join() was interrupted counts as ended.
        while not self.ended.is_set():
            try:
                self.ended.wait(0.5)
            except KeyboardInterrupt:
                self.hurrying.set()
        with self._lock:
            Threads._only = None

    def _be_the_only_one(self) -> None:
        with self._lock:
            if Threads._only is not None and Threads._only[0] == os.getpid():
                raise AlreadyRunning
            Threads._only = os.getpid(), self

    # -- on the thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if self._wait_for_tables():
                self._work()
        except Exception:
            logger.critical("What runs inside this process broke down: restart it.", exc_info=True)
        finally:
            self.answered.set()
            connections.close_all()
            self.ended.set()

    def _wait_for_tables(self) -> bool:
        """Wait for the database, and for our tables if the start has gone on; False when stopped first."""
        using, said = self.options.using, False
        while not self.stopping.is_set():
            try:
                ask = partial(preconditions.require_tables, using)
                return preconditions.wait_for_database(using, self.stopping, ask)
            except Exception as error:
                self.refusal = (
                    error
                    if isinstance(error, LetsGoError)
                    else NotReady(f"The database refused the start: {in_short(error)}")
                )
                self.answered.set()
                if self.is_started and not said:
                    logger.error("%s", self.refusal)
                    said = True
                connections[using].close()
                self.stopping.wait(AGAIN_SECONDS)
        return False

    def _work(self) -> None:
        self.answered.set()
        # Worker and scheduler have connections of their own threads.
        connections[self.options.using].close()
        logger.info("%s inside this process: %s.", self._what_runs(), self.options.name)
        if self.worker is None:
            assert self.scheduler is not None
            self.scheduler.run()
            return
        with self.scheduler.on_a_thread() if self.scheduler else nullcontext():
            self.worker.run()
        if self.worker.loop.error is not None:
            logger.critical("No worker runs inside this process any more: restart it.")

    def _what_runs(self) -> str:
        if self.worker and self.scheduler:
            return "A worker and a scheduler run"
        return "A worker runs" if self.worker else "A scheduler runs"


def _options(
    concurrency: int | None,
    queues: Iterable[str] | None,
    exclude_queues: Iterable[str],
    name: str | None,
    using: str | None,
) -> Options:
    """Return the options of a worker, those that are given on top of the settings."""
    if concurrency is not None and (not isinstance(concurrency, int) or concurrency < 1):
        raise InvalidMessage(f"concurrency is a whole number of at least 1, not {concurrency!r}.")
    given: dict[str, Any] = {
        "seats": concurrency,
        "queues": _names(queues),
        "excluded_queues": _names(exclude_queues),
        "name": name,
        "using": using,
    }
    return Options(**{option: value for option, value in given.items() if value})


def _names(queues: Iterable[str] | None) -> tuple[str, ...]:
    if isinstance(queues, str):
        raise InvalidMessage(f"Queues are given as a list of names, not as the text {queues!r}.")
    return tuple(check_name("queue", name) for name in queues or ())
