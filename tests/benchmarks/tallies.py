"""What the handlers' marks say: how many were handled, at which rate, how soon picked up.

The other end of tally.py, read by the measuring process and by the enqueuing one.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

from .tally import MARK

Mark = tuple[int, int]
NEAR_THE_END = 64


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, and how many messages were handled in it."""

    begun: int
    ended: int
    handled: float

    @property
    def seconds(self) -> float:
        return (self.ended - self.begun) / 1e9

    @property
    def rate(self) -> float:
        return self.handled / self.seconds


class Tallies:
    """The files of one measurement's workers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def marks(self) -> list[list[Mark]]:
        """Return the marks (count, nanoseconds) of each process, in order."""
        return [sorted(read(path)) for path in sorted(self.directory.glob("handled-*"))]

    def handled(self) -> int:
        """Return how many messages are known to be handled; only the ends of the files are read."""
        return sum(last(path) for path in self.directory.glob("handled-*"))

    def picked_up(self) -> int:
        """Return how many messages were picked up; only the sizes of the files are read."""
        return sum(path.stat().st_size // MARK.size for path in self.directory.glob("picked-up-*"))

    def pickups(self) -> list[Mark]:
        """Return the pairs (sent, begun), in nanoseconds, in the order of sending."""
        return sorted(pair for path in self.directory.glob("picked-up-*") for pair in read(path))

    def window_until(self, settled: int, number: int) -> Window:
        """Return from when the last worker had begun until all of `number` messages were acknowledged."""
        series = self.marks()
        begun = max(marks[0][1] for marks in series)
        return window_of(begun, settled, number - sum(count_at(marks, begun) for marks in series))

    def window_between(self, begun: int, ended: int) -> Window:
        """Return a stretch of time in which there was always something to do."""
        handled = sum(count_at(marks, ended) - count_at(marks, begun) for marks in self.marks())
        return window_of(begun, ended, handled)


def read(path: Path) -> list[Mark]:
    data = path.read_bytes()
    whole = len(data) // MARK.size * MARK.size
    return [(first, second) for first, second in MARK.iter_unpack(data[:whole])]


def last(path: Path) -> int:
    """Return the highest count near the end: threads may write their marks in another order."""
    size = path.stat().st_size // MARK.size * MARK.size
    with path.open("rb") as file:
        file.seek(max(0, size - NEAR_THE_END * MARK.size))
        data = file.read(min(size, NEAR_THE_END * MARK.size))
    return max((count for count, _moment in MARK.iter_unpack(data)), default=0)


def window_of(begun: int, ended: int, handled: float) -> Window:
    if ended <= begun or handled <= 0:
        raise ValueError("All was done before the last worker had begun: too few messages.")
    return Window(begun, ended, handled)


def count_at(marks: list[Mark], moment: int) -> float:
    """Return a process's count at a moment; between two marks it is taken to be even."""
    place = bisect_right(marks, moment, key=lambda mark: mark[1])
    if place == 0:
        return 0.0
    if place == len(marks):
        return float(marks[-1][0])
    (count, at), (next_count, next_at) = marks[place - 1 : place + 1]
    return count + (next_count - count) * (moment - at) / (next_at - at)
