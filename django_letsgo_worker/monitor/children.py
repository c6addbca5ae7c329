"""The counts of --processes: each child writes its own into a file, the parent adds them up.

A child that was killed has lost nothing, and its successor begins a file of its own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path

from . import mmap_counters
from .counters import Tally
from .metrics import METRICS, Key
from .mmap_counters import Ledger
from .receivers import Counting
from .watching import WORKER, Vitals, Watchable, look_at

# How often a child says how it is, in seconds.
REPORT_SECONDS = 0.5
SUMMED = frozenset(metric.name for metric in METRICS if metric.kind != "gauge")
TURNED_AT: Key = ("turned_at", ())
LONGEST_TURN: Key = ("longest_turn", ())


class Reporter:
    """The child's side: counts into its file, and says at short intervals how it is."""

    arguments: tuple[str, ...] = ()

    def __init__(self, directory: Path) -> None:
        self._tally = Tally(Ledger(directory, f"{os.getpid()}-{uuid.uuid4().hex}"))
        self._counting = Counting(self._tally)
        self._watched: list[Watchable] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._report, name="letsgo-report", daemon=True)

    def __call__(self, subject: Watchable) -> None:
        self._watched.append(subject)

    def start(self) -> None:
        self._counting.connect()
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join(timeout=5.0)
        self._say()
        self._counting.disconnect()

    def _report(self) -> None:
        while not self._ending.wait(REPORT_SECONDS):
            self._say()

    def _say(self) -> None:
        for subject in list(self._watched):
            vitals = look_at(subject)()
            values = {**vitals.values, TURNED_AT: vitals.turned_at, LONGEST_TURN: vitals.longest_turn}
            for (name, labels), value in values.items():
                self._tally.put(name, *labels, value=value)


class Gathering:
    """The parent's side: a private directory that the children write to, removed at the end."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="letsgo-monitor-"))
        self._ended: dict[Key, float] = {}
        self._lock = threading.Lock()

    def read(self) -> tuple[dict[Key, float], list[Vitals]]:
        """Return the counts of all children that ever were, and how the living ones are."""
        with self._lock:
            living = list(self._living())
            sums = _summed([self._ended, *living])
        vitals = [
            Vitals(
                name=WORKER,
                turned_at=values[TURNED_AT],
                longest_turn=values[LONGEST_TURN],
                values=values,
            )
            for values in living
            if TURNED_AT in values and LONGEST_TURN in values
        ]
        return sums, vitals

    def close(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def _living(self) -> Iterable[dict[Key, float]]:
        for path in sorted(self.directory.glob(f"*{mmap_counters.SUFFIX}")):
            values, lives = mmap_counters.read(path)
            if lives:
                yield values
            else:
                # Taken over once, and then gone.
                path.unlink()
                for key, value in values.items():
                    if key[0] in SUMMED:
                        self._ended[key] = self._ended.get(key, 0.0) + value


def _summed(parts: list[dict[Key, float]]) -> dict[Key, float]:
    sums: dict[Key, float] = {}
    for part in parts:
        for key, value in part.items():
            if key not in (TURNED_AT, LONGEST_TURN):
                sums[key] = sums.get(key, 0.0) + value
    return sums
