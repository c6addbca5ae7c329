"""Which processes live, fell silent or have stopped, by the age of their last heartbeat.

Nothing is recovered from this: leases lapse by themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from ...conf import settings
from ...models import Process
from .call import Call

LIVENESS = ("living", "silent", "stopped")


def liveness(process: Process, now: datetime) -> str:
    """Return living, silent (no heartbeat for a lease) or stopped."""
    if process.state == Process.State.STOPPED:
        return "stopped"
    silent_since = now - timedelta(seconds=settings().lease_seconds)
    return "silent" if process.heartbeat_at < silent_since else "living"


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
