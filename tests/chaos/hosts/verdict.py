"""The verdict on a trial: each promise in a line, with what came out, and whether it was kept.

What the site committed is compared with the archive, and with what handlers wrote.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import F, Max

from django_letsgo_worker.models import ArchivedMessage, Occurrence, ScheduledJob
from tests.chaos.ledger import complaints, read_ledgers
from tests.testapp.models import Effect, Entry

from .network import FAR_AWAY
from .site import DELAY_SECONDS
from .trial import LEASE, PATIENCE, WRONG_CLOCKS, Trial

# A worker polls every two seconds, and reads a lane from its beginning at the latest after five.
SOME_POLLS = timedelta(seconds=10)
DELAYS = {"delayed": DELAY_SECONDS, "unique": 1.0}


@dataclass(frozen=True)
class Line:
    """One promise, what came out, and whether that keeps it."""

    promise: str
    found: str
    is_kept: bool


def verdict(trial: Trial) -> list[Line]:
    """Judge what a trial left behind."""
    enqueued = [json.loads(line) for line in trial.account.read_text().splitlines()]
    kinds = {one["n"]: one["kind"] for one in enqueued if not one["refused"]}
    refused = {one["n"] for one in enqueued if one["refused"]}
    archive = {row.payload["n"]: row for row in ArchivedMessage.objects.filter(scheduled_job_id=None)}
    return [
        *messages(kinds, refused, archive),
        *handlers(kinds, archive),
        *planned(),
        *faults(trial),
    ]


def messages(kinds: dict[int, str], refused: set[int], archive: dict[int, ArchivedMessage]) -> Iterator[Line]:
    done = {n for n, row in archive.items() if row.outcome == "succeeded"}
    lost = kinds.keys() - done
    yield Line("what was committed is done", f"{len(kinds)} committed, {len(lost)} not done", not lost)
    made_up = refused & archive.keys()
    yield Line(
        "what was taken back, or had a twin, never was",
        f"{len(refused)} taken back, {len(made_up)} there",
        not made_up,
    )
    early = [
        n
        for n, kind in kinds.items()
        if kind in DELAYS and n in archive and _began_after(archive[n]) < timedelta(seconds=DELAYS[kind])
    ]
    delayed = sum(kind in DELAYS for kind in kinds.values())
    yield Line("nothing is early", f"{delayed} delayed, {len(early)} early", not early)


def _began_after(row: ArchivedMessage) -> timedelta:
    assert row.first_started_at is not None
    return row.first_started_at - row.enqueued_at


def handlers(kinds: dict[int, str], archive: dict[int, ArchivedMessage]) -> Iterator[Line]:
    atomic = {n for n, kind in kinds.items() if "atomic" in kind}
    effects = Counter(Effect.objects.values_list("n", flat=True))
    missing = atomic - effects.keys()
    doubled = [n for n, count in effects.items() if count > 1]
    yield Line(
        "effects of atomic handlers are exactly once",
        f"{len(atomic)} messages, {len(missing)} effects missing, {len(doubled)} doubled",
        not missing and not doubled,
    )
    plain = kinds.keys() - atomic
    # Schedules have n = 0.
    runs = Counter(Entry.objects.filter(n__gt=0).values_list("n", flat=True))
    missing = plain - runs.keys()
    twice = {n for n, count in runs.items() if count > 1}
    causeless = {n for n in twice if n in archive and archive[n].receipt == 1}
    yield Line(
        "plain handlers run at least once, and again only after a lapse",
        f"{len(plain)} messages, {len(missing)} not run, {len(twice)} again, {len(causeless)} causelessly",
        not missing and not causeless,
    )


def planned() -> Iterator[Line]:
    ledgers = read_ledgers(ScheduledJob.objects.aggregate(at=Max("created_at"))["at"] - timedelta(hours=1))
    wrong = {ledger.job.name: found for ledger in ledgers if (found := complaints(ledger))}
    late = Occurrence.objects.aggregate(late=Max(F("fired_at") - F("planned_at")))["late"]
    fired = sum(len(ledger.fired) for ledger in ledgers)
    skipped = sum(len(ledger.occurrences) for ledger in ledgers) - fired
    undone = ArchivedMessage.objects.exclude(scheduled_job_id=None).exclude(outcome="succeeded").count()
    yield Line(
        "each planned time has one run",
        f"{fired} planned times, the latest {late.total_seconds():.1f} s late; wrong: {wrong or 'none'}",
        fired > 0 and not wrong and not skipped and not undone,
    )


def faults(trial: Trial) -> Iterator[Line]:
    clocks = ", ".join(f"{name} {off:+} s" for name, off in WRONG_CLOCKS.items())
    yield Line("wrong clocks are noticed where they are", clocks, all(trial.sees_a_wrong_clock.values()))
    trips = ", ".join(f"{name} {1000 * seconds:.1f} ms" for name, seconds in trial.round_trips.items())
    far_away = all(trial.round_trips[name] >= seconds for name, seconds in FAR_AWAY.items())
    yield Line("a host is far away", trips, far_away)
    for cut in trial.cuts:
        worst = max(cut.late.values(), default=timedelta(0))
        yield Line(
            f"what {cut.host} held when it was cut off ran elsewhere after its lease",
            f"{len(cut.late)} held; the last began {worst.total_seconds():.1f} s after the lapse "
            f"(the lease is {LEASE.total_seconds():g} s); {cut.never} never began",
            bool(cut.late) and not cut.never and worst <= SOME_POLLS,
        )
        back = f"after {cut.back_after:.1f} s" if cut.back_after is not None else f"not within {PATIENCE:g} s"
        yield Line(f"{cut.host} works again when it is back", back, cut.back_after is not None)
    for name, went_on in trial.went_on_without.items():
        yield Line(f"schedules go on while {name} is cut off", "they did" if went_on else "no", went_on)
    yield Line(
        "all processes lived through it and end when told to",
        ", ".join(f"{name} {code}" for name, code in trial.codes.items()),
        set(trial.codes.values()) == {0},
    )
