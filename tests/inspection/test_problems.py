"""problems(): each code appears and goes, says cause, thing and what to do, and costs few statements."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, fields
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_letsgo_worker import enqueue, errors, handler, messages, processes, queues, schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.inspection import CODES, SEVERITIES, Problem, at_clock, problems, work
from django_letsgo_worker.models import (
    ArchivedMessage,
    Failure,
    Message,
    Occurrence,
    Process,
    ScheduledJob,
    SchedulesPause,
    Statistic,
)
from tests.browser.rows import archived
from tests.inspection.troubles import MINUTE, TROUBLES, all_is_well, due, now, process, tries

pytestmark = pytest.mark.django_db

MOST_STATEMENTS = 20


@pytest.fixture(autouse=True)
def one_handler_and_no_schedule(own_registry, settings):
    handler("t:x")(print)
    settings.LETSGO_WORKER = {"SCHEDULE": ""}


@pytest.fixture
def well():
    all_is_well()


def found(code):
    """Return the problems with this code."""
    return [problem for problem in problems() if problem.code == code]


def only(code):
    [problem] = found(code)
    return problem


@pytest.mark.usefixtures("well")
class TestEachCode:
    def test_all_is_well_where_nothing_is_wrong(self):
        enqueue("t:x")
        schedules.add("nightly", "@daily", "t:x")
        assert problems() == []

    def test_each_code_is_made_here(self):
        assert sorted(TROUBLES) == sorted(CODES)

    @pytest.mark.parametrize("code", CODES)
    def test_it_appears_and_goes(self, code):
        make, about = TROUBLES[code]
        with make():
            assert [problem.about for problem in found(code)] == [about]
        assert found(code) == []

    @pytest.mark.parametrize("code", CODES)
    def test_its_sentence_names_the_thing_the_cause_and_what_to_do(self, code):
        make, about = TROUBLES[code]
        with make():
            problem = only(code)
            assert about in problem.sentence
            assert problem.sentence.endswith((".", "?"))
            assert len(problem.sentence.split()) > 8
            # What to do is a command, and one of the actions.
            assert problem.sentence.count("`") in (2, 4)
            assert problem.actions
            for action in problem.actions:
                assert set(action) == {"verb", "command", "url"}
                assert action["command"] or action["url"]
                assert action["url"] == "" or action["url"].startswith("/")

    @pytest.mark.parametrize("code", sorted(set(CODES) - {"not_migrated", "clock_skew", "table_bloat"}))
    def test_it_says_since_when_if_that_is_known(self, code):
        make, _about = TROUBLES[code]
        with make():
            since = only(code).since
        if code == "schedule_missing":
            assert since is None
        else:
            assert since is not None and since.tzinfo is not None
            assert since <= now() or code == "schedule_broken"

    @pytest.mark.parametrize("code", CODES)
    def test_it_costs_few_statements_and_changes_no_row(self, code):
        make, _about = TROUBLES[code]
        with make():
            before = list(Message.objects.values()), list(Process.objects.values())
            with CaptureQueriesContext(connection) as asked:
                problems()
            after = list(Message.objects.values()), list(Process.objects.values())
        assert before == after
        assert len(asked) <= MOST_STATEMENTS, [one["sql"][:80] for one in asked]


class TestTheRecord:
    def test_it_is_frozen_and_has_the_facts_in_this_order(self):
        problem = Problem("x", "error", "y", "It is so.")
        assert [one.name for one in fields(Problem)] == [
            "code", "severity", "about", "sentence", "since", "count", "capped", "actions",
        ]  # fmt: skip
        with pytest.raises(FrozenInstanceError):
            problem.code = "z"
        assert asdict(problem)["actions"] == []

    def test_each_code_has_a_severity(self):
        assert {severity for severity, _harm in CODES.values()} == set(SEVERITIES)

    @pytest.mark.urls("django_letsgo_worker.contrib.contact.urls")
    def test_where_a_project_has_no_admin_there_is_no_url(self):
        due("t:x")
        assert {action["url"] for problem in problems() for action in problem.actions} == {""}

    def test_the_worst_harm_comes_first_and_then_the_most(self, well):
        queues.pause("mails", by="ada")
        due("t:x", queue="few")
        due("t:x", queue="many", count=3)
        archived(outcome="dead", finished_at=now() - 90 * MINUTE)
        tries("t:x", failed=10)

        assert [(one.code, one.about) for one in problems()] == [
            ("type_failing", "t:x"), ("queue_unserved", "many"), ("queue_unserved", "few"),
            ("queue_paused", "mails"), ("dead_letters", ""),
        ]  # fmt: skip

    def test_the_time_can_be_given(self, well):
        enqueue("t:strange", delay=3600)
        assert problems(now=now() + timedelta(hours=2), using="default")[0].code == "no_worker"


class TestQueuesAndTypes:
    def test_without_any_worker_that_alone_is_said_of_all_that_is_due(self):
        due("t:x", queue="mails", count=2)
        due("t:strange", count=3)
        problem = only("no_worker")
        assert (problem.count, problem.severity) == (5, "error")
        assert {one.code for one in problems()} == {"no_worker"}

    def test_without_a_worker_all_is_well_while_nothing_is_due(self):
        enqueue("t:x", delay=60)
        due("t:x", queue="mails")
        queues.pause("mails")
        assert [one.code for one in problems()] == ["queue_paused"]

    def test_a_silent_or_stopped_worker_serves_nothing(self):
        due("t:x")
        process(age=3600)
        process(state="stopped")
        assert found("no_worker")

    def test_a_queue_that_every_worker_excludes_is_unserved(self, well):
        due("t:x", queue="mails")
        all_but = process("web-2", excluded_queues=["mails"])
        process("web-3", queues=["mails", "default"], excluded_queues=["mails"])
        assert only("queue_unserved").about == "mails"
        all_but.excluded_queues = ["videos"]
        all_but.save()
        assert problems() == []

    def test_a_count_beyond_the_cap_says_so(self, well, monkeypatch):
        monkeypatch.setattr(work, "MOST_COUNTED", 3)
        due("t:x", queue="mails", count=5)
        problem = only("queue_unserved")
        assert (problem.count, problem.capped) == (3, True)
        assert "3+ ready messages" in problem.sentence

    def test_an_unknown_type_is_likened_to_one_that_is_known(self, well):
        due("t:xx", count=2)
        problem = only("type_unknown")
        assert "Did you mean 't:x'?" in problem.sentence
        assert problem.count == 2

    def test_a_type_that_only_this_code_knows_is_cured_by_a_restart(self, well):
        handler("t:new")(repr)
        due("t:new")
        assert "restart the workers" in only("type_unknown").sentence

    def test_a_type_that_only_the_worker_of_another_queue_knows_is_said(self, well):
        process("web-2", queues=["mails"], types=["t:mail"])
        due("t:mail")
        assert "let one that knows the type serve the queue too" in only("type_unknown").sentence

    def test_a_type_that_nobody_knows_is_said_in_a_queue_that_nobody_serves_too(self, well):
        due("t:strange", queue="mails")
        assert [one.code for one in problems()] == ["queue_unserved", "type_unknown"]

    def test_a_worker_that_has_told_no_types_yet_is_taken_to_know_those_of_this_code(self, well):
        Process.objects.update(types=[])
        due("t:x")
        assert problems() == []
        due("t:strange")
        assert only("type_unknown").about == "t:strange"

    def test_since_is_when_the_oldest_became_due(self, well):
        due("t:x", queue="mails", age=7 * MINUTE)
        due("t:x", queue="mails", age=2 * MINUTE)
        oldest = Message.objects.order_by("visible_at")[0]
        assert only("queue_unserved").since == oldest.visible_at

    def test_what_is_paused_is_neither_unserved_nor_unknown(self, well):
        due("t:strange", queue="mails", count=4)
        queues.pause("mails", by="ada", reason="the move", seconds=600)
        [problem] = problems()
        assert (problem.code, problem.severity, problem.count) == ("queue_paused", "notice", 4)
        assert "paused by ada, until in 9m59s: the move. 4 messages wait" in problem.sentence

    def test_a_backlog_without_any_end_in_five_minutes_grows(self, well):
        due("t:x", age=6 * MINUTE)
        assert "none ended" in only("backlog_growing").sentence

    @pytest.mark.parametrize(("age", "grows"), [(4, False), (6, True)])
    def test_a_backlog_younger_than_five_minutes_is_none(self, well, age, grows):
        due("t:x", age=age * MINUTE)
        assert bool(found("backlog_growing")) is grows

    def test_a_backlog_that_is_old_but_no_older_than_before_does_not_grow(self, well):
        due("t:x", age=8 * MINUTE)
        for waited in (8, 30):
            begun = now() - 4 * MINUTE
            archived(
                type="t:x", enqueued_at=begun - waited * MINUTE, first_started_at=begun, finished_at=begun
            )
        assert found("backlog_growing") == []


@pytest.mark.usefixtures("well")
class TestFailures:
    @pytest.mark.parametrize(
        ("failed", "succeeded", "severity"),
        [
            (9, 0, None),
            (10, 0, "error"),
            (10, 11, None),
            (10, 10, "warning"),
            (89, 11, "warning"),
            (90, 10, "error"),
        ],
    )
    def test_a_type_fails_from_ten_attempts_and_half_of_all_on(self, failed, succeeded, severity):
        tries("t:x", failed=failed - 1, succeeded=succeeded, queue="mails")
        tries("t:x", failed=1)
        assert [one.severity for one in found("type_failing")] == ([severity] if severity else [])

    def test_what_is_older_than_a_quarter_of_an_hour_does_not_count(self):
        tries("t:x", failed=50, age=17 * MINUTE)
        assert found("type_failing") == []

    def test_it_says_how_many_of_how_many_and_the_newest_error(self):
        tries("t:x", failed=2_001)
        for place, (error, text) in enumerate([("a.Old", "older"), ("b.ProviderDown", "connect\n timeout")]):
            at = now() - (5 - place) * MINUTE
            facts = {"first_at": at, "last_at": at, "error_class": error, "message": text}
            Failure.objects.create(type="t:x", fingerprint=error, **facts)
        problem = only("type_failing")
        assert problem.sentence.startswith(
            "t:x fails: 2,001 of 2,001 tries in 15 min. The newest error: ProviderDown: connect timeout."
        )
        assert problem.count == 2_001
        assert [action["command"] for action in problem.actions][1:] == [
            "manage.py letsgo type pause t:x", "manage.py letsgo message retry --type t:x",
        ]  # fmt: skip

    def test_it_fails_since_the_first_failure_after_the_last_success(self):
        tries("t:x", failed=5, age=9 * MINUTE)
        tries("t:x", failed=5, succeeded=1, age=7 * MINUTE)
        tries("t:x", failed=5, age=5 * MINUTE)
        minute = Statistic.objects.get(succeeded=1).at
        assert only("type_failing").since == minute
        Statistic.objects.filter(at__lt=minute).update(succeeded=1)
        first = minute + timedelta(seconds=12)
        Failure.objects.create(type="t:x", fingerprint="f", first_at=first, last_at=first)
        assert only("type_failing").since == first

    def test_dead_letters_are_counted_by_failure_and_are_a_warning_while_more_come(self):
        for n in range(5):
            archived(outcome="dead", error_fingerprint=f"f{n % 3}", finished_at=now() - 90 * MINUTE)
        problem = only("dead_letters")
        assert (problem.severity, problem.count) == ("notice", 5)
        assert problem.sentence.startswith("5 messages were given up, for 3 failures: look")
        assert problem.since == ArchivedMessage.objects.earliest("finished_at").finished_at

        archived(outcome="dead", error_fingerprint="f9")
        problem = only("dead_letters")
        assert problem.severity == "warning"
        assert "6 messages were given up, for 4 failures, 1 came within the hour" in problem.sentence

    def test_more_failures_than_are_told_apart_are_said_to_be_more(self):
        old = now() - 90 * MINUTE
        for n in range(102):
            archived(outcome="dead", error_fingerprint=f"f{n:03}", finished_at=old)
        assert "for 100+ failures" in only("dead_letters").sentence


@pytest.mark.usefixtures("well")
class TestProcesses:
    def test_a_silent_worker_is_said_with_what_it_held_and_who_else_serves_it(self):
        silent = process("web-2", age=60)
        for queue in ("videos", "default"):
            message = enqueue("t:x", queue=queue)
            Message.objects.filter(pk=message.pk).update(leased_by=silent.pk, visible_at=now() + MINUTE)
        problem = only("process_silent")
        assert (
            "it held 1 message of default, 1 message of videos, nobody else serves videos."
            in problem.sentence
        )
        assert (problem.count, problem.since) == (2, silent.heartbeat_at)

    def test_what_its_lease_no_longer_covers_and_nobody_took_is_still_counted(self):
        silent = process("web-2", age=60)
        Message.objects.filter(pk=enqueue("t:x").pk).update(
            leased_by=silent.pk, visible_at=now() - timedelta(seconds=20)
        )
        assert only("process_silent").count == 1

    def test_it_goes_when_nothing_is_left_and_a_quarter_of_an_hour_has_passed(self):
        silent = process("web-2", age=14 * 60)
        assert "nothing that it held is left" in only("process_silent").sentence
        Process.objects.filter(pk=silent.pk).update(heartbeat_at=now() - 16 * MINUTE)
        assert found("process_silent") == []
        message = enqueue("t:x")
        Message.objects.filter(pk=message.pk).update(leased_by=silent.pk, visible_at=now() + MINUTE)
        assert only("process_silent").count == 1
        messages.cancel(message.pk)
        assert found("process_silent") == []

    def test_one_that_ended_is_not_silent_and_several_of_a_name_are_one_problem(self):
        process("web-2", age=60, state="stopped")
        assert found("process_silent") == []
        process("web-3", age=60)
        process("web-3", age=90)
        assert only("process_silent").about == "web-3"

    def test_a_silent_scheduler_is_in_the_sentence_of_no_scheduler(self):
        schedules.add("nightly", "@daily", "t:x")
        Process.objects.filter(kind="scheduler").update(heartbeat_at=now() - 5 * MINUTE)
        assert found("process_silent") == []
        problem = only("no_scheduler")
        assert problem.sentence.startswith(
            "No scheduler is running (clock-1 fell silent 5m ago), but 1 schedule is on: "
            "run `manage.py runscheduler`"
        )
        assert problem.since == Process.objects.get(kind="scheduler").heartbeat_at

    def test_it_can_be_forgotten(self):
        process("web-2", age=60)
        assert processes.forget("web-2") == 1
        assert found("process_silent") == []

    def test_one_that_lives_and_one_that_is_not_there_cannot_be_forgotten(self):
        with pytest.raises(errors.ProcessAlive, match=r"^The worker 'web-1' lives, .*\.$"):
            processes.forget("web-1")
        with pytest.raises(errors.ProcessNotFound, match=r"^There is no silent process named 'web-7'\.$"):
            processes.forget("web-7")
        assert Process.objects.count() == 2

    def test_of_a_name_only_the_silent_ones_are_forgotten(self):
        process("web-1", age=60)
        assert processes.forget("web-1") == 1
        assert Process.objects.filter(name="web-1").count() == 1


class TestSchedules:
    def test_twenty_thousand_of_one_unknown_type_are_one_problem(self, well):
        template = schedules.add("job 00000", "@daily", "t:strange")
        rows = []
        for n in range(1, 20_000):
            row = ScheduledJob(name=f"job {n:05}", schedule="@daily", type="t:strange")
            row.anchor, row.next_run_at = template.anchor, template.next_run_at
            row.planned_from = template.planned_from
            rows.append(row)
        ScheduledJob.objects.bulk_create(rows, batch_size=500)
        # Where that takes long, the processes would have fallen silent.
        Process.objects.update(heartbeat_at=engine_for("default").clock())

        [problem] = problems()

        assert (problem.code, problem.about, problem.count) == (
            "schedule_of_unknown_type",
            "job 00000",
            20_000,
        )
        assert "'job 00000' and 19,999 others enqueue 't:strange'" in problem.sentence

    def test_equal_causes_are_one_problem(self, well):
        for name in "abc":
            schedules.add(name, "@daily", "t:x")
        ScheduledJob.objects.filter(name__in="ab").update(problem="It cannot be read.")
        ScheduledJob.objects.filter(name="c").update(problem="It is over.")
        assert [(one.about, one.count) for one in found("schedule_broken")] == [("a", 2), ("c", 1)]

    def test_those_that_are_off_have_no_problem(self, well):
        schedules.add("off", "@daily", "t:strange", enabled=False)
        assert problems() == []

    def test_a_pause_of_all_says_who_why_since_when_and_until_when_and_what_ends_it(self, well):
        schedules.add("nightly", "@daily", "t:x")
        schedules.add("hourly", "@hourly", "t:x")
        schedules.add("off", "@hourly", "t:x", enabled=False)
        until = now() + 30 * MINUTE
        pause = schedules.pause_all(by="anna", reason="the move", until=until)

        problem = only("schedules_paused")

        since, end = at_clock(pause.paused_at, now()), at_clock(until, now())
        assert problem.sentence == (
            f"All schedules are paused by anna since {since}, until {end}: the move. "
            "2 schedules are on and do not run; `manage.py letsgo schedule resume-all` ends the pause."
        )
        assert (problem.severity, problem.about, problem.count) == ("notice", "schedules", 2)
        assert problem.since == pause.paused_at
        assert problem.actions == [{
            "verb": "resume", "command": "manage.py letsgo schedule resume-all",
            "url": "/admin/django_letsgo_worker/scheduledjob/",
        }]  # fmt: skip

    def test_a_pause_of_all_without_words_is_a_sentence_too(self, well):
        schedules.pause_all()
        sentence = only("schedules_paused").sentence
        assert sentence.startswith("All schedules are paused since ")
        assert ". 0 schedules are on and do not run; " in sentence

    def test_a_pause_of_all_ends_by_itself(self, well):
        pause = schedules.pause_all(until=now() + MINUTE)
        codes = [
            {one.code for one in problems(now=pause.resume_at - before)}
            for before in (timedelta(seconds=1), timedelta())
        ]
        assert [("schedules_paused" in found) for found in codes] == [True, False]

    def test_nothing_is_late_while_all_are_paused_nor_in_the_minute_after(self, well):
        schedules.add("nightly", "@daily", "t:x")
        ScheduledJob.objects.update(next_run_at=now() - 10 * MINUTE)
        assert found("schedule_late")

        schedules.pause_all(until=now() + 60 * MINUTE)
        assert found("schedule_late") == []
        schedules.resume_all()
        assert found("schedule_late") == []
        SchedulesPause.objects.update(resumed_at=now() - 50 * MINUTE / 60)
        assert found("schedule_late") == []
        SchedulesPause.objects.update(resumed_at=now() - 61 * MINUTE / 60)
        assert found("schedule_late")

    def test_without_a_scheduler_none_counts_as_late_while_all_are_paused(self):
        process("web-1", queues=["default"])
        schedules.add("nightly", "@daily", "t:x")
        ScheduledJob.objects.update(next_run_at=now() - 10 * MINUTE)
        assert "1 of them late" in only("no_scheduler").sentence
        schedules.pause_all()
        assert "late" not in only("no_scheduler").sentence

    def test_several_that_are_late_are_one_problem(self, well):
        for name in "ab":
            schedules.add(name, "@daily", "t:x")
        ScheduledJob.objects.update(next_run_at=now() - 2 * MINUTE)
        assert only("schedule_late").sentence.startswith(
            "Schedule 'a' and 1 other were due, the first 2m ago, and have not fired"
        )

    def test_the_built_in_one_counts_only_where_it_does_something(self, process_settings):
        schedules.add("worker", "@hourly", "letsgo:scheduled")
        assert problems() == []
        handler("letsgo:scheduled")(repr)
        assert [one.code for one in problems()] == ["no_scheduler"]

    def test_one_that_was_just_edited_by_sql_is_not_said_to_fire_never(self, well):
        schedules.add("edited", "@daily", "t:x")
        ScheduledJob.objects.update(schedule="@hourly", next_run_at=None)
        assert found("schedule_never_fires") == []

    @pytest.mark.parametrize("last", ["succeeded", "live", "skipped"])
    def test_one_fails_when_its_last_three_messages_are_dead(self, well, last):
        make, _about = TROUBLES["schedule_failing"]
        with make():
            problem = only("schedule_failing")
            assert problem.since == ArchivedMessage.objects.earliest("finished_at").finished_at
            job, at = ScheduledJob.objects.get(), now()
            message_id = {
                "succeeded": lambda: archived(type="t:x").pk,
                "live": lambda: enqueue("t:x").pk,
                "skipped": lambda: None,
            }[last]()
            Occurrence.objects.create(scheduled_job=job, planned_at=at, fired_at=at, message_id=message_id)
            assert bool(found("schedule_failing")) is (last == "skipped")


@pytest.fixture
def process_settings(settings):
    settings.LETSGO_WORKER = {}


class TestTheDatabase:
    def test_a_missing_migration_is_all_that_is_said(self):
        with TROUBLES["not_migrated"][0]():
            due("t:strange")
            [problem] = problems()
        assert problem.sentence.startswith(
            "Migrations of django_letsgo_worker are not applied on the database"
        )
        assert problem.actions[0]["command"] == "manage.py migrate"

    @pytest.mark.parametrize(
        ("off", "words"),
        [(90.9, "is 1m30s ahead of that"), (-90.9, "is 1m30s behind that"), (1, None), (-1, None)],
    )
    def test_clocks_that_are_apart_are_found(self, monkeypatch, off, words):
        engine = type(engine_for("default"))
        true_clock = engine.clock
        monkeypatch.setattr(engine, "clock", lambda self: true_clock(self) + timedelta(seconds=off))
        problems_there = found("clock_skew")
        assert bool(problems_there) is bool(words)
        assert words is None or words in problems_there[0].sentence
        assert found("old_snapshot") == found("table_bloat") == []

    def test_bloat_and_old_snapshots_are_asked_for_on_every_engine(self):
        engine = engine_for("default")
        assert engine.old_snapshots(datetime.now(UTC)) == [] or engine.connection.vendor == "postgresql"
        assert engine.bloated_tables() == []

    @pytest.mark.django_db(transaction=True)
    def test_a_session_with_an_old_snapshot_is_found_where_that_does_harm(self, engine):
        if engine != "postgres":
            pytest.skip("Only PostgreSQL keeps dead rows for old snapshots.")
        other = connection.copy("other")
        try:
            with transaction.atomic():
                pass
            with other.cursor() as cursor:
                cursor.execute("SET application_name = 'a dump'")
                cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                cursor.execute("SELECT count(*) FROM django_letsgo_worker_message")
            sessions = engine_for("default").old_snapshots(now())
            assert [session.name for session in sessions] == ["a dump"]
            assert engine_for("default").old_snapshots(now() - MINUTE) == []
        finally:
            other.close()


def test_problems_are_the_same_in_a_transaction(well):
    with transaction.atomic():
        assert problems() == []


def test_a_worker_of_another_lease_has_held_what_it_claimed(well):
    silent = process("web-2", age=60, queues=["default"])
    stranger = uuid4()
    for holder in (silent.pk, stranger, None):
        message = enqueue("t:x", delay=7200)
        Message.objects.filter(pk=message.pk).update(leased_by=holder)
    assert only("process_silent").count == 1


def test_the_command_forgets_a_silent_worker(well, capsys):
    process("web-2", age=60)
    call_command("letsgo", "worker", "forget", "web-2")
    assert "1 silent process named 'web-2' forgotten." in capsys.readouterr().err
    assert problems() == []
