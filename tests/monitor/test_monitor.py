"""The monitor of real processes, read over real HTTP: what counts, what moves, what is healthy."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from prometheus_client.parser import text_string_to_metric_families

from django_letsgo_worker import enqueue, queues
from django_letsgo_worker.models import ArchivedMessage, Message, Process, ScheduledJob
from django_letsgo_worker.monitor.metrics import METRICS
from tests.chaos.proxy import Proxy
from tests.support import ROOT, Managed, database_url, wait_until

SETTINGS = "tests.testapp.settings"

pytestmark = pytest.mark.django_db(transaction=True)


class Site:
    """What a monitored process answers."""

    def __init__(self, process: Managed) -> None:
        self.process = process
        line = process.wait_for_line("Monitor: ")
        self.url = re.search(r"http://\S+?(?=/metrics)", line)[0]

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, dict]:
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), dict(error.headers)

    def status(self, path: str) -> int:
        return self.get(path)[0]

    def value(self, name: str, **labels: str) -> float | None:
        """The sum of the samples of this name that have these labels; None without any."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        found = [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    def wait_for(self, expected: float, name: str, **labels: str) -> None:
        wait_until(
            lambda: self.value(name, **labels) == expected,
            step=0.1,
            what=f"{name} {labels} to become {expected}, not {self.value(name, **labels)}",
        )


@pytest.fixture
def monitored(manage) -> Callable[..., Site]:
    """Start a command with --monitor 0, and return its site once it is ready."""

    def start(*arguments: object, ready: bool = True, **options: object) -> Site:
        site = Site(manage(*arguments, "--monitor", "0", settings_module=SETTINGS, **options))
        if ready:
            wait_until(lambda: site.status("/readyz") == 200, what="a ready process")
        return site

    return start


# -- counters ------------------------------------------------------------------------------------------------


def test_the_counters_of_a_worker_move(monitored):
    site = monitored("runworker")
    assert site.value("letsgo_attempt_duration_seconds_count") == 0
    assert site.value("letsgo_leases_lost_total") == 0
    for n in range(3):
        enqueue("work:note", {"n": n}, queue="notes")

    site.wait_for(3, "letsgo_attempts_total", queue="notes", type="work:note", outcome="succeeded")
    assert site.value("letsgo_attempt_duration_seconds_count") == 3
    assert site.value("letsgo_message_wait_seconds_count") == 3
    assert site.value("letsgo_polls_total", result="claimed") >= 1
    assert site.value("letsgo_seats") == 8


@pytest.mark.parametrize("arguments", [("runscheduler",), ("runworker", "--with-scheduler")])
def test_the_counters_of_schedules_move(monitored, arguments):
    ScheduledJob.objects.create(name="often", schedule="@every 1s", type="work:note", payload={"n": 1})
    site = monitored(*arguments)

    fired = {"schedule": "often", "result": "fired"}
    wait_until(lambda: (site.value("letsgo_schedule_occurrences_total", **fired) or 0) >= 2, step=0.1)
    assert site.value("letsgo_messages_enqueued_total", type="work:note") >= 2
    assert site.value("letsgo_schedule_next_run_timestamp_seconds", schedule="often") > 1_700_000_000


def test_the_counters_of_all_processes_are_added_up(monitored):
    site = monitored("runworker", "--processes", 2, "--concurrency", 3)
    site.wait_for(6, "letsgo_seats")
    for n in range(20):
        enqueue("work:note", {"n": n})

    site.wait_for(20, "letsgo_attempts_total", type="work:note", outcome="succeeded")
    assert site.value("letsgo_attempt_duration_seconds_count") == 20


def test_a_killed_child_takes_no_count_with_it_and_leaves_none_twice(monitored):
    site = monitored("runworker", "--processes", 2)
    site.wait_for(16, "letsgo_seats")
    for n in range(10):
        enqueue("work:note", {"n": n})
    site.wait_for(10, "letsgo_attempts_total", outcome="succeeded")
    before = set(Process.objects.values_list("pid", flat=True))

    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(Process.objects.values_list("pid", flat=True)) - before) == 2)
    wait_until(lambda: site.status("/readyz") == 200)

    assert site.value("letsgo_attempts_total", outcome="succeeded") == 10
    enqueue("work:note", {"n": 10})
    site.wait_for(11, "letsgo_attempts_total", outcome="succeeded")
    site.wait_for(16, "letsgo_seats")
    assert site.value("letsgo_attempt_duration_seconds_count") == 11


