"""The truth about the rows: who lives, which state a message is in, what a queue has to do, what runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from django_letsgo_worker import enqueue, enqueue_many, handler, inspection, messages, registry, schedules
from django_letsgo_worker.engines import AtLeast, engine_for
from django_letsgo_worker.inspection import work
from django_letsgo_worker.models import ArchivedMessage, Message, Process, Statistic

NOW = datetime(2027, 1, 1, tzinfo=UTC)


class TestWhoLives:
    @pytest.mark.parametrize(
        ("lease", "kind", "age", "is_alive"),
        [
            (30, "worker", 30, True),
            (30, "worker", 30.1, False),
            (30, "scheduler", 30, True),
            (30, "scheduler", 30.1, False),
            (3, "worker", 3, True),
            (3, "worker", 3.1, False),
            # It beats each five seconds, however short the lease.
            (3, "scheduler", 15, True),
            (3, "scheduler", 15.1, False),
        ],
    )
    def test_three_beats_are_missed_or_a_lease_is_over(self, settings, lease, kind, age, is_alive):
        settings.LETSGO_WORKER = {"LEASE_SECONDS": lease}
        process = Process(kind=kind, heartbeat_at=NOW - timedelta(seconds=age))

        assert inspection.is_alive(process, NOW) is is_alive
        assert inspection.liveness_of(process, NOW) == ("living" if is_alive else "silent")

    @pytest.mark.parametrize("age", [0, 3600])
    def test_one_that_has_said_that_it_ended_is_neither_alive_nor_silent(self, age):
        process = Process(kind="worker", state="stopped", heartbeat_at=NOW - timedelta(seconds=age))

        assert inspection.liveness_of(process, NOW) == "stopped"
        assert not inspection.is_alive(process, NOW)

    def test_one_that_drains_lives(self):
        assert inspection.is_alive(Process(kind="worker", state="draining", heartbeat_at=NOW), NOW)


@pytest.fixture
def one_of_each():
    """A live message in each state, by state."""
    names = ("ready", "running", "retrying", "scheduled", "lapsed")
    ids = dict(zip(names, enqueue_many([("t:x", name) for name in names]), strict=True))
    later = engine_for("default").clock() + timedelta(hours=1)
    for name, fields in (
        ("running", {"visible_at": later, "leased_by": uuid4(), "attempts": 1}),
        ("retrying", {"visible_at": later, "attempts": 1}),
        ("scheduled", {"visible_at": later}),
        ("lapsed", {"leased_by": uuid4(), "attempts": 1}),
    ):
        Message.objects.filter(pk=ids[name]).update(**fields)
    return ids


@pytest.mark.django_db
class TestStates:
    def test_a_live_message_has_the_state_of_its_columns_and_the_clock(self, one_of_each):
        now = engine_for("default").clock()
        states = {
            name: inspection.state_of(Message.objects.get(pk=pk), now) for name, pk in one_of_each.items()
        }

        assert states.pop("lapsed") == "ready"
        assert all(name == state for name, state in states.items())

    def test_an_archived_one_has_its_outcome(self):
        archived = messages.cancel(enqueue("t:x").pk)
        assert isinstance(archived, ArchivedMessage)
        assert inspection.state_of(archived, NOW) == "cancelled"

    @pytest.mark.parametrize("state", inspection.LIVE_STATES)
    def test_python_a_filter_and_a_count_agree(self, one_of_each, state):
        snapshot = inspection.Snapshot()
        by_row = {row.pk for row in Message.objects.all() if row.state_at(snapshot.now) == state}
        by_filter = Message.objects.filter(inspection.in_state(state, snapshot.now))

        assert set(by_filter.values_list("pk", flat=True)) == by_row
        assert getattr(snapshot.work(["default"])["default"], state) == len(by_row)


@pytest.mark.django_db
class TestWork:
    def test_it_is_summed_over_the_lanes_of_each_queue(self, one_of_each):
        enqueue("t:x", queue="mails", priority=5)
        enqueue("t:x", queue="mails", delay=60)

        found = inspection.Snapshot().work(["default", "mails", "empty"])

        assert (found["default"].ready, found["default"].later) == (2, 3)
        assert (found["mails"].ready, found["mails"].scheduled) == (1, 1)
        assert found["empty"] == inspection.Work()

    def test_the_oldest_ready_one_is_that_of_any_lane_and_no_later_one(self):
        first = enqueue("t:x", priority=5)
        enqueue("t:x", priority=-5)
        enqueue("t:x", queue="later", delay=60)

        found = inspection.Snapshot().work(["default", "later"])

        assert found["default"].oldest_ready == first.visible_at
        assert found["later"].oldest_ready is None

    def test_ready_ones_that_nobody_knows_are_counted_where_that_is_asked_for(self, monkeypatch):
        monkeypatch.setattr(registry, "_handlers", {})
        enqueue("t:x")
        assert inspection.Snapshot().work(["default"], unknown=True)["default"].unknown == 1
        assert inspection.Snapshot().work(["default"])["default"].unknown == 0

        handler("t:x")(print)
        assert inspection.Snapshot().work(["default"], unknown=True)["default"].unknown == 0

    @pytest.mark.parametrize(("count", "is_capped"), [(3, False), (4, True)])
    def test_a_count_ends_at_the_cap_and_says_so(self, monkeypatch, count, is_capped):
        monkeypatch.setattr(work, "MOST_COUNTED", 3)
        enqueue_many([("t:x", n) for n in range(count)])

        ready = inspection.Snapshot().work(["default"])["default"].ready

        assert (ready, isinstance(ready, AtLeast)) == (3, is_capped)

    def test_lanes_that_pass_the_cap_together_say_so_too(self, monkeypatch):
        monkeypatch.setattr(work, "MOST_COUNTED", 3)
        for priority in (0, 5):
            enqueue_many([("t:x", n) for n in range(2)], priority=priority)

        assert str(inspection.Snapshot().work(["default"])["default"].ready) == "3+"

    def test_each_part_of_what_was_cut_off_may_be_larger(self, monkeypatch, one_of_each):
        monkeypatch.setattr(work, "MOST_COUNTED", 2)

        found = inspection.Snapshot().work(["default"])["default"]

        assert str(found.later) == "2+"
        parts = [count for count in (found.running, found.retrying, found.scheduled) if count]
        assert parts and all(isinstance(count, AtLeast) for count in parts)

    def test_many_lanes_are_counted_some_at_a_time(self, monkeypatch):
        monkeypatch.setattr(work, "LANES_AT_ONCE", 2)
        for priority in range(5):
            enqueue("t:x", priority=priority)

        assert inspection.Snapshot().work(["default"])["default"].ready == 5


@pytest.mark.django_db
class TestRuns:
    def test_the_next_ones_of_a_schedule_that_is_off_end_with_it(self):
        job = schedules.add("a", "@daily", "t:x", enabled=False, ends_at=NOW + timedelta(days=2))
        assert inspection.next_runs(job, 5, NOW) == [NOW + timedelta(days=1), NOW + timedelta(days=2)]


@pytest.mark.django_db
class TestWhatIsReadAlong:
    def test_what_is_due_is_the_same_whether_or_not_what_waits_for_later_is_read_too(self, one_of_each):
        enqueue("t:y", queue="mails", delay=60)
        enqueue("t:y", queue="mails", priority=5)
        now = engine_for("default").clock()
        alone, along = inspection.Snapshot(now=now), inspection.Snapshot(now=now)

        # Two ready or lapsed, two that nobody holds later; the running one is held.
        assert along.waiting == {("default", "t:x"): 4, ("mails", "t:y"): 2}
        assert along.due == alone.due

    def test_the_attempts_are_the_same_whether_or_not_what_ended_is_read_too(self):
        now = engine_for("default").clock()
        for type, ago in (("t:x", 3), ("t:y", 30)):
            minute = (now - timedelta(minutes=ago)).replace(second=0, microsecond=0)
            Statistic.objects.create(at=minute, queue="mails", type=type, failed=2, succeeded=5, dead=1)
        alone, along = inspection.Snapshot(now=now), inspection.Snapshot(now=now)

        assert along.ended == {"mails": 12}
        assert along.attempts == alone.attempts
        assert [one.type for one in alone.attempts] == ["t:x"]


@pytest.mark.django_db
class TestWhatIsHeld:
    def test_each_process_has_its_own_messages_the_longest_held_first(self, django_assert_num_queries):
        now = engine_for("default").clock()
        first, second = (
            Process.objects.create(kind="worker", name=name, host="h", pid=1, heartbeat_at=now)
            for name in ("web-1", "web-2")
        )
        ids = enqueue_many([("t:x", n) for n in range(3)], queue="mails")
        for place, (pk, holder) in enumerate(zip(ids, (first, first, second), strict=True)):
            Message.objects.filter(pk=pk).update(
                leased_by=holder.pk, leased_at=now - timedelta(minutes=place), attempts=place,
                visible_at=now + timedelta(seconds=20),
            )  # fmt: skip
        snapshot = inspection.Snapshot()
        lanes = snapshot.lanes

        with django_assert_num_queries(1):
            found = inspection.in_hand(snapshot.engine, lanes, [first, second])

        assert [(one.id, one.attempt, one.queue) for one in found[first.pk]] == [
            (ids[1], 1, "mails"),
            (ids[0], 0, "mails"),
        ]
        assert [one.id for one in found[second.pk]] == [ids[2]]
        assert inspection.in_hand(snapshot.engine, lanes, []) == {}
