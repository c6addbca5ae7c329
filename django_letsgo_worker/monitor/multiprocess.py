"""The metrics of --processes: each child writes its own into a file, the parent adds them up.

A child that was killed has lost nothing: its file is added to the sums and removed, and its successor begins
another. prometheus-client's own multiprocess mode is not used. It is switched on by an environment variable
when the library is imported, for the whole process, and would take a project's own metrics along; and the
files of dead processes stay, to be read again at each scrape, so that a child that crashes all the time
fills the directory. How a page is made of them is monitor's.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import shutil
import struct
import tempfile
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path

from .counters import Receivers, Tally
from .health import WORKER, Vitals, Watchable, look_at
from .metrics import METRICS, Key

# How often a child writes its vitals, in seconds.
REPORT_SECONDS = 0.5
SUMMED = frozenset(metric.name for metric in METRICS if metric.kind != "gauge")
TURNED_AT: Key = ("turned_at", ())
LONGEST_TURN: Key = ("longest_turn", ())

SUFFIX = ".counts"
FIRST_SIZE = 1 << 16
# The file: how many bytes are used, then entries, each a key's length, the key, and the value.
USED = struct.Struct("q")
LENGTH = struct.Struct("q")
VALUE = struct.Struct("d")


class Ledger:
    """A file of values, written by one process and read by another, that a SIGKILL leaves complete.

    Its writer holds a lock on it for as long as it lives; the caller sees to the locking of threads.
    """

    def __init__(self, directory: Path, name: str) -> None:
        hidden = directory / f"{name}.new"
        # Not through a buffer, and open to the end: closing it would give up the lock.
        self._file = hidden.open("w+b", buffering=0)
        self._file.truncate(FIRST_SIZE)
        # Unlike flock(), not shared with what a handler may fork.
        fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._map = mmap.mmap(self._file.fileno(), FIRST_SIZE)
        self._used = USED.size
        USED.pack_into(self._map, 0, self._used)
        self._places: dict[Key, int] = {}
        # Only now may it be read: an unlocked one is taken for a dead writer's.
        hidden.rename(directory / f"{name}{SUFFIX}")

    def write(self, key: Key, value: float) -> None:
        place = self._places.get(key)
        if place is None:
            self._append(key, value)
        else:
            VALUE.pack_into(self._map, place, value)

    def _append(self, key: Key, value: float) -> None:
        text = json.dumps(key).encode()
        # Values begin at a multiple of their size, so that none is read half written.
        text += b" " * (-len(text) % VALUE.size)
        end = self._used + LENGTH.size + len(text) + VALUE.size
        while end > len(self._map):
            self._file.truncate(2 * len(self._map))
            self._map.resize(2 * len(self._map))
        LENGTH.pack_into(self._map, self._used, len(text))
        self._map[self._used + LENGTH.size : end - VALUE.size] = text
        VALUE.pack_into(self._map, end - VALUE.size, value)
        self._places[key] = end - VALUE.size
        self._used = end
        # Last: a reader sees an entry whole or not at all.
        USED.pack_into(self._map, 0, end)


def read(path: Path) -> tuple[dict[Key, float], bool]:
    """Return the values of a ledger, and whether its writer lives."""
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lives = True
        else:
            lives = False
        # Read after the look at the lock: nothing can be added to a dead one's.
        return _values(file.read()), lives


def _values(content: bytes) -> dict[Key, float]:
    values: dict[Key, float] = {}
    if len(content) < USED.size:
        return values
    place, (used,) = USED.size, USED.unpack_from(content, 0)
    while place < used:
        (length,) = LENGTH.unpack_from(content, place)
        text = content[place + LENGTH.size : place + LENGTH.size + length]
        place += LENGTH.size + length
        (value,) = VALUE.unpack_from(content, place)
        place += VALUE.size
        name, labels = json.loads(text)
        values[name, tuple(labels)] = value
    return values


class Reporter:
    """The child's side: it counts into its file, and writes its vitals there at short intervals."""

    arguments: tuple[str, ...] = ()
    url = ""

    def __init__(self, directory: Path) -> None:
        self._tally = Tally(Ledger(directory, f"{os.getpid()}-{uuid.uuid4().hex}").write)
        self._receivers = Receivers(self._tally)
        self._watched: list[Watchable] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._report, name="letsgo-report", daemon=True)

    def __call__(self, subject: Watchable) -> None:
        self._watched.append(subject)

    def start(self) -> None:
        self._receivers.connect()
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join(timeout=5.0)
        self._say()
        self._receivers.disconnect()

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
        """Return the counts of all children that ever were, and the vitals of the living ones."""
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
        for path in sorted(self.directory.glob(f"*{SUFFIX}")):
            values, lives = read(path)
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