def test_the_private_directory_of_a_parent_is_gone_at_its_end(monitored, tmp_path):
    site = monitored("runworker", "--processes", 2, env={"TMPDIR": str(tmp_path)})
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("letsgo-monitor-")]

    assert site.process.stop() == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("letsgo-monitor-")] == []


# -- gauges --------------------------------------------------------------------------------------------------


def test_the_gauges_of_queues_are_read_from_the_database(monitored):
    for priority in (0, 5):
        enqueue("work:note", {"n": 1}, queue="later", delay=3600, priority=priority)
    enqueue("t:nobody-knows", {}, queue="odd")
    queues.pause("closed")
    site = monitored("runworker", "--queues", "odd,empty")

    site.wait_for(2, "letsgo_queue_messages", queue="later", state="scheduled")
    assert site.value("letsgo_queue_messages", queue="odd", state="ready") == 1
    assert site.value("letsgo_queue_oldest_ready_seconds", queue="odd") > 0
    site.wait_for(0, "letsgo_queue_oldest_ready_seconds", queue="empty")
    assert site.value("letsgo_queue_unknown_messages", queue="odd") == 1
    assert site.value("letsgo_queue_paused", queue="closed") == 1
    assert site.value("letsgo_queue_workers", queue="later") == 0
    site.wait_for(1, "letsgo_queue_workers", queue="odd")
    site.wait_for(1, "letsgo_processes", kind="worker", state="running")


def test_dead_letters_and_busy_seats_are_shown(monitored, tmp_path):
    site = monitored("runworker")
    enqueue("work:hold", {"n": 1, "gate": str(tmp_path / "gate")}, queue="held")
    enqueue("work:hold", {"wrong": 1}, queue="failing", max_attempts=1)
    # All of it before the first look: what the database said is believed for seconds.
    wait_until(ArchivedMessage.objects.filter(outcome="dead").exists, what="the dead letter")
    wait_until(Message.objects.filter(queue="held", leased_by__isnull=False).exists, what="the running one")

    site.wait_for(1, "letsgo_seats_busy")
    site.wait_for(1, "letsgo_queue_messages", queue="held", state="running")
    site.wait_for(1, "letsgo_messages_died_total", queue="failing", type="work:hold")
    site.wait_for(1, "letsgo_dead_letters", queue="failing")
    assert site.value("letsgo_attempts_total", outcome="dead") == 1

    (tmp_path / "gate").touch()
    site.wait_for(0, "letsgo_seats_busy")


def test_all_that_is_served_is_in_the_table_of_metrics(monitored):
    ScheduledJob.objects.create(name="often", schedule="@every 1s", type="work:note", payload={"n": 1})
    site = monitored("runworker", "--with-scheduler")
    wait_until(lambda: site.value("letsgo_attempts_total"), step=0.1)

    families = {family.name: family for family in text_string_to_metric_families(site.get("/metrics")[1])}
    assert set(families) == {metric.name.removesuffix("_total") for metric in METRICS}
    for metric in METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert family.type == metric.kind
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels <= set(metric.labels)


# -- health --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("runworker",), ("runworker", "--processes", "2")])
def test_a_draining_worker_is_healthy_and_not_ready(monitored, tmp_path, arguments):
    site = monitored(*arguments)
    enqueue("work:hold", {"n": 1, "gate": str(tmp_path / "gate")})
    site.wait_for(1, "letsgo_seats_busy")

    site.process.terminate()
    wait_until(lambda: site.status("/readyz") == 503, what=f"a drain to be seen, after {site.process.output}")
    assert "draining" in site.get("/readyz")[1]
    assert site.status("/healthz") == 200

    (tmp_path / "gate").touch()
    assert site.process.wait() == 0


