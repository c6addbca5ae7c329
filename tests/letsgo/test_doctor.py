"""letsgo doctor: each silent failure is in its list, and its exit code says whether there is any."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command, get_commands
from django.db.migrations.recorder import MigrationRecorder

from django_letsgo_worker import enqueue, handler, queues, schedules
from django_letsgo_worker import schedule as declare
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.inspection import diagnosis as inspection_diagnosis
from django_letsgo_worker.management.letsgo import overview
from django_letsgo_worker.models import Message, Process, ScheduledJob
from tests.support import ROOT, wait_until

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def one_handler_and_no_schedule(own_registry, settings):
    handler("t:x")(print)
    settings.LETSGO_WORKER = {"SCHEDULE": ""}


@pytest.fixture
def process():
    """Return a function that writes the row of a process whose heartbeat is so many seconds old."""

    def write(kind="worker", *, age=0, **fields):
        at = datetime.now(UTC) - timedelta(seconds=age)
        facts = {"name": kind, "host": "host", "pid": 7, "started_at": at, "heartbeat_at": at, "types": []}
        return Process.objects.create(kind=kind, **{**facts, **fields})

    return write


@pytest.fixture
def healthy(process):
    """A worker and a scheduler that live."""
    process("worker")
    process("scheduler")


def diagnosis(*words):
    """Call the command; return its list, and whether it ended with an error."""
    out = io.StringIO()
    try:
        call_command("letsgo", "doctor", "--json", *words, stdout=out)
    except CommandError as error:
        assert error.returncode == 1
        assert re.fullmatch(r"\d+ problems? found\.", str(error))
        return json.loads(out.getvalue()), True
    return json.loads(out.getvalue()), False


def found():
    """Return code and subject of all that is wrong."""
    problems, failed = diagnosis()
    assert failed == bool(problems)
    assert all(problem["sentence"].endswith((".", "?")) for problem in problems)
    return [(problem["code"], problem["about"]) for problem in problems]


def test_nothing_is_wrong_where_all_is_well(healthy):
    enqueue("t:x")
    err = io.StringIO()

    call_command("letsgo", "doctor", stderr=err)

    assert found() == []
    assert err.getvalue() == "No problems found.\n"


def test_people_are_given_a_line_for_each_problem_and_an_exit_code(healthy):
    queues.pause("mails", by="ada", reason="the move")
    queues.pause("orders", by="bob")
    out = io.StringIO()

    with pytest.raises(CommandError, match=r"^2 problems found\.$") as ended:
        call_command("letsgo", "doctor", stdout=out)

    assert ended.value.returncode == 1
    assert out.getvalue().splitlines() == [
        "! Queue 'mails' is paused by ada: the move.",
        "! Queue 'orders' is paused by bob.",
    ]


def test_what_status_says_is_in_the_list(healthy):
    enqueue("t:strange", queue="mails")
    Process.objects.filter(kind="worker").update(queues=["default"])
    schedules.add("bad", "@daily", "t:x")
    ScheduledJob.objects.update(problem="It cannot be read.")

    assert set(found()) == {
        ("queue_without_worker", "mails"),
        ("unknown_type", "t:strange"),
        ("schedule_broken", "bad"),
    }


@pytest.mark.parametrize("fields", [{"age": 3600}, {"state": "stopped"}], ids=["silent", "stopped"])
def test_without_a_living_worker_nothing_is_handled(process, fields):
    process("scheduler")
    assert found() == [("no_worker", "")]

    process("worker", **fields)
    assert found() == [("no_worker", "")]

    process("worker")
    assert found() == []


def test_without_a_living_scheduler_schedules_do_not_fire_and_declared_ones_are_not_there(process, settings):
    process("worker")
    settings.LETSGO_WORKER = {}
    handler("letsgo:scheduled")(repr)
    declare("@daily", name="letters")(handler("t:letters")(len))
    schedules.add("nightly", "@daily", "t:x")

    assert found() == [("no_scheduler", ""), ("schedule_missing", "letters"), ("schedule_missing", "worker")]

    process("scheduler")
    assert found() == []


def test_a_schedule_that_enqueues_what_nobody_knows_is_found(healthy):
    schedules.add("strange", "@daily", "t:strange")
    schedules.add("off", "@daily", "t:strange", enabled=False)
    assert found() == [("schedule_of_unknown_type", "strange")]

    Process.objects.filter(kind="worker").update(types=["t:strange"])
    assert found() == []


def test_a_schedule_that_never_fires_is_found_and_one_that_has_fired_is_not(healthy):
    over = datetime(2098, 1, 1, tzinfo=UTC)
    schedules.add("never", "at(2099-01-01T00:00:00)", "t:x", ends_at=over)
    schedules.add("done", "at(2099-01-01T00:00:00)", "t:x", ends_at=over)
    ScheduledJob.objects.filter(name="done").update(last_run_at=datetime.now(UTC))

    assert found() == [("schedule_never_fires", "never")]


def test_a_schedule_that_was_due_and_has_not_fired_is_found(healthy):
    schedules.add("late", "@daily", "t:x")
    schedules.add("just now", "@daily", "t:x")
    clock = engine_for("default").clock()
    ScheduledJob.objects.filter(name="late").update(next_run_at=clock - timedelta(seconds=61))
    ScheduledJob.objects.filter(name="just now").update(next_run_at=clock - timedelta(seconds=1))

    problems, _ = diagnosis()

    assert [problem["sentence"] for problem in problems] == [
        "Schedule 'late' was due 1m1s ago and has not fired."
    ]


def test_leases_of_processes_that_live_no_more_are_found(healthy, process):
    living, silent = Process.objects.get(kind="worker"), process("worker", age=3600)
    stopped, clock = process("worker", state="stopped"), engine_for("default").clock()
    in_an_hour = {"visible_at": clock + timedelta(minutes=60, seconds=30)}
    for holder in (living.pk, silent.pk, stopped.pk, uuid4(), None):
        message = enqueue("t:x", delay=7200)
        Message.objects.filter(pk=message.pk).update(leased_by=holder, **in_an_hour)
    lapsed = enqueue("t:x")
    Message.objects.filter(pk=lapsed.pk).update(leased_by=silent.pk)

    problems, _ = diagnosis()

    assert [(problem["code"], problem["sentence"].rstrip(".0123456789s")) for problem in problems] == [
        (
            "lease_of_dead_process",
            "In queue 'default' 3 messages are leased to dead processes; the last lease lapses in 1h",
        )
    ]
    Message.objects.exclude(leased_by=living.pk).delete()
    assert found() == []


@pytest.mark.parametrize(
    ("off", "words"),
    [
        (90.9, "is 1m30s ahead of that of this host"),
        (-90.9, "is 1m30s behind that of this host"),
        (1, None),
        (-1, None),
    ],
)
def test_clocks_that_are_apart_are_found(healthy, monkeypatch, off, words):
    engine = type(engine_for("default"))
    true_clock = engine.clock
    monkeypatch.setattr(engine, "clock", lambda self: true_clock(self) + timedelta(seconds=off))
    # Heartbeats are by the clock of the database.
    Process.objects.update(heartbeat_at=engine_for("default").clock())

    problems, _ = diagnosis()

    assert [problem["code"] for problem in problems] == (["clock_skew"] if words else [])
    assert words is None or words in problems[0]["sentence"]


def test_what_the_checks_find_is_in_the_list_those_for_deployments_too(healthy, monkeypatch, settings):
    settings.LETSGO_WORKER = {"SCHEDULE": "", "LEASE_SECONDS": 1}
    monkeypatch.setitem(get_commands(), "runworker", "channels")
    assert sorted(found()) == [("letsgo_worker.W005", ""), ("letsgo_worker.W006", "")]

    settings.SILENCED_SYSTEM_CHECKS = ["letsgo_worker.W006"]
    assert found() == [("letsgo_worker.W005", "")]


@pytest.mark.parametrize(
    ("given", "code"), [({"CONCURENCY": 4}, "letsgo_worker.E001"), ({"DATABASE": "no"}, "letsgo_worker.E002")]
)
def test_settings_that_name_no_database_are_all_that_is_said(settings, given, code):
    settings.LETSGO_WORKER = given

    assert [problem for problem, _ in found()] == [code]


def test_migrations_that_are_missing_are_all_that_is_said_of_rows():
    MigrationRecorder.Migration.objects.filter(app="django_letsgo_worker").latest("name").delete()

    assert found() == [("not_migrated", "")]


def test_no_problem_changes_a_row(process):
    process("worker", age=3600)
    enqueue("t:strange")
    before = list(Message.objects.values()), list(Process.objects.values())
    found()

    assert (list(Message.objects.values()), list(Process.objects.values())) == before


def test_every_code_is_documented():
    source = "".join((ROOT / module.__file__).read_text() for module in (overview, inspection_diagnosis))
    codes = re.findall(r'Problem\(\s*"([a-z]+(?:_[a-z]+)+)",', source)
    page = (ROOT / "docs" / "commands.md").read_text()
    documented = re.findall(r"^\| `([a-z_]+)` \|", page[page.index("| code | means |") :], re.MULTILINE)
    assert len(set(codes)) == 13
    assert sorted(set(codes)) == sorted(documented)


@pytest.mark.django_db(transaction=True)
class TestAsAProcess:
    def test_errors_of_the_checks_are_listed_and_end_nothing(self, manage):
        process = manage("letsgo", "doctor", "--json", env={"LETSGO_WORKER_CONCURENCY": "4"})

        assert process.wait() == 1
        (problem,) = json.loads("".join(process.stdout))
        assert problem["code"] == "letsgo_worker.E001"
        assert "".join(process.stderr) == "CommandError: 1 problem found.\n"

    def test_a_site_that_works_is_well(self, manage):
        manage("runworker", "--with-scheduler", env={"LETSGO_WORKER_SCHEDULE": ""})
        wait_until(lambda: Process.objects.filter(kind="scheduler").exists(), what="its rows")

        doctor = manage("letsgo", "doctor", env={"LETSGO_WORKER_SCHEDULE": ""})

        assert (doctor.wait(), doctor.stdout) == (0, [])
        assert doctor.stderr == ["No problems found.\n"]
