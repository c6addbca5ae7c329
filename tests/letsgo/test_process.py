"""letsgo as a process of its own, without a terminal: exit codes, and what goes to which stream."""

from __future__ import annotations

import json

import pytest

from django_letsgo_worker import enqueue, schedules
from django_letsgo_worker.models import Message, Process, ScheduledJob
from tests.support import wait_until

from .test_output import dead_letter, everything

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def letsgo(manage):
    """Run `manage.py letsgo ...` to its end; return exit code, stdout, stderr."""

    def run(*words: object, **options: object) -> tuple[int, str, str]:
        process = manage("letsgo", *words, **options)
        code = process.wait()
        return code, "".join(process.stdout), "".join(process.stderr)

    return run


def test_a_schedule_from_its_birth_to_its_end(letsgo):
    code, out, err = letsgo(
        "schedule", "add", "nightly", "30 2 * * *", "report", "--timezone", "Europe/Berlin"
    )
    assert (code, len(out.splitlines())) == (0, 5)
    assert "Schedule 'nightly' was added" in err

    code, out, err = letsgo("schedule", "list", "--json")
    assert (code, [one["name"] for one in json.loads(out)], err) == (0, ["nightly"], "")

    code, out, err = letsgo("schedule", "delete", "nightly")
    assert (code, out) == (1, "")
    assert "--noinput" in err and "Traceback" not in err
    assert ScheduledJob.objects.exists()

    code, out, err = letsgo("schedule", "delete", "nightly", "--noinput")
    assert (code, out) == (0, "")
    assert not ScheduledJob.objects.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("schedule", "add", "a", "0 0 30 2 *", "t"),
        ("enqueue", "t", "{bad"),
        ("dead", "redrive", "--all"),
        ("queue", "purge", "default"),
        ("worker", "stop", "nobody"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_sentence_exit_code_1_and_nothing_changed(letsgo, words):
    for id in (1, 2):
        dead_letter(id)
    enqueue("t:x")
    before = everything()

    code, out, err = letsgo(*words)

    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1 and err.startswith("CommandError: ")
    assert everything() == before


@pytest.mark.parametrize(
    "words", [(), ("schedule",), ("schedule", "add", "a"), ("enqueue", "t", "--delay", "soon")], ids=" ".join
)
def test_wrong_usage_is_exit_code_2(letsgo, words):
    code, out, err = letsgo(*words)
    assert (code, out) == (2, "")
    assert err.startswith("usage: ")


def test_what_is_printed_for_programs_is_json_alone(letsgo):
    enqueue("t:x", {"seen": "hidden-value"})
    for words in (("status",), ("info",), ("handlers",), ("queue", "list"), ("message", "list")):
        code, out, err = letsgo(*words, "--json")
        assert (code, err) == (0, "")
        assert json.loads(out)
        assert "hidden-value" not in out


def test_a_message_is_enqueued_from_a_pipe_that_cannot_say_umlauts(letsgo, tmp_path):
    (tmp_path / "payload").write_text('{"wer": "Jürgen"}', encoding="utf-8")
    code, out, _ = letsgo(
        "enqueue", "t:x", f"@{tmp_path / 'payload'}", env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    )
    assert (code, out) == (0, f"{Message.objects.get().pk}\n")
    code, out, _ = letsgo("message", "show", out.strip(), "--payload", env={"PYTHONIOENCODING": "ascii"})
    assert code == 0
    assert "J\\xfcrgen" in out


def test_a_database_without_tables_or_without_a_server_is_one_sentence(letsgo, tmp_path):
    for url, words in (
        (f"sqlite:///{tmp_path / 'empty.sqlite3'}", "manage.py migrate"),
        ("postgres://nobody@127.0.0.1:1/nowhere", "does not answer"),
    ):
        code, out, err = letsgo("status", env={"DATABASE_URL": url})
        assert (code, out) == (1, "")
        assert words in err and len(err.splitlines()) == 1


def test_a_worker_is_listed_and_stops_when_it_is_told_to(letsgo, manage):
    lease = {"LETSGO_WORKER_LEASE_SECONDS": "3"}  # it reads its row three times in a lease
    worker = manage("runworker", "--name", "web", "--with-scheduler", env=lease)
    wait_until(lambda: Process.objects.filter(kind="worker").exists(), what="its row")

    code, out, _ = letsgo("worker", "list", "--json")
    assert (code, [one["name"] for one in json.loads(out)]) == (0, ["web"])
    code, _, err = letsgo("worker", "stop", "web")
    assert code == 0
    assert "asked to stop" in err

    assert worker.wait(60) == 0
    assert Process.objects.get(kind="worker").state == "stopped"


def test_schedules_go_through_a_pipe_and_back(manage, tmp_path, letsgo):
    schedules.add("a", "rate(5 minutes)", "t", {"card": "4111"})
    _, exported, _ = letsgo("schedule", "export")
    (tmp_path / "schedules.json").write_text(exported)
    ScheduledJob.objects.all().delete()
    code, out, _ = letsgo("schedule", "import", tmp_path / "schedules.json")
    assert (code, out) == (0, "added 1, changed 0, unchanged 0\n")
    assert ScheduledJob.objects.get().payload == {"card": "4111"}