def test_when_the_database_goes_it_is_healthy_and_not_ready_until_it_is_back(monitored, engine):
    if engine == "sqlite":
        pytest.skip("There is no server that could go.")
    away = dict(connection.settings_dict)
    host, port = away["HOST"] or "127.0.0.1", int(away["PORT"])
    proxy = Proxy(host, port).start()
    away |= {"HOST": "127.0.0.1", "PORT": proxy.port}
    site = monitored("runworker", env={"DATABASE_URL": database_url(away)})
    wait_until(lambda: site.value("letsgo_polls_total"), what="a worker that has started to claim")

    proxy.stop()
    wait_until(lambda: site.status("/readyz") == 503)
    assert site.get("/readyz")[1] == "The database does not answer.\n"
    assert site.status("/healthz") == 200
    wait_until(lambda: site.value("letsgo_polls_total", result="error"), step=0.1)
    assert site.value("letsgo_seats") == 8

    again = Proxy(host, port)
    again.port = proxy.port
    again.start()
    wait_until(lambda: site.status("/readyz") == 200)
    site.process.stop()
    again.stop()


def test_while_it_waits_for_its_database_it_is_healthy_and_not_ready(monitored, tmp_path, engine):
    nowhere = dict(connection.settings_dict)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    nowhere |= (
        {"NAME": str(tmp_path / "no" / "where")}
        if engine == "sqlite"
        else {"HOST": "127.0.0.1", "PORT": port}
    )

    for command in ("runworker", "runscheduler"):
        site = monitored(command, ready=False, env={"DATABASE_URL": database_url(nowhere)})
        site.process.wait_for_line("Waiting for the database")
        assert site.status("/healthz") == 200
        assert site.get("/readyz")[:2] == (503, "It is starting.\nThe database does not answer.\n")
        assert site.process.stop() == 0


def test_without_all_migrations_it_is_not_ready(monitored):
    site = monitored("runscheduler")
    newest = MigrationRecorder.Migration.objects.filter(app="django_letsgo_worker").latest("name")

    newest.delete()
    try:
        wait_until(lambda: site.status("/readyz") == 503)
        assert "Migrations" in site.get("/readyz")[1]
        assert site.status("/healthz") == 200
    finally:
        newest.save(force_insert=True)
    wait_until(lambda: site.status("/readyz") == 200)


# -- the server ----------------------------------------------------------------------------------------------


def test_only_get_and_head_are_allowed(monitored):
    site = monitored("runworker")

    for path in ("/metrics", "/healthz", "/readyz"):
        status, body, headers = site.get(path, "HEAD")
        assert (status, body) == (200, "")
        assert int(headers["Content-Length"]) > 0
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "STRANGE"):
            status, _, headers = site.get(path, method)
            assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert site.status("/") == 404
    assert site.status("/healthz?verbose") == 200


def test_the_reader_chooses_the_format(monitored):
    site = monitored("runworker")

    assert site.get("/metrics")[2]["Content-Type"].startswith("text/plain; version=")
    _, body, headers = site.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


def test_it_is_for_this_machine_only_unless_a_host_is_given(monitored, manage):
    assert monitored("runworker").url.startswith("http://127.0.0.1:")

    site = Site(manage("runscheduler", "--monitor", "0.0.0.0:0", settings_module=SETTINGS))
    assert site.url.startswith("http://0.0.0.0:")
    assert site.status("/healthz") == 200


@pytest.mark.parametrize("command", ["runworker", "runscheduler"])
def test_a_port_that_is_taken_is_one_sentence(manage, command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = manage(command, "--monitor", port)
        assert process.wait() == 1
    said = [line for line in process.stderr if line.strip()]
    assert len(said) == 1
    assert said[0].startswith(f"CommandError: Cannot listen on 127.0.0.1:{port}: ")


@pytest.mark.parametrize(
    "value", ["", "here", "9100x", "70000", ":9100", "::1:9100", "http://localhost:9100", "-1"]
)
def test_a_bad_address_is_a_usage_error(manage, value):
    process = manage("runworker", f"--monitor={value}")

    assert process.wait() == 2
    assert "argument --monitor: " in process.output


def test_without_prometheus_client_it_says_what_to_install(test_database_url):
    code = (
        "import sys; sys.modules['prometheus_client'] = None; "
        "from django.core.management import execute_from_command_line; "
        "execute_from_command_line(['manage.py', *sys.argv[1:]])"
    )
    environment = {**os.environ, "DATABASE_URL": test_database_url, "DJANGO_SETTINGS_MODULE": SETTINGS}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)

    for command in ("runworker", "runscheduler"):
        refused = run(command, "--monitor", "0")
        assert refused.returncode == 1
        assert refused.stderr.strip() == (
            "CommandError: --monitor needs prometheus-client: "
            "python -m pip install 'django-letsgo-worker[monitor]'."
        )
    assert run("runworker", "--until-empty").returncode == 0
