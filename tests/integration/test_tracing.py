"""Both trackers watch real processes: a web process, a scheduler and workers; and they may be missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from django.db import connection

from django_letsgo_worker import schedules
from django_letsgo_worker.models import ArchivedMessage
from tests.support import ROOT, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def traced(manage, tmp_path):
    """Start manage.py under the eyes of both; `spans` and `sentry` read what these were sent."""
    pytest.importorskip("opentelemetry.sdk")
    pytest.importorskip("sentry_sdk")
    spans, sentry = tmp_path / "spans", tmp_path / "sentry"
    env = {"TRACED_SPANS": str(spans), "TRACED_SENTRY": str(sentry)}

    def start(*arguments):
        return manage(*arguments, env=env, settings_module="tests.traced.settings")

    start.spans = lambda: lines(spans)
    start.sentry = lambda kind: [line for line in lines(sentry) if line["kind"] == kind]
    return start


@pytest.mark.parametrize("processes", [1, 2])
def test_one_trace_goes_through_a_request_an_enqueue_two_attempts_and_a_child(traced, processes):
    request = traced("shell", "-c", "from tests.traced.messages import request; request()")
    assert request.wait() == 0, request.output
    worker = traced("runworker", "--until-empty", "--concurrency", "2", "--processes", processes)
    assert worker.wait() == 0, worker.output

    spans = {(span["name"], span["attributes"].get("letsgo.attempt")): span for span in traced.spans()}
    parent_of = {
        ("enqueue parents", None): ("POST /orders", None),
        ("process parents", 1): ("enqueue parents", None),
        ("process parents", 2): ("enqueue parents", None),
        ("enqueue children", None): ("process parents", 2),
        ("process children", 1): ("enqueue children", None),
    }
    assert set(spans) == {("POST /orders", None), *parent_of}
    assert len({span["context"]["trace_id"] for span in spans.values()}) == 1
    assert {name: spans[name]["parent_id"] for name in parent_of} == {
        name: spans[parent]["context"]["span_id"] for name, parent in parent_of.items()
    }
    assert [spans["process parents", n]["attributes"]["letsgo.outcome"] for n in (1, 2)] == [
        "retry",
        "succeeded",
    ]
    assert len({span["resource"]["attributes"]["service.name"] for span in spans.values()}) == 1

    transactions = traced.sentry("transaction")
    assert sorted(one["transaction"] for one in transactions) == [
        "POST /orders", "traced:child", "traced:parent", "traced:parent",
    ]  # fmt: skip
    assert len({one["contexts"]["trace"]["trace_id"] for one in transactions}) == 1
    assert "canary" not in json.dumps([traced.spans(), transactions])


def test_a_scheduler_and_a_worker_check_in_for_the_same_planned_time(traced):
    schedules.add("reports", "@every 1s", "traced:report")
    scheduler = traced("runscheduler")
    wait_until(lambda: traced.sentry("check_in"), what="a check-in of the scheduler")
    assert scheduler.stop() == 0, scheduler.output
    worker = traced("runworker", "--until-empty")
    assert worker.wait() == 0, worker.output

    statuses = {}
    for one in traced.sentry("check_in"):
        statuses.setdefault(one["check_in_id"], []).append((one["monitor_slug"], one["status"]))
    assert set(map(tuple, statuses.values())) == {(("reports", "in_progress"), ("reports", "ok"))}
    sent = {
        span["context"]["span_id"]: span for span in traced.spans() if span["kind"] == "SpanKind.PRODUCER"
    }
    done = [span for span in traced.spans() if span["kind"] == "SpanKind.CONSUMER"]
    assert len(sent) == len(done) == len(statuses)
    for span in done:
        assert (
            span["attributes"]["letsgo.planned_at"]
            == (sent[span["parent_id"]]["attributes"]["letsgo.planned_at"])
        )


WITHOUT = """
import sys
for name in ("opentelemetry", "sentry_sdk"):
    sys.modules[name] = None
import django
from django.conf import settings
from django.core.management import call_command
from tests.testapp import settings as shop

facts = {name: getattr(shop, name) for name in dir(shop) if name.isupper()}
facts["INSTALLED_APPS"] = [*shop.INSTALLED_APPS, *APPS]
facts["LETSGO_WORKER"] = {"CONTEXT": ["trace", "sentry"], "SCHEDULE": ""}
settings.configure(**facts)
django.setup()

from django.core.checks import run_checks
from django_letsgo_worker import enqueue, handler

handler("t:works")(print)
print("headers", enqueue("t:works", headers={"traceparent": "00-1"}).headers)
print("checks", sorted(one.id for one in run_checks() if one.id.startswith(("letsgo_otel", "letsgo_sentry"))))
call_command("runworker", until_empty=True)
"""


@pytest.mark.parametrize(
    "apps", [[], ["django_letsgo_worker.contrib.otel", "django_letsgo_worker.contrib.sentry"]]
)
def test_without_their_packages_all_works_in_silence(test_database_url, apps):
    connection.close()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.replace("APPS]", f"{apps}]")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": test_database_url},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert "headers {'traceparent': '00-1'}" in done.stdout
    assert ("checks ['letsgo_otel.E001', 'letsgo_sentry.E001']" in done.stdout) == bool(apps)
    assert [row.outcome for row in ArchivedMessage.objects.all()] == ["succeeded"]
    # Without the app nobody knows what "sentry" is, and the log says so.
    logged = [line for line in done.stderr.splitlines() if "CONTEXT" in line or "carrier" in line]
    assert bool(logged) == (not apps), done.stderr


def test_nothing_of_them_is_imported_where_they_are_not_installed(test_database_url):
    connection.close()
    code = (
        "import django, sys; django.setup()\n"
        "from django_letsgo_worker import enqueue; enqueue('t:x')\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('opentelemetry', 'sentry_sdk')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": test_database_url,
            "DJANGO_SETTINGS_MODULE": "tests.testapp.settings",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[]", done.stderr[-3000:]
