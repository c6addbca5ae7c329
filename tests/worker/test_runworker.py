"""The command: its flags, its banner, what it refuses, and how it waits for a database."""

from __future__ import annotations

import io
import os
import re
import shutil
import socket

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder

from django_letsgo_worker import enqueue, queues
from django_letsgo_worker.messages import pause_type
from django_letsgo_worker.models import ArchivedMessage, Message, Process
from tests.chaos.proxy import Proxy
from tests.support import ROOT, database_url, engine_of, wait_until
from tests.testapp.models import Entry

from .conftest import SETTINGS

pytestmark = pytest.mark.django_db(transaction=True)


def runworker(*arguments: object, **options: object) -> str:
    """Call the command in this process; return what it wrote to stderr."""
    stderr = io.StringIO()
    call_command("runworker", *[str(argument) for argument in arguments], stderr=stderr, **options)
    return stderr.getvalue()


def test_until_empty_handles_all_that_is_due_and_returns(handle):
    handle("t:chain")(lambda delivery: enqueue("t:link", delivery.payload) and None)
    seen = []
    handle("t:link")(lambda delivery: seen.append(delivery.payload))
    for n in range(20):
        enqueue("t:chain", n)

    runworker("--until-empty")

    assert sorted(seen) == list(range(20))
    assert not Message.objects.exists()


def test_until_empty_leaves_what_is_later_unknown_or_paused(handle):
    seen = []
    handle("t:now")(lambda delivery: seen.append(delivery.payload))
    enqueue("t:now", "due")
    queues.pause("paused")
    handle("t:held")(lambda delivery: seen.append(delivery.payload))
    pause_type("t:held")
    left = {
        enqueue("t:held", "of a paused type").pk,
        enqueue("t:now", "later", delay=3600).pk,
        enqueue("t:nobody-knows", "unknown").pk,
        enqueue("t:now", "paused", queue="paused").pk,
    }

    runworker("--until-empty")

    assert seen == ["due"]
    assert set(Message.objects.values_list("pk", flat=True)) == left
    assert not Message.objects.exclude(attempts=0, receipt=0).exists()


def test_until_empty_does_not_wait_for_a_retry_that_is_later(handle):
    @handle("t:fails", backoff=[3600])
    def fail(delivery):
        raise ValueError("no")

    message = enqueue("t:fails")

    runworker("--until-empty")

    message.refresh_from_db()
    assert message.attempts == 1


def test_until_empty_with_nothing_to_do_returns_at_once():
    runworker("--until-empty")


def test_only_the_queues_named_are_served(handle):
    seen = []
    handle("t:now")(lambda delivery: seen.append(delivery.queue))
    for name in ("a", "b", "c", "ab"):
        enqueue("t:now", queue=name)

    runworker("--until-empty", "--queues", "a, b")

    assert sorted(seen) == ["a", "b"]


@pytest.mark.parametrize("given", ["ab,c", ["ab", "c"], ("ab", "c")])
def test_queues_may_be_given_as_an_argument_from_python(handle, given):
    seen = []
    handle("t:now")(lambda delivery: seen.append(delivery.queue))
    for name in ("a", "b", "c", "ab"):
        enqueue("t:now", queue=name)

    runworker(until_empty=True, queues=given)

    assert sorted(seen) == ["ab", "c"]


def test_all_queues_but_the_excluded_ones_are_served(handle):
    seen = []
    handle("t:now")(lambda delivery: seen.append(delivery.queue))
    for name in ("a", "b", "c", "ab"):
        enqueue("t:now", queue=name)

    assert "all but a, b" in runworker("--until-empty", "--exclude-queues", "a, b")

    assert sorted(seen) == ["ab", "c"]
    assert set(Message.objects.values_list("queue", flat=True)) == {"a", "b"}


def test_of_the_queues_named_the_excluded_ones_are_left_out(handle, settings):
    seen = []
    handle("t:now")(lambda delivery: seen.append(delivery.queue))
    for name in ("a", "b", "c"):
        enqueue("t:now", queue=name)

    banner = runworker(until_empty=True, queues="a,b", exclude_queues="b")

    assert (seen, re.search("queues +(.*)", banner)[1]) == (["a"], "a")
    settings.LETSGO_WORKER = {"QUEUES": ["b", "c"]}
    runworker(until_empty=True, exclude_queues=["c"])
    assert seen == ["a", "b"]


def test_queues_that_appear_later_are_served_unless_they_are_excluded(handle, start_worker):
    seen = []
    handle("t:now")(lambda delivery: seen.append(delivery.queue))
    worker = start_worker(excluded_queues=("left",))
    for name in ("new", "left", "newer"):
        enqueue("t:now", queue=name)
        if name != "left":
            wait_until(lambda name=name: name in seen)

    worker.stop()
    assert (seen, Message.objects.get().queue) == (["new", "newer"], "left")
    assert worker.worker._due_types().total() == 0


