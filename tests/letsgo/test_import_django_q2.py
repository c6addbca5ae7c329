"""letsgo import django-q2: rows that the real package made, in words of ours, and what is said of each."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import override_settings

from django_letsgo_worker import schedules
from django_letsgo_worker.inspection import next_runs
from django_letsgo_worker.management.letsgo.importing import django_q2
from django_letsgo_worker.management.letsgo.importing.plan import Planned
from django_letsgo_worker.management.letsgo.importing.tables import Tables
from django_letsgo_worker.models import ScheduledJob
from tests.importsources import tables
from tests.importsources.tables import MADE, NOW, runs

from .test_output import everything, letsgo

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("our_tasks")]

ALL, SCHEDULES = "django_q", "django_q_schedule"
ECHO = "letsgo:task:tests.taskapp.tasks.echo"
CLUSTER = {"name": "shop", "time_zone": "Europe/Berlin"}

EXPECTED = {
    "once": ("at(2036-04-01T07:00:00)", "same", ""),
    "once, before": ("", "skipped", "its time has passed"),
    "7 minutes": ("rate(7 minutes)", "same", ""),
    "hourly": ("rate(1 hour)", "same", ""),
    "daily": ("0 9 * * *", "same", ""),
    "daily, in the gap": ("30 2 * * *", "different", "at a clock change theirs runs at 2036-03-30 01:30 CET"),
    "daily, with seconds": ("5 13 * * *", "different", "theirs runs at 2036-03-20 13:05:07.000250 CET"),
    "weekly": ("0 9 * * 1", "same", ""),
    "biweekly": ("rrule(FREQ=WEEKLY;INTERVAL=2;BYDAY=MO;BYHOUR=9;BYMINUTE=0)", "same", ""),
    "monthly": ("0 12 15 * *", "same", ""),
    "monthly, on the 31st": (
        "rrule(FREQ=MONTHLY;BYMONTHDAY=28,29,30,31;BYSETPOS=-1;BYHOUR=12;BYMINUTE=0)",
        "different",
        "theirs runs at 2036-05-30 12:00 CEST, and ours at 2036-05-31 12:00 CEST",
    ),
    "bimonthly": ("0 12 2 2,4,6,8,10,12 *", "same", ""),
    "quarterly": ("0 12 2 2,5,8,11 *", "same", ""),
    "yearly": ("0 10 1 6 *", "same", ""),
    "cron": ("*/20 8-18 * * 1-5", "same", ""),
    "cron of days": ("0 8 1,11,21,31 * 1", "same", ""),
    "cron at night": ("30 2 * * *", "different", "at a clock change theirs runs at 2036-10-26 02:30 CET"),
    "cron with seconds": ("0 8 * * * 15", "skipped", "'0 8 * * * 15' has 6 fields"),
    "tests.taskapp.tasks.echo (19)": ("rate(1 hour)", "same", ""),
    "twin (20)": ("rate(1 hour)", "same", ""),
    "twin (21)": ("rate(1 hour)", "same", ""),
    "over": ("", "skipped", "it has no runs left"),
    "a set": ("rate(1 hour)", "skipped", "payload.args[0] is of type set"),
    "an expression": ("", "skipped", "its args are not literals of Python"),
    "no task": ("", "skipped", "django.core.management.call_command is no task: put @task above"),
}


@pytest.fixture(scope="module")
def q2_tables(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), tables.made(ALL):
        yield


@pytest.fixture
def q2(q2_tables, settings):
    settings.Q_CLUSTER = CLUSTER
    tables.fill(ALL)


def plan() -> dict[str, Planned]:
    return {row.name: row for row in django_q2.find(Tables("default"), NOW, "default").rows}


def ids() -> dict[str, int]:
    """Return the ids of the rows by the names that they get here."""
    table = MADE["tables"][SCHEDULES]
    column = [*table["columns"]].index
    rows = [(row[column("id")], row[column("name")], row[column("func")]) for row in table["rows"]]
    return {name: id for id, name in django_q2.plan.unique_names(rows).items()}


@pytest.mark.usefixtures("q2")
class TestThePlan:
    def test_each_row_of_the_package_is_judged(self):
        found = plan()
        assert found.keys() == EXPECTED.keys()
        for name, (ours, verdict, why) in EXPECTED.items():
            row = found[name]
            assert (row.ours, row.verdict) == (ours, verdict)
            assert row.why.startswith(why) and bool(row.why) == bool(why)

    def test_what_is_the_same_runs_when_the_package_itself_ran_it(self):
        same = [row for row in plan().values() if row.verdict == "same" and row.name != "once"]
        assert len(same) == 14
        for row in same:
            job = ScheduledJob(name=row.name, **row.fields)
            theirs = runs("django-q2", ids()[row.name])
            assert next_runs(job, 50, NOW) == theirs[: job.max_runs or 50], row.name

    def test_a_difference_is_where_the_package_itself_runs_at_another_time(self):
        for row in plan().values():
            if row.verdict == "different":
                theirs = runs("django-q2", ids()[row.name])
                ours = next_runs(ScheduledJob(name=row.name, **row.fields), 50, NOW)
                first = next(
                    (min(pair) for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1]), None
                )
                # Some differ at a clock change that is farther away than fifty runs.
                assert row.differs_at == first or (first is None and row.differs_at > theirs[-1]), row.name

    def test_arguments_queues_and_repeats_come_along(self):
        found = plan()
        assert found["hourly"].fields["payload"] == {"args": [1, "two"], "kwargs": {}}
        keywords = [
            found[name].fields["payload"]["kwargs"] for name in ("tests.taskapp.tasks.echo (19)", "twin (20)")
        ]
        assert keywords == [{"x": 1, "y": "z"}, {"x": 1}]
        assert found["daily"].fields["queue"] == "reports"
        assert (found["weekly"].fields["max_runs"], found["once"].fields["delete_when_over"]) == (5, True)
        assert found["hourly"].type == ECHO

    @pytest.mark.parametrize(
        ("kwargs", "why"),
        [
            ("x=open", "its kwargs are not literals"),
            ("{'x': open('y')}", "its kwargs are not literals"),
            ("x=", "its kwargs cannot be read"),
            ("{1, 2}", "its kwargs are no dictionary"),
            ("x=" + "(" * 500 + ")" * 500, "its kwargs"),
        ],
    )
    def test_nothing_but_literals_is_read(self, kwargs, why):
        tables.change(SCHEDULES, {"name": "hourly"}, kwargs=kwargs)
        row = plan()["hourly"]
        assert row.verdict == "skipped" and row.why.startswith(why)

    def test_options_of_the_cluster_are_left_out_and_that_is_noted(self):
        kwargs = "{'x': 1, 'q_options': {'timeout': 5}}"
        tables.change(SCHEDULES, {"name": "hourly"}, kwargs=kwargs, intended_date_kwarg="day")
        row = plan()["hourly"]
        assert row.fields["payload"]["kwargs"] == {"x": 1}
        assert row.notes == (
            "day is left out: a handler has delivery.planned_at", "its q_options are left out"
        )  # fmt: skip
        assert plan()["twin (21)"].notes == ("its hook is left out",)

    def test_a_next_run_that_is_later_than_the_first_match_is_where_ours_begins(self):
        tables.change(SCHEDULES, {"name": "cron"}, next_run=NOW.replace(day=31, hour=7, minute=20))
        row = plan()["cron"]
        assert (row.verdict, row.next_run_at) == ("same", NOW.replace(day=31, hour=7, minute=20))

    def test_a_kind_that_is_not_known_is_skipped(self):
        tables.change(SCHEDULES, {"name": "hourly"}, schedule_type="X")
        assert plan()["hourly"].why == "'X' is no kind of schedule that is known here"

    def test_without_a_zone_of_the_cluster_that_of_the_project_counts(self):
        with override_settings(Q_CLUSTER={"name": "shop"}, TIME_ZONE="America/New_York"):
            assert plan()["daily"].timezone == "America/New_York"
        with override_settings(Q_CLUSTER={"name": "shop", "time_zone": "Mars/Base"}):
            assert "is not an IANA time zone" in plan()["daily"].why


@pytest.mark.usefixtures("q2")
class TestTheCommand:
    def test_it_says_how_many_queued_tasks_it_leaves(self):
        before = everything()
        said = letsgo("import", "django-q2")
        assert "2 queued tasks cannot be taken over, since they are signed pickles" in said.err
        assert everything() == before

    def test_apply_adds_schedules_once_and_leaves_theirs(self, settings):
        theirs = tables.contents(ALL)
        said = letsgo("import", "django-q2", "--apply")
        assert "added daily: 0 9 * * *" in said.lines
        assert "added 20, changed 0, unchanged 0, skipped 5." in said.err
        assert "stop qcluster now" in said.err
        job = schedules.find("weekly")
        assert (job.type, job.max_runs, job.timezone) == (ECHO, 5, "Europe/Berlin")
        before = everything()
        assert "added 0, changed 0, unchanged 20, skipped 5." in letsgo("import", "django-q2", "--apply").err
        assert everything() == before
        assert tables.contents(ALL) == theirs

    def test_next_runs_are_those_that_the_cluster_had_planned(self):
        said = letsgo("import", "django-q2", "--json").json
        shown = {row["name"]: row["next_run_at"] for row in said}
        assert shown["hourly"] == (NOW + timedelta(minutes=5, seconds=7, microseconds=250)).isoformat()
