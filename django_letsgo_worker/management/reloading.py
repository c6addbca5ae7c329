"""Restart a long-running command when its code changes, as runserver does; running handlers end first.

For development: Django's reloader watches the files. The parent only starts children.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from types import FrameType
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import autoreload

# The exit code of a child that is to be started again.
CHANGED = 3


def add_argument(parser: CommandParser) -> None:
    parser.add_argument(
        "--reload",
        action=argparse.BooleanOptionalAction,
        help="restart when code changes (under DEBUG in a terminal by default)",
    )


def is_wanted(asked: bool | None, debug: bool) -> bool:
    """Return whether to reload: as asked, else under DEBUG in a terminal, where a person changes code."""
    return asked if asked is not None else debug and sys.stdin is not None and sys.stdin.isatty()


def run(work: Callable[[], bool], stop: threading.Event, hurry: threading.Event) -> None:
    """Do the work of a command in a child that ends, drained, and starts again whenever code changes.

    `work` returns whether it came to its end cleanly. Raises CommandError with the child's last code.
    """
    if os.environ.get(autoreload.DJANGO_AUTORELOAD_ENV) == "true":
        Reloading(work, stop, hurry).run()
    elif code := supervise():
        raise CommandError("The command ended with an error.", returncode=code)


def supervise() -> int:
    """Run this command in a child, again after each change; return the last exit code.

    Django's own parent would kill its child on a signal, in the middle of a drain.
    """
    environment = {**os.environ, autoreload.DJANGO_AUTORELOAD_ENV: "true"}
    while True:
        child = subprocess.Popen(autoreload.get_child_arguments(), env=environment, close_fds=False)
        # Ctrl-C reaches the child directly; a signal to the parent alone is passed on.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, partial(_pass_on, child))
        code = child.wait()
        if code != CHANGED:
            return code


def _pass_on(child: subprocess.Popen[bytes], number: int, _frame: FrameType | None) -> None:
    child.send_signal(number)


class Reloading:
    """Runs `work` on a thread of a child process that drains and ends whenever a file has changed."""

    def __init__(self, work: Callable[[], bool], stop: threading.Event, hurry: threading.Event) -> None:
        self.work = work
        self.stop = stop
        self.hurry = hurry
        self.done = threading.Event()
        self.clean = True

    def run(self) -> None:
        autoreload.autoreload_started.connect(self._catch_signals)
        autoreload.file_changed.connect(self._drain_first)
        # On a thread of Django's, which begins with an empty context.
        autoreload.run_with_reloader(copy_context().run, self._work)

    def _work(self) -> None:
        try:
            self.clean = self.work()
        finally:
            self.done.set()

    def _catch_signals(self, **kwargs: Any) -> None:
        """Install our handlers on the main thread, after Django's, which would not drain."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        if self.stop.is_set():
            self._set(self.hurry)
            return
        self._set(self.stop)
        self._wait()
        # Not sys.exit(): a handler that was given back may still run, and must not be waited for.
        os._exit(0 if self.clean else 1)

    def _drain_first(self, **kwargs: Any) -> None:
        self._set(self.stop)
        self._wait()

    def _wait(self) -> None:
        # In steps, so that a second signal is heard.
        while not self.done.wait(0.2):
            continue

    def _set(self, event: threading.Event) -> None:
        # On another thread: this one may have been interrupted while it held the event's lock.
        setter = threading.Thread(target=event.set)
        setter.start()
        setter.join(timeout=5.0)
