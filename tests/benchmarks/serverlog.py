"""What PostgreSQL's log says about the durations of statements.

Pure: it is given the text, written with the default log_line_prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

# One message of the log: its first line, and those that follow, which begin with a tab.
ENTRY = re.compile(
    r"^(?P<at>\S+ \S+) \S+ \[\d+\] LOG:  duration: (?P<ms>[\d.]+) ms(?P<words>.*(?:\n\t.*)*)", re.MULTILINE
)
# Between two looks nothing is asked for at least so long.
SILENCE = timedelta(seconds=0.2)


def looks(log: str, table: str) -> list[float]:
    """Return the milliseconds that each look took: its statements on `table`, added up.

    A look is a run of statements, of one process, with silence before it.
    """
    found: list[float] = []
    for entries in bursts(log):
        if times := [ms for ms, words in entries if table in words]:
            found.append(sum(times))
    return found


def bursts(log: str) -> Iterator[list[tuple[float, str]]]:
    """Yield the statements between two silences, each with its milliseconds."""
    burst: list[tuple[float, str]] = []
    last = None
    for entry in ENTRY.finditer(log):
        at = datetime.fromisoformat(entry["at"])
        if last is not None and at - last > SILENCE:
            yield burst
            burst = []
        burst.append((float(entry["ms"]), entry["words"]))
        last = at
    if burst:
        yield burst