def test_with_nothing_left_to_serve_it_refuses():
    with pytest.raises(CommandError, match="^No queue is left to serve: a, b without the excluded ones.$"):
        runworker("--queues", "a,b", "--exclude-queues", "b,a,c")


def test_an_excluded_queue_that_is_not_in_use_is_likened_to_one_that_is(caplog):
    enqueue("t:now", queue="videos")

    runworker("--until-empty", "--exclude-queues", "vidoes,videos")
    assert "did you mean" not in caplog.text
    runworker("--until-empty", "--exclude-queues", "vidoes")
    assert "'vidoes' is not in use, but 'videos' has messages: did you mean that one?" in caplog.text


@pytest.mark.parametrize("given", [3, "3"])
def test_concurrency_may_be_given_as_an_argument_from_python(given):
    assert "3 seats" in runworker(until_empty=True, concurrency=given)


def test_concurrency_is_how_many_messages_are_handled_at_once(handle):
    import threading

    together = threading.Barrier(3)
    handle("t:meet")(lambda delivery: together.wait(20) and None)
    for _ in range(3):
        enqueue("t:meet", max_attempts=1)

    runworker("--until-empty", "--concurrency", 3)

    assert ArchivedMessage.objects.filter(outcome="succeeded").count() == 3


def test_its_name_is_in_the_banner_the_row_and_the_errors(handle):
    @handle("t:fails")
    def fail(delivery):
        raise ValueError("no")

    message = enqueue("t:fails", max_attempts=1)

    banner = runworker("--until-empty", "--name", "Gutenberg")

    assert "Gutenberg" in banner
    assert Process.objects.get().name == "Gutenberg"
    assert ArchivedMessage.objects.get(pk=message.pk).errors[0]["process"] == "Gutenberg"


def test_its_name_is_host_and_pid_by_default():
    runworker("--until-empty")

    assert Process.objects.get().name == f"{socket.gethostname()}:{os.getpid()}"


def test_the_banner_says_what_works_here_and_goes_to_stderr(manage):
    worker = manage(
        "runworker", "--until-empty", "--queues", "a,b", "--concurrency", "3", settings_module=SETTINGS
    )

    assert worker.wait() == 0
    banner = "".join(worker.stderr)
    assert worker.stdout == []
    assert "a, b" in banner
    assert "3 seats" in banner
    assert "mail:send" in banner


@pytest.mark.parametrize(
    "arguments",
    [
        ("--concurrency", "0"),
        ("--concurrency", "many"),
        ("--concurrency", "-1"),
        ("--queues", "not a queue"),
        ("--queues", "a;b"),
        ("--exclude-queues", "a;b"),
        ("--no-such-flag",),
        ("positional",),
    ],
)
def test_bad_usage_exits_with_2(manage, arguments):
    worker = manage("runworker", *arguments)

    assert worker.wait() == 2
    assert "Traceback" not in worker.output
    assert "error:" in worker.stderr[-1]


def test_a_bad_flag_in_call_command_raises_and_does_not_exit():
    with pytest.raises(CommandError):
        call_command("runworker", "--concurrency", "0")


def test_inside_a_transaction_it_refuses_and_names_the_helper():
    with transaction.atomic(), pytest.raises(CommandError, match=r"testing\.drain\(\)"):
        call_command("runworker", "--until-empty")


@pytest.mark.parametrize("name", ["sqlite://:memory:", "sqlite:///:memory:"])
def test_on_a_private_database_in_memory_it_refuses_and_names_the_helper(manage, name):
    worker = manage("runworker", "--until-empty", env={"DATABASE_URL": name})

    assert worker.wait() == 1
    assert "testing.drain()" in worker.stderr[-1]
    assert "Traceback" not in worker.output


def test_without_its_migrations_it_says_one_sentence_and_exits_with_1(manage):
    applied = MigrationRecorder(connection).migration_qs.filter(app="django_letsgo_worker")
    rows = list(applied)
    applied.delete()
    try:
        worker = manage("runworker", "--until-empty")
        code = worker.wait()
    finally:
        type(rows[0])._default_manager.using(connection.alias).bulk_create(rows)

    assert code == 1
    assert len(worker.stderr) == 1
    assert "manage.py migrate" in worker.stderr[0]


def test_without_its_tables_it_says_one_sentence_and_exits_with_1(manage):
    table, away = Process._meta.db_table, "testapp_table_moved_away"
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {quote(table)} RENAME TO {quote(away)}")
    try:
        worker = manage("runworker", "--until-empty")
        code = worker.wait()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {quote(away)} RENAME TO {quote(table)}")

    assert code == 1
    assert len(worker.stderr) == 1
    assert table in worker.stderr[0]


