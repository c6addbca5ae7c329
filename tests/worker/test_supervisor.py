"""`runworker --processes`: fresh children, replaced when they die, drained when they must end."""

from __future__ import annotations

import os
import signal

import pytest

from django_letsgo_worker import enqueue, enqueue_many
from django_letsgo_worker.models import ArchivedMessage, Message, Process
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def living():
    """The pids of the children, by the rows that they write."""
    return sorted(Process.objects.filter(state="running").values_list("pid", flat=True))


@pytest.fixture
def parent(manage):
    started = manage("runworker", "--processes", 2, "--concurrency", 1, "--name", "pair")
    wait_until(lambda: len(living()) == 2)
    yield started
    for pid in living():
        if _is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_its_children_share_the_work(parent):
    enqueue_many([("stock:check", {"order": 0, "article": "tea", "quantity": 1})] * 20)

    wait_until(lambda: not Message.objects.filter(type="stock:check", attempts=0).exists())

    assert set(Process.objects.values_list("name", flat=True)) == {"pair.1", "pair.2"}


def test_a_child_that_dies_is_replaced(parent):
    before = living()
    os.kill(before[0], signal.SIGKILL)

    parent.wait_for_line("a new one takes its place")

    wait_until(lambda: any(pid not in before for pid in living()))
    assert parent.process.poll() is None


def test_at_sigterm_all_drain(parent):
    assert parent.stop() == 0

    assert set(Process.objects.values_list("state", flat=True)) == {"stopped"}


def test_a_signal_to_all_of_them_at_once_is_one_stop_and_not_two(parent):
    """As a service manager sends it to the whole group of processes."""
    children = living()
    enqueue("letsgo:scheduled", {"id": "1", "time": "2026-01-01T00:00:00Z", "schedule": "x"})

    for pid in [*children, parent.pid]:
        os.kill(pid, signal.SIGTERM)

    assert parent.wait() == 0, parent.output
    assert "given back" not in parent.output


def test_without_their_parent_they_drain(parent):
    children = living()

    parent.kill()

    wait_until(lambda: set(Process.objects.values_list("state", flat=True)) == {"stopped"})
    wait_until(lambda: not any(_is_alive(pid) for pid in children))


def test_they_end_when_nothing_is_left(manage):
    enqueue_many([("letsgo:scheduled", {"id": str(n), "time": "-", "schedule": "x"}) for n in range(30)])

    assert manage("runworker", "--processes", 2, "--until-empty").wait() == 0

    assert ArchivedMessage.objects.filter(outcome="succeeded").count() == 30
