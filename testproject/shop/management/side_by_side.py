"""Run several manage.py commands side by side, each line labelled, until Ctrl-C or until one ends.

The commands are only started, read from and stopped here. One that is killed is started again, as systemd
or Kubernetes would.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The first burst is over when nothing has been written for QUIET_SECONDS; wait at most PATIENCE_SECONDS.
QUIET_SECONDS, PATIENCE_SECONDS = 2.5, 30.0

Write = Callable[[str], object]


class Child:
    """One running command. It never sees our Ctrl-C: we tell it to stop, once."""

    def __init__(self, label: str, arguments: Sequence[str], write: Write) -> None:
        self.label = label
        self.arguments = arguments
        self.last_line_at: float | None = None
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
        """Write each non-empty line, with the label before it, until the command ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip():
                self._write(f"{self.label:<9} | {line.rstrip()}")
                self.last_line_at = time.monotonic()
        self.process.wait()

    @property
    def ended_well(self) -> bool:
        # Django's own server ends only by the signal.
        return self.process.returncode in (0, -signal.SIGTERM)

    @property
    def was_killed(self) -> bool:
        return self.process.returncode == -signal.SIGKILL


def run(label: str, *arguments: str, write: Write) -> bool:
    """Run one command to its end; return whether it succeeded."""
    child = Child(label, arguments, write)
    child.pass_on_lines()
    return child.ended_well


class SideBySide:
    """Runs all of `commands` until a signal comes or one ends, then stops the others.

    A second signal is passed on as a second SIGTERM: a worker then gives back what still runs. Each time
    that all have started and their first burst of lines is over, `when_quiet` is given their process ids.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        write: Write,
        when_quiet: Callable[[Mapping[str, int]], object],
    ) -> None:
        self._write = write
        self._when_quiet = when_quiet
        # Commands that end, and signals, are reported here: put() may be called from a signal handler.
        self._events: SimpleQueue[Child | None] = SimpleQueue()
        self._stopping = False
        self._started_at: float | None = None  # None once the quiet after it has been reported
        self._running: set[Child] = set()
        self._commands = commands

    def run(self) -> bool:
        """Return whether all were told to stop, and succeeded."""

        def note(number: int, frame: FrameType | None) -> None:
            self._events.put(None)

        before = {number: signal.signal(number, note) for number in STOPS}
        for label, arguments in self._commands.items():
            self._start(label, arguments)
        try:
            return self._wait_for_all()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self, label: str, arguments: Sequence[str]) -> None:
        child = Child(label, arguments, self._write)
        self._running.add(child)
        self._started_at = time.monotonic()
        threading.Thread(target=self._listen, args=(child,), daemon=True).start()

    def _listen(self, child: Child) -> None:
        child.pass_on_lines()
        self._events.put(child)

    def _wait_for_all(self) -> bool:
        all_well = True
        while self._running:
            try:
                ended = self._events.get(timeout=0.25 if self._started_at else None)
            except Empty:
                self._tell_if_quiet()
                continue
            if ended is None:
                self._stop()
            elif ended.was_killed and not self._stopping:
                self._running.discard(ended)
                self._write(f"The {ended.label} was killed. A new one takes its place.")
                self._start(ended.label, ended.arguments)
            else:
                self._running.discard(ended)
                all_well &= self._stopping and ended.ended_well
                self._write(f"The {ended.label} has ended.")
                if not self._stopping:
                    self._stop()
        return all_well

    def _tell_if_quiet(self) -> None:
        assert self._started_at is not None
        now = time.monotonic()
        last = [child.last_line_at for child in self._running]
        is_quiet = all(at is not None and now - at >= QUIET_SECONDS for at in last)
        if is_quiet or now - self._started_at >= PATIENCE_SECONDS:
            self._started_at = None
            self._when_quiet({child.label: child.process.pid for child in self._running})

    def _stop(self) -> None:
        self._stopping, self._started_at = True, None
        if self._running:
            self._write(f"Stopping {', '.join(sorted(child.label for child in self._running))}.")
        for child in self._running:
            child.process.send_signal(signal.SIGTERM)
