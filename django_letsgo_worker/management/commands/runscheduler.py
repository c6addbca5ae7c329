"""`manage.py runscheduler`: fire schedules until told to stop.

The loop is in the scheduler; here are the command's flags, its banner and its end.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import threading
from typing import Any

from django.conf import settings as django_settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ... import logs, monitor, preconditions, schedules
from ...conf import settings
from ...engines import engine_for
from ...models import ScheduledJob
from ...scheduler import Scheduler
from .. import databases, reloading, startup


class Command(BaseCommand):
    help = "Fires schedules when they are due, until it is told to stop. Any number may run."
    # Missing migrations are reported in one sentence, and only ours.
    requires_migrations_checks = False
    # Some of Django's checks query the database, which may not be up yet: they run once it answers.
    requires_system_checks = []
    # For callers in Python: an Event that ends it.
    stealth_options = ("stop",)

    _from_command_line = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", help="its name in logs and in the admin (host:pid by default)")
        parser.add_argument("--name", dest="named", metavar="NAME", help="the same")
        databases.add_argument(parser)
        reloading.add_argument(parser)
        monitor.add_arguments(parser)

    def run_from_argv(self, argv: list[str]) -> None:
        # Under call_command the signals belong to the caller.
        self._from_command_line = True
        super().run_from_argv(argv)

    @databases.on_the_chosen
    def handle(self, *args: Any, name: str | None = None, named: str | None = None, **options: Any) -> None:
        if name and named and name != named:
            raise CommandError(f"The scheduler cannot be called {name!r} and {named!r}.")
        self.check(tags=["letsgo_worker"])
        stop = options.get("stop") or threading.Event()
        if self._from_command_line and reloading.is_wanted(options.get("reload"), django_settings.DEBUG):
            reloading.run(lambda: self._schedule(name or named, options, stop), stop, threading.Event())
            return
        signals = startup.stop_on_signals(stop) if self._from_command_line else contextlib.nullcontext()
        with startup.sentences(), signals:
            self._schedule(name or named, options, stop)

    def _schedule(self, name: str | None, options: dict[str, Any], stop: threading.Event) -> bool:
        using = settings().database
        preconditions.refuse_unfit_connection(using)
        schedules.declared_in_settings()
        with monitor.monitored(options, stop, self.stderr) as watch:
            scheduler = Scheduler(name, using, stop)
            if not preconditions.wait_for_database(using, stop, lambda: self._begin(scheduler, options)):
                return True
            watch(scheduler)
            scheduler.run()
        return True

    def _begin(self, scheduler: Scheduler, options: dict[str, Any]) -> None:
        """Query the database for what a start needs to know, and print the banner."""
        preconditions.require_tables(scheduler.using)
        if self._from_command_line:
            logs.to_console(options["verbosity"])
        self._say_hello(scheduler)

    def _say_hello(self, scheduler: Scheduler) -> None:
        count = ScheduledJob.objects.using(scheduler.using).count()
        self.stderr.write(
            f"Scheduler {scheduler.process.name}: {engine_for(scheduler.using).display_name}, "
            f"zone data {_zone_data()}, {count} {'schedule' if count == 1 else 'schedules'}. "
            "SIGTERM or Ctrl-C stops it.",
            # Printed to stderr, but not an error.
            style_func=str,
        )


def _zone_data() -> str:
    try:
        return importlib.metadata.version("tzdata")
    except importlib.metadata.PackageNotFoundError:
        return "of the system"
