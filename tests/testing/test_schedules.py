"""testing.fire_due() and occurrences_between(): a schedule's planned times, in a test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from django_letsgo_worker import LetsGoError, calendars, registry, schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.errors import InvalidMessage, InvalidSchedule
from django_letsgo_worker.models import Message, Occurrence, ScheduledJob
from django_letsgo_worker.signals import occurrence_fired
from django_letsgo_worker.testing import drain, due, fire_due, occurrences_between

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")

IN_A_TRANSACTION = pytest.param(True, marks=pytest.mark.django_db, id="in a transaction")
IN_AUTOCOMMIT = pytest.param(False, marks=pytest.mark.django_db(transaction=True), id="in autocommit")
anywhere = pytest.mark.parametrize("inside", [IN_A_TRANSACTION, IN_AUTOCOMMIT], indirect=True)


@pytest.fixture(autouse=True)
def inside(request):
    """Whether the test runs inside a transaction; for those that ask."""
    if hasattr(request, "param"):
        assert connection.in_atomic_block == request.param


@pytest.fixture
def soon():
    """The next full hour but one of the database's clock: schedules made now have not been due yet."""
    return engine_for("default").clock().replace(minute=0, second=0, microsecond=0) + timedelta(hours=2)


@anywhere
class TestFiring:
    def test_what_is_due_fires_and_what_is_not_waits(self):
        job = schedules.add("it", "rate(1 hour)", "t:it", {"n": 1})
        assert fire_due() == []

        (message,) = fire_due(job.next_run_at)

        assert (message.type, message.payload, message.planned_at) == ("t:it", {"n": 1}, job.next_run_at)
        assert Message.objects.get().pk == message.pk
        assert fire_due(job.next_run_at) == []

    def test_a_late_round_follows_the_rule_for_misfires(self):
        job = schedules.add("it", "rate(1 hour)", "t:it")
        late = job.next_run_at + timedelta(hours=5, minutes=10)

        (message,) = fire_due(late)

        assert message.planned_at == job.next_run_at + timedelta(hours=5)
        assert Occurrence.objects.get(message_id=None).skipped_count == 5

    def test_until_fires_each_planned_time_in_its_turn(self):
        job = schedules.add("it", "rate(1 hour)", "t:it")
        other = schedules.add("other", "rate(90 minutes)", "t:other", misfire="skip")
        start = job.next_run_at - timedelta(hours=1)

        made = fire_due(until=start + timedelta(hours=4))

        assert [message.planned_at for message in made] == sorted(message.planned_at for message in made)
        assert [m.planned_at for m in made if m.type == "t:it"] == [
            start + timedelta(hours=n) for n in range(1, 5)
        ]
        assert [m.planned_at for m in made if m.type == "t:other"] == [
            other.next_run_at,
            other.next_run_at + timedelta(minutes=90),
        ]
        assert Occurrence.objects.exclude(skipped_because="").count() == 0
        assert all(row.fired_at == row.planned_at for row in Occurrence.objects.all())

    def test_until_includes_the_moment_itself(self):
        job = schedules.add("it", "rate(1 hour)", "t:it")

        assert fire_due(until=job.next_run_at - timedelta(microseconds=1)) == []
        assert len(fire_due(until=job.next_run_at)) == 1

    def test_from_now_until_then(self):
        job = schedules.add("it", "rate(1 hour)", "t:it", misfire="all")
        first = job.next_run_at

        made = fire_due(first + timedelta(hours=2), until=first + timedelta(hours=4))

        assert [message.planned_at for message in made] == [first + timedelta(hours=n) for n in range(5)]

    def test_an_until_in_the_past_fires_nothing_later(self):
        job = schedules.add("it", "rate(1 hour)", "t:it")
        past = job.next_run_at - timedelta(days=2)
        ScheduledJob.objects.filter(pk=job.pk).update(next_run_at=past)

        made = fire_due(until=past)

        assert [message.planned_at for message in made] == [past]

    def test_what_fired_can_be_drained_at_the_same_moment(self):
        seen = []
        registry.handler("t:it")(lambda delivery: seen.append((delivery.schedule, delivery.planned_at)))
        job = schedules.add("it", "rate(1 hour)", "t:it")
        try:
            fire_due(until=job.next_run_at + timedelta(hours=1))
            assert drain() == 0, "they are visible at their planned times"
            assert drain(now=job.next_run_at) == 1
            assert drain(now=job.next_run_at + timedelta(hours=1)) == 1
        finally:
            registry.remove("t:it")
        assert seen == [("it", job.next_run_at), ("it", job.next_run_at + timedelta(hours=1))]

    def test_a_schedule_that_is_switched_off_until_then_is_on_again(self):
        job = schedules.add("it", "rate(1 hour)", "t:it")
        on_again = job.next_run_at + timedelta(hours=2, minutes=30)
        schedules.disable("it", resume_at=on_again)

        made = fire_due(until=on_again + timedelta(hours=1))

        assert [message.planned_at > on_again for message in made] == [True]

    def test_a_raw_edit_is_noticed(self, soon):
        schedules.add("it", "rate(1 hour)", "t:it")
        ScheduledJob.objects.update(schedule=f"at({soon:%Y-%m-%dT%H:%M:%S})")

        made = fire_due(until=soon + timedelta(days=30))

        assert [message.planned_at for message in made] == [soon]

    def test_a_broken_schedule_holds_up_nothing(self, soon):
        broken = schedules.add("broken", "rate(1 hour)", "t:it")
        schedules.add("it", "rate(1 hour)", "t:it")
        ScheduledJob.objects.filter(pk=broken.pk).update(schedule="never")

        made = fire_due(until=soon)

        assert made
        assert {message.headers["schedule"] for message in made} == {"it"}

    def test_one_that_cannot_fire_holds_up_nothing_either(self, monkeypatch, soon):
        monkeypatch.setattr(due, "AT_MOST", 50)
        broken = schedules.add("broken", "rate(1 hour)", "t:it")
        schedules.add("it", "rate(1 hour)", "t:it")
        ScheduledJob.objects.filter(pk=broken.pk).update(type="no type")

        made = fire_due(until=soon)

        assert {message.headers["schedule"] for message in made} == {"it"}
        assert "no type" in ScheduledJob.objects.get(pk=broken.pk).problem

    def test_its_signal_is_sent(self):
        fired = []

        def receive(sender, occurrence, message, **facts):
            fired.append((occurrence.planned_at, message.pk))

        job = schedules.add("it", "rate(1 hour)", "t:it")
        occurrence_fired.connect(receive)
        try:
            made = fire_due(until=job.next_run_at + timedelta(hours=1))
        finally:
            occurrence_fired.disconnect(receive)
        assert fired == [(message.planned_at, message.pk) for message in made]
        assert len(fired) == 2
        assert connection.run_on_commit == []

    def test_more_than_can_be_meant_is_an_error_that_says_what_to_do(self, monkeypatch, soon):
        monkeypatch.setattr(due, "AT_MOST", 50)
        schedules.add("it", "@every 1s", "t:it")

        with pytest.raises(LetsGoError, match=r"50 planned times, .* choose an earlier moment"):
            fire_due(until=soon)

    @pytest.mark.parametrize("moments", [{"now": NEW_YEAR.replace(tzinfo=None)}, {"until": "tomorrow"}])
    def test_a_moment_that_is_none_gets_a_sentence(self, moments):
        with pytest.raises(InvalidMessage, match=f"^{next(iter(moments))} "):
            fire_due(**moments)


