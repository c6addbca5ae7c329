"""A file of counts that one process writes and another reads, and that a SIGKILL leaves complete.

The writer holds a lock on its file for as long as it lives. What the counts mean is not known here.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import struct
from pathlib import Path

from .metrics import Key

SUFFIX = ".counts"
FIRST_SIZE = 1 << 16
# The file: how many bytes are used, then entries, each a key's length, the key, and the value.
USED = struct.Struct("q")
LENGTH = struct.Struct("q")
VALUE = struct.Struct("d")


class Ledger:
    """The writer's side. One process, one ledger; the caller sees to the locking of threads."""

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
    """Return what a ledger holds, and whether its writer lives."""
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
