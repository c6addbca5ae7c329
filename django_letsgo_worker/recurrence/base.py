"""The interface that all kinds of schedule have in common, and the type of their answers.

The kinds themselves: `intervals`, `once`, `wallclock`, `rrule`.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple, Protocol


class Newest(NamedTuple):
    """The newest occurrences of a range, oldest of them first, and how many the whole range has."""

    occurrences: list[datetime]
    total: int


class Form(Protocol):
    """A kind of schedule, settled in a zone or on an anchor; all moments are aware and UTC."""

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the occurrences strictly after `moment`."""

    def newest_between(self, after: datetime, until: datetime, limit: int) -> Newest:
        """Return the newest occurrences in (after, until] and the number of all."""

    def moves(self, occurrence: datetime) -> bool:
        """Say whether a clock change moved this occurrence off the time that the schedule names."""

    def describe(self) -> str:
        """Say in English when it runs."""
