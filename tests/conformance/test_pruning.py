"""Prune: what is old goes, all else stays, in short batches that never read again what is gone."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from django_letsgo_worker import enqueue, messages, schedules
from django_letsgo_worker.messages import pruning
from django_letsgo_worker.models import ArchivedMessage, Message, Occurrence

from .conftest import KEPT, Rewrite

pytestmark = pytest.mark.django_db

DAY = 86_400


@pytest.fixture
def archive(at):
    """Archive so many messages that ended `days` ago, a second apart or `together`; they are numbered."""

    def make(number, *, days=8, together=False, first=1, **facts):
        facts = {"type": "job", "outcome": "succeeded"} | facts
        ArchivedMessage.objects.bulk_create(
            ArchivedMessage(id=id, finished_at=at(-days * DAY + (0 if together else id)), **facts)
            for id in range(first, first + number)
        )

    return make


class TestKeepTimes:
    @pytest.fixture
    def ended(self, worker):
        """Archive messages with these outcomes at a moment; their ids by outcome."""

        def make(now, *outcomes):
            ids = {}
            for outcome in outcomes:
                ids[outcome] = enqueue("job").pk
                worker.settle(worker.claim_one(now=now), outcome, now=now)
            return ids

        return make

    def test_each_outcome_is_kept_for_its_time(self, ended, at, settings):
        settings.LETSGO_WORKER = {"KEEP_SUCCEEDED_FOR": 2, "KEEP_DEAD_FOR": 5}
        ended(at(0), *sorted(KEPT))

        assert messages.prune(now=at(2 * DAY)) == 0
        assert messages.prune(now=at(2 * DAY + 1)) == 3
        assert ArchivedMessage.objects.get().outcome == "dead"
        assert messages.prune(now=at(5 * DAY)) == 0
        assert messages.prune(now=at(5 * DAY + 1)) == 1

    def test_the_defaults_are_a_week_and_thirty_days(self, ended, at):
        ended(at(0), *sorted(KEPT))

        assert messages.prune(now=at(7 * DAY - 1)) == 0
        assert messages.prune(now=at(7 * DAY + 1)) == 3
        assert messages.prune(now=at(30 * DAY - 1)) == 0
        assert messages.prune(now=at(30 * DAY + 1)) == 1

    def test_half_a_day_is_a_time_too(self, ended, at, settings):
        settings.LETSGO_WORKER = {"KEEP_SUCCEEDED_FOR": 0.5}
        ended(at(0), "succeeded")

        assert messages.prune(now=at(DAY / 2 + 1)) == 1

    def test_zero_keeps_none_and_sweeps_what_was_kept(self, ended, at, settings):
        ended(at(0), *sorted(KEPT))
        settings.LETSGO_WORKER = {"KEEP_SUCCEEDED_FOR": 0, "KEEP_DEAD_FOR": 0}

        assert messages.prune(now=at(1)) == 4

    def test_a_hundred_years_are_no_trouble(self, ended, at, settings):
        settings.LETSGO_WORKER = dict.fromkeys(
            ("KEEP_SUCCEEDED_FOR", "KEEP_DEAD_FOR", "KEEP_OCCURRENCES_FOR"), 36_500
        )
        ended(at(0), *sorted(KEPT))

        assert messages.prune(now=at(DAY)) == 0

    def test_live_messages_are_never_pruned(self, at):
        enqueue("job")

        assert messages.prune(now=at(1000 * DAY)) == 0
        assert Message.objects.exists()

    def test_a_type_of_its_own_goes_earlier_or_later_than_others(self, archive, at, handled):
        handled("short", keep_for=1)
        handled("long", keep_for=20)
        for first, type in enumerate(["short", "long", "job"], start=1):
            archive(1, first=first, days=0, type=type)
            archive(1, first=first + 10, days=0, type=type, outcome="dead")

        def left(days):
            messages.prune(now=at(days * DAY + 60))
            return set(ArchivedMessage.objects.exclude(outcome="dead").values_list("type", flat=True))

        assert [left(days) for days in (1, 7, 20)] == [{"long", "job"}, {"long"}, set()]
        # Dead letters are kept for as long as others.
        assert ArchivedMessage.objects.count() == 3

    def test_more_types_of_their_own_than_are_asked_at_once(self, archive, at, settings, monkeypatch):
        monkeypatch.setattr(pruning, "MOST_ASKED", 2)
        settings.LETSGO_WORKER = {"TYPES": {f"t:{n}": {"KEEP_FOR": 1} for n in range(5)}}
        for n in range(5):
            archive(1, first=n + 1, days=2, type=f"t:{n}")

        assert messages.prune(now=at(0)) == 5

    def test_occurrences_go_too(self, at, settings):
        settings.LETSGO_WORKER = {"KEEP_OCCURRENCES_FOR": 3}
        job = schedules.add("nightly", "@daily", "job")
        for days in (2, 4):
            moment = at(-days * DAY)
            Occurrence.objects.create(scheduled_job=job, planned_at=moment, fired_at=moment)

        assert messages.prune(now=at(0)) == 1
        assert Occurrence.objects.get().fired_at == at(-2 * DAY)


class TestBatches:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch):
        monkeypatch.setattr(pruning, "BATCH", 100)

    @staticmethod
    def batches(now, **facts):
        return [deleted for deleted in messages.Pruning(**facts).batches(now=now) if deleted]

    def test_as_many_as_a_batch_has(self, archive, at):
        archive(250)
        assert self.batches(at(0)) == [100, 100, 50]

    def test_what_ended_at_one_moment_is_no_longer_batch(self, archive, at):
        archive(650, together=True)
        assert self.batches(at(0)) == [200, 200, 200, 50]

    def test_rows_that_stay_are_counted(self, archive, at, handled):
        handled("long", keep_for=20)
        archive(250, type="long")
        archive(50, first=251)

        assert list(messages.Pruning().batches(now=at(0))) == [0, 0, 50, 0]
        assert ArchivedMessage.objects.count() == 250

    def test_one_pruning_goes_on_with_what_has_become_old(self, archive, at):
        pruning = messages.Pruning()
        archive(150, days=8)
        assert sum(pruning.batches(now=at(0))) == 150
        archive(150, first=151, days=6)
        assert sum(pruning.batches(now=at(0))) == 0
        assert sum(pruning.batches(now=at(2 * DAY))) == 150


class TestDeadRows:
    """On PostgreSQL what was deleted is in the index until the next vacuum."""

    @pytest.fixture
    def read(self, monkeypatch, engine):
        """Prune by these; return how many pages each look for the end of a batch read."""
        if engine != "postgres":
            pytest.skip("about its dead rows")
        monkeypatch.setattr(pruning, "BATCH", 100)
        pages = []

        def explain(execute, sql, params, many, context):
            if "OFFSET" in sql and not sql.startswith("EXPLAIN"):
                with connection.cursor() as cursor:
                    cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
                    plan = cursor.fetchone()[0][0]["Plan"]
                pages.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
            return execute(sql, params, many, context)

        def read(steps):
            with transaction.atomic(), connection.execute_wrapper(explain):
                # As a worker's connection has it.
                for way in ("seqscan", "bitmapscan"):
                    connection.cursor().execute(f"SET LOCAL enable_{way} = off")
                for _ in steps:
                    pass
            return pages

        return read

    def test_no_batch_reads_them(self, archive, at, read):
        archive(3_000)
        pages = read(messages.Pruning().batches(now=at(0)))

        assert len(pages) > 25
        assert max(pages) <= pages[0] + 10

    def test_who_begins_anew_reads_them_all(self, archive, at, read):
        """The control: there is something to read."""
        archive(3_000)
        pages = read(next(messages.Pruning().batches(now=at(0))) for _ in range(25))

        assert max(pages) > 2 * pages[0]


@pytest.mark.django_db(transaction=True)
class TestOthers:
    def test_two_prune_at_once(self, archive, at, race, monkeypatch):
        monkeypatch.setattr(pruning, "BATCH", 50)
        archive(1_000)
        archive(10, first=1_001, days=1)
        now = at(0)
        rivals = race(*[lambda: messages.prune(now=now)] * 2)

        assert sum(rival.result() for rival in rivals) == 1_000
        assert ArchivedMessage.objects.count() == 10

    @pytest.fixture
    def beside_a_lock(self, archive, at, begin, engine):
        """Prune five messages, of which another session has locked one; return the thread, stuck or ended."""
        if engine == "sqlite":
            pytest.skip("It locks no rows.")
        archive(5)
        now = at(0)

        def prune(*wrappers):
            with transaction.atomic():
                assert ArchivedMessage.objects.select_for_update().get(pk=3)
                rival = begin(lambda: messages.prune(now=now), *wrappers)
                rival.wait_until_stuck()
                return rival, rival.ended.is_set()

        return prune

    def test_it_passes_over_what_another_has_locked(self, beside_a_lock, at):
        rival, has_ended = beside_a_lock()
        assert (has_ended, rival.result()) == (True, 4)
        assert ArchivedMessage.objects.get().pk == 3

    def test_without_that_it_waits(self, beside_a_lock):
        """The control: there is a lock to pass over."""
        guard = Rewrite(" FOR UPDATE SKIP LOCKED")
        rival, has_ended = beside_a_lock(guard)
        assert (has_ended, rival.result()) == (False, 5)
        assert guard.hits
