"""letsgo worker run: runworker by a name that no other app hides."""

from __future__ import annotations

import io
import threading

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.db import connection, connections

from django_letsgo_worker import enqueue
from django_letsgo_worker.management.commands import runworker
from django_letsgo_worker.models import ArchivedMessage, Process
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_takes_the_options_of_runworker_and_no_other():
    letsgo = load_command_class("django_letsgo_worker", "letsgo").create_parser("manage.py", "letsgo")
    given = vars(letsgo.parse_args(["worker", "run"]))
    wanted = vars(runworker.Command().create_parser("manage.py", "runworker").parse_args([]))

    assert set(given) - {"noun", "verb", "run", "skip_checks"} == set(wanted)
    assert {name: given[name] for name in wanted} == wanted


def test_it_handles_what_is_due():
    message = enqueue("letsgo:scheduled")
    err = io.StringIO()

    call_command("letsgo", "worker", "run", "--until-empty", "--name", "by-letsgo", stderr=err)

    assert ArchivedMessage.objects.get(pk=message.pk).outcome == "succeeded"
    assert err.getvalue().startswith("Worker by-letsgo")
    assert Process.objects.get().name == "by-letsgo"


def test_from_python_an_event_ends_it_and_signals_stay_the_callers():
    stop = threading.Event()

    def run():
        call_command("letsgo", "worker", "run", stop=stop, stderr=io.StringIO())
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: Process.objects.filter(state="running").exists(), what="its row")
    stop.set()
    thread.join(30)

    assert not thread.is_alive()
    assert Process.objects.get().state == "stopped"


def test_it_refuses_what_runworker_refuses_in_one_sentence(settings):
    settings.USE_TZ = False
    with pytest.raises(CommandError, match=r"letsgo_worker\.E003"):
        call_command("letsgo", "worker", "run")


class TestAsAProcess:
    def test_sigterm_drains_it(self, manage):
        worker = manage("letsgo", "worker", "run", "--concurrency", 2)
        wait_until(lambda: Process.objects.filter(state="running").exists(), what="its row")

        assert worker.stop() == 0
        assert Process.objects.get().state == "stopped"
        assert "2 seats" in worker.output

    def test_it_starts_whatever_the_settings_of_others_are(self, manage):
        bad = {"LETSGO_SLACK_URL": "nonsense"}
        assert manage("check", env=bad).wait() == 1

        assert manage("letsgo", "worker", "run", "--until-empty", env=bad).wait() == 0

    def test_it_waits_for_a_database_that_does_not_answer(self, manage):
        worker = manage("letsgo", "worker", "run", env={"DATABASE_URL": "postgres://nobody@127.0.0.1:1/no"})
        worker.wait_for_line("Waiting for the database")

        assert worker.stop() == 0
        assert "Traceback" not in worker.output

    def test_it_has_children_too(self, manage):
        worker = manage("letsgo", "worker", "run", "--processes", 2, "--name", "pair")
        wait_until(lambda: Process.objects.filter(state="running").count() == 2, what="two rows")

        assert worker.stop() == 0
        connection.close()
        assert set(Process.objects.values_list("name", flat=True)) == {"pair.1", "pair.2"}
