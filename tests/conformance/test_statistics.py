"""Statistics: what is counted, that counting together loses nothing, and what rates say of it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from django.db import OperationalError, connections
from django.db.models import QuerySet, Sum

from django_letsgo_worker import Reject, Retry, Snooze, counts, enqueue, inspection, messages, queues
from django_letsgo_worker.counts import OUTCOMES, Count, Place, minute_of
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.errors import InvalidMessage
from django_letsgo_worker.histograms import bounds_of, bucket_of
from django_letsgo_worker.inspection import work
from django_letsgo_worker.maintenance import Maintenance
from django_letsgo_worker.models import ArchivedMessage, Housekeeping, Statistic
from django_letsgo_worker.testing import drain

pytestmark = pytest.mark.django_db


def sums(**filters):
    rows = Statistic.objects.filter(**{"span": 60} | filters)
    return {name: number or 0 for name, number in rows.aggregate(**{n: Sum(n) for n in OUTCOMES}).items()}


def archived():
    return Counter(ArchivedMessage.objects.values_list("outcome", flat=True))


class TestWhatIsCounted:
    @pytest.fixture
    def job(self, handle):
        @handle("job", max_attempts=2, backoff=0)
        def run(delivery):
            if error := delivery.payload:
                raise {"retry": Retry(), "reject": Reject(), "snooze": Snooze(60)}[error]

    def test_each_attempt_and_each_message_by_its_outcome(self, job):
        for payload in (None, None, "reject", "retry", "snooze"):
            enqueue("job", payload)
        drain()
        assert sums() == {"succeeded": 2, "failed": 3, "dead": 2, "cancelled": 0, "expired": 0}
        assert sums(span=3600) == sums()

    def test_attempts_have_a_run_time_and_a_wait(self, job, at):
        enqueue("job", visible_at=at(0))
        drain(now=at(100))
        run, wait = Statistic.objects.filter(span=60).values_list("run", "wait").get()
        assert sum(run.values()) == 1
        (bucket,) = wait
        low, high = bounds_of(int(bucket))
        assert low <= 100 < high * 1.01

    def test_nothing_is_written_where_nothing_was_handled(self, job, django_assert_num_queries):
        with django_assert_num_queries(0):
            counts.add({}, "default")
        drain()
        assert not Statistic.objects.exists()

    def test_an_attempt_whose_worker_died_is_a_failed_one(self, job, worker, at):
        enqueue("job", visible_at=at(0))
        worker.claim_one(now=at(0), lease_seconds=30)
        drain(now=at(60))
        assert sums() == {"succeeded": 1, "failed": 1, "dead": 0, "cancelled": 0, "expired": 0}

    @pytest.mark.django_db(transaction=True)
    def test_messages_that_end_by_hand_or_by_themselves(self, job, at):
        messages.cancel(enqueue("job").pk)
        late = enqueue("job", delay=3600, deadline=timedelta(hours=2))
        messages.expire(now=late.deadline + timedelta(seconds=1))
        assert sums() == {"succeeded": 0, "failed": 0, "dead": 0, "cancelled": 1, "expired": 1}
        assert {k: v for k, v in sums().items() if k != "failed" and v} == archived()

    @pytest.mark.django_db(transaction=True)
    def test_what_is_rolled_back_was_never_cancelled(self, job):
        message = enqueue("job")
        with pytest.raises(RuntimeError), engine_for("default").transaction():
            messages.cancel(message.pk)
            raise RuntimeError
        assert not Statistic.objects.exists()


class TestAdding:
    def count(self, at, number=1):
        return {Place(minute_of(at(0)), "default", f"type:{n}"): Count(succeeded=1) for n in range(number)}

    def test_counts_of_one_minute_are_added_up(self, at):
        place = Place(minute_of(at(0)), "default", "job")
        counts.add({place: Count(succeeded=2, run={1: 2})}, "default")
        counts.add({place: Count(failed=1, run={1: 1, 3: 1}, wait={-7: 1})}, "default")
        row = Statistic.objects.get(span=60)
        assert (row.succeeded, row.failed, row.run, row.wait) == (2, 1, {"1": 3, "3": 1}, {"-7": 1})

    def test_an_hour_has_the_sum_of_its_minutes(self, at):
        hour = minute_of(at(0)).replace(minute=0)
        places = [Place(hour + timedelta(minutes=n), "default", "job") for n in (0, 7, 59, 60)]
        counts.add({place: Count(succeeded=1) for place in places}, "default")
        assert dict(Statistic.objects.filter(span=3600).values_list("at", "succeeded")) == {
            hour: 3,
            hour + timedelta(hours=1): 1,
        }

    @pytest.mark.parametrize("nonsense", [[], "text", {"a": 1}, {"1": None}, None])
    def test_a_row_that_holds_no_histogram_takes_counts_all_the_same(self, at, nonsense):
        place = Place(minute_of(at(0)), "default", "job")
        counts.add({place: Count(succeeded=1, run={1: 1})}, "default")
        Statistic.objects.update(wait=nonsense if nonsense is not None else [None])
        counts.add({place: Count(succeeded=1, wait={2: 1})}, "default")
        row = Statistic.objects.get(span=60)
        assert (row.succeeded, row.run, row.wait) == (2, {"1": 1}, {"2": 1})

    def test_more_types_than_fit_into_one_statement(self, at):
        counts.add(self.count(at, 450), "default")
        counts.add(self.count(at, 450), "default")
        assert (Statistic.objects.count(), sums()["succeeded"]) == (900, 900)


class TestDepth:
    def keep_house(self):
        Housekeeping.objects.all().delete()
        housekeeping = Maintenance("default")
        while housekeeping.step():
            pass

    def depths(self, span=60):
        rows = Statistic.objects.filter(span=span)
        return {(row.queue, row.type): row.depth for row in rows}

    def test_the_housekeeping_writes_what_is_due_and_not_claimed(self, worker):
        for _ in range(3):
            enqueue("job")
        enqueue("job", delay=60)
        enqueue("other", queue="mail")
        queues.pause("mail")
        worker.claim_one("default", free=1)
        self.keep_house()
        assert self.depths() == self.depths(3600) == {("default", "job"): 2, ("mail", "other"): 1}

    def test_where_nothing_is_due_nothing_is_written(self):
        enqueue("job", delay=60)
        self.keep_house()
        assert not Statistic.objects.exists()

    def test_an_hour_keeps_the_most_of_its_minutes_and_a_minute_the_most_that_was_seen(self, at):
        hour = minute_of(at(0)).replace(minute=0)
        for minute, depth in ((1, 5), (1, 3), (2, 9), (3, 0)):
            counts.note_depths({("default", "job"): depth}, hour + timedelta(minutes=minute), "default")
        minutes = Statistic.objects.filter(span=60).order_by("at")
        assert list(minutes.values_list("depth", flat=True)) == [5, 9, 0]
        assert self.depths(3600) == {("default", "job"): 9}

    def test_counts_that_are_added_leave_it_as_it_is(self, at):
        counts.note_depths({("default", "job"): 7}, at(0), "default")
        counts.add({Place(minute_of(at(0)), "default", "job"): Count(succeeded=2)}, "default")
        row = Statistic.objects.get(span=60)
        assert (row.succeeded, row.depth) == (2, 7)

    def test_a_rate_has_the_largest_sum_at_one_moment(self, at):
        minute = minute_of(at(0))
        for ago, depths in enumerate([{"a": 1, "b": 6}, {"a": 4, "b": 2}, {"a": 0, "b": 7}]):
            named = {("default", type): depth for type, depth in depths.items()}
            counts.note_depths(named, minute - timedelta(minutes=ago), "default")
        until = minute + timedelta(minutes=1)
        assert [(rate.type, rate.depth) for rate in inspection.rates(until=until)] == [("a", 4), ("b", 7)]
        (together,) = inspection.rates(until=until, by=())
        assert (together.depth, together.ended, together.run) == (7, 0, None)
        steps = inspection.rates(until=until, by=(), step=timedelta(minutes=1), since=timedelta(minutes=3))
        assert [rate.depth for rate in steps] == [7, 6, 7]

    def test_a_depth_at_the_cap_says_so(self, at, monkeypatch):
        monkeypatch.setattr(work, "MOST_COUNTED", 5)
        counts.note_depths({("default", "a"): 5, ("default", "b"): 4}, at(0), "default")
        capped, exact = inspection.rates(until=at(60))
        assert (str(capped.depth), str(exact.depth)) == ("5+", "4")


@pytest.mark.django_db(transaction=True)
class TestAddingTogether:
    def test_the_housekeeping_and_workers_that_write_the_same_rows_lose_nothing(self, race, at):
        place = Place(minute_of(at(0)), "default", "job")

        def add_often():
            for _ in range(15):
                engine_for("default").insist(lambda: counts.add({place: Count(succeeded=1)}, "default"))

        def note_often():
            for depth in range(15):
                counts.note_depths({("default", "job"): depth}, at(0), "default")

        for rival in race(add_often, note_often, add_often):
            rival.result()
        found = Statistic.objects.values_list("span", "succeeded", "depth")
        assert set(found) == {(60, 30, 14), (3600, 30, 14)}

    def add_together(self, race, at, *wrappers):
        place = Place(minute_of(at(0)), "default", "job")

        def add_often():
            for _ in range(15):
                engine_for("default").insist(lambda: counts.add({place: Count(succeeded=1)}, "default"))

        rivals = race(*[add_often] * 3, wrappers=wrappers)
        for rival in rivals:
            rival.result()
        return sums()["succeeded"]

    def test_processes_that_write_together_lose_nothing(self, race, at):
        assert self.add_together(race, at) == 45

    def test_without_the_lock_they_would(self, race, at, monkeypatch, engine):
        if engine == "sqlite":
            pytest.skip("There the transaction is the lock.")
        monkeypatch.setattr(QuerySet, "select_for_update", lambda self, **kwargs: self)
        assert self.add_together(race, at) < 45


@pytest.mark.django_db(transaction=True)
class TestACommitThatBreaksOff:
    """The answer of a commit is lost: it may have been carried out, or not."""

    @pytest.fixture
    def count(self, at):
        counts.add({Place(minute_of(at(0)), "default", "other"): Count(succeeded=1)}, "default")
        return lambda: engine_for("default").insist(
            lambda: counts.add({Place(minute_of(at(0)), "default", "job"): Count(succeeded=1)}, "default")
        )

    def break_off(self, monkeypatch, *, carried_out):
        wrapper = type(connections["default"])
        commit, broken = wrapper.commit, []

        def break_once(self):
            if carried_out or broken:
                commit(self)
            if not broken:
                broken.append(self)
                raise OperationalError("the connection broke")

        monkeypatch.setattr(wrapper, "commit", break_once)

    @pytest.mark.parametrize("carried_out", [True, False])
    def test_is_not_repeated_so_that_nothing_counts_twice(self, count, monkeypatch, carried_out):
        self.break_off(monkeypatch, carried_out=carried_out)
        count()
        assert sums(type="job")["succeeded"] == carried_out

    def test_a_commit_that_is_repeated_would_count_twice(self, count, monkeypatch):
        monkeypatch.setattr(type(engine_for("default")), "is_outage", lambda self, error: False)
        self.break_off(monkeypatch, carried_out=True)
        count()
        assert sums(type="job")["succeeded"] == 2


class TestForgetting:
    def test_minutes_and_hours_are_kept_for_their_times(self, at, settings):
        settings.LETSGO_WORKER = {"KEEP_STATISTICS_FOR": 1, "KEEP_HOURLY_STATISTICS_FOR": 3}
        day = 86_400
        for n in range(5):
            place = Place(minute_of(at(-n * day - 1)), "default", "job")
            counts.add({place: Count(succeeded=1)}, "default")
        while counts.forget_batch(now=at(0)):
            pass
        kept = Counter(Statistic.objects.values_list("span", flat=True))
        assert kept == {60: 1, 3600: 3}


class TestRates:
    def test_by_queue_and_type(self, at):
        minute = minute_of(at(0))
        counts.add(
            {
                Place(minute, "default", "a"): Count(succeeded=6, failed=2, dead=1, run={bucket_of(0.5): 8}),
                Place(minute, "mail", "a"): Count(succeeded=3),
                Place(minute - timedelta(hours=2), "default", "a"): Count(succeeded=100),
            },
            "default",
        )
        until = minute + timedelta(minutes=1)
        first, second = inspection.rates(until=until)
        assert (first.queue, first.type, first.succeeded, first.attempts, first.ended) == (
            "default",
            "a",
            6,
            8,
            7,
        )
        assert (second.queue, second.ended) == ("mail", 3)
        assert first.failed_share == 0.25
        assert first.per_minute == 7 / 60
        assert first.run is not None and first.run.p50 == first.run.p99 == pytest.approx(0.5, rel=0.25)
        assert first.wait is None

        (together,) = inspection.rates(until=until, by=())
        assert (together.queue, together.type, together.ended) == (None, None, 10)
        (of_mail,) = inspection.rates(until=until, queue="mail", by=["type"])
        assert (of_mail.type, of_mail.ended) == ("a", 3)
        assert inspection.rates(until=until, type="b") == []

    def test_in_steps(self, at):
        minute = minute_of(at(0))
        for n in range(10):
            place = Place(minute - timedelta(minutes=n), "default", "a")
            counts.add({place: Count(succeeded=1)}, "default")
        found = inspection.rates(
            since=timedelta(minutes=10), until=minute + timedelta(minutes=1), by=(), step=timedelta(minutes=5)
        )
        assert [(rate.succeeded, rate.until - rate.since) for rate in found] == [
            (5, timedelta(minutes=5))
        ] * 2

    def test_long_spans_are_read_by_the_hour(self, at):
        hour = minute_of(at(0)).replace(minute=0)
        counts.add(
            {Place(hour + timedelta(minutes=n), "default", "a"): Count(succeeded=1) for n in range(9)},
            "default",
        )
        Statistic.objects.filter(span=60).delete()
        (rate,) = inspection.rates(since=timedelta(days=7), until=hour + timedelta(minutes=10))
        assert rate.succeeded == 9

    def test_a_short_span_whose_minutes_are_forgotten_is_read_by_the_hour(self, at):
        hour = minute_of(at(-5 * 86_400)).replace(minute=0)
        counts.add({Place(hour + timedelta(minutes=9), "default", "a"): Count(succeeded=1)}, "default")
        while counts.forget_batch(now=at(0)):
            pass
        (rate,) = inspection.rates(since=hour, until=hour + timedelta(hours=1))
        assert rate.succeeded == 1

    @pytest.mark.parametrize("by", ["type", ["type", "colour"]])
    def test_what_is_told_apart_is_a_list_of_known_names(self, by):
        with pytest.raises(InvalidMessage, match='^by is a list of "queue" and "type", not '):
            inspection.rates(by=by)

    @pytest.mark.parametrize("name", ["since", "until"])
    def test_moments_have_a_zone(self, at, name):
        with pytest.raises(InvalidMessage, match=f"^{name} needs a time zone"):
            inspection.rates(**{name: at(0).replace(tzinfo=None)})
