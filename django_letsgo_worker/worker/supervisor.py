"""The parent of several worker processes: starts them, replaces dead ones, drains them all.

Nothing is forked over an open connection: each child is a new interpreter. The parent has no database.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from django.conf import settings as django_settings

logger = logging.getLogger("django_letsgo_worker.worker")

# A child that ends sooner than this is replaced with a growing pause, in seconds.
SHORT_LIFE = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
# The seconds that the parent waits beyond the children's own drain before it kills them.
GRACE = 15.0


class Supervisor:
    """Keeps `count` children of the same command alive until told to stop."""

    def __init__(
        self,
        count: int,
        arguments: Sequence[str],
        name: str,
        *,
        drain_seconds: float,
        stopping: threading.Event,
        hurrying: threading.Event,
    ) -> None:
        self.arguments = list(arguments)
        self.drain_seconds = drain_seconds
        self.stopping = stopping
        self.hurrying = hurrying
        # The time of the loop's last turn, for the monitor.
        self.turned_at = time.monotonic()
        self.children = [Child(f"{name}.{number}", self._command) for number in range(1, count + 1)]

    def run(self) -> bool:
        """Supervise; return whether every child ended its drain cleanly."""
        for child in self.children:
            child.start()
        while not self.stopping.is_set() and any(not child.is_over for child in self.children):
            for child in self.children:
                child.replace_if_dead()
            self.turned_at = time.monotonic()
            self.stopping.wait(0.1)
        return self._drain()

    def _command(self, name: str) -> list[str]:
        # The children must use our databases, which a fresh start might not read: tests run on others.
        names = {alias: str(database["NAME"]) for alias, database in django_settings.DATABASES.items()}
        inherited = json.dumps({"databases": names})
        return [
            *(sys.executable, "-m", "django", "letsgo", "worker", "run", *self.arguments),
            *("--name", name, "--child-of", inherited),
        ]

    def _drain(self) -> bool:
        for child in self.children:
            child.drain()
        end = time.monotonic() + self.drain_seconds + GRACE
        hurried = False
        while any(child.is_alive for child in self.children):
            if self.hurrying.is_set() and not hurried:
                hurried = True
                for child in self.children:
                    child.terminate()
            self.turned_at = time.monotonic()
            if time.monotonic() > end:
                for child in self.children:
                    child.kill()
            time.sleep(0.05)
        # A child that was terminated before it could handle signals had begun nothing.
        return all(child.exit_code in (0, None, -signal.SIGTERM) for child in self.children)


class Child:
    """A child process, and the pipe whose end tells it that its parent is gone."""

    def __init__(self, name: str, command_for: Callable[[str], list[str]]) -> None:
        self.name = name
        self._command_for = command_for
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._pause = FIRST_PAUSE
        self._start_at: float | None = None

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    @property
    def is_over(self) -> bool:
        """Whether it ended by itself with nothing left to do."""
        return self.exit_code == 0

    def start(self) -> None:
        self._start_at = None
        self._started_at = time.monotonic()
        self._process = subprocess.Popen(
            self._command_for(self.name),
            # Held open by the parent alone: the child reads its end when the parent is gone.
            stdin=subprocess.PIPE,
            env=_environment(os.environ),
            # Signals from a terminal then reach the parent alone, which drains its children itself.
            start_new_session=True,
        )

    def replace_if_dead(self) -> None:
        """Start a successor for a child that died: soon after a long life, ever later after short ones."""
        if self.is_alive or self.is_over:
            return
        now = time.monotonic()
        if self._start_at is None:
            lived = now - self._started_at
            self._pause = FIRST_PAUSE if lived > SHORT_LIFE else min(LONGEST_PAUSE, self._pause * 2)
            self._start_at = now + self._pause * random.uniform(0.5, 1.0)
            logger.error("Worker %s ended with %s: a new one takes its place.", self.name, self.exit_code)
        elif now >= self._start_at:
            self.start()

    def drain(self) -> None:
        """Let it drain as if its parent were gone.

        Not by a signal: where a service manager signals all processes at once, that would be a second one.
        """
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def terminate(self) -> None:
        if self._process is not None and self.is_alive:
            self._process.terminate()

    def kill(self) -> None:
        if self._process is not None and self.is_alive:
            self._process.kill()


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    return {**environment, "DJANGO_SETTINGS_MODULE": _settings_module(), "PYTHONPATH": paths}


def _settings_module() -> str:
    return str(getattr(django_settings, "SETTINGS_MODULE", None) or os.environ["DJANGO_SETTINGS_MODULE"])
