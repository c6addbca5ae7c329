"""One switch for all schedules: who paused them, since when and until when, and only one pause at a time."""

from __future__ import annotations

import threading
from datetime import datetime

import pytest
from django.apps import apps
from django.db import connection, transaction

from django_letsgo_worker import schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.errors import AppsNotReady, InvalidMessage, InvalidSchedule
from django_letsgo_worker.maintenance import Maintenance
from django_letsgo_worker.models import ScheduledJob, SchedulesPause
from django_letsgo_worker.schedules import pause_all, pausing, present_pause, resume_all
from tests.conformance.schedule_support import DAY, HOUR, MINUTE, SECOND, T0, add
from tests.support import PATIENCE

pytestmark = pytest.mark.django_db


def present(now=T0):
    return present_pause("default", now)


def past(now):
    return pausing.pauses_at(now, "default").past


def paused(begin, end, now=None):
    """Pause all from one moment to another, by hand or, where `now` is given, until then."""
    pause_all(until=now and end, now=begin)
    assert now or resume_all(now=end)


class TestPauseAll:
    def test_it_says_who_and_why_since_when_and_until_when(self):
        assert present() is None

        pause = pause_all(by="anna", reason="the move", until=T0 + HOUR, now=T0)

        for row in (pause, present(), SchedulesPause.objects.get()):
            assert (row.paused_by, row.pause_reason) == ("anna", "the move")
            assert (row.paused_at, row.resume_at, row.resumed_at) == (T0, T0 + HOUR, None)

    def test_the_words_may_be_left_out_and_the_clock_is_the_databases(self):
        before = engine_for("default").clock()
        pause = pause_all()
        assert (pause.paused_by, pause.pause_reason, pause.resume_at) == ("", "", None)
        assert before <= pause.paused_at <= engine_for("default").clock()

    def test_the_switch_of_each_schedule_stays_as_it_is(self):
        add()
        add("off", enabled=False)
        before = list(ScheduledJob.objects.order_by("pk").values())

        pause_all(now=T0)
        resume_all(now=T0 + MINUTE)

        assert list(ScheduledJob.objects.order_by("pk").values()) == before

    def test_while_all_are_paused_it_replaces_who_why_and_until_when_but_not_since_when(self):
        first = pause_all(by="anna", reason="the move", until=T0 + HOUR, now=T0)

        second = pause_all(by="ben", now=T0 + MINUTE)

        [row] = SchedulesPause.objects.all()
        assert row.pk == first.pk == second.pk
        assert (row.paused_by, row.pause_reason, row.resume_at) == ("ben", "", None)
        assert row.paused_at == second.paused_at == T0

    @pytest.mark.parametrize("is_resumed", [True, False])
    def test_after_the_end_of_a_pause_the_next_is_another_one(self, is_resumed):
        first = pause_all(until=T0 + HOUR, now=T0)
        if is_resumed:
            resume_all(by="anna", now=T0 + MINUTE)

        second = pause_all(by="ben", now=T0 + HOUR)

        assert second.pk > first.pk
        assert (present(T0 + HOUR).pk, present(T0 + HOUR).paused_at) == (second.pk, T0 + HOUR)
        first.refresh_from_db()
        assert (first.resume_at, first.paused_by) == (T0 + HOUR, "")

    def test_it_is_over_when_its_time_has_come_without_a_write(self):
        pause_all(until=T0 + HOUR, now=T0)
        before = list(SchedulesPause.objects.values())
        assert present(T0 + HOUR - SECOND) is not None
        assert present(T0 + HOUR) is None
        assert list(SchedulesPause.objects.values()) == before

    @pytest.mark.parametrize(
        ("facts", "error", "sentence"),
        [
            ({"until": T0}, InvalidSchedule, f"until is past: {T0.isoformat()}."),
            ({"until": T0 - SECOND}, InvalidSchedule, "until is past: "),
            ({"until": datetime(2099, 1, 1)}, InvalidMessage, "until needs a time zone: "),
            ({"until": "tomorrow"}, InvalidMessage, "until is an aware datetime, not 'tomorrow'."),
            ({"by": "x" * 151}, InvalidSchedule, "by is longer than 150 characters."),
            ({"by": 7}, InvalidSchedule, "by is text, not 7."),
            ({"reason": "x" * 256}, InvalidSchedule, "reason is longer than 255 characters."),
            ({"reason": None}, InvalidSchedule, "reason is text, not None."),
            ({"reason": "\0"}, InvalidMessage, "reason"),
        ],
    )
    def test_what_it_cannot_take_is_refused_in_a_sentence_and_changes_nothing(self, facts, error, sentence):
        pause_all(by="anna", until=T0 + HOUR, now=T0 - HOUR)
        before = list(SchedulesPause.objects.values())
        with pytest.raises(error) as refused:
            pause_all(now=T0, **facts)
        assert str(refused.value).startswith(sentence)
        assert list(SchedulesPause.objects.values()) == before

    def test_it_is_logged(self, caplog):
        with caplog.at_level("INFO", "django_letsgo_worker.schedules"):
            pause_all(now=T0)
            pause_all(by="anna", reason="a secret", until=T0 + HOUR, now=T0)
        assert caplog.messages == [
            "All schedules were paused.",
            f"All schedules were paused by anna until {(T0 + HOUR).isoformat()}.",
        ]

    @pytest.mark.parametrize("verb", [pause_all, resume_all])
    def test_it_is_refused_while_django_loads_the_apps(self, verb, monkeypatch):
        monkeypatch.setattr(apps, "ready", False)
        with pytest.raises(AppsNotReady, match=rf"schedules\.{verb.__name__}\(\) is called"):
            verb()


