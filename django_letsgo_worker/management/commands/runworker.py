"""`manage.py runworker`: claim and handle messages until told to stop.

The work is in the worker; here are the command's flags, its banner and its end.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from django.conf import settings as django_settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from ... import __version__, inspection, logs, monitor, preconditions, registry, validation
from ...conf import settings
from ...engines import engine_for
from ...errors import InvalidMessage
from ...hints import nearest
from ...scheduler import Scheduler
from ...worker import Options, Supervisor, Worker
from .. import databases, reloading, startup


def queue_names(text: str) -> tuple[str, ...]:
    """Read a,b,c; argparse turns the error into a usage error."""
    try:
        return tuple(validation.check_name("queue", name.strip()) for name in text.split(",") if name.strip())
    except InvalidMessage as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> int:
    """Read a number of seats, processes or messages."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 1_000_000_000:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text!r}")
    return int(text)


logger = logging.getLogger("django_letsgo_worker.worker")


class Command(BaseCommand):
    help = "Handles messages as they become due, until it is told to stop. Any number may run."
    # Missing migrations are reported in one sentence, and only ours.
    requires_migrations_checks = False
    # Some of Django's checks query the database, which may not be up yet: they run once it answers.
    requires_system_checks = []
    # For callers in Python: an Event that ends it.
    stealth_options = ("stop",)

    is_from_command_line = False

    def add_arguments(self, parser: CommandParser) -> None:
        databases.add_argument(parser)
        self.add_options(parser)

    def add_options(self, parser: CommandParser) -> None:
        """Add those that `letsgo` does not have for all of its verbs."""
        add = parser.add_argument
        add("--queues", type=queue_names, help="the queues to serve, as a,b (all by default)")
        add(
            "--exclude-queues",
            type=queue_names,
            help="the queues to leave to others, as a,b",
        )
        add("--concurrency", type=positive, help="how many messages each process handles at once")
        add("--processes", type=positive, default=1, help="how many such processes to run")
        add("--with-scheduler", action="store_true", help="also fire schedules")
        add("--until-empty", action="store_true", help="end when nothing is due")
        add("--max-messages", type=positive, help="end after this many messages (in each process)")
        add("--name", help="its name in logs and in the admin (host:pid by default)")
        reloading.add_argument(parser)
        monitor.add_arguments(parser, has_children=True)
        # Passed by the parent of --processes to its children.
        add("--child-of", type=json.loads, help=argparse.SUPPRESS)

    def run_from_argv(self, argv: list[str]) -> None:
        # Under call_command the signals belong to the caller.
        self.is_from_command_line = True
        super().run_from_argv(argv)

    @startup.sentences()
    @databases.on_the_chosen
    def handle(self, *args: Any, **options: Any) -> None:
        preconditions.refuse_green_threads()
        self.check(tags=["letsgo_worker"])
        stop, hurry = options.get("stop") or threading.Event(), threading.Event()
        if options["child_of"]:
            startup.adopt_databases(options["child_of"]["databases"])
            startup.stop_at_end_of_input(stop)
        reloads = self.is_from_command_line and options["processes"] == 1 and not options["child_of"]
        if reloads and reloading.is_wanted(options["reload"], django_settings.DEBUG):
            reloading.run(lambda: self._work(options, stop, hurry), stop, hurry)
            return
        signals = (
            startup.stop_on_signals(stop, hurry) if self.is_from_command_line else contextlib.nullcontext()
        )
        with signals:
            clean = self._work(options, stop, hurry)
        if not clean:
            raise CommandError(
                "The drain was cut short: messages still running were given back.", returncode=1
            )

    def _work(self, options: dict[str, Any], stop: threading.Event, hurry: threading.Event) -> bool:
        using = settings().database
        preconditions.refuse_unfit_connection(using)
        with monitor.monitored(options, stop, self.stderr) as watch:
            asked = _worker_options(options)
            if not preconditions.wait_for_database(using, stop, lambda: self._begin(asked, options)):
                return True
            connections[using].close()
            with _scheduling(asked, watch) if options["with_scheduler"] else contextlib.nullcontext():
                return _run(asked, options, stop, hurry, watch)

    def _begin(self, asked: Options, options: dict[str, Any]) -> None:
        """Query the database for what a start needs to know, and print the banner."""
        preconditions.require_tables(asked.using)
        if self.is_from_command_line:
            logs.to_console(options["verbosity"])
        _warn_of_queues(asked)
        self._say_hello(asked, options)

    def _say_hello(self, asked: Options, options: dict[str, Any]) -> None:
        if options["child_of"]:
            return
        engine = engine_for(asked.using)
        listening = ", woken by NOTIFY" if engine.can_listen else ""
        types = registry.types()
        times = f" in each of {options['processes']} processes" if options["processes"] > 1 else ""
        scheduler = "here" if options["with_scheduler"] else _say_where_schedules_fire(asked.using)
        seats = validation.counted(asked.seats, "seat")
        lines = [
            f"Worker {asked.name} · django-letsgo-worker {__version__}",
            f"  database     {asked.using} ({engine.display_name}{listening})",
            f"  queues       {_say_queues(asked)}",
            f"  handlers     {len(types)}: {', '.join(types[:8])}{', ...' if len(types) > 8 else ''}",
            f"  concurrency  {seats}{times}, lease {asked.lease_seconds:g} s",
            f"  scheduler    {scheduler}",
            f"  to stop      SIGTERM or Ctrl-C; running handlers get {asked.drain_seconds:g} s",
        ]
        # Printed to stderr, but not an error.
        self.stderr.write("\n".join(lines), style_func=str)


