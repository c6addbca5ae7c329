"""letsgo import celery-beat: rows that the real package made, in words of ours, and what is said of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from django.test import override_settings

from django_letsgo_worker import registry, schedules
from django_letsgo_worker.inspection import next_runs
from django_letsgo_worker.management.letsgo.importing import celery_beat
from django_letsgo_worker.management.letsgo.importing.crontabs import Crontab
from django_letsgo_worker.management.letsgo.importing.plan import Planned
from django_letsgo_worker.management.letsgo.importing.tables import Tables
from django_letsgo_worker.models import ScheduledJob
from django_letsgo_worker.testing import fire_due
from tests.importsources import tables
from tests.importsources.tables import NOW, runs

from .test_output import everything, letsgo

pytestmark = pytest.mark.django_db

ALL, TASKS = "django_celery_beat", "django_celery_beat_periodictask"
CRONTABS = "django_celery_beat_crontabschedule"

# By name: what becomes of each, and how the reason begins.
EXPECTED = {
    "each minute": ("0-59 0-23 * * *", "same", ""),
    "each hour": ("0 0-23 * * *", "same", ""),
    "each hour of UTC": ("0 * * * *", "same", ""),
    "each quarter": ("0-59/15 0-23 * * *", "same", ""),
    "in the gap": ("30 2 * * *", "different", "at a clock change theirs runs at 2036-03-30 03:30 CEST"),
    "weekdays": ("0 9 * * 1-5", "same", ""),
    "Friday the 13th": ("rrule(FREQ=DAILY;BYMONTHDAY=13;BYDAY=FR;BYHOUR=0;BYMINUTE=0)", "same", ""),
    "patch Tuesday": ("0 8 * * 2#2", "same", ""),
    "odd months": ("0,30 8-10 1 */2 *", "same", ""),
    "winter nights": ("0 0-2,22,23 * 1,2,11,12 *", "same", ""),
    "a leap day": ("0 12 29 2 *", "same", ""),
    "half an hour": ("rate(30 minutes)", "same", ""),
    "a day": ("rate(1 day)", "same", ""),
    "90 seconds": ("@every 90s", "same", ""),
    "a quarter of a second": ("", "skipped", "no schedule runs every 0.250000 seconds"),
    "once": ("at(2036-03-23T12:00:00)", "same", ""),
    "once, before": ("", "skipped", "its time has passed"),
    "at sunset": ("", "skipped", "no expression follows the sun"),
    "one Monday": ("0 9 * * 1", "same", ""),
    "last Monday": ("", "skipped", "it is one-off, and has run"),
    "until summer": ("0 12 * * *", "same", ""),
    "from summer on": ("0 12 * * *", "different", "beat may run it within five minutes of its start_time"),
    "every hour from summer on": ("rate(1 hour)", "same", ""),
    "switched off": ("0 6 * * *", "same", ""),
    "with headers": ("0 7 * * *", "same", ""),
    "broken arguments": ("", "skipped", "its args are not JSON"),
    "a task of ours": ("0 5 * * *", "same", ""),
    "celery.backend_cleanup": ("", "skipped", "workers and schedulers delete old results by themselves"),
}


@pytest.fixture(scope="module")
def beat_tables(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), tables.made(ALL):
        yield


@pytest.fixture
def beat(beat_tables):
    tables.fill(ALL)


def plan() -> dict[str, Planned]:
    """Return the rows of the plan by their names, as it was at the moment of the runs in rows.json."""
    return {row.name: row for row in celery_beat.find(Tables("default"), NOW, "default").rows}


def job_of(row: Planned) -> ScheduledJob:
    fields = {name: value for name, value in row.fields.items() if name != "deadline"}
    return ScheduledJob(name=row.name, **fields)


@pytest.mark.usefixtures("beat")
class TestThePlan:
    def test_each_row_of_the_package_is_judged(self):
        found = plan()
        assert found.keys() == EXPECTED.keys()
        for name, (ours, verdict, why) in EXPECTED.items():
            row = found[name]
            assert (row.ours, row.verdict) == (ours, verdict)
            assert row.why.startswith(why) and bool(row.why) == bool(why)

    def test_what_is_the_same_runs_when_the_package_itself_ran_it(self):
        same = [row for row in plan().values() if row.verdict == "same"]
        assert len(same) == 20
        for row in same:
            assert next_runs(job_of(row), 50, NOW) == runs("celery-beat", row.name), row.name

    def test_a_difference_is_where_the_package_itself_runs_at_another_time(self):
        row = plan()["in the gap"]
        theirs, ours = runs("celery-beat", row.name), next_runs(job_of(row), 50, NOW)
        first = next(min(pair) for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1])
        assert row.differs_at == first == datetime(2036, 3, 30, 1, tzinfo=UTC)
        assert "03:30 CEST, and ours at 2036-03-30 03:00 CEST" in row.why

    def test_an_autumn_that_is_far_away_is_looked_at_too(self):
        # Their next 50 runs are within the hour; in October they skip the second pass of an hour.
        starred = Crontab.read(("*", "*", "*", "*", "*"), "Europe/Berlin").expressions()[0]
        assert starred == "* * * * *"
        assert plan()["each minute"].ours != starred

    def test_payload_queue_and_zone_come_along(self):
        row = plan()["weekdays"]
        assert row.fields["payload"] == {"args": ["north"], "kwargs": {"detailed": True}}
        assert (row.fields["queue"], row.timezone) == ("reports", "America/New_York")
        assert row.fields["priority"] is None
        assert "north" not in repr(row)

    def test_a_deadline_a_priority_and_an_end_come_along(self):
        found = plan()
        assert (found["90 seconds"].fields["deadline"], found["90 seconds"].fields["priority"]) == (60, 7)
        assert found["one Monday"].fields["max_runs"] == 1
        assert found["until summer"].fields["ends_at"] == datetime(2036, 4, 1, 10, tzinfo=UTC) - timedelta(
            microseconds=1
        )
        assert found["switched off"].fields["enabled"] is False
        assert found["switched off"].next_run_at is None

    def test_priorities_of_redis_point_the_other_way(self):
        with override_settings(CELERY_BROKER_URL="redis://localhost/0"):
            assert plan()["90 seconds"].fields["priority"] == -7

    def test_an_interval_counts_from_its_last_run(self):
        assert plan()["half an hour"].fields["starts_at"] == NOW + timedelta(minutes=20, microseconds=-123)

    def test_an_interval_that_is_overdue_stays_on_its_grid(self):
        tables.change(TASKS, {"name": "half an hour"}, last_run_at=NOW - timedelta(days=3, minutes=7))
        assert plan()["half an hour"].next_run_at == NOW + timedelta(minutes=23)

    def test_a_start_that_has_passed_without_a_run_is_different(self):
        tables.change(TASKS, {"name": "every hour from summer on"}, start_time=NOW - timedelta(hours=1))
        assert plan()["every hour from summer on"].why.startswith("its start_time has passed")

    def test_what_has_expired_is_skipped(self):
        tables.change(TASKS, {"name": "until summer"}, expires=NOW)
        assert plan()["until summer"].why == "it has expired"

    def test_what_cannot_come_along_is_noted(self):
        assert {"its headers are left out", "its exchange is left out"} <= {*plan()["with headers"].notes}

    def test_an_interval_of_an_older_celery_is_noted_where_clocks_change(self):
        assert not any("before 5.7" in note for note in plan()["a day"].notes)
        with override_settings(CELERY_TIMEZONE="Europe/Berlin"):
            note = "before 5.7, Celery counts an interval on the clock of Europe/Berlin"
            assert note in plan()["a day"].notes

    def test_a_beat_that_follows_no_zones_of_rows_makes_crontabs_differ(self):
        with override_settings(DJANGO_CELERY_BEAT_TZ_AWARE=False):
            assert plan()["each hour of UTC"].why.startswith("DJANGO_CELERY_BEAT_TZ_AWARE is off")
            assert plan()["a day"].verdict == "same"

    def test_a_zone_that_is_none_is_skipped(self):
        tables.change(CRONTABS, {"timezone": "America/New_York"}, timezone="Mars/Base")
        row = plan()["weekdays"]
        assert row.verdict == "skipped"
        assert "'Mars/Base' is not an IANA time zone" in row.why

    def test_a_crontab_that_celery_cannot_read_is_skipped(self):
        tables.change("django_celery_beat_crontabschedule", {"timezone": "America/New_York"}, day_of_week="7")
        assert plan()["weekdays"].why == "Celery cannot read this crontab: '7' is not from 0 to 6"

    def test_a_name_of_a_queue_that_is_none_here_is_skipped(self):
        tables.change(TASKS, {"name": "weekdays"}, queue="two words")
        row = plan()["weekdays"]
        assert (row.verdict, row.does) == ("skipped", "nothing")
        assert "queue" in row.why


@pytest.mark.usefixtures("beat")
class TestTypes:
    def test_an_unknown_task_keeps_its_name_and_that_is_said(self):
        row = plan()["weekdays"]
        assert row.type == "celery:shop.tasks.report"
        assert "no handler registers celery:shop.tasks.report" in row.notes

    def test_a_celery_task_that_is_registered_here_needs_no_remark(self, own_registry):
        registry.handler("celery:shop.tasks.report")(lambda delivery: None)
        row = plan()["weekdays"]
        assert (row.type, row.notes) == ("celery:shop.tasks.report", ())

    def test_a_task_of_django_is_found_by_its_path(self, our_tasks):
        row = plan()["a task of ours"]
        assert (row.type, row.notes) == ("letsgo:task:tests.taskapp.tasks.echo", ())


def rows_of(said) -> dict[str, Any]:
    return {row["name"]: row for row in said.json}


@pytest.mark.usefixtures("beat")
class TestTheCommand:
    def test_it_prints_a_plan_and_writes_nothing(self):
        before = everything()
        said = letsgo("import", "celery-beat")
        assert said.lines[0].split() == ["name", "theirs", "ours", "zone", "next", "run", "at", "verdict"]
        line = next(line for line in said.lines if line.startswith("in the gap"))
        assert (
            "crontab 30 2 * * *" in line
            and "Europe/Berlin" in line
            and "different: at a clock change" in line
        )
        assert "Nothing was written: --apply does it." in said.err
        assert everything() == before

    def test_it_shows_no_arguments(self):
        assert "north" not in letsgo("import", "celery-beat").out
        assert "north" not in letsgo("import", "celery-beat", "--json").out
        assert "north" not in letsgo("import", "celery-beat", "--apply").out

    def test_its_json_is_a_list_of_all_facts(self):
        row = rows_of(letsgo("import", "celery-beat", "--json"))["in the gap"]
        assert row["differs_at"] is not None
        assert (row["verdict"], row["does"], row["timezone"]) == ("different", "add", "Europe/Berlin")
        assert "payload" not in row and "fields" not in row

    def test_apply_adds_schedules_as_they_were_and_leaves_theirs(self):
        theirs = tables.contents(ALL)
        said = letsgo("import", "celery-beat", "--apply")
        assert "added patch Tuesday: 0 8 * * 2#2; same" in said.out
        assert "skipped at sunset; skipped: no expression follows the sun" in said.out
        assert len(said.lines) == len(EXPECTED)
        assert "added 23, changed 0, unchanged 0, skipped 5." in said.err
        assert "stop beat now" in said.err
        job = schedules.find("weekdays")
        assert (job.schedule, job.timezone, job.queue) == ("0 9 * * 1-5", "America/New_York", "reports")
        assert job.payload == {"args": ["north"], "kwargs": {"detailed": True}}
        assert (job.type, job.enabled) == ("celery:shop.tasks.report", True)
        assert schedules.find("switched off").enabled is False
        assert schedules.find("90 seconds").deadline == timedelta(seconds=60)
        assert tables.contents(ALL) == theirs

    def test_apply_twice_changes_nothing_more(self):
        letsgo("import", "celery-beat", "--apply")
        before = everything()
        said = letsgo("import", "celery-beat", "--apply")
        assert "added 0, changed 0, unchanged 23, skipped 5." in said.err
        assert everything() == before
        assert rows_of(letsgo("import", "celery-beat", "--json"))["weekdays"]["does"] == "leave"

    def test_a_switch_of_people_survives_another_import_and_an_edit_over_there_comes_in(self):
        letsgo("import", "celery-beat", "--apply")
        schedules.disable("weekdays", by="ada")
        tables.change(TASKS, {"name": "weekdays"}, queue="mails")
        assert rows_of(letsgo("import", "celery-beat", "--json"))["weekdays"]["does"] == "change"
        line = next(line for line in letsgo("import", "celery-beat").lines if line.startswith("weekdays"))
        assert "changes the schedule that has this name here" in line
        done = rows_of(letsgo("import", "celery-beat", "--apply", "--json"))
        assert (done["weekdays"]["does"], done["each hour"]["does"]) == ("changed", "unchanged")
        job = schedules.find("weekdays")
        assert (job.queue, job.enabled, job.switched_by) == ("mails", False, "ada")

    def test_what_was_imported_fires(self):
        letsgo("import", "celery-beat", "--apply")
        job = schedules.find("weekdays")
        (message,) = [one for one in fire_due(job.next_run_at) if one.scheduled_job_id == job.pk]
        assert (message.type, message.queue) == ("celery:shop.tasks.report", "reports")
        assert message.payload == {"args": ["north"], "kwargs": {"detailed": True}}

    def test_a_schedule_that_is_another_one_is_left(self):
        schedules.add("weekdays", "@daily", "t:daily")
        row = rows_of(letsgo("import", "celery-beat", "--apply", "--json"))["weekdays"]
        assert row["does"] == "skipped"
        assert row["why"] == "a schedule of this name is here, which sends t:daily"
        assert schedules.find("weekdays").schedule == "@daily"

    def test_a_task_that_became_one_of_django_is_changed(self, our_tasks):
        schedules.add("a task of ours", "@daily", "celery:tests.taskapp.tasks.echo")
        row = rows_of(letsgo("import", "celery-beat", "--apply", "--json"))["a task of ours"]
        assert (row["does"], schedules.find(row["name"]).type) == ("changed", row["type"])

    def test_a_schedule_that_the_code_declares_is_left(self):
        job = schedules.add("weekdays", "@daily", "t:daily")
        ScheduledJob.objects.filter(pk=job.pk).update(declared_in_code=True)
        row = rows_of(letsgo("import", "celery-beat", "--apply", "--json"))["weekdays"]
        assert (row["does"], row["why"]) == ("skipped", "the code declares a schedule of this name")
        assert schedules.find("weekdays").type == "t:daily"


class TestAnotherDatabase:
    def test_an_alias_is_taken(self, beat):
        said = letsgo("import", "celery-beat", "--from-database", "default", "--json")
        assert len(said.json) == len(EXPECTED)


def test_a_beat_without_any_task_is_said(beat_tables):
    said = letsgo("import", "celery-beat")
    assert said.out == ""
    assert said.err.startswith("None found.")


def test_a_walk_that_begins_in_the_repeated_hour_goes_on_behind_it():
    crontab = Crontab.read(("*/30", "*", "*", "*", "*"), "Europe/Berlin")
    second_pass = datetime(2036, 10, 26, 1, 10, tzinfo=UTC)
    assert list(islice(crontab.after(second_pass), 2)) == [
        datetime(2036, 10, 26, 2, 0, tzinfo=UTC),
        datetime(2036, 10, 26, 2, 30, tzinfo=UTC),
    ]