class TestResumeAll:
    def test_it_ends_the_pause_and_says_whether_there_was_one(self):
        pause_all(by="anna", until=T0 + HOUR, now=T0)

        assert resume_all(by="ben", now=T0 + MINUTE) is True
        assert resume_all(by="carl", now=T0 + 2 * MINUTE) is False

        row = SchedulesPause.objects.get()
        assert (row.resumed_at, row.resumed_by, row.paused_by) == (T0 + MINUTE, "ben", "anna")
        assert present(T0 + MINUTE) is None

    def test_one_that_is_over_by_itself_is_not_ended_again(self):
        assert resume_all(now=T0) is False
        pause_all(until=T0 + HOUR, now=T0)
        assert resume_all(by="ben", now=T0 + HOUR) is False
        assert SchedulesPause.objects.get().resumed_at is None

    @pytest.mark.parametrize("by", ["x" * 151, None])
    def test_a_name_that_it_cannot_take_is_refused(self, by):
        pause_all(now=T0)
        with pytest.raises(InvalidSchedule, match="by is "):
            resume_all(by, now=T0)
        assert present() is not None

    def test_it_is_logged_once(self, caplog):
        pause_all(now=T0)
        caplog.clear()
        with caplog.at_level("INFO", "django_letsgo_worker.schedules"):
            resume_all(by="anna", now=T0)
            resume_all(now=T0)
        assert caplog.messages == ["All schedules were resumed by anna."]


class TestPastPauses:
    def test_it_returns_those_that_are_over_in_order(self):
        paused(T0, T0 + HOUR)
        paused(T0 + 2 * HOUR, T0 + 3 * HOUR, now=T0 + 4 * HOUR)
        pause_all(now=T0 + 5 * HOUR)

        spans = [(T0, T0 + HOUR), (T0 + 2 * HOUR, T0 + 3 * HOUR)]
        assert past(T0 + 6 * HOUR) == spans

    def test_the_present_one_is_not_among_them_until_its_time_has_come(self):
        pause_all(until=T0 + HOUR, now=T0)
        assert past(T0 + HOUR - SECOND) == []
        assert past(T0 + HOUR) == [(T0, T0 + HOUR)]

    def test_one_that_was_resumed_early_ends_then(self):
        pause_all(until=T0 + HOUR, now=T0)
        resume_all(now=T0 + MINUTE)
        assert past(T0 + DAY) == [(T0, T0 + MINUTE)]

    def test_those_that_touch_or_overlap_are_one(self):
        paused(T0, T0 + HOUR)
        paused(T0 + HOUR, T0 + 2 * HOUR)
        SchedulesPause.objects.create(
            id=90, paused_at=T0 + 30 * MINUTE, resumed_at=T0 + 45 * MINUTE
        )  # the clock went back
        paused(T0 + 3 * HOUR, T0 + 4 * HOUR)
        assert past(T0 + DAY) == [(T0, T0 + 2 * HOUR), (T0 + 3 * HOUR, T0 + 4 * HOUR)]

    def test_one_that_ended_before_it_began_on_a_clock_that_went_back_is_none(self):
        pause_all(now=T0)
        assert resume_all(now=T0 - MINUTE)
        assert past(T0 + DAY) == []


class TestHousekeeping:
    def test_it_forgets_pauses_that_ended_before_the_occurrences_that_are_kept(self, settings):
        settings.LETSGO_WORKER = {"KEEP_OCCURRENCES_FOR": 30}
        paused(T0 - 40 * DAY, T0 - 31 * DAY)
        paused(T0 - 31 * DAY, T0 - 30 * DAY - SECOND, now=T0)
        paused(T0 - 30 * DAY, T0 - 29 * DAY)
        pause_all(now=T0 - DAY)

        assert schedules.forget_pauses(now=T0, using="default") == 2
        assert [row.paused_at for row in SchedulesPause.objects.order_by("pk")] == [
            T0 - 30 * DAY, T0 - DAY,
        ]  # fmt: skip

    def test_it_never_forgets_the_newest(self):
        paused(T0 - 90 * DAY, T0 - 80 * DAY)
        assert schedules.forget_pauses(now=T0, using="default") == 0
        assert SchedulesPause.objects.count() == 1

    def test_a_pause_of_the_last_day_is_kept_even_where_no_occurrence_is(self, settings):
        settings.LETSGO_WORKER = {"KEEP_OCCURRENCES_FOR": 0}
        paused(T0 - 3 * DAY, T0 - DAY - SECOND)
        paused(T0 - 2 * HOUR, T0 - HOUR)
        paused(T0 - MINUTE, T0 - SECOND)
        assert schedules.forget_pauses(now=T0, using="default") == 1
        assert past(T0) == [(T0 - 2 * HOUR, T0 - HOUR), (T0 - MINUTE, T0 - SECOND)]

    def test_the_next_pause_after_a_forgotten_one_has_a_number_of_its_own(self):
        paused(T0 - 90 * DAY, T0 - 80 * DAY)
        newest = pause_all(now=T0 - 60 * DAY)
        resume_all(now=T0 - 59 * DAY)
        schedules.forget_pauses(now=T0, using="default")
        assert pause_all(now=T0).pk == newest.pk + 1

    def test_each_process_does_it_in_its_turn(self):
        clock = engine_for("default").clock()
        for days in (90, 80):
            paused(clock - days * DAY, clock - days * DAY + HOUR)
        housekeeping = Maintenance("default")
        while housekeeping.step():
            pass
        assert SchedulesPause.objects.get().paused_at == clock - 80 * DAY


