"""Whatever is archived, in whatever order of ids and moments: what is kept for longer stays, all else goes.

The plain reference looks at each row by itself. Batches are tiny, so that they end in the middle of
everything, and one Pruning goes on from day to day.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_letsgo_worker import messages, registry
from django_letsgo_worker.messages import pruning
from django_letsgo_worker.models import ArchivedMessage

pytestmark = pytest.mark.django_db

START = datetime(2026, 1, 31, tzinfo=UTC)
DAYS = 30
# Of a handler, of the setting TYPES, and of nobody.
OWN = {"own:short": 1, "own:long": 9, "set:mail": 2, "set:report": 12}
PATTERNS = {"set:mail": {"KEEP_FOR": 2}, "set:r*": {"KEEP_FOR": 12}}
types = st.sampled_from([*OWN, "job", "job", "job"])
outcomes = st.sampled_from(["succeeded", "succeeded", "cancelled", "expired", "dead"])
# Whole days and a few odd seconds: many end at one moment.
ages = st.tuples(st.integers(0, DAYS), st.sampled_from([0, 0, 0, 1]))
rows = st.lists(st.tuples(types, outcomes, ages, st.integers(1, 4)), max_size=12)


@pytest.fixture(autouse=True)
def handlers():
    for type in ("own:short", "own:long"):
        registry.handler(type, keep_for=OWN[type])(lambda delivery: None)
    yield
    for type in ("own:short", "own:long"):
        registry.remove(type)


def archive(mix, numbers, ended_before):
    """Archive the rows of a mix, under ids that say nothing of their moments."""
    for type, outcome, (days, seconds), copies in mix:
        ended = ended_before - timedelta(days=days, seconds=seconds)
        ArchivedMessage.objects.bulk_create(
            # 7,919 is prime: the ids jump to and fro.
            ArchivedMessage(id=next(numbers) * 7_919 % 100_003, type=type, outcome=outcome, finished_at=ended)
            for _ in range(copies)
        )


def is_kept(row, now, succeeded_for, dead_for):
    days = dead_for if row.outcome == "dead" else OWN.get(row.type, succeeded_for)
    return row.finished_at >= now - timedelta(days=days)


@given(rows, rows, st.integers(0, 14), st.integers(0, 14), st.integers(1, 5), st.integers(1, 5))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_right_ones_go(monkeypatch, first, second, succeeded_for, dead_for, batch, passed):
    monkeypatch.setattr(pruning, "BATCH", batch)
    ArchivedMessage.objects.all().delete()
    keep = {"KEEP_SUCCEEDED_FOR": succeeded_for, "KEEP_DEAD_FOR": dead_for, "TYPES": PATTERNS}
    numbers, one = count(1), messages.Pruning()

    def prune(by, now):
        left = {row.pk for row in ArchivedMessage.objects.all() if is_kept(row, now, succeeded_for, dead_for)}
        gone = ArchivedMessage.objects.count() - len(left)
        batches = list(by.batches(now=now))
        assert set(ArchivedMessage.objects.values_list("pk", flat=True)) == left
        assert sum(batches) == gone
        assert max(batches, default=0) <= 2 * batch

    with override_settings(LETSGO_WORKER=keep):
        archive(first, numbers, START)
        prune(one, START)
        # Days later nothing ended before the last time, but much has become old.
        archive([(*facts, (days % (passed + 1), 0), n) for *facts, (days, _), n in second], numbers,
                START + timedelta(days=passed))  # fmt: skip
        prune(one, START + timedelta(days=passed))
        # Who begins anew finds what was put behind.
        archive(second, numbers, START)
        prune(messages.Pruning(), START + timedelta(days=passed))
