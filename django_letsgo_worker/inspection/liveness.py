"""The liveness of processes, by the age of their last heartbeat.

Recovery does not depend on it: leases lapse by themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from ..models import Process
from ..processes import silent_after

LIVENESS = ("living", "silent", "stopped")


def liveness_of(process: Process, now: datetime) -> str:
    """Return living, silent or stopped; a silent process has not recorded its end."""
    if process.state == Process.State.STOPPED:
        return "stopped"
    return "silent" if process.heartbeat_at < now - silent_after(process.kind) else "living"


def is_alive(process: Process, now: datetime) -> bool:
    """Return whether a process is alive: it has not ended, and its last heartbeat is recent.

    `process` is a row of Process, and `now` an aware datetime: the database's clock, which wrote the
    heartbeat. A process is lost after three missed heartbeats, or after one lease if that is longer.
    """
    return liveness_of(process, now) == "living"


def counted_by_liveness(rows: Iterable[Process], kind: str, now: datetime) -> dict[str, int]:
    """Return the numbers of living, silent and stopped processes of a kind."""
    numbers = Counter(liveness_of(row, now) for row in rows if row.kind == kind)
    return {name: numbers[name] for name in LIVENESS}
