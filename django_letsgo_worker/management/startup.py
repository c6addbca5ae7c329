"""What both long-running commands share with the process around them: its signals, its parent, its sentences.

The work itself is in the worker and the scheduler, what they need to begin in preconditions.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType

from django.core.management.base import CommandError
from django.db import connections

from ..errors import LetsGoError


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
