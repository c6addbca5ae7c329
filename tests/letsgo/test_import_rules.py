"""letsgo import: the runs of foreign schedules as we work them out, held against the packages themselves.

Thousands of runs of schedules by chance, in five zones, most of them about to meet a clock change.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

from django_letsgo_worker.management.letsgo.importing import celery_beat, django_q2
from django_letsgo_worker.management.letsgo.importing.comparing import At, Every, best, clock_changes
from django_letsgo_worker.management.letsgo.importing.crontabs import Crontab
from django_letsgo_worker.management.letsgo.importing.plan import Skipped
from django_letsgo_worker.recurrence import Recurrence
from tests.support import ROOT

from .test_output import refusal

SAMPLES = 200
BERLIN = "Europe/Berlin"


def by_chance(kind: str, seed: int) -> list[dict[str, Any]]:
    """Have a process with the real package make schedules, and work out their runs."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.importsources.make",
        "rules",
        kind,
        str(seed),
        str(SAMPLES),
    ]
    environment = {**os.environ, "DATABASE_URL": "sqlite:///:memory:", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def moments(texts: list[str]) -> list[datetime]:
    return [datetime.fromisoformat(text) for text in texts]


def found_by(choices: list[dict[str, Any]], rule: Any, zone: str, start: datetime) -> Any:
    fields = {"type": "t:any", "payload": None, "enabled": True}
    return best("any", fields, choices, rule, zone, start)


def ours_after(fields: dict[str, Any], start: datetime) -> list[datetime]:
    starts_at = fields.get("starts_at")
    begin = start if starts_at is None else max(start, starts_at - timedelta(microseconds=1))
    rule = Recurrence.parse(fields["schedule"], fields["timezone"], anchor=starts_at or start)
    return list(islice(rule.occurrences_after(begin), 50))


class TestCelery:
    def test_crontabs_by_chance_run_as_celerys_own_and_ours_are_the_same_or_said_to_differ(self):
        pytest.importorskip("celery")
        seed = random.randrange(10**6)
        found = by_chance("celery", seed)
        assert len(found) > SAMPLES * 0.9
        verdicts = set()
        for sample in found:
            what = f"seed {seed}: {sample['fields']} {sample['zone']} {sample['start']}"
            start, theirs = datetime.fromisoformat(sample["start"]), moments(sample["runs"])
            crontab = Crontab.read(tuple(sample["fields"]), sample["zone"])
            assert list(islice(crontab.after(start), 50)) == theirs, what
            choices = [{"schedule": text, "timezone": sample["zone"]} for text in crontab.expressions()]
            compared = found_by(choices, crontab, sample["zone"], start)
            if compared.refusal:
                assert "characters" in compared.refusal, what
                continue
            same = ours_after(compared.fields, start) == theirs
            assert same or compared.why, what
            verdicts.add(bool(compared.why))
        assert verdicts == {True, False}

    @pytest.mark.parametrize(
        ("text", "numbers"),
        [
            ("*", [0, 1, 2, 3, 4, 5, 6]),
            ("mon-Friday", [1, 2, 3, 4, 5]),
            ("fri-mon", [0, 1, 5, 6]),
            ("1-6/2", [1, 3, 5]),
            ("fri-mon/2", [0, 5]),
            ("*/3,1", [0, 1, 3, 6]),
            ("*/9", [0]),
            ("jan", [1]),
        ],
    )
    def test_its_fields_are_read_as_celery_reads_them(self, text, numbers):
        crontab = Crontab.read(("0", "0", "*", "*", text), "UTC")
        assert list(crontab.weekdays) == numbers
        celery = pytest.importorskip("celery.schedules")
        assert sorted(celery.crontab(day_of_week=text).day_of_week) == numbers

    @pytest.mark.parametrize("text", ["7", "1-9", "*/", "*/0", "*5", "", "1,,2", "often", "1-2/x", "-1"])
    def test_what_celery_refuses_is_refused(self, text):
        with pytest.raises(ValueError):
            Crontab.read(("0", "0", "*", "*", text), "UTC")
        celery = pytest.importorskip("celery.schedules")
        with pytest.raises((ValueError, celery.ParseException)):
            celery.crontab(day_of_week=text)

    def test_a_day_that_never_comes_is_refused(self):
        with pytest.raises(ValueError, match="no date ever matches"):
            Crontab.read(("0", "0", "30", "feb", "*"), "UTC")

    @pytest.mark.parametrize(
        ("fields", "ours"),
        [
            (("0", "9", "*", "*", "mon"), "0 9 * * 1"),
            (("*/90", "9", "*", "*", "*"), "0 9 * * *"),
            (("0", "9", "1-7", "*", "mon"), "0 9 * * 1#1"),
            (("0", "9", "1-7,15-21", "*", "1,2"), "0 9 * * 1#1,1#3,2#1,2#3"),
            (("0", "9", "*/2", "*", "mon"), "0 9 */2 * 1"),
            (("0", "9", "13", "*", "*/2"), "0 9 13 * */2"),
            (("*", "9", "13", "*", "fri"), "rrule(FREQ=MINUTELY;BYMONTHDAY=13;BYDAY=FR;BYHOUR=9)"),
            (("5", "*", "13", "3", "fri"), "rrule(FREQ=HOURLY;BYMONTH=3;BYMONTHDAY=13;BYDAY=FR;BYMINUTE=5)"),
        ],
    )
    def test_both_fields_of_days_must_match_in_ours_too(self, fields, ours):
        assert Crontab.read(fields, "UTC").expressions()[0] == ours


class TestDjangoQ2:
    def test_schedules_by_chance_run_as_its_own_and_ours_are_the_same_or_said_to_differ(self):
        pytest.importorskip("django_q")
        seed = random.randrange(10**6)
        found = by_chance("q2", seed)
        assert {sample["kind"] for sample in found} == {*django_q2.NAMES} - {"O"}
        verdicts = set()
        for sample in found:
            what = f"seed {seed}: {sample}"
            start, theirs = datetime.fromisoformat(sample["start"]), moments(sample["runs"])
            row = {"schedule_type": sample["kind"], "minutes": sample["minutes"], "cron": sample["cron"]}
            before = start - timedelta(seconds=1)
            choices, rule = django_q2._when(row, start, sample["zone"], before)
            assert list(islice(rule.after(before), 50)) == theirs, what
            compared = found_by(choices, rule, sample["zone"], before)
            if compared.refusal:
                continue
            same = ours_after(compared.fields, before) == theirs
            assert same or compared.why, what
            verdicts.add((sample["kind"], bool(compared.why)))
        assert {kind for kind, differs in verdicts if not differs} == {*django_q2.NAMES} - {"O"}

    def test_a_cron_expression_that_croniter_cannot_read_is_skipped(self):
        with pytest.raises(Skipped, match="croniter cannot read it"):
            django_q2.Cron("often", datetime(2027, 1, 1, tzinfo=UTC), BERLIN).expressions()


class TestTheComparison:
    now = datetime(2027, 3, 1, tzinfo=UTC)

    def test_it_looks_beyond_the_next_fifty_runs(self):
        rule = Every(self.now, timedelta(hours=1))
        choices = [{"schedule": "0 * * * *", "timezone": "Europe/Berlin"}]
        assert found_by(choices, rule, "UTC", self.now).why == ""
        # Half an hour is what Lord Howe's clock changes by.
        choices = [{"schedule": "0 * * * *", "timezone": "Australia/Lord_Howe"}]
        compared = found_by(choices, rule, "UTC", self.now)
        assert compared.differs_at == datetime(2027, 4, 3, 15, tzinfo=UTC)
        assert compared.why == ("theirs runs at 2027-04-03 15:00 UTC, and ours at 2027-04-03 15:30 UTC")

    def test_a_run_that_only_one_side_has_is_named(self):
        hourly, rule = {"timezone": BERLIN}, Crontab.read(("0", "*", "*", "*", "*"), BERLIN)
        compared = found_by([{"schedule": "0 * * * *", **hourly}], rule, BERLIN, self.now)
        assert compared.why == "at a clock change ours runs at 2027-10-31 02:00 CET, and theirs does not"
        compared = found_by([{"schedule": "0 1-23 * * *", **hourly}], rule, BERLIN, self.now)
        assert compared.why == "theirs runs at 2027-03-02 00:00 CET, and ours does not"

    def test_one_of_several_that_all_differ_is_the_nearest(self):
        rule = At(datetime(2027, 6, 1, 12, 0, 30, tzinfo=UTC))
        choices = [{"schedule": f"at(2027-06-01T12:0{minute}:00)", "timezone": "UTC"} for minute in (3, 0, 5)]
        assert found_by(choices, rule, "UTC", self.now).fields["schedule"] == "at(2027-06-01T12:00:00)"

    def test_an_expression_that_is_refused_is_taken_only_if_all_are(self):
        rule = Crontab.read(("0", "9", "*", "*", "*"), "UTC")
        choices = [{"schedule": text, "timezone": "UTC"} for text in ("0 99 * * *", "1 9 * * *")]
        assert found_by(choices, rule, "UTC", self.now).fields["schedule"] == "1 9 * * *"
        assert "99" in found_by(choices[:1], rule, "UTC", self.now).refusal

    def test_clock_changes_are_those_of_the_next_year(self):
        assert clock_changes(["UTC"], self.now) == []
        assert clock_changes([BERLIN, "UTC"], self.now) == [
            datetime(2027, 3, 28, 0, tzinfo=UTC), datetime(2027, 10, 31, 0, tzinfo=UTC)
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("length", "ours"),
    [
        (timedelta(days=2), "rate(2 days)"), (timedelta(hours=24), "rate(1 day)"),
        (timedelta(minutes=90), "rate(90 minutes)"), (timedelta(seconds=90), "@every 90s"),
        (timedelta(microseconds=3_000_000), "@every 3s"),
    ],
)  # fmt: skip
def test_an_interval_is_said_in_its_largest_unit(length, ours):
    assert celery_beat.interval(length) == ours
    assert Recurrence.parse(ours)


@pytest.mark.django_db
class TestWhereNothingIs:
    @pytest.mark.parametrize(
        ("package", "table"),
        [
            ("celery-beat", "django_celery_beat_periodictask, so no django-celery-beat"),
            ("django-q2", "django_q_schedule, so no django-q2"),
            ("django-tasks-db", "django_tasks_database_dbtaskresult, so no django-tasks-db"),
        ],
    )
    def test_missing_tables_are_one_sentence(self, package, table):
        assert refusal("import", package) == (
            f"The database 'default' has no table {table}: name the database that has it with "
            "--from-database."
        )

    def test_an_unknown_alias_is_one_sentence(self):
        sentence = refusal("import", "celery-beat", "--from-database", "old")
        assert sentence == "There is no database 'old' in DATABASES, which has default."
