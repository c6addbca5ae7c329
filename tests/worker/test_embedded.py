"""A worker and a scheduler inside other processes: this one, sites under ASGI and WSGI, scripts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import urllib.request
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder

from django_letsgo_worker import enqueue, preconditions, schedules
from django_letsgo_worker.embedded import lifespan, running, threads
from django_letsgo_worker.errors import AlreadyRunning, InvalidMessage, NotReady
from django_letsgo_worker.models import ArchivedMessage, Message, Process
from django_letsgo_worker.worker.loop import WorkerLoop
from tests.chaos.proxy import Proxy
from tests.support import ROOT, Managed, database_url, engine_of, wait_until
from tests.testapp.models import Entry

from .conftest import SETTINGS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


def kinds():
    return sorted(Process.objects.exclude(state="stopped").values_list("kind", flat=True))


# -- on threads of this process ------------------------------------------------------------------------------


def test_messages_are_handled_and_schedules_fire_while_the_block_runs(handle, ended):
    handle("t:tick")(lambda delivery: f"from {delivery.schedule}")
    handle("t:now")(lambda delivery: "done")
    schedules.add("often", "@every 1s", "t:tick")

    with running():
        assert ended(enqueue("t:now")).result == "done"
        fired = wait_until(lambda: ArchivedMessage.objects.filter(type="t:tick").first())
        assert fired.result == "from often"
        assert kinds() == ["scheduler", "worker"]

    assert kinds() == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("letsgo")] == []
    left = enqueue("t:now")
    assert Message.objects.filter(pk=left.pk, attempts=0).exists()


@pytest.mark.parametrize(
    ("options", "there"), [({"scheduler": False}, ["worker"]), ({"worker": False}, ["scheduler"])]
)
def test_one_of_the_two_may_run_alone(options, there):
    with running(**options):
        wait_until(kinds)
        assert kinds() == there
    assert kinds() == []


def test_neither_of_the_two_is_refused():
    with (
        pytest.raises(NotReady, match="^Neither a worker nor a scheduler is to run"),
        running(worker=False, scheduler=False),
    ):
        pass


def test_it_is_set_up_as_the_settings_say_and_options_win(settings):
    settings.LETSGO_WORKER = {"QUEUES": ["a", "b"], "CONCURRENCY": 3}
    with running(scheduler=False, exclude_queues=["b"], name="site"):
        row = wait_until(lambda: Process.objects.first())
    assert (row.queues, row.excluded_queues, row.seats, row.name) == (["a", "b"], ["b"], 3, "site")

    Process.objects.all().delete()
    with running(scheduler=False, queues=["c"], concurrency=1):
        row = wait_until(lambda: Process.objects.first())
    assert (row.named_queues, row.seats) == (["c"], 1)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (
            {"queues": "orders"},
            InvalidMessage,
            "^Queues are given as a list of names, not as the text 'orders'",
        ),
        ({"queues": ["no queue"]}, InvalidMessage, "no queue"),
        ({"queues": ["a"], "exclude_queues": ["a"]}, NotReady, "^No queue is left to serve: a without"),
        ({"concurrency": 0}, InvalidMessage, "^concurrency is a whole number of at least 1, not 0"),
        ({"seats": 3}, TypeError, "seats"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(options, error, sentence):
    with pytest.raises(error, match=sentence), running(**options):
        pass
    assert not Process.objects.exists()


def test_a_wrong_setting_is_refused(settings):
    settings.LETSGO_WORKER = {"CONCURRENCY": "many"}
    with pytest.raises(ImproperlyConfigured, match="CONCURRENCY"), running():
        pass


def test_what_a_check_finds_is_refused(handle):
    handle("t:now", on_dead="t:nobody")(lambda delivery: None)
    with pytest.raises(NotReady, match="^The handler of 't:now' .* has on_dead='t:nobody'"), running():
        pass


def test_a_second_one_is_refused_until_the_first_has_ended():
    with running(scheduler=False):
        said = "^A worker or a scheduler runs inside this process already"
        with pytest.raises(AlreadyRunning, match=said), running(worker=False):
            pass
        assert wait_until(kinds) == ["worker"]
    with running(worker=False):
        assert wait_until(kinds) == ["scheduler"]


def test_an_error_of_the_block_ends_it_too_and_comes_through():
    with pytest.raises(ZeroDivisionError), running(scheduler=False):
        wait_until(kinds)
        1 / 0  # noqa: B018
    assert kinds() == []


def test_inside_a_transaction_it_refuses_and_names_the_helper():
    with transaction.atomic(), pytest.raises(NotReady, match=r"testing\.drain\(\)"), running():
        pass


@contextmanager
def without_migrations():
    applied = MigrationRecorder(connection).migration_qs.filter(app="django_letsgo_worker")
    rows = list(applied)
    applied.delete()
    try:
        yield
    finally:
        type(rows[0])._default_manager.using(connection.alias).bulk_create(rows)


def test_without_its_migrations_it_refuses_in_one_sentence():
    with without_migrations(), pytest.raises(NotReady, match=r"manage\.py migrate"), running():
        pass
    with running(scheduler=False):
        assert wait_until(kinds) == ["worker"]


def test_tables_that_are_missing_when_the_block_goes_on_are_waited_for(handle, ended, monkeypatch, caplog):
    handle("t:now")(lambda delivery: None)
    goes_on, wait = threading.Event(), preconditions.wait_for_database
    monkeypatch.setattr(threads, "PATIENCE", 0.0)
    monkeypatch.setattr(threads, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(preconditions, "wait_for_database", lambda *args: goes_on.wait(30) and wait(*args))
    with ExitStack() as stack:
        with without_migrations():
            stack.enter_context(running(scheduler=False))
            goes_on.set()
            wait_until(lambda: "manage.py migrate" in caplog.text)
        ended(enqueue("t:now"))
    assert caplog.text.count("manage.py migrate") == 1


def test_a_worker_that_breaks_down_says_so_and_leaves_the_block_alone(monkeypatch, caplog):
    def break_down(loop):
        raise RuntimeError("out of order")

    monkeypatch.setattr(WorkerLoop, "_turn", break_down)
    with running():
        wait_until(lambda: "No worker runs inside this process any more: restart it." in caplog.text)
    assert kinds() == []


def test_signals_are_left_alone(handle, ended):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    handle("t:now")(lambda delivery: None)
    with running():
        ended(enqueue("t:now"))
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_at_the_end_what_runs_is_finished(gate, ended):
    message = enqueue("work:hold", {"n": 1, "gate": str(gate)})
    with running(scheduler=False):
        wait_until(Entry.objects.exists)
        opener = threading.Thread(target=_open_when_it_drains, args=(gate,))
        opener.start()
    opener.join()
    assert ArchivedMessage.objects.get(pk=message.pk).outcome == "succeeded"


def _open_when_it_drains(gate):
    try:
        wait_until(lambda: Process.objects.filter(state="draining").exists())
    finally:
        gate.touch()
        connection.close()


def test_what_takes_longer_than_the_drain_is_given_back(settings, gate):
    settings.LETSGO_WORKER = {"DRAIN_SECONDS": 0.1}
    message = enqueue("work:until-stopped", {"n": 1, "gate": str(gate)})
    with running(scheduler=False):
        wait_until(Entry.objects.exists)
    message.refresh_from_db()
    assert (message.attempts, message.leased_by) == (0, None)


# -- inside other processes ----------------------------------------------------------------------------------


@pytest.fixture
def start(test_database_url):
    """Start Python with these arguments on the test database; all that it started is killed at the end."""
    started = []

    def run(*arguments, **env):
        environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": test_database_url,
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            **env,
        }
        script, *rest = map(str, arguments)
        started.append(Managed(tuple(rest), environment, script=Path(script)))
        return started[-1]

    yield run
    for process in started:
        process.clean_up()


ASGI = {
    "uvicorn": ("--port", "0", "tests.testapp.asgi:application"),
    "hypercorn": ("--bind", "127.0.0.1:0", "tests.testapp.asgi:application"),
}


@pytest.fixture(params=ASGI)
def serve(request, start):
    """Start a server of ASGI, and return it with the address of its site."""
    pytest.importorskip(request.param)
    return partial(start, "-m", request.param, *ASGI[request.param])


def address(server):
    line = server.wait_for_line("http://127.0.0.1:")
    return re.search(r"http://127.0.0.1:\d+", line)[0]


def answers(url):
    with urllib.request.urlopen(f"{url}/admin/login/", timeout=30) as answer:
        return answer.status == 200


def test_a_server_of_asgi_serves_its_site_handles_messages_and_drains(serve, gate):
    server = serve()
    assert answers(address(server))
    message = enqueue("work:hold", {"n": 1, "gate": str(gate)})
    wait_until(Entry.objects.exists)
    assert kinds() == ["scheduler", "worker"]

    server.terminate()
    wait_until(lambda: Process.objects.filter(state="draining").exists())
    gate.touch()

    assert server.wait() in (0, -signal.SIGTERM)
    archived = ArchivedMessage.objects.get(pk=message.pk)
    assert (archived.outcome, archived.result) == ("succeeded", f"by {Entry.objects.get().process}")
    assert kinds() == []
    assert "Traceback" not in server.output


def test_a_server_that_is_killed_loses_nothing(serve, gate):
    first = serve(LETSGO_WORKER_LEASE_SECONDS="1")
    address(first)
    message = enqueue("work:hold", {"n": 1, "gate": str(gate)})
    wait_until(Entry.objects.exists)
    os.kill(Entry.objects.get().process, signal.SIGKILL)

    second = serve(LETSGO_WORKER_LEASE_SECONDS="1")
    wait_until(lambda: Entry.objects.filter(attempt=2).exists())
    gate.touch()
    archived = wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).first())
    assert (archived.outcome, archived.attempts) == ("succeeded", 2)
    assert second.stop() in (0, -signal.SIGTERM)


def test_what_keeps_it_from_starting_fails_the_start_of_the_server_in_one_sentence(serve):
    server = serve(DATABASE_URL="sqlite://:memory:")
    code = server.wait()
    said = [line for line in server.stderr if "cannot run on a SQLite database in memory" in line]
    assert said and "testing.drain()" in said[0]
    # Hypercorn raises what it is told, and ends with 0.
    if "uvicorn" in str(server):
        assert (code, "Traceback" in server.output) == (3, False)


def test_a_server_starts_without_its_database_and_handles_messages_once_that_is_there(serve, tmp_path):
    enqueue("work:note", {"n": 1})
    settings = dict(connection.settings_dict)
    proxy = None
    if engine_of(settings) == "sqlite":
        place = tmp_path / "later"
        settings["NAME"] = str(place / "db.sqlite3")
    else:
        proxy = Proxy(settings["HOST"] or "127.0.0.1", int(settings["PORT"]))
        settings |= {"HOST": "127.0.0.1", "PORT": proxy.port}
    server = serve(DATABASE_URL=database_url(settings))
    server.wait_for_line("Waiting for the database")
    # A page that needs no database.
    assert answers(address(server))

    if proxy is None:
        (tmp_path / "ready").mkdir()
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(tmp_path / "ready" / "db.sqlite3")])
        shutil.move(tmp_path / "ready", place)
        server.wait_for_line("succeeded")
    else:
        proxy.start()
        wait_until(Entry.objects.exists)
    assert server.stop() in (0, -signal.SIGTERM)
    if proxy is not None:
        proxy.stop()


def test_each_process_of_a_server_of_wsgi_has_its_own(start, gate):
    pytest.importorskip("gunicorn")
    server = start("-m", "gunicorn", "--config", "tests/testapp/gunicorn_conf.py")
    wait_until(lambda: len(kinds()) == 4)
    assert answers(address(server))
    assert len({row.pid for row in Process.objects.all()}) == 2
    messages = [enqueue("work:hold", {"n": n, "gate": str(gate)}) for n in range(4)]
    wait_until(lambda: Entry.objects.count() == 4)

    server.terminate()
    wait_until(lambda: Process.objects.filter(state="draining").count() == 2)
    gate.touch()

    assert server.wait() == 0
    assert ArchivedMessage.objects.filter(pk__in=[m.pk for m in messages], outcome="succeeded").count() == 4
    assert (kinds(), Message.objects.count()) == ([], 0)


def test_the_first_ctrl_c_of_a_script_drains_and_the_second_gives_back(start, gate):
    script = start("tests/testapp/serve.py", LETSGO_WORKER_DRAIN_SECONDS="600")
    assert answers(address(script))
    message = enqueue("work:until-stopped", {"n": 1, "gate": str(gate)})
    wait_until(Entry.objects.exists)

    script.signal(signal.SIGINT)
    wait_until(lambda: Process.objects.filter(kind="worker", state="draining").exists())
    script.signal(signal.SIGINT)

    script.wait()
    message.refresh_from_db()
    assert (message.attempts, message.leased_by, kinds()) == (0, None, [])


def test_other_scopes_go_to_the_application():
    import asyncio

    seen = []

    async def site(scope, receive, send):
        seen.append((scope["type"], receive, send))

    asyncio.run(lifespan(site)({"type": "websocket"}, "receive", "send"))
    assert seen == [("websocket", "receive", "send")]
