"""Which processes live, fell silent or have stopped, by the age of their last heartbeat.

Nothing is recovered from this: leases lapse by themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from ...models import Process
from ...processes import is_alive, is_silent
from .call import Call

LIVENESS = ("living", "silent", "stopped")


def liveness(process: Process, now: datetime) -> str:
    """Return living, silent or stopped."""
    if is_alive(process, now):
        return "living"
    return "silent" if is_silent(process, now) else "stopped"


def processes(call: Call, kind: str = "") -> list[Process]:
    """Return the processes of the last day, the liveliest first."""
    rows = Process.objects.using(call.using).order_by("-heartbeat_at")
    return list(rows.filter(kind=kind) if kind else rows)


def counted(rows: Iterable[Process], now: datetime) -> dict[str, int]:
    """Return how many live, are silent, have stopped."""
    numbers = Counter(liveness(row, now) for row in rows)
    return {name: numbers[name] for name in LIVENESS}


def processes_of(call: Call, kind: str) -> dict[str, int]:
    """Return how many processes of a kind live, are silent, have stopped."""
    return counted(processes(call, kind), call.clock)
