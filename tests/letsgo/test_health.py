"""`letsgo healthcheck`: what a probe hears of the processes of a host."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from django.core.management import CommandError
from django.db import connection

from django_letsgo_worker import enqueue
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.management.letsgo import health
from django_letsgo_worker.models import Process
from tests.chaos.proxy import Proxy
from tests.support import database_url, engine_of, wait_until

from .test_output import letsgo, refusal

pytestmark = pytest.mark.django_db(transaction=True)

HERE = socket.gethostname()


def process(name="web-1", *, kind="worker", age=0.0, **fields):
    """Write the row of a process of this host, this very one, whose heartbeat is so many seconds old."""
    at = engine_for("default").clock() - timedelta(seconds=age)
    facts = {"host": HERE, "pid": os.getpid(), "started_at": at, "heartbeat_at": at}
    return Process.objects.create(kind=kind, name=name, **{**facts, **fields})


@pytest.fixture
def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_what_lives_is_healthy():
    process("web-1")
    process("web-1", kind="scheduler")
    process("elsewhere", host="elsewhere", age=3600)
    assert letsgo("healthcheck").out == "Healthy: scheduler web-1; worker web-1.\n"


def test_without_any_process_of_this_host_it_is_not():
    process("elsewhere", host="elsewhere")
    process("ended", state="stopped")
    assert refusal("healthcheck") == f"Not healthy: no worker or scheduler of the host {HERE!r} runs."


@pytest.mark.parametrize(("kind", "longest"), [("worker", "30s"), ("scheduler", "30s")])
def test_one_that_was_not_heard_of_is_not(kind, longest):
    process(kind=kind, age=3720)
    assert refusal("healthcheck") == (
        f"Not healthy: {kind} web-1 was last heard of 1h2m ago, and at most {longest} are allowed."
    )


def test_how_old_a_sign_of_life_may_be_can_be_said():
    process(age=20)
    letsgo("healthcheck")
    assert "at most 10s are allowed" in refusal("healthcheck", "--max-age", "10s")
    Process.objects.all().delete()
    process(age=125)
    letsgo("healthcheck", "--max-age", "10m")


def test_both_kinds_have_to_live_unless_one_is_asked_about():
    an_hour_ago = engine_for("default").clock() - timedelta(hours=1)
    process("web-1", started_at=an_hour_ago)
    process("web-1", kind="scheduler", age=300, started_at=an_hour_ago)
    assert refusal("healthcheck").startswith("Not healthy: scheduler web-1 was last heard of 5m")
    assert letsgo("healthcheck", "--kind", "worker").out == "Healthy: worker web-1.\n"
    Process.objects.filter(kind="scheduler").delete()
    assert refusal("healthcheck", "--kind", "scheduler") == (
        f"Not healthy: no scheduler of the host {HERE!r} runs."
    )


def test_by_name_it_asks_about_that_one_and_its_children_on_any_host():
    process("web", host="elsewhere")
    process("website", age=300)
    assert letsgo("healthcheck", "--name", "web").out == "Healthy: worker web.\n"
    process("pair.1", host="elsewhere")
    process("pair.2", host="elsewhere", age=300)
    process("pair.two", age=300)
    # The parent replaces a child that is dead.
    assert letsgo("healthcheck", "--name", "pair").out == "Healthy: worker pair.1.\n"
    assert refusal("healthcheck", "--name", "we") == "Not healthy: no worker or scheduler named 'we' runs."


def test_what_died_and_was_replaced_does_not_count(dead_pid):
    process("web-1", kind="scheduler", age=300, pid=dead_pid)
    assert "no worker or scheduler" in refusal("healthcheck")
    process("web-1")
    assert letsgo("healthcheck").out == "Healthy: worker web-1.\n"


def test_in_a_container_that_was_started_again_its_pid_is_anothers():
    """There every process has the pid 1."""
    process("web-1", kind="scheduler", age=300)
    process("web-1", age=1)
    assert letsgo("healthcheck").out == "Healthy: worker web-1.\n"


def test_one_that_lives_though_it_is_silent_counts():
    """Frozen, or without its heartbeat: there is a process of that pid."""
    process("web-1", age=300)
    process("web-2", kind="scheduler", pid=os.getppid())
    assert "worker web-1 was last heard of" in refusal("healthcheck")


def test_a_drain_is_no_reason_for_a_restart():
    process(state="draining")
    assert refusal("healthcheck") == "Not healthy: worker web-1 is draining."
    assert letsgo("healthcheck", "--live").out == "Healthy: worker web-1; worker web-1 is draining.\n"


def test_for_programs_it_says_all(capsys):
    process("web-1")
    found = letsgo("healthcheck", "--json").json
    assert (found["healthy"], found["sentence"]) == (True, "Healthy: worker web-1.")
    assert [row["name"] for row in found["processes"]] == ["web-1"]
    Process.objects.update(state="draining")
    from django.core.management import call_command

    with pytest.raises(CommandError, match="draining"):
        call_command("letsgo", "healthcheck", "--json")
    assert json.loads(capsys.readouterr().out)["healthy"] is False


def test_a_database_that_hangs_is_not_waited_for_longer_than_a_while(monkeypatch):
    monkeypatch.setattr(health, "PATIENCE", 0.05)
    never = threading.Event()
    monkeypatch.setattr(health, "_asked_about", lambda *args: never.wait())
    said = "the database 'default' does not answer: nothing was heard of it within 0.05 s"
    assert refusal("healthcheck") == f"Not healthy: {said}."
    assert letsgo("healthcheck", "--live").out == f"Healthy: {said}.\n"
    never.set()


def test_a_database_that_is_away_is_no_reason_for_a_restart(manage, tmp_path):
    settings = dict(connection.settings_dict)
    if engine_of(settings) == "sqlite":
        settings["NAME"] = str(tmp_path / "missing" / "db.sqlite3")
    else:
        settings |= {"HOST": "127.0.0.1", "PORT": Proxy("127.0.0.1", 1).port}
    env = {"DATABASE_URL": database_url(settings)}

    ready, live = manage("letsgo", "healthcheck", env=env), manage("letsgo", "healthcheck", "--live", env=env)

    assert (ready.wait(), live.wait()) == (1, 0)
    assert ready.stderr[-1].startswith("CommandError: Not healthy: the database 'default' does not answer: ")
    assert live.stdout[-1].startswith("Healthy: the database 'default' does not answer: ")
    assert "Traceback" not in ready.output + live.output


def test_a_real_worker_is_healthy_until_it_is_killed_and_told_apart_while_it_drains(manage, tmp_path):
    env = {"LETSGO_WORKER_LEASE_SECONDS": "1"}
    settings = {"env": env, "settings_module": "tests.testapp.settings"}
    gate = tmp_path / "gate"
    enqueue("work:hold", {"n": 1, "gate": str(gate)})
    worker = manage("runworker", "--with-scheduler", **settings)
    wait_until(lambda: Process.objects.filter(kind="worker", busy=1).exists())
    assert manage("letsgo", "healthcheck", **settings).wait() == 0

    worker.signal(signal.SIGTERM)
    wait_until(lambda: Process.objects.filter(state="draining").exists())
    # Beside a worker that drains, the scheduler fires on.
    assert manage("letsgo", "healthcheck", **settings).wait() == 1
    assert manage("letsgo", "healthcheck", "--live", **settings).wait() == 0

    worker.kill()
    wait_until(lambda: manage("letsgo", "healthcheck", "--live", "--max-age", "1s", **settings).wait() == 1)
