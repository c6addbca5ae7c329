"""Planning: when a row runs next, what becomes of due times, what a schedule may be. No database."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_letsgo_worker import planning
from django_letsgo_worker.errors import InvalidSchedule
from django_letsgo_worker.planning import Planned
from django_letsgo_worker.recurrence import Recurrence

NOW = datetime(2027, 3, 1, 9, 0, 30, 250_000, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@dataclass
class Job:
    """The values of a schedule, as a row has them."""

    schedule: str = "rate(5 minutes)"
    timezone: str = "UTC"
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    enabled: bool = True
    anchor: datetime | None = None
    next_run_at: datetime | None = None
    planned_from: str = ""
    misfire: str = "once"
    misfire_grace: timedelta = MINUTE
    name: str = "report"
    type: str = "report:new"
    payload: Any = None
    queue: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    deadline: timedelta | None = None
    overlap: str = "allow"
    spread: int = 0
    except_on: str = ""
    max_runs: int | None = None
    runs: int = 0
    pause_after_failures: int | None = None
    delete_when_over: bool = False


def planned(now: datetime = NOW, **values: Any) -> Job:
    """A row that was planned at `now`."""
    return replan(Job(**values), now)


def replan(job: Job, now: datetime) -> Job:
    plan = planning.plan(job, now)
    return replace(job, anchor=plan.anchor, next_run_at=plan.next_run_at, planned_from=plan.planned_from)


def due_at(next_run_at: datetime, **values: Any) -> Job:
    """A row whose next run is at `next_run_at`, on a grid that begins there."""
    job = Job(anchor=next_run_at, next_run_at=next_run_at, **values)
    return replace(job, planned_from=planning.planned_text(job, next_run_at))


class TestTheNextRun:
    def test_of_a_rate_is_one_interval_after_it_was_made(self):
        assert planned().next_run_at == NOW + 5 * MINUTE

    def test_of_a_cron_form_follows_the_clock_of_its_zone(self):
        job = planned(schedule="0 9 * * *", timezone="Europe/Berlin")
        assert job.next_run_at == datetime(2027, 3, 2, 8, tzinfo=UTC)

    @pytest.mark.parametrize("expression", ["rate(1 hour)", "@every 90s", "0 * * * *", "rrule(FREQ=WEEKLY)"])
    def test_may_be_starts_at_itself(self, expression):
        starts_at = datetime(2027, 3, 5, 12, tzinfo=UTC)
        assert planned(schedule=expression, starts_at=starts_at).next_run_at == starts_at

    def test_lies_on_the_grid_that_starts_at_began_and_makes_up_nothing(self):
        job = planned(schedule="rate(1 hour)", starts_at=NOW - DAY - MINUTE)
        assert job.next_run_at == NOW + 59 * MINUTE

    def test_may_be_ends_at_itself_but_not_later(self):
        assert planned(ends_at=NOW + 5 * MINUTE).next_run_at == NOW + 5 * MINUTE
        assert planned(ends_at=NOW + 5 * MINUTE - SECOND).next_run_at is None

    def test_is_none_while_switched_off(self):
        assert planned(enabled=False).next_run_at is None

    def test_of_at_comes_once_and_never_again(self):
        job = planned(schedule="at(2027-03-01T10:00:00)")
        assert job.next_run_at == datetime(2027, 3, 1, 10, tzinfo=UTC)
        assert replan(job, NOW + DAY).next_run_at is None

    def test_of_at_may_be_a_moment_ago_when_it_was_just_written(self):
        assert planned(schedule="at(2027-03-01T09:00:00)").next_run_at == datetime(2027, 3, 1, 9, tzinfo=UTC)

    @pytest.mark.parametrize("enabled", [True, False])
    def test_of_at_is_refused_when_it_is_past(self, enabled):
        with pytest.raises(InvalidSchedule, match="is past in UTC"):
            planned(schedule="at(2027-03-01T08:59:00)", enabled=enabled)


class TestTheAnchor:
    @pytest.mark.parametrize(
        "edit", [{"ends_at": NOW + DAY}, {"timezone": "Asia/Tokyo"}, {"enabled": False}, {"payload": 1}]
    )
    def test_stays_with_every_edit_but_the_expression_and_the_start(self, edit):
        assert replan(replace(planned(), **edit), NOW + HOUR).anchor == NOW

    def test_moves_to_the_edit_of_the_expression(self):
        job = replan(replace(planned(), schedule="rate(7 minutes)"), NOW + HOUR)
        assert (job.anchor, job.next_run_at) == (NOW + HOUR, NOW + HOUR + 7 * MINUTE)

    def test_of_a_rule_moves_with_its_meaning_and_not_with_its_spelling(self):
        job = planned(schedule="rrule(FREQ=DAILY;INTERVAL=2)")
        spelled = replan(replace(job, schedule="rrule(interval=2;freq=daily)"), NOW + HOUR)
        edited = replan(replace(job, schedule="rrule(FREQ=DAILY;INTERVAL=3)"), NOW + HOUR)

        nine = datetime(2027, 3, 1, 9, tzinfo=UTC)
        assert (spelled.anchor, spelled.next_run_at) == (NOW, nine + 2 * DAY)
        assert (edited.anchor, edited.next_run_at) == (NOW + HOUR, nine + HOUR + 3 * DAY)

    def test_moves_with_starts_at(self):
        assert replan(replace(planned(), starts_at=NOW + DAY), NOW + HOUR).anchor == NOW + DAY

    def test_keeps_its_phase_when_switched_off_and_on(self):
        off = replan(replace(planned(), enabled=False), NOW + HOUR)
        on = replan(replace(off, enabled=True), NOW + HOUR + MINUTE)
        assert on.next_run_at == NOW + HOUR + 5 * MINUTE


class TestWhatAPlanWasComputedFrom:
    @pytest.mark.parametrize(
        "edit",
        [
            {"schedule": "rate(6 minutes)"},
            {"timezone": "utc"},
            {"starts_at": NOW},
            {"ends_at": NOW + timedelta(microseconds=1)},
            {"enabled": False},
            {"next_run_at": None},
            {"anchor": None},
        ],
    )
    def test_differs_after_an_edit(self, edit):
        assert planning.is_planned(planned())
        assert not planning.is_planned(replace(planned(), **edit))

    @pytest.mark.parametrize(
        "edit", [{"next_run_at": NOW + DAY}, {"payload": 1}, {"spread": 5}, {"misfire": "all"}]
    )
    def test_is_the_same_after_an_edit_that_bears_on_nothing(self, edit):
        assert planning.is_planned(replace(planned(), **edit))

    def test_tells_a_time_set_by_hand_on_a_completed_row(self):
        job = replace(planned(ends_at=NOW), next_run_at=NOW + HOUR)
        assert not planning.is_planned(job)
        assert planning.carries_on(job)
        assert not planning.carries_on(replace(job, ends_at=None))

    def test_is_pinned_because_two_releases_may_share_a_database(self):
        job = planned(starts_at=NOW, schedule="0 9 * * *", timezone="Europe/Berlin")
        assert job.planned_from == "on\n2027-03-01 09:00:30.250000\n-\nEurope/Berlin\n0 9 * * *"


def outcome(job: Job, now: datetime) -> list[tuple[datetime, str, int]]:
    return [
        (p.planned_at, p.skipped_because[:7], p.skipped_count)
        for p in planning.Watch(now).decide(job).occurrences
    ]


class TestWhatIsDue:
    @pytest.mark.parametrize("misfire", ["once", "skip", "all"])
    def test_fires_whatever_the_policy_when_it_is_late_by_less_than_the_grace(self, misfire):
        job = due_at(NOW, schedule="@every 20s", misfire=misfire)
        due = planning.Watch(NOW + 59 * SECOND).decide(job)
        assert due.occurrences == [Planned(NOW), Planned(NOW + 20 * SECOND), Planned(NOW + 40 * SECOND)]
        assert due.next_run_at == NOW + 60 * SECOND

    @pytest.mark.parametrize(
        ("misfire", "expected"),
        [
            ("once", [(NOW + 5 * MINUTE, "misfire", 2), (NOW + 10 * MINUTE, "", 0)]),
            ("skip", [(NOW + 10 * MINUTE, "misfire", 3)]),
            ("all", [(NOW, "", 0), (NOW + 5 * MINUTE, "", 0), (NOW + 10 * MINUTE, "", 0)]),
        ],
    )
    def test_late_ones_go_by_the_policy(self, misfire, expected):
        now = NOW + 13 * MINUTE
        assert outcome(due_at(NOW, misfire=misfire), now) == expected
        assert planning.Watch(now).decide(due_at(NOW, misfire=misfire)).next_run_at == NOW + 15 * MINUTE

    def test_a_single_late_one_runs_alone_under_once(self):
        assert outcome(due_at(NOW), NOW + 2 * MINUTE) == [(NOW, "", 0)]

    def test_late_ones_and_those_on_time_are_told_apart(self):
        job = due_at(NOW, misfire="skip")
        expected = [(NOW + 5 * MINUTE, "misfire", 2), (NOW + 10 * MINUTE, "", 0)]
        assert outcome(job, NOW + 10 * MINUTE + 30 * SECOND) == expected

    def test_all_runs_the_newest_hundred_and_counts_the_rest(self):
        got = outcome(due_at(NOW, schedule="rate(1 minute)", misfire="all"), NOW + 500 * MINUTE + 30 * SECOND)
        late = got[:-1]
        assert late[0] == (NOW + 399 * MINUTE, "misfire", 400)
        assert late[1:] == [(NOW + n * MINUTE, "", 0) for n in range(400, 500)]
        assert got[-1] == (NOW + 500 * MINUTE, "", 0)

    @pytest.mark.parametrize("misfire", ["once", "skip", "all"])
    def test_a_month_of_every_second_is_counted_not_walked(self, misfire):
        due = planning.Watch(NOW + 30 * DAY).decide(due_at(NOW, schedule="@every 1s", misfire=misfire))
        fired = [p for p in due.occurrences if not p.skipped_because]
        assert len(due.occurrences) <= 202
        assert sum(p.skipped_count for p in due.occurrences) + len(fired) == 30 * 86_400 + 1

    def test_at_most_a_hundred_on_time_fire_at_once_and_the_rest_is_next(self):
        job = due_at(NOW, schedule="@every 1s", misfire_grace=HOUR)
        due = planning.Watch(NOW + 1000 * SECOND).decide(job)
        assert [p.planned_at for p in due.occurrences] == [NOW + n * SECOND for n in range(100)]
        assert due.next_run_at == NOW + 100 * SECOND

    def test_a_time_set_by_hand_is_a_planned_time(self):
        job = replace(due_at(NOW, schedule="0 9 * * *"), next_run_at=NOW + SECOND)
        due = planning.Watch(NOW + 2 * SECOND).decide(job)
        assert due == planning.Due([Planned(NOW + SECOND)], datetime(2027, 3, 2, 9, tzinfo=UTC))

    def test_nothing_runs_after_ends_at(self):
        job = due_at(NOW, ends_at=NOW + 7 * MINUTE)
        due = planning.Watch(NOW + DAY).decide(job)
        assert [p.planned_at for p in due.occurrences] == [NOW, NOW + 5 * MINUTE]
        assert due.next_run_at is None

    def test_a_time_set_by_hand_beyond_the_bounds_does_not_run(self):
        early = due_at(NOW, starts_at=NOW + HOUR)
        assert planning.Watch(NOW).decide(early) == planning.Due([], NOW + HOUR)
        assert planning.Watch(NOW).decide(due_at(NOW, ends_at=NOW - HOUR)) == planning.Due([], None)

    def test_a_grace_longer_than_the_calendar_is_long_enough(self):
        assert outcome(due_at(NOW, misfire_grace=timedelta.max), NOW + MINUTE) == [(NOW, "", 0)]

    @given(
        st.sampled_from(["rate(7 minutes)", "@every 61s", "*/7 * * * *", "0,59 */2 * * *", "30 2 * * *"]),
        st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
        st.sampled_from(["once", "skip", "all"]),
        st.integers(0, 3600),
        st.integers(0, 40 * 3600),
        st.one_of(st.none(), st.integers(0, 40 * 3600)),
    )
    def test_every_planned_time_fires_or_is_counted(self, expression, zone, misfire, grace, late, ends):
        begin = datetime(2027, 3, 27, 12, tzinfo=UTC)  # the clocks change in the night
        job = planned(begin, schedule=expression, timezone=zone, misfire=misfire)
        first = job.next_run_at
        job.misfire_grace = grace * SECOND
        job.ends_at = None if ends is None else first + ends * SECOND
        now = first + late * SECOND
        due = planning.Watch(now).decide(job)

        until = now if job.ends_at is None else min(now, job.ends_at)
        cut = due.next_run_at if due.next_run_at and due.next_run_at <= until else until + SECOND
        walked = Recurrence.parse(expression, zone, anchor=job.anchor).occurrences_after(first)
        every = [first, *takewhile(lambda t: t <= until and t < cut, walked)]
        fired = [p.planned_at for p in due.occurrences if not p.skipped_because]
        times = [p.planned_at for p in due.occurrences]
        assert times == sorted(set(times))
        assert set(times) <= set(every)
        assert len(fired) + sum(p.skipped_count for p in due.occurrences) == len(every)
        assert [t for t in every if t >= now - job.misfire_grace] == [
            t for t in fired if t >= now - job.misfire_grace
        ]
        assert due.next_run_at is None or due.next_run_at > times[-1]


class TestSpread:
    def test_is_the_same_at_every_call_and_within_the_window(self):
        delays = [planning.spread_delay(7, NOW + n * HOUR, 10) for n in range(200)]
        assert delays == [planning.spread_delay(7, NOW + n * HOUR, 10) for n in range(200)]
        assert all(timedelta(0) <= delay < 10 * MINUTE for delay in delays)
        assert len(set(delays)) > 100

    def test_differs_between_schedules_and_is_nothing_without_a_window(self):
        assert len({planning.spread_delay(n, NOW, 60) for n in range(50)}) > 25
        assert planning.spread_delay(7, NOW, 0) == timedelta(0)

    def test_is_pinned_because_two_releases_may_share_a_database(self):
        assert planning.spread_delay(7, NOW, 1440) == timedelta(seconds=45_199)


class TestRules:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("name", ""),
            ("name", None),
            ("name", " padded"),
            ("name", "two\nlines"),
            ("name", "nul\0"),
            ("name", "\ud800"),
            ("name", "n" * 201),
            ("schedule", "every day"),
            ("schedule", ""),
            ("schedule", None),
            ("schedule", "0 0 30 2 *"),
            ("schedule", "at(2027-01-01T00:00:00)"),
            ("timezone", "Europe/Berlln"),
            ("timezone", ""),
            ("timezone", "utc"),
            ("type", ""),
            ("type", "two words"),
            ("type", "letsgo:unheard-of"),
            ("type", 7),
            ("payload", {1, 2}),
            ("payload", {"at": NOW}),
            ("payload", [float("nan")]),
            ("payload", "x" * 300_000),
            ("queue", ""),
            ("queue", "two words"),
            ("priority", 101),
            ("priority", -101),
            ("priority", True),
            ("max_attempts", 0),
            ("max_attempts", "3"),
            ("deadline", timedelta(0)),
            ("deadline", -MINUTE),
            ("deadline", timedelta.max),
            ("deadline", 60),
            ("starts_at", datetime(2027, 1, 1)),
            ("starts_at", "tomorrow"),
            ("ends_at", datetime(2027, 1, 1)),
            ("misfire", "none"),
            ("misfire", None),
            ("misfire_grace", -SECOND),
            ("misfire_grace", None),
            ("overlap", "forbid"),
            ("spread", -1),
            ("spread", 1441),
            ("spread", 1.5),
            ("spread", True),
        ],
    )
    def test_a_bad_value_is_refused_in_one_sentence_at_its_field(self, field, value):
        found = list(planning.refusals(replace(Job(), **{field: value}), NOW))
        assert [name for name, _error in found] == [field]
        sentence = str(found[0][1])
        assert "\n" not in sentence
        assert sentence[-1] in ".?"
        assert len(sentence) < 300

    def test_an_end_before_the_start_is_refused_at_the_end(self):
        [(field, _error)] = planning.refusals(Job(starts_at=NOW, ends_at=NOW - SECOND), NOW)
        assert field == "ends_at"
        assert not list(planning.refusals(Job(starts_at=NOW, ends_at=NOW), NOW))

    def test_everything_wrong_is_said_at_once(self):
        job = Job(name="", type="", spread=-1, schedule="nonsense")
        assert [field for field, _error in planning.refusals(job, NOW)] == [
            "name",
            "type",
            "spread",
            "schedule",
        ]

    def test_what_is_good_passes(self):
        job = Job(
            name="Zählung 1",
            type="letsgo:scheduled",
            payload={"a": [1, None, "ü"]},
            queue="low",
            priority=-100,
            max_attempts=1,
            deadline=SECOND,
            spread=1440,
            misfire_grace=timedelta(0),
        )
        assert not list(planning.refusals(job, NOW))
