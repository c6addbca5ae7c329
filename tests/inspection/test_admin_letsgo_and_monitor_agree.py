"""One truth for all: a page of the admin, letsgo and the metrics say the same of the same rows."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from django.core.management import call_command

from django_letsgo_worker import enqueue_many
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.inspection import work
from django_letsgo_worker.models import Process
from django_letsgo_worker.monitor.gauges import Gauges
from tests.browser.rows import list_url, process

pytestmark = pytest.mark.django_db


def status():
    out = io.StringIO()
    call_command("letsgo", "status", "--json", stdout=out)
    return json.loads(out.getvalue())


@pytest.mark.parametrize(
    ("kind", "lease", "age", "is_alive"),
    [
        ("worker", 60, 5, True),
        ("worker", 60, 61, False),
        # Three of its heartbeats are longer than this lease.
        ("scheduler", 3, 5, True),
        ("scheduler", 3, 16, False),
    ],
)
def test_of_whether_a_process_lives(admin_client, settings, kind, lease, age, is_alive):
    settings.LETSGO_WORKER = {"LEASE_SECONDS": lease, "SCHEDULE": ""}
    row = process(kind=kind)
    heartbeat = engine_for("default").clock() - timedelta(seconds=age)
    Process.objects.filter(pk=row.pk).update(heartbeat_at=heartbeat)

    page = admin_client.get(list_url("process")).content.decode()
    processes, metrics = status()[f"{kind}s"], Gauges("default").read()

    assert ("killed, frozen or cut off" not in page) is is_alive
    assert processes == {"living": int(is_alive), "silent": int(not is_alive), "stopped": 0}
    assert metrics["letsgo_processes", (kind, "running")] == int(is_alive)
    assert metrics["letsgo_processes", (kind, "silent")] == int(not is_alive)


def test_of_a_queue_that_has_more_than_is_counted(admin_client, monkeypatch):
    monkeypatch.setattr(work, "MOST_COUNTED", 3)
    enqueue_many([("t:x", n) for n in range(5)], queue="mails")
    enqueue_many([("t:x", n) for n in range(2)], queue="mails", delay=60)

    rows = admin_client.get(list_url("queue")).context["cl"].result_list
    [row] = [row for row in rows if row.name == "mails"]
    [queue] = status()["queues"]
    metrics = Gauges("default").read()

    assert (str(row.facts.work.ready), str(row.facts.work.scheduled)) == ("3+", "2")
    assert (queue["ready"], queue["scheduled"], queue["capped"]) == (3, 2, True)
    assert metrics["letsgo_queue_messages", ("mails", "ready")] == 3
    assert metrics["letsgo_queue_messages", ("mails", "scheduled")] == 2
