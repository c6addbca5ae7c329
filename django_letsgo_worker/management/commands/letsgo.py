"""`manage.py letsgo`: show and change schedules, messages, queues and workers by hand.

It finds the verb and turns each error into one sentence; the verbs are in letsgo/.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError

from ...conf import settings
from ...engines import engine_for
from ...inspection import migrate_command
from .. import databases, startup
from ..letsgo import (
    dead_letters,
    failures,
    health,
    importing,
    message_types,
    messages,
    operations,
    overview,
    queues,
    schedule_files,
    schedule_pauses,
    schedules,
    top,
    workers,
)
from ..letsgo.call import Call, Verbs
from ..letsgo.console import Console
from . import runworker


class Command(BaseCommand):
    help = "Shows and changes schedules, messages, queues and workers."
    # Missing migrations are reported in one sentence, and only ours.
    requires_migrations_checks = False
    # For callers in Python: an Event that ends verbs which run until they are told to stop.
    stealth_options = ("stop",)

    _from_command_line = False

    def add_arguments(self, parser: CommandParser) -> None:
        databases.add_argument(parser)
        verbs = Verbs(parser, "noun")
        overview.add_to(verbs)
        health.add_to(verbs)
        top.add_to(verbs)
        messages.add_enqueue(verbs)
        scheduled = verbs.add_noun("schedule", "schedules: what is enqueued, and when")
        schedules.add_to(scheduled)
        schedule_pauses.add_to(scheduled)
        schedule_files.add_to(scheduled)
        message = verbs.add_noun("message", "messages, waiting, running or ended")
        messages.add_to(message)
        operations.add_retry(message)
        dead_letters.add_to(verbs.add_noun("dead", "dead letters: messages that were given up and kept"))
        operations.add_to(verbs.add_noun("operation", "bulk operations: what is done to many messages"))
        failures.add_to(verbs.add_noun("failures", "failures: failed attempts in groups, retried or dead"))
        queues.add_to(verbs.add_noun("queue", "queues and their work"))
        message_types.add_to(verbs.add_noun("type", "types of messages and their pauses"))
        worker = verbs.add_noun("worker", "processes that handle messages")
        workers.add_to(worker)
        _add_run(worker)
        importing.add_to(verbs.add_noun("import", "take over what other packages have in their tables"))
        messages.add_prune(verbs)

    def run_from_argv(self, argv: list[str]) -> None:
        self._from_command_line = True
        super().run_from_argv(argv)

    @databases.on_the_chosen
    def handle(self, *args: Any, run: Callable[[Call], None], **options: Any) -> None:
        console = Console(self.stdout, self.stderr, options)
        with _sentences():
            run(Call(options, console, self._from_command_line))
            self.stdout.flush()


def _add_run(verbs: Verbs) -> None:
    """Add `run`: runworker may be hidden by another app's command, such as that of Channels."""
    parser = verbs.add("run", _run_worker, "handles messages; another name for runworker", prints=False)
    runworker.Command().add_options(parser)
    # It makes the checks that it needs itself, after waiting for the database.
    parser.set_defaults(skip_checks=True)


def _run_worker(call: Call) -> None:
    command = runworker.Command()
    command.stdout, command.stderr = call.out.stdout, call.out.stderr
    command.is_from_command_line = call.is_from_command_line
    command.handle(**call.options)


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """End the command with one sentence on errors that a person caused or has to repair."""
    try:
        with startup.sentences():
            yield
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from error
    except (DatabaseError, InterfaceError) as error:
        raise CommandError(_about_the_database(error)) from error
    except KeyboardInterrupt:
        raise CommandError("Interrupted.", returncode=130) from None
    except BrokenPipeError:
        # The reader of our output has closed it. Discard what Python still buffers.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _about_the_database(error: Exception) -> str:
    using = settings().database
    engine = engine_for(using)
    if engine.is_missing_table(error):
        command = migrate_command(using)
        return f"Tables are missing on the database {using!r}: run `{command}` first."
    first_line = (str(error).splitlines() or [""])[0]
    if engine.is_outage(error):
        return f"The database {using!r} does not answer: {first_line}"
    return f"The database {using!r} refused the command: {type(error).__name__}: {first_line}"
