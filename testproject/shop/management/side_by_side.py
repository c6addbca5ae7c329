"""Runs several manage.py commands side by side, each line labelled, until Ctrl-C or until one ends.

What the commands do is their own; here they are started, listened to and stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from types import FrameType

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child:
    """One running command. It never sees our Ctrl-C: it is told to stop by us, once."""

    def __init__(self, label: str, arguments: Sequence[str], write: Callable[[str], object]) -> None:
        self.label = label
        self.process = subprocess.Popen(
            [sys.executable, str(MANAGE), *arguments],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        self._write = write

    def pass_on_lines(self) -> None:
        """Write each line with the label before it, until the command ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._write(f"{self.label:<9} | {line.rstrip()}")
        self.process.wait()

    @property
    def ended_well(self) -> bool:
        # Django's own server knows no other end than the signal.
        return self.process.returncode in (0, -signal.SIGTERM)


def run(label: str, *arguments: str, write: Callable[[str], object]) -> bool:
    """Run one command to its end; return whether it ended well."""
    child = Child(label, arguments, write)
    child.pass_on_lines()
    return child.ended_well


def run_until_stopped(commands: Mapping[str, Sequence[str]], write: Callable[[str], object]) -> bool:
    """Run all of them until a signal comes or one ends, then stop the others; return whether all ended well.

    A second signal is passed on as a second SIGTERM: a worker then gives back what still runs.
    """
    # Whoever ends says so here, and so does a signal: put() may be called from a signal handler.
    events: SimpleQueue[Child | None] = SimpleQueue()

    def note(number: int, frame: FrameType | None) -> None:
        events.put(None)

    before = {number: signal.signal(number, note) for number in STOPS}
    running = {Child(label, arguments, write) for label, arguments in commands.items()}
    for child in running:
        threading.Thread(target=_listen, args=(child, events), daemon=True).start()
    try:
        return _wait_for_all(running, events, write)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(child: Child, events: SimpleQueue[Child | None]) -> None:
    child.pass_on_lines()
    events.put(child)


def _wait_for_all(
    running: set[Child], events: SimpleQueue[Child | None], write: Callable[[str], object]
) -> bool:
    all_well, stopping = True, False
    while running:
        ended = events.get()
        if ended is not None:
            running.discard(ended)
            all_well &= stopping and ended.ended_well
            write(f"The {ended.label} has ended.")
        if running and (ended is None or not stopping):
            write(f"Stopping {', '.join(sorted(child.label for child in running))}.")
            for child in running:
                child.process.send_signal(signal.SIGTERM)
            stopping = True
    return all_well
