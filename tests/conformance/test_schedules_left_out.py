"""Days on which nothing runs, runs that a busy scheduler was late for, and backfills."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from django_letsgo_worker import calendar, calendars, schedules
from django_letsgo_worker.errors import InvalidMessage, InvalidSchedule, ScheduleNotFound
from django_letsgo_worker.models import Message, Occurrence, Process, ScheduledJob
from tests.conformance.schedule_support import DAY, HOUR, MINUTE, SECOND, T0, add, fire, occurrences, raw, row
from tests.conformance.test_schedules_races import at_once

pytestmark = pytest.mark.django_db


def at_nine(day: int, month: int = 3) -> datetime:
    return datetime(2027, month, day, 9, 0, tzinfo=UTC)


class TestNotOnTheseDays:
    def test_a_planned_time_on_one_is_recorded_as_skipped(self):
        add(schedule="0 9 * * *", except_on="2027-03-03..2027-03-04")
        assert [fire(at_nine(day)) for day in (2, 3, 4, 5)] == [[at_nine(2)], [], [], [at_nine(5)]]
        assert [(at, why) for at, why, _ in occurrences()] == [
            (at_nine(2), ""), (at_nine(3), "excluded"), (at_nine(4), "excluded"), (at_nine(5), ""),
        ]  # fmt: skip
        why = Occurrence.objects.get(planned_at=at_nine(3)).skipped_because
        assert why == "excluded: 2027-03-03 is in 2027-03-03..2027-03-04"

    def test_the_day_is_that_of_the_schedule_s_zone(self):
        add(schedule="30 0 * * *", timezone="Europe/Berlin", except_on="03-03")
        raw(next_run_at=datetime(2027, 3, 2, 23, 30, tzinfo=UTC))
        assert fire(datetime(2027, 3, 2, 23, 30, tzinfo=UTC)) == []
        assert fire(datetime(2027, 3, 3, 23, 30, tzinfo=UTC)) == [datetime(2027, 3, 3, 23, 30, tzinfo=UTC)]

    @pytest.mark.parametrize(
        ("misfire", "fired"), [("once", [4]), ("all", [2, 3, 4]), ("skip", [])], ids=lambda value: str(value)
    )
    def test_of_late_ones_those_on_other_days_run(self, misfire, fired):
        add(schedule="0 9 * * *", except_on="2027-03-05..2027-03-07", misfire=misfire)
        assert fire(at_nine(7) + HOUR) == [at_nine(day) for day in fired]
        assert sum(count for _, why, count in occurrences() if why) == 6 - len(fired)

    def test_a_long_excluded_time_of_every_second_is_passed_over(self):
        add(schedule="@every 1s", except_on="2027-03-02..2027-12-31", misfire="once")
        (made,) = schedules.fire_due(at_nine(1, 4))
        assert (made.planned_at.day, made.planned_at.hour) == (1, 23)

    def test_a_calendar_of_the_project_is_asked(self):
        calendar("market-holidays")(lambda day: day.day == 3)
        try:
            add(schedule="0 9 * * *", except_on="market-holidays")
            assert [len(fire(at_nine(day))) for day in (2, 3, 4)] == [1, 0, 1]
        finally:
            calendars.remove("market-holidays")
        assert len(fire(at_nine(5))) == 0
        assert "market-holidays" in row().problem

    @pytest.mark.parametrize("text", ["2027-02-30", "holidays", "2027-03-04..2027-03-02", 5])
    def test_nonsense_is_refused_at_its_field(self, text):
        with pytest.raises(InvalidSchedule) as caught:
            add(except_on=text)
        assert caught.value.field == "except_on"
        assert not ScheduledJob.objects.exists()

    def test_its_description_says_so(self):
        job = add(schedule="0 9 * * *", except_on="12-25", max_runs=5)
        assert job.describe() == "at 09:00 every day, not on 25 December, 5 runs at most"

    def test_a_run_by_hand_is_a_run(self):
        add(except_on="03-01")
        assert schedules.run_now("report", now=T0)


class TestAnAliveScheduler:
    """What it could not get to yet is no misfire."""

    def test_fires_late_what_was_due_since_it_is_awake(self):
        add(misfire="skip")
        late = T0 + 20 * MINUTE
        made = schedules.fire_due(late, awake_since=T0)
        assert [one.planned_at for one in made] == [T0 + n * 5 * MINUTE for n in (1, 2, 3, 4)]

    def test_skips_what_was_due_before(self):
        add(misfire="skip")
        made = schedules.fire_due(T0 + 20 * MINUTE, awake_since=T0 + 12 * MINUTE)
        assert [one.planned_at for one in made] == [T0 + 15 * MINUTE, T0 + 20 * MINUTE]
        assert next((why, count) for _, why, count in occurrences()) == ("misfire", 2)

    @pytest.mark.parametrize(("beat", "fired"), [(SECOND, 4), (HOUR, 1)], ids=["alive", "silent"])
    def test_counts_for_another_that_helps_it(self, beat, fired):
        now = T0 + 20 * MINUTE
        Process.objects.create(
            kind="scheduler", name="s", host="h", pid=1, awake_since=T0, heartbeat_at=now - beat
        )
        add(misfire="skip")
        assert len(schedules.fire_due(now, awake_since=now)) == fired


class TestBackfill:
    NOW = T0 + 10 * DAY

    def test_gives_each_planned_time_without_an_occurrence_one_in_order(self):
        add(schedule="0 9 * * *")
        fire(at_nine(3))
        made = schedules.backfill("report", at_nine(1), at_nine(5), now=self.NOW)
        assert made == 3
        assert [o[:2] for o in occurrences()] == [
            (at_nine(1), ""), (at_nine(2), ""), (at_nine(3), ""), (at_nine(4), ""), (at_nine(5), ""),
        ]  # fmt: skip
        filled = Occurrence.objects.filter(is_backfill=True).order_by("planned_at")
        assert [o.planned_at for o in filled] == [at_nine(1), at_nine(4), at_nine(5)]
        ids = [o.message_id for o in filled]
        assert ids == sorted(ids)
        assert Message.objects.get(pk=ids[0]).headers["backfill"] is True

    def test_asked_again_adds_nothing(self):
        add(schedule="0 9 * * *")
        assert schedules.backfill("report", at_nine(1), at_nine(9), now=self.NOW) == 9
        assert schedules.backfill("report", at_nine(1), at_nine(9), now=self.NOW) == 0
        assert Message.objects.count() == 9

    def test_the_schedule_fires_none_of_it_again(self):
        add(misfire="all")
        assert schedules.backfill("report", T0, T0 + 20 * MINUTE, now=T0 + 20 * MINUTE) == 4
        assert fire(T0 + 20 * MINUTE) == []
        assert fire(T0 + 25 * MINUTE) == [T0 + 25 * MINUTE]

    def test_spreads_the_messages_over_a_time(self):
        add(schedule="0 9 * * *")
        schedules.backfill("report", at_nine(1), at_nine(4), over=timedelta(hours=4), now=self.NOW)
        starts = list(Message.objects.order_by("planned_at").values_list("visible_at", flat=True))
        assert starts == [self.NOW + n * HOUR for n in range(4)]

    def test_leaves_out_excluded_days_and_keeps_to_the_bounds(self):
        add(schedule="0 9 * * *", except_on="03-03", starts_at=at_nine(2))
        assert schedules.backfill("report", at_nine(1), at_nine(4), now=self.NOW) == 2

    @pytest.mark.parametrize("columns", [{"enabled": False}, {"max_runs": 1}, {"overlap": "skip"}])
    def test_asks_neither_the_switch_nor_the_rules_of_runs(self, columns):
        add(schedule="0 9 * * *", **columns)
        assert schedules.backfill("report", at_nine(2), at_nine(4), now=self.NOW) == 3

    @pytest.mark.parametrize(
        ("start", "end", "sentence"),
        [
            (at_nine(1), NOW + HOUR, "ends in the past"),
            (at_nine(5), at_nine(4), "cannot end"),
            (at_nine(1).replace(tzinfo=None), at_nine(4), "aware"),
        ],
    )
    def test_a_range_that_is_none_is_refused_in_one_sentence(self, start, end, sentence):
        add(schedule="0 9 * * *")
        with pytest.raises((InvalidSchedule, InvalidMessage), match=sentence):
            schedules.backfill("report", start, end, now=self.NOW)
        assert not Message.objects.exists()

    def test_too_many_at_once_are_refused(self):
        add(schedule="@every 1s")
        with pytest.raises(InvalidSchedule, match="100,000 at most"):
            schedules.backfill("report", T0, T0 + 5 * DAY, now=self.NOW)

    def test_an_unknown_schedule_is_said(self):
        with pytest.raises(ScheduleNotFound):
            schedules.backfill("nobody", at_nine(1), at_nine(2), now=self.NOW)

    def test_a_row_edited_in_between_is_not_filled_by_two_rules(self, monkeypatch):
        from django_letsgo_worker.schedules import backfilling

        monkeypatch.setattr(backfilling, "GROUP", 2)
        fill = backfilling._fill

        def edit_then_fill(job, times, round):
            made = fill(job, times, round)
            raw(schedule="0 10 * * *")
            return made

        monkeypatch.setattr(backfilling, "_fill", edit_then_fill)
        add(schedule="0 9 * * *")
        with pytest.raises(InvalidSchedule, match="was edited"):
            schedules.backfill("report", at_nine(1), at_nine(6), now=self.NOW)
        assert Message.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_two_backfills_at_once_make_each_planned_time_once():
    add("hourly", "rate(1 hour)")
    made = at_once(lambda n: schedules.backfill("hourly", T0, T0 + 40 * HOUR, now=T0 + 41 * HOUR), threads=4)
    assert sum(made) == 40
    assert Message.objects.count() == Occurrence.objects.count() == 40


class TestWhileAllArePaused:
    def test_nothing_fires_and_nothing_is_made_up_for(self):
        add(misfire="all")
        fire(T0 + 5 * MINUTE)
        schedules.pause_all(by="ada", now=T0 + 6 * MINUTE)
        assert fire(T0 + 10 * MINUTE) == fire(T0 + 30 * MINUTE) == []
        schedules.resume_all(now=T0 + 31 * MINUTE)
        assert fire(T0 + 35 * MINUTE) == [T0 + 35 * MINUTE]
        assert occurrences()[1:] == [(T0 + 30 * MINUTE, "edit", 5), (T0 + 35 * MINUTE, "", 0)]

    def test_a_scheduler_that_stayed_awake_makes_nothing_up_for_either(self):
        add(schedule="@every 1s")
        schedules.pause_all(now=T0 + SECOND / 2, until=T0 + HOUR)
        assert not schedules.look().is_due
        made = schedules.fire_due(T0 + HOUR + SECOND, awake_since=T0)
        assert [one.planned_at for one in made] == [T0 + HOUR + SECOND]
        assert occurrences()[0] == (T0 + HOUR, "edit", 3600)

    @pytest.mark.parametrize("misfire", ["once", "all"])
    def test_what_was_missed_before_goes_by_its_rule(self, misfire):
        add(misfire=misfire)
        schedules.pause_all(now=T0 + 11 * MINUTE)
        schedules.resume_all(now=T0 + 21 * MINUTE)
        before = [T0 + 5 * MINUTE, T0 + 10 * MINUTE]
        assert fire(T0 + 24 * MINUTE) == (before if misfire == "all" else before[1:])

    def test_several_pauses_are_all_passed_over(self):
        add(misfire="all")
        for begin in (4, 14):
            schedules.pause_all(now=T0 + begin * MINUTE)
            schedules.resume_all(now=T0 + (begin + 3) * MINUTE)
        assert fire(T0 + 20 * MINUTE) == [T0 + 10 * MINUTE, T0 + 20 * MINUTE]

    def test_an_edit_is_planned_and_a_run_by_hand_runs(self):
        add()
        schedules.pause_all(now=T0)
        raw(schedule="rate(7 minutes)")
        assert fire(T0 + MINUTE) == []
        assert row().next_run_at == T0 + 8 * MINUTE
        assert schedules.run_now("report", now=T0 + MINUTE)

    def test_the_switch_of_each_stays(self):
        add()
        add("off", enabled=False)
        schedules.pause_all(now=T0)
        schedules.resume_all(now=T0 + MINUTE)
        assert (row().enabled, row("off").enabled) == (True, False)
