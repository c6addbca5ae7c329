"""overlap="queue" and "replace", pause_after_failures, max_runs and delete_when_over."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from django_letsgo_worker import messages, schedules
from django_letsgo_worker.models import ArchivedMessage, Message, Occurrence, Process, ScheduledJob
from django_letsgo_worker.testing import drain
from tests.conformance.schedule_support import HOUR, MINUTE, SECOND, T0, add, fire, occurrences, raw, row

pytestmark = pytest.mark.django_db


def due(n: int):
    return T0 + n * 5 * MINUTE


def live() -> list[int]:
    return list(Message.objects.order_by("pk").values_list("pk", flat=True))


def visible(now) -> list[int]:
    return list(Message.objects.filter(visible_at__lte=now).order_by("pk").values_list("pk", flat=True))


def run(pk: int, *, process=None) -> None:
    """Have a message claimed by a process."""
    rows = Message.objects.filter(pk=pk)
    rows.update(leased_by=process or uuid4(), leased_at=T0, receipt=1, visible_at=T0 + 9 * HOUR)


class TestQueue:
    def test_one_waits_behind_the_running_one_and_the_rest_are_skipped(self):
        add(overlap="queue")
        [first] = schedules.fire_due(due(1))
        run(first.pk)
        [second] = schedules.fire_due(due(2))
        assert fire(due(3)) == fire(due(4)) == []

        assert live() == [first.pk, second.pk]
        assert visible(due(4)) == []
        assert [why for _, why, _ in occurrences()] == ["", "", "overlap", "overlap"]
        assert row().waiting_message_id == second.pk

    def test_the_one_that_waits_starts_when_the_running_one_has_ended(self):
        add(overlap="queue")
        [first] = schedules.fire_due(due(1))
        run(first.pk)
        [second] = schedules.fire_due(due(2))
        schedules.fire_due(due(2) + SECOND)
        assert visible(due(2) + SECOND) == []

        messages.cancel(first.pk)
        assert schedules.look().has_edits
        assert fire(due(2) + MINUTE) == []

        assert visible(due(2) + MINUTE) == [second.pk]
        assert row().waiting_message_id is None
        assert not ScheduledJob.objects.needing_a_look(due(2) + MINUTE).exists()
        assert fire(due(3)) == [due(3)]

    def test_late_ones_are_one_that_runs_and_one_that_waits(self):
        add(overlap="queue", misfire="all")
        assert fire(due(4)) == [due(1), due(2)]
        assert len(visible(due(4))) == 1

    def test_one_that_was_cancelled_while_it_waited_makes_room(self):
        add(overlap="queue")
        [first] = schedules.fire_due(due(1))
        run(first.pk)
        [second] = schedules.fire_due(due(2))
        messages.cancel(second.pk)
        assert fire(due(3)) == [due(3)]
        messages.cancel(first.pk)
        fire(due(3) + SECOND)
        assert len(visible(due(3) + SECOND)) == 1

    def test_nothing_waits_behind_a_message_that_ended(self):
        add(overlap="queue")
        [first] = schedules.fire_due(due(1))
        messages.cancel(first.pk)
        assert fire(due(2)) == [due(2)]
        assert len(visible(due(2))) == 1

    def test_one_whose_schedule_is_deleted_starts(self):
        add(overlap="queue")
        [first] = schedules.fire_due(due(1))
        run(first.pk)
        [second] = schedules.fire_due(due(2))
        schedules.remove("report")
        assert Message.objects.get(pk=second.pk).visible_at < T0

    def test_its_deadline_counts_from_its_planned_time(self):
        add(overlap="queue", deadline=HOUR)
        [first] = schedules.fire_due(due(1))
        run(first.pk)
        [second] = schedules.fire_due(due(2))
        assert Message.objects.get(pk=second.pk).deadline == due(2) + HOUR


class TestReplace:
    def test_what_has_not_begun_is_cancelled_and_the_new_one_starts_at_once(self):
        add(overlap="replace")
        [first] = schedules.fire_due(due(1))
        [second] = schedules.fire_due(due(2))
        assert ArchivedMessage.objects.get(pk=first.pk).outcome == "cancelled"
        assert visible(due(2)) == live() == [second.pk]
        assert row().waiting_message_id is None

    @pytest.fixture
    def process(self):
        return Process.objects.create(
            kind="worker", name="w", host="h", pid=1, started_at=T0, heartbeat_at=due(2) - SECOND
        )

    @pytest.fixture
    def replaced(self, process):
        """A run that was replaced while it ran, and the one that waits for it to end."""
        add(overlap="replace")
        [first] = schedules.fire_due(due(1))
        run(first.pk, process=process.pk)
        [second] = schedules.fire_due(due(2))
        assert ArchivedMessage.objects.get(pk=first.pk).outcome == "cancelled"
        assert visible(due(2)) == []
        return first, second

    def beat(self, process, at, overrunning=()):
        Process.objects.filter(pk=process.pk).update(heartbeat_at=at, overrunning=list(overrunning))

    def test_the_new_one_waits_until_the_code_of_the_running_one_has_ended(self, replaced, process):
        first, second = replaced
        # The worker has not said yet that it knows.
        self.beat(process, due(2) + SECOND)
        fire(due(2) + 2 * SECOND)
        assert visible(due(2) + 2 * SECOND) == []
        self.beat(process, due(2) + 20 * SECOND, [first.pk])
        fire(due(2) + 21 * SECOND)
        assert visible(due(2) + 21 * SECOND) == []
        self.beat(process, due(2) + 30 * SECOND)
        fire(due(2) + 31 * SECOND)
        assert visible(due(2) + 31 * SECOND) == [second.pk]
        assert (row().waiting_message_id, row().waiting_behind) == (None, None)

    def test_a_worker_that_fell_silent_is_not_waited_for(self, replaced, process):
        fire(due(2) + 2 * MINUTE)
        assert visible(due(2) + 2 * MINUTE) == [replaced[1].pk]

    def test_a_further_run_takes_the_place_of_the_one_that_waits(self, replaced, process):
        first, second = replaced
        self.beat(process, due(3) - SECOND, [first.pk])
        [third] = schedules.fire_due(due(3))
        assert ArchivedMessage.objects.get(pk=second.pk).outcome == "cancelled"
        assert visible(due(3)) == []
        self.beat(process, due(3) + 20 * SECOND)
        fire(due(3) + 21 * SECOND)
        assert visible(due(3) + 21 * SECOND) == live() == [third.pk]

    def test_of_late_ones_the_newest_alone_is_made(self):
        add(overlap="replace", misfire="all")
        assert fire(due(4)) == [due(4)]
        assert [why for _, why, _ in occurrences()] == ["overlap"] * 3 + [""]

    def test_the_newest_that_has_no_occurrence_yet_is_made(self):
        add(overlap="replace", misfire="all")
        schedules.backfill("report", due(3), due(3), now=due(3))
        assert fire(due(3)) == [due(2)]

    def test_a_planned_time_that_is_skipped_replaces_nothing(self):
        add(overlap="replace", deadline=MINUTE)
        [first] = schedules.fire_due(due(1))
        assert fire(due(2) + 2 * MINUTE) == []
        assert live() == [first.pk]


class TestFailures:
    @pytest.fixture(autouse=True)
    def handler(self, handle):
        @handle("report:new", max_attempts=1)
        def fails(delivery):
            if delivery.payload == "fail":
                raise ValueError("no")

    def runs(self, n: int):
        made = schedules.fire_due(due(n))
        drain(now=due(n) + SECOND)
        return len(made)

    def test_so_many_in_a_row_switch_it_off_with_that_reason(self):
        add(payload="fail", pause_after_failures=2)
        assert [self.runs(n) for n in (1, 2, 3, 4)] == [1, 1, 0, 0]
        job = row()
        assert (job.enabled, job.next_run_at, job.switch_reason) == (False, None, "its last 2 runs are dead")
        assert job.switched_at == due(3)
        assert [why for _, why, _ in occurrences()] == ["", "", "edit"]
        assert not ScheduledJob.objects.needing_a_look(due(9)).exists()

    def test_of_several_late_ones_none_runs(self):
        add(payload="fail", pause_after_failures=1, misfire="all")
        self.runs(1)
        assert fire(due(4)) == []
        assert [why for _, why, _ in occurrences()] == ["", "edit", "edit", "edit"]

    def test_a_success_in_between_keeps_it_on(self):
        add(payload="fail", pause_after_failures=2)
        self.runs(1)
        schedules.update("report", payload="work", now=due(1) + MINUTE)
        self.runs(2)
        schedules.update("report", payload="fail", now=due(2) + MINUTE)
        assert [self.runs(n) for n in (3, 4, 5)] == [1, 1, 0]

    def test_switched_on_again_it_has_its_tries_again(self):
        add(payload="fail", pause_after_failures=1)
        assert [self.runs(n) for n in (1, 2)] == [1, 0]
        schedules.enable("report", now=due(2) + MINUTE)
        assert [self.runs(n) for n in (3, 4)] == [1, 0]

    def test_the_housekeeping_notices_before_the_next_run(self):
        add(payload="fail", pause_after_failures=1)
        self.runs(1)
        assert schedules.switch_off_failing(now=due(1) + MINUTE) == 1
        assert (row().enabled, row().switch_reason) == (False, "its last run is dead")
        assert schedules.switch_off_failing(now=due(1) + MINUTE) == 0


class TestAnEnd:
    def test_after_so_many_runs_it_is_completed(self):
        add(max_runs=2)
        assert [fire(due(n)) for n in (1, 2, 3)] == [[due(1)], [due(2)], []]
        assert (row().state, row().runs, row().next_run_at) == ("completed", 2, None)
        assert not ScheduledJob.objects.needing_a_look(due(9)).exists()

    def test_skipped_ones_do_not_count(self):
        add(max_runs=2, misfire="skip")
        fire(due(1) + 2 * MINUTE)
        assert [fire(due(n)) for n in (2, 3, 4)] == [[due(2)], [due(3)], []]

    def test_late_ones_beyond_it_do_not_run(self):
        add(max_runs=2, misfire="all")
        assert fire(due(9)) == [due(1), due(2)]
        assert row().state == "completed"

    @pytest.mark.parametrize(
        "edit", [raw, lambda **columns: schedules.update("report", now=due(2), **columns)]
    )
    def test_a_higher_number_lets_it_go_on(self, edit):
        add(max_runs=1)
        fire(due(1))
        edit(max_runs=2)
        fire(due(2) + SECOND)
        assert row().state == "on"
        assert len(fire(due(3) + 2 * SECOND)) == 1
        assert row().state == "completed"

    def test_run_by_hand_does_not_count(self):
        add(max_runs=1)
        schedules.run_now("report", now=T0)
        assert fire(due(1)) == [due(1)]

    def test_a_schedule_that_is_over_is_deleted_if_it_says_so(self):
        add("keep", max_runs=1)
        add("gone", max_runs=1, delete_when_over=True)
        schedules.add("once", "at(2027-03-01T09:05:00)", "report:new", delete_when_over=True, now=T0)
        assert len(fire(due(1))) == 3
        assert [job.name for job in ScheduledJob.objects.all()] == ["keep"]
        assert Occurrence.objects.count() == 1
        assert Message.objects.count() == 3

    def test_one_that_is_over_by_an_edit_is_deleted_at_the_next_look(self):
        add(delete_when_over=True)
        raw(ends_at=due(1) - MINUTE)
        fire(due(1))
        assert not ScheduledJob.objects.exists()

    def test_one_that_is_off_is_not_over(self):
        add(delete_when_over=True, enabled=False)
        fire(due(1))
        assert ScheduledJob.objects.exists()

    def test_one_with_a_run_that_waits_is_deleted_when_that_may_start(self):
        add(overlap="queue", max_runs=2, delete_when_over=True)
        [first] = schedules.fire_due(due(1))
        [second] = schedules.fire_due(due(2))
        assert ScheduledJob.objects.exists()
        messages.cancel(first.pk)
        fire(due(2) + timedelta(seconds=1))
        assert visible(due(3)) == [second.pk]
        assert not ScheduledJob.objects.exists()