def _say_queues(asked: Options) -> str:
    """Return which queues are served, for the banner."""
    if asked.queues is not None:
        return ", ".join(filter(asked.serves, asked.queues))
    return f"all but {', '.join(asked.excluded_queues)}" if asked.excluded_queues else "all"


def _say_where_schedules_fire(using: str) -> str:
    """Return what fires schedules if this worker does not, and whether a scheduler is missing."""
    found = inspection.Snapshot(using)
    rows = {job.name: job.state for job in found.jobs}
    # Schedules declared in code become rows when a scheduler starts.
    on = {name for name, state in rows.items() if state == "on"} | (inspection.declared_names() - set(rows))
    on = set(filter(inspection.does_something, on))
    if not on or found.has_scheduler:
        return "not here: manage.py runscheduler"
    are_on = validation.counted(len(on), "schedule is", "schedules are")
    return f"none is running, and {are_on} on: --with-scheduler here, or manage.py runscheduler"


def _warn_of_queues(asked: Options) -> None:
    """Warn of queues, to serve or to leave out, that are not in use while one of a similar name is."""
    used = {lane.queue for lane in engine_for(asked.using).lanes()}
    known = used | {handler.queue for handler in registry.handlers() if handler.queue}
    served, unserved = sorted(filter(asked.serves, used)), sorted(itertools.filterfalse(asked.serves, used))
    meant = [(queue, unserved) for queue in asked.queues or ()]
    meant += [(queue, served) for queue in asked.excluded_queues]
    for queue, others in meant:
        if queue not in known and (close := nearest(queue, others)):
            logger.warning(
                "The queue %r is not in use, but %r has messages: did you mean that one?", queue, close
            )


def _worker_options(options: dict[str, Any]) -> Options:
    given = {
        "queues": _read(queue_names, options["queues"]),
        "excluded_queues": _read(queue_names, options["exclude_queues"]),
        "seats": _read(positive, options["concurrency"]),
        "name": options["name"],
        "max_messages": _read(positive, options["max_messages"]),
    }
    return Options(until_empty=options["until_empty"], **{k: v for k, v in given.items() if v})


def _read(read: Callable[[str], Any], value: Any) -> Any:
    """Read an option given by call_command() as the command line would have read it."""
    if not isinstance(value, str):
        return value
    try:
        return read(value)
    except argparse.ArgumentTypeError as error:
        raise CommandError(f"Invalid option: {error}.") from None


def _run(
    asked: Options,
    options: dict[str, Any],
    stop: threading.Event,
    hurry: threading.Event,
    watch: monitor.Watch,
) -> bool:
    if options["processes"] > 1:
        supervisor = _supervisor(asked, options, stop, hurry, watch.arguments)
        watch(supervisor)
        return supervisor.run()
    worker = Worker(asked, stop, hurry)
    watch(worker)
    clean = worker.run()
    if worker.loop.error is not None:
        raise CommandError(f"The worker broke down: {worker.loop.error}", returncode=1)
    if unwritten := worker.count_unwritten():
        raise CommandError(f"Outcomes that could not be written: {unwritten}.", returncode=1)
    return clean


def _scheduling(asked: Options, watch: monitor.Watch) -> AbstractContextManager[None]:
    """Fire schedules on a thread of this process while the worker runs."""
    scheduler = Scheduler(asked.name, asked.using)
    watch(scheduler)
    return scheduler.on_a_thread()


def _supervisor(
    asked: Options,
    options: dict[str, Any],
    stop: threading.Event,
    hurry: threading.Event,
    further: Sequence[str],
) -> Supervisor:
    arguments = [
        *further,
        "--concurrency",
        str(asked.seats),
        "--verbosity",
        str(options["verbosity"]),
        "--no-reload",
    ]
    if options["database"] is not None:
        arguments += ["--database", options["database"]]
    if asked.queues is not None:
        arguments += ["--queues", ",".join(asked.queues)]
    if asked.excluded_queues:
        arguments += ["--exclude-queues", ",".join(asked.excluded_queues)]
    if asked.until_empty:
        arguments += ["--until-empty"]
    if asked.max_messages is not None:
        arguments += ["--max-messages", str(asked.max_messages)]
    return Supervisor(
        options["processes"],
        arguments,
        asked.name,
        drain_seconds=asked.drain_seconds,
        stopping=stop,
        hurrying=hurry,
    )
