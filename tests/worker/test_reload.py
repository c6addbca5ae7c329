"""`runworker --reload`: a change of code restarts the worker, after what runs has ended."""

from __future__ import annotations

import itertools
import os

import pytest

from django_letsgo_worker import enqueue
from django_letsgo_worker.models import ArchivedMessage
from tests.support import ROOT, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

MODULE = """
import pathlib, time
from django_letsgo_worker import handler

HERE = pathlib.Path(__file__).parent

@handler("reload:slow")
def slow(delivery):
    (HERE / "begun").touch()
    while not (HERE / "go-on").exists():
        time.sleep(0.02)
    return {result!r}
"""


@pytest.fixture
def code(tmp_path):
    """A module with a handler, that a test can change."""
    module = tmp_path / "reloaded_handlers.py"
    module.write_text(MODULE.format(result="old"))
    return module


@pytest.fixture
def worker(manage, code):
    path = os.pathsep.join([str(code.parent), str(ROOT)])
    started = manage(
        "runworker", "--reload", env={"LETSGO_WORKER_IMPORTS": "reloaded_handlers", "PYTHONPATH": path}
    )
    started.wait_for_line("to stop")
    return started


def test_a_change_restarts_the_worker_after_what_runs_has_ended(worker, code):
    message = enqueue("reload:slow")
    wait_until((code.parent / "begun").exists)

    code.write_text(MODULE.format(result="new"))
    (code.parent / "go-on").touch()
    times = itertools.count(1)

    def has_restarted():
        # Again and again: what changes before the reloader has begun to watch is not seen by it.
        moment = code.stat().st_mtime + next(times)
        os.utime(code, (moment, moment))
        return len([line for line in worker.stderr if "to stop" in line]) > 1

    wait_until(has_restarted, step=0.5)
    assert ArchivedMessage.objects.get(pk=message.pk).attempts == 1
    assert ArchivedMessage.objects.get(pk=message.pk).result == "old"
    after = enqueue("reload:slow")
    wait_until(lambda: ArchivedMessage.objects.filter(pk=after.pk).exists())
    assert ArchivedMessage.objects.get(pk=after.pk).result == "new"


def test_it_drains_at_sigterm(worker, code):
    message = enqueue("reload:slow")
    wait_until((code.parent / "begun").exists)

    worker.terminate()
    (code.parent / "go-on").touch()

    wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).exists())
    assert worker.wait() == 0
    assert ArchivedMessage.objects.get(pk=message.pk).attempts == 1