# -- races -------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
class TestRaces:
    @pytest.mark.parametrize("is_first", [True, False])
    def test_of_many_who_pause_at_once_one_begins_the_pause(self, race, is_first):
        if not is_first:
            paused(T0 - HOUR, T0 - MINUTE)

        rivals = race(*[lambda n=n: pause_all(by=f"p{n}", now=T0 + n * SECOND) for n in range(5)])

        assert [rival.error for rival in rivals] == [None] * 5
        assert len({rival.result().pk for rival in rivals}) == 1
        assert SchedulesPause.objects.filter(resumed_at=None).count() == 1

    def test_one_who_looked_before_the_other_wrote_changes_the_pause_of_the_other(self, begin):
        with transaction.atomic():
            first = pause_all(by="anna", now=T0)
            rival = begin(lambda: pause_all(by="ben", reason="later", now=T0 + SECOND))
            rival.wait_until_stuck()

        second = rival.result()

        assert second.pk == first.pk
        row = SchedulesPause.objects.get()
        assert (row.paused_at, row.paused_by, row.pause_reason) == (T0, "ben", "later")

    def test_one_who_begins_without_a_lock_on_sqlite_takes_its_turn_all_the_same(self, begin, engine):
        if engine != "sqlite":
            pytest.skip("Only SQLite refuses to write after a read that has become old.")
        is_about_to_write = threading.Event()

        def note(execute, sql, params, many, context):
            if sql.startswith(("UPDATE", "INSERT")):
                is_about_to_write.set()
            return execute(sql, params, many, context)

        def pause():
            connection.transaction_mode = "DEFERRED"
            return pause_all(by="ben", now=T0 + SECOND)

        with transaction.atomic():
            first = pause_all(by="anna", now=T0)
            rival = begin(pause, note)
            assert is_about_to_write.wait(PATIENCE)

        assert rival.result().pk == first.pk

    def test_control_without_its_number_there_would_be_two(self, begin, monkeypatch, engine):
        if engine != "postgres":
            pytest.skip("Only PostgreSQL lets one look past a row that another is writing.")
        monkeypatch.setattr(pausing, "SchedulesPause", NumberedByTheDatabase)
        with transaction.atomic():
            pausing._replace_or_begin("default", T0, {})
            rival = begin(lambda: pausing._replace_or_begin("default", T0, {}))
            rival.wait_until_stuck()
        rival.result()
        assert SchedulesPause.objects.filter(resumed_at=None).count() == 2

    def test_of_many_who_resume_at_once_one_has_done_it(self, race):
        pause_all(now=T0)
        rivals = race(*[lambda n=n: resume_all(by=f"p{n}", now=T0 + MINUTE) for n in range(5)])
        done = [rival.result() for rival in rivals]
        assert sorted(done) == [False] * 4 + [True]
        assert SchedulesPause.objects.get().resumed_by == f"p{done.index(True)}"

    def test_whoever_pauses_while_another_resumes_has_all_paused_when_both_are_done(self, begin):
        pause_all(by="anna", now=T0)
        with transaction.atomic():
            assert resume_all(by="ben", now=T0 + MINUTE)
            rival = begin(lambda: pause_all(by="carl", now=T0 + MINUTE))
            rival.wait_until_stuck()

        rival.result()

        assert present(T0 + MINUTE).paused_by == "carl"
        assert past(T0 + MINUTE) == [(T0, T0 + MINUTE)]

    def test_one_who_pauses_many_times_against_one_who_resumes_leaves_at_most_one_pause(self, race):
        def often(verb):
            for n in range(10):
                verb(now=T0 + n * SECOND)

        rivals = race(*[lambda v=v: often(v) for v in (pause_all, pause_all, resume_all, resume_all)])

        assert [rival.error for rival in rivals] == [None] * 4
        assert SchedulesPause.objects.filter(resumed_at=None).count() <= 1
        open_one = SchedulesPause.objects.filter(resumed_at=None).first()
        assert present(T0 + HOUR) == open_one


class NumberedByTheDatabase:
    objects = SchedulesPause.objects

    def __new__(cls, id, **columns):
        return SchedulesPause(**columns)
