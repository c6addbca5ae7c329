"""`letsgo healthcheck`: whether the workers and schedulers of a host live, for probes that run a command.

It reads the signs of life that they write themselves. /healthz and /readyz, which look inside a process, are
the monitor's.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from django.core.management.base import CommandError
from django.db import Error, connections

from ...conf import settings
from ...engines import engine_for, in_short
from ...models import Process
from ...processes import silent_after
from . import formats
from .call import Call, Verbs
from .workers import COLUMNS

# How long the database is waited for, in seconds.
PATIENCE = 5.0

Answer = TypeVar("Answer")


def add_to(verbs: Verbs) -> None:
    parser = verbs.add(
        "healthcheck",
        healthcheck,
        "says whether the workers and schedulers of this host live",
    )
    # They look at settings and code, each time anew.
    parser.set_defaults(skip_checks=True)
    add = parser.add_argument
    add("--name", help="those of this name, on whatever host, with the children of --processes")
    add("--kind", choices=[str(kind) for kind in Process.Kind], help="only these, and at least one of them")
    add(
        "--max-age",
        type=formats.duration,
        metavar="DURATION",
        help="how old the last sign of life may be (three heartbeats, or a lease)",
    )
    add(
        "--live",
        action="store_true",
        help="for liveness: a drain, or a database that does not answer, is no reason for a restart",
    )


def healthcheck(call: Call) -> None:
    using, host = settings().database, socket.gethostname()[:255]
    found, refusal = _answer_of(partial(_asked_about, using, host, call["name"]), using)
    health = Health(call, host, *found) if found else Health(call, host)
    if refusal:
        health.excuse(f"the database {using!r} does not answer: {refusal}")
    else:
        health.judge()
    sentence = health.sentence()
    if call.out.as_json:
        rows = [formats.facts_of(row, COLUMNS) for row in health.living]
        call.out.document({"healthy": not health.wrong, "sentence": sentence, "processes": rows})
    elif not health.wrong:
        call.out.line(formats.printable(sentence))
    if health.wrong:
        raise CommandError(sentence)


class Health:
    """What is right and what is wrong with the processes that were asked about."""

    def __init__(
        self, call: Call, host: str, rows: Sequence[Process] = (), now: datetime | None = None
    ) -> None:
        self.call, self.host, self.rows, self.now = call, host, rows, now
        self.living: list[Process] = []
        # Parts of a sentence: what is wrong, and what would be if it were not asked for liveness alone.
        self.wrong: list[str] = []
        self.excused: list[str] = []

    def sentence(self) -> str:
        if self.wrong:
            return f"Not healthy: {'; '.join(self.wrong)}."
        names = [f"{row.kind} {row.name}" for row in self.living]
        return f"Healthy: {'; '.join([*names, *self.excused])}."

    def excuse(self, what: str) -> None:
        """Note what is wrong, unless it is asked for liveness: a restart would not mend it."""
        (self.excused if self.call["live"] else self.wrong).append(what)

    def judge(self) -> None:
        """Judge each kind of process: of those that are alike one that lives is enough."""
        kind, name = self.call["kind"], self.call["name"]
        rows = [row for row in self.rows if kind in (None, row.kind) and not self._is_gone(row)]
        for each in sorted({row.kind for row in rows}):
            self._judge_alike([row for row in rows if row.kind == each])
        if not rows:
            whose = f"named {name!r}" if name else f"of the host {self.host!r}"
            self.wrong.append(f"no {kind or 'worker or scheduler'} {whose} runs")
        for row in self.living:
            if row.state == Process.State.DRAINING:
                self.excuse(f"{row.kind} {row.name} is draining")

    def _judge_alike(self, rows: Sequence[Process]) -> None:
        living = [row for row in rows if not self._is_silent(row)]
        self.living += living
        if not living:
            newest, longest = rows[0], self._longest(rows[0])
            age = self._age(newest)
            self.wrong.append(
                f"{newest.kind} {newest.name} was last heard of {_length(age)} ago, "
                f"and at most {_length(longest)} are allowed"
            )

    def _is_silent(self, row: Process) -> bool:
        return self._age(row) > self._longest(row)

    def _age(self, row: Process) -> timedelta:
        assert self.now is not None
        return self.now - row.heartbeat_at

    def _longest(self, row: Process) -> timedelta:
        longest: timedelta = self.call["max_age"] or silent_after(row.kind)
        return longest

    def _is_gone(self, row: Process) -> bool:
        """Whether a silent process of this host is there no longer: its pid is free, or a later one's."""
        if row.host != self.host or not self._is_silent(row):
            return False
        successors = (one for one in self.rows if (one.host, one.pid) == (row.host, row.pid))
        if any(one.started_at > row.heartbeat_at for one in successors):
            return True
        try:
            os.kill(row.pid, 0)
        except (PermissionError, OverflowError):
            return False
        except ProcessLookupError:
            return True
        return False


def _length(span: timedelta) -> str:
    return formats.length(span.total_seconds())


# -- the database ------------------------------------------------------------------------------------------


def _asked_about(using: str, host: str, name: str | None) -> tuple[list[Process], datetime]:
    """Return the processes of a host, or of a name, that have not ended, and the database's clock."""
    rows = Process.objects.using(using).exclude(state=Process.State.STOPPED).order_by("-heartbeat_at")
    if name is None:
        found = list(rows.filter(host=host))
    else:
        # A supervisor calls its children web.1, web.2.
        own = re.compile(rf"{re.escape(name)}(\.\d+)?")
        found = [row for row in rows.filter(name__startswith=name) if own.fullmatch(row.name)]
    return found, engine_for(using).clock()


def _answer_of(ask: Callable[[], Answer], using: str) -> tuple[Answer | None, str]:
    """Return the answer of a database, or why there is none in time; raise what is no outage."""
    answers: list[Answer] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            answers.append(ask())
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    # It may hang, and a probe that is cut off by its own limit says nothing.
    thread = threading.Thread(target=run, name="letsgo-ask", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    for error in errors:
        if not isinstance(error, Error) or not engine_for(using).is_outage(error):
            raise error
        return None, in_short(error)
    return (answers[0], "") if answers else (None, f"nothing was heard of it within {PATIENCE:g} s")
