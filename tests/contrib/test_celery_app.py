"""contrib.celery and a whole sample app: its own tests under real Celery and here, and real workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

from django_letsgo_worker import messages
from django_letsgo_worker.contrib.celery import app as celery_apps
from django_letsgo_worker.contrib.celery import ids
from django_letsgo_worker.models import ArchivedMessage, Message, ScheduledJob
from tests.celeryapp import project
from tests.support import ROOT, wait_until

WORKER_SETTINGS = """
from tests.testapp.settings import *
from tests.testapp.settings import INSTALLED_APPS

TIME_ZONE = "Europe/Berlin"
INSTALLED_APPS = [*INSTALLED_APPS, "django_letsgo_worker.contrib.celery", "celeryapp"]
LETSGO_WORKER = {"SCHEDULE": "", "LEASE_SECONDS": 1, "POLL_SECONDS": 0.05, "IMPORTS": ["crash"]}
CELERY_TASK_ROUTES = {"celeryapp.tasks.t*": {"queue": "routed"}}
"""
# Ends the worker, once, at the moment at which the second step of a chain is in the database.
CRASH = """
import os
from pathlib import Path

from django_letsgo_worker.signals import message_enqueued

MARK = Path(__file__).with_name("crashed")


def crash(message, **kwargs):
    if os.environ.get("CRASH") and (message.unique_key or "").startswith("chain:") and not MARK.exists():
        MARK.write_text(str(message.pk))
        os._exit(9)


message_enqueued.connect(crash)
"""


class TestItsOwnTests:
    def run(self, folder):
        return subprocess.run(
            [sys.executable, "-m", "django", "test", "celeryapp"],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
                "DJANGO_SETTINGS_MODULE": "celerysettings",
            },
            capture_output=True,
            text=True,
            timeout=100,
        )

    def test_they_pass_with_one_import_changed(self, tmp_path):
        project.make(tmp_path)
        done = self.run(tmp_path)
        assert done.returncode == 0, done.stderr
        assert "OK" in done.stderr and "Ran 0" not in done.stderr

    @pytest.mark.skipif(find_spec("celery") is None, reason="Celery is not installed.")
    def test_they_pass_under_celery_itself(self, tmp_path):
        project.make(tmp_path, "celery")
        done = self.run(tmp_path)
        assert done.returncode == 0, done.stderr
        assert "OK" in done.stderr and "Ran 0" not in done.stderr


@pytest.fixture
def shop(tmp_path, monkeypatch, own_registry):
    """The sample app, imported here as a web process has it, and settings for workers that have it too."""
    project.make(tmp_path)
    (tmp_path / "workersettings.py").write_text(WORKER_SETTINGS)
    (tmp_path / "crash.py").write_text(CRASH)
    monkeypatch.setattr(celery_apps, "_apps", [])
    monkeypatch.syspath_prepend(tmp_path)
    yield import_module("celeryapp.tasks")
    for name in [name for name in sys.modules if name.partition(".")[0] == "celeryapp"]:
        del sys.modules[name]


@pytest.fixture
def start(manage, tmp_path):
    """Start a manage.py that has the sample app: start("runworker")."""

    def start(*arguments, **env):
        env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
        return manage(*arguments, settings_module="workersettings", env=env)

    return start


@pytest.mark.django_db(transaction=True)
class TestProcesses:
    def test_a_worker_finds_the_tasks_and_runs_them(self, shop, start):
        results = [
            shop.add.delay(2, 3),
            shop.fetch.delay(2),
            shop.call.delay("value"),
            (shop.add.s(1, 2) | shop.times.s() | shop.add.si(40, 2)).delay(),
        ]
        worker = start("runworker")

        assert [result.get(timeout=60, propagate=False) for result in results[:2]] == [5, 2]
        assert isinstance(results[2].get(timeout=60, propagate=False), ValueError)
        assert results[3].get(timeout=60) == 42
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.output

    def test_a_worker_that_dies_between_two_steps_runs_none_twice(self, shop, start, tmp_path):
        result = (shop.add.s(1, 2) | shop.times.s(factor=10) | shop.add.s(1)).delay()
        dying = start("runworker", CRASH="yes")
        assert dying.wait() == 9, dying.output
        assert (tmp_path / "crashed").exists()

        start("runworker")

        assert result.get(timeout=60) == 31
        # The first one is taken up again when its lease has lapsed: later than the rest of the chain.
        wait_until(lambda: not Message.objects.exists(), what="all messages to end")
        first = messages.find(ids.read(result.id)[0])
        assert (first.attempts, first.errors[0]["class"].rpartition(".")[2]) == (2, "WorkerDied")
        assert [row.type for row in ArchivedMessage.objects.order_by("pk")] == [
            f"celery:celeryapp.tasks.{name}" for name in ("add", "times", "add")
        ]

    def test_a_scheduler_makes_the_schedules_of_beat(self, shop, start):
        scheduler = start("runscheduler")
        wait_until(lambda: ScheduledJob.objects.count() == 3, what="three schedules")
        scheduler.signal(signal.SIGTERM)
        assert scheduler.wait() == 0, scheduler.output

        rows = {row.name: row for row in ScheduledJob.objects.all()}
        assert {name: (row.schedule, row.timezone) for name, row in rows.items()} == {
            "poll": ("@every 30s", "Europe/Berlin"),
            "tidy-every-morning": ("30 6 * * 1-5", "Europe/Berlin"),
            "tidy-on-friday-the-13th": (
                "rrule(FREQ=MONTHLY;BYMONTHDAY=13;BYDAY=FR;BYHOUR=0;BYMINUTE=0)", "Europe/Berlin",
            ),
        }  # fmt: skip
        assert all(row.declared_in_code and row.next_run_at for row in rows.values())

    def test_the_commands_know_the_tasks_and_their_queues(self, shop, start):
        listed = start("letsgo", "handlers", "--json")
        assert listed.wait() == 0, listed.output
        found = {one["type"]: one for one in json.loads("".join(listed.stdout))}
        assert found["celery:celeryapp.tasks.times"]["queue"] == "routed"
        assert found["celery:celeryapp.tasks.add"]["max_attempts"] == 4
