"""An edit while a planned time is due: what had come under the plan before it fires, or says why not."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.core.management import call_command
from django.db import connection

from django_letsgo_worker import schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.models import Message, Occurrence, ScheduledJob
from django_letsgo_worker.recurrence import Recurrence, zones
from django_letsgo_worker.schedules import Declared, sync_declared
from tests.conformance.schedule_support import DAY, HOUR, MINUTE, SECOND, fire, occurrences, raw, row

pytestmark = pytest.mark.django_db

MORNING, NOON = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, 12, tzinfo=UTC)
# A deploy over noon.
EDIT = NOON + 20 * SECOND


def add(schedule: str = "0 12 * * *", **fields) -> ScheduledJob:
    return schedules.add("report", schedule, "report:new", now=fields.pop("now", MORNING), **fields)


def save(**columns) -> None:
    job = row()
    for name, value in columns.items():
        setattr(job, name, value)
    job.save(now=EDIT)


def save_some(**columns) -> None:
    job = row()
    for name, value in columns.items():
        setattr(job, name, value)
    job.save(update_fields=list(columns), now=EDIT)


def update(**columns) -> None:
    schedules.update("report", **columns, now=EDIT)


def bulk_update(**columns) -> None:
    job = row()
    for name, value in columns.items():
        setattr(job, name, value)
    ScheduledJob.objects.bulk_update([job], list(columns))


def in_sql(**columns) -> None:
    with connection.cursor() as cursor:
        for name, value in columns.items():
            table = ScheduledJob._meta.db_table
            stored = ScheduledJob._meta.get_field(name).get_db_prep_save(value, connection)
            cursor.execute(f"UPDATE {table} SET {name} = %s", [stored])


def in_code(**columns) -> None:
    columns = {"schedule": row().schedule, **columns}
    ScheduledJob.objects.update(declared_in_code=True)
    expression, zone = columns.pop("schedule"), columns.pop("timezone", "UTC")
    declared = Declared(name="report", schedule=expression, type="report:new", timezone=zone, fields=columns)
    sync_declared([declared], now=EDIT)


WAYS = [save, save_some, update, raw, bulk_update, in_sql, in_code]
EDITS = [
    {"schedule": "0 12,18 * * *"},
    {"schedule": "rate(7 minutes)"},
    {"schedule": "at(2027-05-01T00:00:00)"},
    {"timezone": "Asia/Tokyo"},
    {"starts_at": NOON + DAY},
    {"ends_at": NOON - HOUR},
    {"ends_at": NOON + DAY},
]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def edit(request):
    """Each way of editing a row, at EDIT where it can be told the time."""
    return request.param


class TestAnEditWhileATimeIsDue:
    @pytest.mark.parametrize("columns", EDITS, ids=str)
    def test_loses_no_time_that_had_come(self, edit, columns):
        add()
        edit(**columns)
        assert fire(EDIT) == [NOON]
        assert occurrences() == [(NOON, "", 0)]
        assert fire(EDIT + SECOND) == []

    def test_counts_from_then(self, edit):
        add()
        edit(schedule="*/5 * * * *")
        assert fire(EDIT + MINUTE) == [NOON]
        assert row().next_run_at == NOON + 5 * MINUTE
        assert fire(NOON + 5 * MINUTE) == [NOON + 5 * MINUTE]

    def test_that_switches_off_says_that_it_did_not_run(self, edit):
        if edit is in_code:
            pytest.skip("code has no say in it")
        add()
        edit(enabled=False)
        assert fire(EDIT) == []
        assert occurrences() == [(NOON, "edit", 1)]
        assert "switched off" in Occurrence.objects.get().skipped_because
        assert row().next_run_at is None

    @pytest.mark.parametrize("misfire", ["once", "skip", "all"])
    def test_leaves_to_the_misfire_rule_what_is_noticed_late(self, edit, misfire):
        add("*/5 * * * *", misfire=misfire, now=NOON - 16 * MINUTE)
        edit(schedule="0 18 * * *")
        fired = fire(EDIT + HOUR)
        until = EDIT + HOUR if edit in (raw, bulk_update, in_sql) else EDIT
        times = [NOON + n * 5 * MINUTE for n in range(-3, 13) if NOON + n * 5 * MINUTE <= until]
        on_time = [moment for moment in times if moment >= EDIT + HOUR - MINUTE]
        late = [moment for moment in times if moment not in on_time]
        assert fired == {"once": late[-1:], "skip": [], "all": late}[misfire] + on_time
        skipped = sum(count for _moment, why, count in occurrences() if why == "misfire")
        assert len(fired) + skipped == len(times)

    def test_twice_settles_each_plan(self):
        add("*/5 * * * *", misfire="all", now=NOON - MINUTE)
        schedules.update("report", schedule="*/7 * * * *", now=NOON + MINUTE)
        schedules.update("report", schedule="0 18 * * *", now=NOON + 8 * MINUTE)
        assert fire(NOON + 9 * MINUTE) == [NOON, NOON + 7 * MINUTE]
        assert row().unsettled is None

    def test_settles_more_than_a_hundred_on_time(self):
        add("@every 1s", misfire_grace=HOUR, now=NOON)
        schedules.update("report", schedule="0 18 * * *", now=NOON + 250 * SECOND)
        assert fire(NOON + 251 * SECOND) == [NOON + n * SECOND for n in range(1, 251)]
        assert row().unsettled is None

    def test_honours_overlap_and_deadline(self, edit):
        add("*/5 * * * *", misfire="all", overlap="skip", deadline=6 * MINUTE, now=NOON - 16 * MINUTE)
        edit(schedule="0 18 * * *")
        assert fire(EDIT) == [NOON - 5 * MINUTE]
        assert [why for _moment, why, _count in occurrences()] == ["deadline", "deadline", "", "overlap"]

    def test_fires_with_what_the_row_says_now(self, edit):
        if edit is in_code:
            pytest.skip("a declaration's payload stands elsewhere")
        add()
        edit(schedule="0 18 * * *", queue="low")
        fire(EDIT)
        assert Message.objects.get().queue == "low"

    def test_says_so_in_the_log(self, edit, caplog):
        add()
        edit(schedule="0 18 * * *")
        with caplog.at_level("INFO", "django_letsgo_worker.schedules"):
            fire(EDIT)
        assert "'report' was edited while it was due" in caplog.text

    def test_is_told_by_the_round_which_starts_the_grid_of_a_rate_where_a_verb_did(self):
        add("rate(5 minutes)")
        job = schedules.update("report", schedule="rate(7 minutes)", now=EDIT)
        assert (job.anchor, job.next_run_at) == (EDIT, EDIT + 7 * MINUTE)
        fire(EDIT + HOUR)
        assert row().anchor == EDIT


class TestOtherWaysToReplaceAPlan:
    def test_switching_off_by_the_verb_and_on_again_before_a_round(self):
        add()
        schedules.disable("report", now=EDIT)
        schedules.enable("report", now=EDIT + SECOND)
        assert fire(EDIT + 2 * SECOND) == [NOON]

    def test_a_resume_that_comes_with_the_same_round(self):
        add()
        raw(enabled=False, resume_at=NOON + HOUR)
        assert fire(NOON + HOUR) == []
        assert [(moment, why) for moment, why, _count in occurrences()] == [(NOON, "edit")]
        assert row().next_run_at == NOON + DAY

    def test_a_declaration_that_vanished(self):
        add()
        ScheduledJob.objects.update(declared_in_code=True)
        sync_declared([], now=EDIT)
        assert fire(EDIT) == []
        assert occurrences() == [(NOON, "edit", 1)]

    def test_a_next_run_that_was_cleared_by_hand(self):
        add()
        raw(schedule="0 18 * * *", next_run_at=None)
        assert fire(EDIT) == [NOON]

    def test_a_next_run_that_was_set_by_hand_takes_the_place_of_the_planned_one(self):
        add()
        raw(next_run_at=NOON + HOUR)
        assert fire(EDIT) == []
        raw(schedule="0 18 * * *")
        assert fire(NOON + HOUR) == [NOON + HOUR]
        assert row().next_run_at == NOON + 6 * HOUR

    def test_an_edit_into_nonsense_keeps_what_had_come_until_it_is_mended(self):
        add()
        raw(schedule="nonsense")
        assert fire(EDIT) == []
        assert (row().state, row().next_run_at) == ("broken", None)
        raw(schedule="0 18 * * *")
        assert fire(EDIT + SECOND) == [NOON]
        assert (row().state, row().next_run_at) == ("on", NOON + 6 * HOUR)

    @pytest.mark.parametrize("mend", [raw, save])
    def test_what_cannot_become_a_message_is_kept_until_it_is_mended(self, mend):
        add()
        raw(schedule="0 18 * * *", type="two words")
        assert fire(EDIT) == []
        assert row().state == "broken"
        mend(type="report:new")
        assert fire(EDIT + SECOND) == [NOON]
        assert (row().problem, row().next_run_at) == ("", NOON + 6 * HOUR)

    def test_a_rule_that_cannot_be_read_any_more_is_said_to_be_that(self, monkeypatch):
        add(timezone="Europe/Berlin")
        monkeypatch.setattr(zones, "names", lambda: frozenset({"UTC"}))
        raw(timezone="UTC")
        assert fire(EDIT) == []
        assert occurrences() == [(NOON - HOUR, "edit", 1)]
        assert row().next_run_at == NOON + DAY

    def test_a_run_that_was_respelled_on_a_broken_row_stays_due(self):
        add()
        raw(schedule="cron(0 12 * * *)", type="two words")
        fire(EDIT)
        assert (row().state, row().next_run_at) == ("broken", NOON)
        raw(type="report:new")
        assert fire(EDIT) == [NOON]


class TestAnInstanceThatWasReadEarlier:
    def test_makes_nothing_fire_twice(self):
        add()
        job = row()
        assert fire(NOON) == [NOON]
        job.schedule = "0 12,18 * * *"
        job.save(now=EDIT)
        assert fire(EDIT) == []
        assert occurrences() == [(NOON, "", 0)]

    def test_settles_the_plan_of_an_edit_that_came_between(self):
        add("0 18 * * *")
        job = row()
        schedules.update("report", schedule="0 12 * * *", now=MORNING + HOUR)
        job.timezone = "Asia/Tokyo"
        job.save(now=EDIT)
        assert fire(EDIT) == [NOON]

    def test_does_not_lose_what_an_edit_before_has_noted(self):
        add()
        job = row()
        schedules.update("report", schedule="0 18 * * *", now=EDIT)
        job.timezone = "Asia/Tokyo"
        job.save(now=EDIT + SECOND)
        assert fire(EDIT + 2 * SECOND) == [NOON]

    def test_does_not_take_the_plan_of_another_rule_for_its_own(self):
        add()
        job = row()
        schedules.update("report", schedule="0 18 * * *", now=MORNING + HOUR)
        job.schedule = "cron(0 12 * * *)"
        job.save(now=MORNING + 2 * HOUR)
        fire(MORNING + 2 * HOUR)
        assert row().next_run_at == NOON


RESPELLED = [
    ("0 12 * * *", "cron(0 12 * * *)"),
    ("0 12 * * *", " 0  12 * * * "),
    ("0 12 * * *", "00 12 ? * ?"),
    ("@daily", "0 0 * * *"),
    ("0 12 * * 7", "0 12 * * SUN"),
    ("rate(60 minutes)", "rate(1 hour)"),
    ("rate(1 hour)", "@every 1h"),
    ("at(2027-01-01T12:00:00)", "AT( 2027-01-01T12:00:00 )"),
]


class TestARuleThatOnlyReadsDifferently:
    @pytest.mark.parametrize(("old", "new"), RESPELLED)
    def test_is_no_edit(self, edit, old, new):
        add(old)
        before = row()
        edit(schedule=new)
        fire(MORNING + SECOND)
        assert (row().schedule, row().anchor, row().next_run_at) == (new, before.anchor, before.next_run_at)
        assert not ScheduledJob.objects.needing_a_look(MORNING).exists()

    @pytest.mark.parametrize(("old", "new"), RESPELLED)
    def test_fires_what_is_due(self, edit, old, new):
        job = add(old)
        due = job.next_run_at
        edit(schedule=new)
        assert due in fire(due + SECOND)
        assert all(not why for _moment, why, _count in occurrences())

    def test_is_no_edit_when_it_is_over(self, edit):
        add("at(2027-01-01T01:00:00)")
        fire(MORNING + HOUR)
        edit(schedule="AT(2027-01-01T01:00:00)")
        assert fire(EDIT) == []
        assert row().state == "completed"

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("0 12 * * *", "0 12 * * 1"),
            ("* * * * *", "0-59 * * * *"),  # an interval, and fixed times
            ("cron(0 0 * * 1)", "cron(0 0 ? * 1 *)"),
            ("rate(1 hour)", "rate(1 day)"),
            ("rate(1 hour)", "0 * * * *"),
        ],
    )
    def test_is_told_from_one_that_means_something_else(self, old, new):
        add(old)
        before = row().version
        schedules.update("report", schedule=new, now=MORNING + SECOND)
        assert row().version == before + 1
        assert row().planned_from.endswith(new)


def in_a_file(tmp_path, **fields) -> None:
    file = tmp_path / "schedules.json"
    file.write_text(json.dumps([{"name": "report", "type": "report:new", **fields}]))
    call_command("letsgo", "schedule", "import", str(file), verbosity=0)


def test_an_import_while_a_time_is_due_loses_none(tmp_path):
    start = engine_for("default").clock() - timedelta(seconds=65)
    schedules.add("report", "@every 60s", "report:new", now=start)
    in_a_file(tmp_path, schedule="0 3 * * *")
    assert [message.planned_at for message in schedules.fire_due()] == [start + MINUTE]


def test_no_planned_time_is_lost_or_doubled_whatever_is_edited_and_when():
    """A random walk of edits and rounds, all on time: each time that came has one record, and a message."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    expressions = ["*/2 * * * *", "*/3 * * * *", "cron(*/3 * * * *)", "1-59/4 * * * *"]
    add(expressions[0], misfire_grace=DAY)
    now, in_force, came = MORNING, [(MORNING, expressions[0])], set()
    for _ in range(60):
        now += chance.randrange(1, 200) * SECOND
        way = chance.choice(["save", "update", "raw", "look", "look"])
        if way != "look":
            in_force.append((now, chance.choice(expressions)))
            job = row()
            job.schedule = in_force[-1][1]
        if way == "save":
            job.save(now=now)
        elif way == "update":
            schedules.update("report", schedule=job.schedule, now=now)
        elif way == "raw":
            raw(schedule=job.schedule)
        if way in ("raw", "look"):
            fire(now)
    fire(now)
    for (since, expression), (until, _next) in pairwise([*in_force, (now, "")]):
        came |= set(Recurrence.parse(expression).newest_between(since, until, 10_000).occurrences)
    assert occurrences() == [(moment, "", 0) for moment in sorted(came)]
    assert Message.objects.count() == len(came)
