"""letsgo top: queues, workers and rates, once for programs and pipes, again and again on a terminal."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command

from django_letsgo_worker import enqueue, enqueue_many
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.management.letsgo import top
from django_letsgo_worker.models import ArchivedMessage, Process
from tests.support import MANAGE, ROOT, wait_until

from .test_output import Terminal, letsgo

pytestmark = pytest.mark.django_db


def ended(queue, outcome, ages):
    """Put messages into the archive that ended so many seconds ago."""
    clock = engine_for("default").clock()
    first = ArchivedMessage.objects.count() + 1
    ArchivedMessage.objects.bulk_create(
        ArchivedMessage(
            id=first + place,
            type="t:x",
            payload=None,
            queue=queue,
            outcome=outcome,
            visible_at=clock,
            enqueued_at=clock,
            finished_at=clock - timedelta(seconds=age),
        )
        for place, age in enumerate(ages)
    )


def worker(name, *, age=0, **fields):
    at = datetime.now(UTC) - timedelta(seconds=age)
    facts = {"host": "host", "pid": 7, "started_at": at, "heartbeat_at": at, "seats": 8, "busy": 3}
    return Process.objects.create(kind="worker", name=name, **{**facts, **fields})


def rates():
    """Return by queue what ends in a minute: succeeded, dead."""
    queues = letsgo("top", "--json").json["queues"]
    return {queue["name"]: (queue["succeeded_per_minute"], queue["dead_per_minute"]) for queue in queues}


class TestForPrograms:
    def test_it_is_one_document_of_queues_workers_and_schedulers(self):
        enqueue("t:x", queue="mails")
        worker("web")
        worker("asleep", age=3600)
        worker("ended", state="stopped")

        said = letsgo("top", "--json").json

        assert list(said) == ["at", "queues", "workers", "schedulers"]
        [mails] = said["queues"]
        assert (mails["name"], mails["ready"], mails["workers"]) == ("mails", 1, 1)
        states = {row["name"]: row["liveness"] for row in said["workers"]}
        assert states == {"web": "living", "asleep": "silent"}
        assert said["schedulers"] == {"living": 0, "silent": 0, "stopped": 0}

    def test_a_rate_is_what_ended_in_the_last_minute(self):
        ended("mails", "succeeded", [1, 30, 45, 61, 3600])
        ended("mails", "dead", [10])
        ended("orders", "cancelled", [10])
        enqueue("t:x", queue="idle")

        assert rates() == {"mails": (3.0, 1.0), "idle": (0.0, 0.0)}

    def test_a_rate_too_high_to_count_is_that_of_the_newest(self, monkeypatch):
        monkeypatch.setattr(top, "MOST_COUNTED", 10)
        ended("mails", "succeeded", [2] * 6 + [6] * 30)

        assert rates()["mails"][0] == pytest.approx(10 * 60 / 6, rel=0.2)

    def test_what_is_not_kept_has_no_rate(self, settings):
        settings.LETSGO_WORKER = {"KEEP_SUCCEEDED_FOR": 0, "KEEP_DEAD_FOR": 0}
        enqueue("t:x", queue="mails")

        assert rates() == {"mails": (None, None)}


class TestForPeople:
    def test_in_a_pipe_it_is_printed_once(self):
        enqueue_many([("t:x", n) for n in range(3)], queue="mails")
        ended("mails", "succeeded", [5, 6])
        worker("web")

        head, gap, *tables = letsgo("top").lines

        assert head.endswith("1 worker, 3 of 8 seats busy, 0 schedulers")
        assert gap == ""
        assert tables[0].split()[:3] == ["name", "state", "ready"]
        assert tables[1].split()[:3] == ["mails", "open", "3"]
        assert tables[1].split()[-2:] == ["2", "0"]
        assert tables[-1].split()[:2] == ["web", "living"]

    def test_where_there_is_nothing_it_is_one_line(self):
        assert len(letsgo("top").lines) == 1

    def test_on_a_terminal_it_is_shown_anew_until_it_is_told_to_stop(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "200")
        screen = Terminal()
        stop = threading.Event()
        looks = []

        def wait(seconds):
            looks.append(seconds)
            enqueue("t:x", queue=f"queue-{len(looks)}")
            return len(looks) == 3

        monkeypatch.setattr(stop, "wait", wait)

        call_command("letsgo", "top", interval=timedelta(seconds=5), stdout=screen, stop=stop, no_color=True)

        frames = screen.getvalue().split("\x1b[2J\x1b[H")[1:]
        assert looks == [5.0, 5.0, 5.0]
        rows = [[line.split()[:3] for line in frame.splitlines() if "queue-" in line] for frame in frames]
        first, second = ["queue-1", "open", "1"], ["queue-2", "open", "1"]
        assert rows == [[], [first], [first, second]]

    @pytest.mark.parametrize("given", ["0s", "soon", "-1s"])
    def test_an_interval_that_is_none_is_wrong_usage(self, given):
        with pytest.raises(Exception, match=r"--interval"):
            call_command("letsgo", "top", "--interval", given, stdout=io.StringIO())


@pytest.mark.django_db(transaction=True)
def test_ctrl_c_at_a_terminal_is_how_it_ends_well(test_database_url):
    enqueue("t:x", queue="mails")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": test_database_url, "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, str(MANAGE), "letsgo", "top", "--interval", "1s"],
        env={**environment, "DJANGO_SETTINGS_MODULE": "testproject.settings", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    shown = bytearray()

    def read():
        while True:
            try:
                shown.extend(os.read(ours, 65536))
            except OSError:  # the other end is closed
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        wait_until(lambda: shown.count(b"\x1b[2J\x1b[H") >= 2, what="a second look")
        wait_until(lambda: shown.count(b"mails") >= 2, what="its queue")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, b"")
    finally:
        process.kill()
        process.wait()
        reader.join(10)
        os.close(ours)
