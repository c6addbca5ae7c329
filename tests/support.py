"""What the tests share: URLs of test databases, real processes, and waiting for events."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

ROOT = Path(__file__).resolve().parent.parent
MANAGE = ROOT / "testproject" / "manage.py"
PATIENCE = 30.0

_ENGINES = {"sqlite3": "sqlite", "postgresql": "postgres", "mysql": "mariadb"}
_SCHEMES = {"sqlite": "sqlite", "postgres": "postgres", "mariadb": "mysql"}

T = TypeVar("T")


def engine_of(settings_dict: Mapping[str, Any]) -> str:
    """Name the engine of an entry of DATABASES: sqlite, postgres or mariadb (MySQL too)."""
    return _ENGINES[settings_dict["ENGINE"].rpartition(".")[2]]


def database_url(settings_dict: Mapping[str, Any]) -> str:
    """Return the URL that makes another process open the same database, as DATABASE_URL reads it."""
    engine, name = engine_of(settings_dict), str(settings_dict["NAME"])
    if engine == "sqlite":
        return f"sqlite:///{quote(name)}"
    user = quote(settings_dict["USER"], safe="")
    if settings_dict["PASSWORD"]:
        user += f":{quote(settings_dict['PASSWORD'], safe='')}"
    host, name = settings_dict["HOST"], quote(name, safe="")
    if host.startswith("/"):  # a directory of sockets stands in the path
        host, name = "", f"{quote(host)}/{name}"
    place = f"{host}:{settings_dict['PORT']}" if settings_dict["PORT"] else host
    simple = {k: v for k, v in settings_dict["OPTIONS"].items() if isinstance(v, (str, int, float))}
    options = f"?{urlencode(simple)}" if simple else ""
    return f"{_SCHEMES[engine]}://{user}@{place}/{name}{options}"


def wait_until(
    condition: Callable[[], T], *, timeout: float = PATIENCE, step: float = 0.02, what: str = ""
) -> T:
    """Ask `condition` again and again, and return its first true answer; fail after `timeout` seconds."""
    give_up = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > give_up:
            awaited = what or getattr(condition, "__doc__", None) or "the condition"
            raise AssertionError(f"Waited {timeout:g} s in vain for: {awaited}. Last answer: {answer!r}")
        time.sleep(step)
    return answer


def _can_be_written() -> bool:
    from django.db import connection

    if connection.vendor != "sqlite":
        return True
    with contextlib.closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=0.3)) as writer:
        try:
            writer.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        writer.rollback()
        return True


class Managed:
    """A running `manage.py`, in a session of its own so that its children can be cleaned up with it.

    `through` is what stands before the command: a program that runs it somewhere else, in its own place.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        *,
        script: Path = MANAGE,
        through: Sequence[str] = (),
    ) -> None:
        self.arguments = arguments
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [*through, sys.executable, str(script), *arguments],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.stdout), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.stderr), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        """All that it wrote so far, for people."""
        return "\n".join(
            f"--- {name}\n{''.join(lines)}"
            for name, lines in (("stdout", self.stdout), ("stderr", self.stderr))
        )

    def wait_for_line(self, text: str, timeout: float = PATIENCE, *, times: int = 1) -> str:
        """Return the line of stdout or stderr that contains `text` (the n-th one); fail when none comes."""
        give_up = time.monotonic() + timeout
        with self._news:
            while len(found := self._lines_with(text)) < times:
                left = give_up - time.monotonic()
                if left <= 0 or not any(reader.is_alive() for reader in self._readers):
                    raise AssertionError(
                        f"{self} wrote no line with {text!r} "
                        f"({'it has ended' if left > 0 else f'in {timeout:g} s'}).\n{self.output}"
                    )
                self._news.wait(min(left, 1.0))
        return found[times - 1]

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for its end and return the exit code (negative: the signal that ended it)."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self} still runs after {timeout:g} s.\n{self.output}") from None
        for reader in self._readers:
            # A child that outlives its parent keeps the pipes open.
            reader.join(1.0)
        return code

    def signal(self, number: int) -> None:
        """Send a signal to the process itself, not to its children."""
        self.process.send_signal(number)

    def freeze(self) -> None:
        """SIGSTOP, at a moment at which it does not hold SQLite's one write lock: that would freeze all."""
        while True:
            self.signal(signal.SIGSTOP)
            if _can_be_written():
                return
            self.signal(signal.SIGCONT)

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, to the process itself: what it leaves behind is what the test is about."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout: float = PATIENCE) -> int:
        """Ask it to end (SIGTERM), wait for that and return the exit code."""
        self.terminate()
        return self.wait(timeout)

    def clean_up(self) -> None:
        """SIGKILL to everything that it started, stopped processes included."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for reader in self._readers:
            reader.join(5.0)

    def _lines_with(self, text: str) -> list[str]:
        return [line for line in [*self.stdout, *self.stderr] if text in line]

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            with self._news:
                lines.append(line)
                self._news.notify_all()
        stream.close()
        with self._news:
            self._news.notify_all()

    def __str__(self) -> str:
        return f"manage.py {' '.join(self.arguments)}"


def table(page: str, *columns: str) -> list[list[str]]:
    """Return the rows of all tables on a page of docs/ that have these columns."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    header = f"| {' | '.join(columns)} |"
    assert header in lines, f"{page} has no table with the columns {header}"
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for start in (at + 2 for at, line in enumerate(lines) if line == header)
        for line in takewhile(lambda line: line.startswith("|"), lines[start:])
    ]


def names(page: str, *columns: str) -> list[str]:
    """Return the first cells of such tables, as plain text."""
    return [row[0].strip("`") for row in table(page, *columns)]
