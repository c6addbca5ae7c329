"""What `manage.py check --database` says about rows: types, schedules, queues; and when it looks."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_letsgo_worker import checks, enqueue, enqueue_many, handler, registry, schedules
from django_letsgo_worker.inspection import work
from django_letsgo_worker.models import Message, Process

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def one_known_type(monkeypatch):
    monkeypatch.setattr(registry, "_handlers", {})
    handler("t:known")(print)


@pytest.fixture
def worker():
    """Return a function that writes the row of a worker whose heartbeat is so many seconds old."""

    def write(*, age=0, **fields):
        at = datetime.now(UTC) - timedelta(seconds=age)
        facts = {"name": "web", "host": "host", "pid": 7, "started_at": at, "heartbeat_at": at, **fields}
        return Process.objects.create(kind="worker", **facts)

    return write


def found():
    """Return id and sentence of what is said of rows."""
    messages = run_checks(tags=["database"], databases=["default"])
    return [(message.id, message.msg) for message in messages if message.id.startswith("letsgo_")]


def test_nothing_is_said_of_an_empty_queue():
    assert found() == []


def test_waiting_messages_that_no_code_here_registers_are_said_once_by_type(worker):
    worker()
    enqueue_many([("t:old", n) for n in range(3)], queue="mails")
    enqueue("t:later", delay=3600)
    enqueue("t:known")

    assert found() == [
        (
            "letsgo_worker.W010",
            f"Messages of {type!r} wait in the queue {queue!r}, but this code has no handler for them.",
        )
        for type, queue in (("t:later", "default"), ("t:old", "mails"))
    ]


def test_types_are_looked_for_no_further_than_the_heads_of_the_lanes(monkeypatch, worker):
    worker()
    monkeypatch.setattr(work, "LOOK_AT", 2)
    enqueue_many([("t:known", n) for n in range(2)])
    enqueue("t:hidden", delay=1)
    enqueue("t:seen", priority=1)

    assert [sentence.split("'")[1] for _, sentence in found()] == ["t:seen"]


def test_schedules_that_are_on_and_enqueue_what_no_code_registers_are_said():
    schedules.add("old", "@daily", "t:old")
    schedules.add("off", "@daily", "t:old", enabled=False)
    schedules.add("good", "@daily", "t:known")

    assert found() == [
        ("letsgo_worker.W011", "The schedule 'old' enqueues 't:old', but this code has no handler for it.")
    ]


def test_a_queue_with_due_messages_that_no_living_worker_serves_is_said(worker):
    enqueue("t:known", queue="mails")
    enqueue("t:known", queue="later", delay=3600)
    worker(queues=["orders"])
    worker(queues=["mails"], age=3600)
    worker(queues=["mails"], state="stopped")
    said = ("letsgo_worker.W012", "Messages are due in the queue 'mails', but no living worker serves it.")

    assert found() == [said]

    worker(queues=["mails", "orders"])
    assert found() == []


def test_rows_are_read_only_when_their_database_is_named():
    enqueue("t:old")
    for arguments in ({}, {"tags": ["letsgo_worker", "letsgo_project"], "databases": ["default"]}):
        with CaptureQueriesContext(connection) as asked:
            assert "letsgo_worker.W010" not in [message.id for message in run_checks(**arguments)]
        assert not [query for query in asked if "django_letsgo_worker" in query["sql"]]
    assert run_checks(tags=["database"], databases=[]) == []


def test_the_command_says_it_and_fails_only_if_asked_to():
    enqueue("t:old")
    err = io.StringIO()

    call_command("check", databases=["default"], stderr=err)

    assert "letsgo_worker.W010" in err.getvalue() and "letsgo_worker.W012" in err.getvalue()
    with pytest.raises(CommandError, match="W010"):
        call_command("check", databases=["default"], fail_level="WARNING", stderr=io.StringIO())


@pytest.mark.django_db(transaction=True)
def test_a_database_without_our_tables_is_not_read(manage, tmp_path):
    empty = {"DATABASE_URL": f"sqlite:///{tmp_path / 'empty.sqlite3'}"}

    check = manage("check", "--database", "default", env=empty)

    assert check.wait() == 0, check.output
    assert "letsgo" not in check.output


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (..., []),
        ("READ COMMITTED", []),
        ("repeatable read", ["letsgo_worker.W003"]),
        (None, ["letsgo_worker.W003"]),
    ],
)
def test_an_isolation_level_that_locks_gaps_is_said_on_mariadb(engine, monkeypatch, level, expected):
    if engine != "mariadb":
        pytest.skip("only there it makes a difference")
    options = dict(connection.settings_dict["OPTIONS"])
    if level is not ...:
        options["isolation_level"] = level
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)

    assert [message.id for message in checks.database.check_connection(None)] == expected


def test_no_check_leaves_anything_behind():
    enqueue("t:old")
    before = list(Message.objects.values())
    found()

    assert list(Message.objects.values()) == before