def test_a_database_that_cannot_be_reached_at_the_start_is_waited_for(manage, tmp_path):
    enqueue("work:note", {"n": 1})
    settings = dict(connection.settings_dict)
    proxy = None
    if engine_of(settings) == "sqlite":
        _source, place = settings["NAME"], tmp_path / "later"
        settings["NAME"] = str(place / "db.sqlite3")
    else:
        proxy = Proxy(settings["HOST"] or "127.0.0.1", int(settings["PORT"]))
        settings |= {"HOST": "127.0.0.1", "PORT": proxy.port}
    worker = manage(
        "runworker", "--until-empty", env={"DATABASE_URL": database_url(settings)}, settings_module=SETTINGS
    )
    worker.wait_for_line("Waiting for the database")

    if proxy is None:
        (tmp_path / "ready").mkdir()
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(tmp_path / "ready" / "db.sqlite3")])
        shutil.move(tmp_path / "ready", place)
    else:
        proxy.start()

    assert worker.wait() == 0
    if proxy is None:
        connection.cursor().execute("ATTACH %s AS later", [str(place / "db.sqlite3")])
        with connection.cursor() as cursor:
            cursor.execute("SELECT n FROM later.testapp_entry")
            assert cursor.fetchall() == [(1,)]
        connection.close()
    else:
        assert Entry.objects.get().n == 1
        proxy.stop()


def test_told_to_stop_while_it_waits_for_a_database_it_ends_cleanly(manage, tmp_path, engine):
    nowhere = {
        "sqlite": f"sqlite:///{tmp_path}/missing/db.sqlite3",
        "postgres": "postgres://nobody@127.0.0.1:1/none",
        "mariadb": "mysql://nobody@127.0.0.1:1/none",
    }[engine]
    worker = manage("runworker", env={"DATABASE_URL": nowhere})
    worker.wait_for_line("Waiting for the database")

    assert worker.stop() == 0


def test_an_event_from_python_ends_it(handle):
    import threading

    stop = threading.Event()
    handle("t:stop")(lambda delivery: stop.set())
    message = enqueue("t:stop")

    runworker(stop=stop)

    assert ArchivedMessage.objects.get(pk=message.pk).outcome == "succeeded"


def test_off_the_main_thread_it_leaves_the_signals_alone(handle):
    import signal
    import threading

    before = signal.getsignal(signal.SIGTERM)
    during = []
    handle("t:look")(lambda delivery: during.append(signal.getsignal(signal.SIGTERM)))
    enqueue("t:look")

    thread = threading.Thread(target=runworker, args=("--until-empty",))
    thread.start()
    wait_until(lambda: not thread.is_alive())

    assert during == [before]


def test_under_call_command_the_signals_belong_to_the_caller(handle):
    import signal

    before = signal.getsignal(signal.SIGTERM)
    during = []
    handle("t:look")(lambda delivery: during.append(signal.getsignal(signal.SIGTERM)))
    enqueue("t:look")

    runworker("--until-empty")

    assert during == [before]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def green(tmp_path, manage):
    """Start a manage.py whose threads were replaced before anything else was imported."""

    def start(patch, *words):
        (tmp_path / "sitecustomize.py").write_text(patch)
        return manage(*words, env={"PYTHONPATH": f"{tmp_path}:{ROOT}"}, settings_module=SETTINGS)

    return start


def test_it_is_refused_where_gevent_has_replaced_the_threads(green):
    pytest.importorskip("gevent")
    enqueue("work:note", {"n": 1})

    worker = green("from gevent import monkey\nmonkey.patch_all()", "runworker", "--until-empty")

    assert worker.wait() == 1
    assert worker.stderr == [
        "CommandError: A worker needs real threads, but gevent's monkey.patch_all() has replaced them in this"
        " process: run it in one that does not call it.\n"
    ]
    assert Message.objects.exists() and not Process.objects.exists()


@pytest.mark.parametrize(
    "patch", ["import gevent", "from gevent import monkey\nmonkey.patch_all(thread=False)"]
)
def test_gevent_that_leaves_the_threads_alone_does_no_harm(green, patch):
    pytest.importorskip("gevent")
    enqueue("work:note", {"n": 1})

    worker = green(f"import gevent.monkey\n{patch}", "runworker", "--until-empty")

    assert worker.wait() == 0, worker.output
    assert Entry.objects.get().n == 1


def test_under_gevent_messages_are_enqueued_as_ever(green):
    pytest.importorskip("gevent")
    code = "from django_letsgo_worker import *; enqueue('work:note', {'n': 1})"

    shell = green("from gevent import monkey\nmonkey.patch_all()", "shell", "-c", code)

    assert shell.wait() == 0, shell.output
    assert Message.objects.get().payload == {"n": 1}