class TestOccurrences:
    def test_a_year_of_a_daily_schedule_has_365_days(self):
        year = occurrences_between("30 6 * * *", NEW_YEAR, datetime(2027, 1, 1, tzinfo=UTC))

        assert len(year) == 365
        assert year[0] == datetime(2026, 1, 1, 6, 30, tzinfo=UTC)
        assert {moment.tzinfo for moment in year} == {UTC}

    def test_the_start_belongs_to_it_and_the_end_does_not(self):
        assert occurrences_between("0 0 * * *", NEW_YEAR, NEW_YEAR + timedelta(days=2)) == [
            NEW_YEAR,
            NEW_YEAR + timedelta(days=1),
        ]

    def test_years_that_follow_each_other_share_and_miss_nothing(self):
        ends = [datetime(year, 1, 1, tzinfo=UTC) for year in (2026, 2027, 2028)]
        first = occurrences_between("0 0 1 * *", ends[0], ends[1])
        second = occurrences_between("0 0 1 * *", ends[1], ends[2])

        assert first + second == occurrences_between("0 0 1 * *", ends[0], ends[2])
        assert (len(first), len(second)) == (12, 12)

    def test_the_wall_clock_is_the_zones(self):
        day = datetime(2026, 3, 29, tzinfo=BERLIN)  # the clocks go from 02:00 to 03:00
        (moment,) = occurrences_between("30 2 * * *", day, day + timedelta(days=1), "Europe/Berlin")

        assert moment == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)

    def test_a_rate_counts_from_the_start(self):
        start = NEW_YEAR + timedelta(minutes=7)
        assert occurrences_between("rate(8 hours)", start, start + timedelta(days=1)) == [
            start,
            start + timedelta(hours=8),
            start + timedelta(hours=16),
        ]

    @pytest.mark.django_db
    def test_it_lists_what_a_schedule_from_then_on_fires(self, soon):
        end = soon + timedelta(days=3)
        for expression in ("rate(7 hours)", "0 */5 * * *", "@daily"):
            schedules.add(expression, expression, "t:it", timezone="Asia/Kathmandu", starts_at=soon)
            made = fire_due(until=end - timedelta(microseconds=1))
            listed = occurrences_between(expression, soon, end, "Asia/Kathmandu")
            assert [message.planned_at for message in made] == listed
            schedules.remove(expression)

    def test_a_rule_counts_from_the_start(self):
        end = NEW_YEAR + timedelta(days=30)
        assert occurrences_between("rrule(FREQ=WEEKLY;INTERVAL=2)", NEW_YEAR, end) == [
            NEW_YEAR,
            NEW_YEAR + timedelta(weeks=2),
            NEW_YEAR + timedelta(weeks=4),
        ]

    def test_times_on_excepted_days_are_left_out_by_their_date_in_the_zone(self, monkeypatch):
        monkeypatch.setattr(calendars, "_calendars", {})
        calendars.calendar("holidays")(lambda day: day.day == 5)
        week = (NEW_YEAR, NEW_YEAR + timedelta(days=7), "Europe/Berlin")
        found = occurrences_between("30 0 * * *", *week, except_on="01-02..01-03, holidays")

        assert [moment.astimezone(BERLIN).day for moment in found] == [4, 6, 7, 8]
        assert len(occurrences_between("30 0 * * *", *week)) == 7

    def test_what_cannot_be_excepted_gets_a_sentence(self, monkeypatch):
        monkeypatch.setattr(calendars, "_calendars", {})
        with pytest.raises(InvalidSchedule, match="No calendar has the day '02-30'"):
            occurrences_between("@daily", NEW_YEAR, NEW_YEAR, except_on="02-30")
        with pytest.raises(InvalidSchedule, match="There is no calendar 'holidays' here"):
            occurrences_between("@daily", NEW_YEAR, NEW_YEAR, except_on="holidays")

    def test_nothing_lies_between_an_end_and_a_later_start(self):
        assert occurrences_between("* * * * *", NEW_YEAR, NEW_YEAR) == []
        assert occurrences_between("* * * * *", NEW_YEAR, NEW_YEAR - timedelta(days=1)) == []

    def test_one_time_is_one(self):
        year = (NEW_YEAR, NEW_YEAR.replace(year=2027))
        assert occurrences_between("at(2026-05-01T12:00:00)", *year) == [datetime(2026, 5, 1, 12, tzinfo=UTC)]

    def test_what_is_no_schedule_or_no_moment_gets_a_sentence(self):
        with pytest.raises(InvalidSchedule, match=r"rate\(90 minutes\)"):
            occurrences_between("*/90 * * * *", NEW_YEAR, NEW_YEAR)
        with pytest.raises(InvalidSchedule, match="Atlantis"):
            occurrences_between("@daily", NEW_YEAR, NEW_YEAR, "Europe/Atlantis")
        with pytest.raises(InvalidMessage, match="end needs a time zone"):
            occurrences_between("@daily", NEW_YEAR, datetime(2027, 1, 1))
