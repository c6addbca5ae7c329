"""What PostgreSQL's log says about the durations of statements.

Pure: it is given the text, written with the default log_line_prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

# One message of the log: its first line, and those that follow, which begin with a tab.
ENTRY = re.compile(
    r"^(?P<at>\S+ \S+) \S+ \[(?P<session>\d+)\] LOG:  duration: (?P<ms>[\d.]+) ms  (?P<words>.*(?:\n\t.*)*)",
    re.MULTILINE,
)
# Between two looks nothing is asked for at least so long.
SILENCE = timedelta(seconds=0.2)


class Entry(NamedTuple):
    """A statement, or its parsing or binding: when it ended, in which session, and how long it took."""

    at: datetime
    session: int
    ms: float
    words: str

    @property
    def is_statement(self) -> bool:
        return self.words.startswith(("statement", "execute"))


def entries(log: str) -> Iterator[Entry]:
    """Yield what the log tells, in its order."""
    for found in ENTRY.finditer(log):
        at, session, ms, words = found.groups()
        yield Entry(datetime.fromisoformat(at), int(session), float(ms), words)


def looks(log: str, table: str) -> list[float]:
    """Return the milliseconds that each look took: its statements on `table`, added up.

    A look is a run of statements, of one process, with silence before it.
    """
    found: list[float] = []
    for burst in bursts(entries(log), SILENCE):
        if times := [entry.ms for entry in burst if table in entry.words]:
            found.append(sum(times))
    return found


def bursts(found: Iterable[Entry], silence: timedelta) -> Iterator[list[Entry]]:
    """Yield what stands between two silences."""
    burst: list[Entry] = []
    for entry in found:
        if burst and entry.at - burst[-1].at > silence:
            yield burst
            burst = []
        burst.append(entry)
    if burst:
        yield burst
