"""Schedules alone: what reading one costs, and what the next occurrence does, beside croniter.

No database and no queue, which the workloads measure: `python -m tests.benchmarks.recurrence`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from statistics import median

from croniter import croniter

from django_letsgo_worker.recurrence import Recurrence, grammar, zones

ZONE, OTHER_ZONE = "Europe/Berlin", "America/New_York"
FORMS = (
    "*/5 * * * *",
    "* * * * *",
    "30 2 * * MON-FRI",
    "0 0 29 2 *",
    "0 0 L * *",
    "0 9 15W * *",
    "0 9 * * MON#2",
    "cron(0 10 ? * 2 *)",
    "cron(0 10 ? * 2 2027-2099)",
    "rate(5 minutes)",
    "@every 1h30m",
    "at(2027-01-01T09:00:00)",
)
ROUNDS, STEPS, READS = 5, 400, 200
BEGIN = datetime(2026, 1, 15, 12, 0, 7, tzinfo=UTC)
MOMENTS = [BEGIN + number * timedelta(hours=31) for number in range(STEPS)]
HEADS = ("read, new", "read, known", "first", "step", "step, new zone", "croniter reads", "croniter steps")


def main() -> None:
    print(f"{'microseconds':26}", *(f"{head:>14}" for head in HEADS))
    for form in FORMS:
        print(f"{form:26}", *(f"{cost:14.1f}" for cost in [*ours(form), *croniters(form)]))


def ours(form: str) -> Iterator[float]:
    known, elsewhere = (Recurrence.parse(form, zone, anchor=BEGIN) for zone in (ZONE, OTHER_ZONE))
    steps = 1 if known.is_once else STEPS
    yield each(READS, lambda: read_anew(form))
    yield each(READS, lambda: [Recurrence.parse(form, ZONE) for _ in range(READS)])
    yield each(STEPS, lambda: [next(known.occurrences_after(moment), None) for moment in MOMENTS])
    yield each(steps, lambda: list(islice(known.occurrences_after(BEGIN), steps)))
    forget = zones.spans_of_year.cache_clear
    yield each(steps, lambda: list(islice(elsewhere.occurrences_after(BEGIN), steps)), forget)


def read_anew(form: str) -> None:
    for _ in range(READS):
        grammar.read.cache_clear()
        Recurrence.parse(form, ZONE)


def croniters(form: str) -> Iterator[float]:
    """Only naive wall time, and only forms that it reads."""
    if not form[0].isalpha() and form[0] != "@":
        start = BEGIN.replace(tzinfo=None)
        yield each(READS, lambda: [croniter(form) for _ in range(READS)])
        yield each(STEPS, lambda: list(islice(croniter(form, start).all_next(datetime), STEPS)))


def each(number: int, do: Callable[[], object], prepare: Callable[[], object] = lambda: None) -> float:
    """Return the median of the rounds, in microseconds for each of `number` that are done at once."""
    return median(timed(do, prepare) for _ in range(ROUNDS)) / number / 1000


def timed(do: Callable[[], object], prepare: Callable[[], object]) -> int:
    prepare()
    begun = time.process_time_ns()
    do()
    return time.process_time_ns() - begun


if __name__ == "__main__":
    main()
