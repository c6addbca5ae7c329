"""asyncjobs' command line, as `manage.py letsgo` (rows A5, A10 to A12, and A18)."""

# ruff: noqa: N802  (a row is called by its id: L7, A3)

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command

from django_letsgo_worker import Reject, enqueue, messages, schedules
from django_letsgo_worker.models import Message, ScheduledJob

pytestmark = pytest.mark.django_db(transaction=True)


def letsgo(*arguments):
    """Call the command; return what it writes to stdout."""
    stdout = io.StringIO()
    call_command("letsgo", *map(str, arguments), stdout=stdout, stderr=io.StringIO())
    return stdout.getvalue()


def test_A5_on_the_command_line_yearly_needs_no_sign():
    letsgo("schedule", "add", "x", "yearly", "t:x")

    assert ScheduledJob.objects.get().schedule == "@yearly"


def test_A10_a_schedule_is_added_with_all_its_facts_and_its_next_runs_are_shown():
    said = letsgo(
        *("schedule", "add", "mails", "@every 10m", "mail:send", "--queue", "mails", "--deadline", "1h30m"),
        *("--payload", '{"to": "all"}', "--max-attempts", 3),
    )

    job = ScheduledJob.objects.get()
    assert (job.queue, job.deadline.total_seconds(), job.max_attempts) == ("mails", 5400, 3)
    assert job.payload == {"to": "all"}
    assert f"{job.next_run_at:%H:%M}" in said


@pytest.mark.parametrize(
    "bad",
    [
        ("x", "*/90 * * * *", "t:x"),
        ("x", "@hourly", "with space"),
        ("x", "@hourly", "t:x", "--timezone", "Mars/Phobos"),
        ("x", "@hourly", "t:x", "--payload", "{"),
        ("there", "@hourly", "t:x"),
    ],
)
def test_A10_bad_input_is_one_sentence_and_saves_nothing(bad):
    schedules.add("there", "@daily", "t:there")

    with pytest.raises(CommandError) as caught:
        letsgo("schedule", "add", *bad)

    assert caught.value.returncode == 1
    assert len(str(caught.value).splitlines()) == 1
    assert ScheduledJob.objects.get().schedule == "@daily"


def test_A10_from_a_shell_bad_input_is_exit_1_with_one_sentence(manage):
    done = manage("letsgo", "schedule", "add", "x", "*/90 * * * *", "t:x")

    assert done.wait() == 1
    assert "rate(90 minutes)" in done.output
    assert "Traceback" not in done.output


def test_A11_schedules_are_listed_shown_and_deleted():
    schedules.add("x", "@hourly", "t:x")
    schedules.add("y", "@daily", "t:y")

    assert letsgo("schedule", "list", "--names").split() == ["x", "y"]
    assert [row["name"] for row in json.loads(letsgo("schedule", "list", "--json"))] == ["x", "y"]
    assert json.loads(letsgo("schedule", "show", "x", "--json"))["type"] == "t:x"
    letsgo("schedule", "delete", "x", "--noinput")
    with pytest.raises(CommandError, match="There is no schedule named 'x'"):
        letsgo("schedule", "delete", "x", "--noinput")
    assert letsgo("schedule", "list", "--names").split() == ["y"]


def test_A11_without_a_terminal_nothing_is_deleted_unasked(manage):
    schedules.add("x", "@hourly", "t:x")

    assert manage("letsgo", "schedule", "delete", "x").wait() == 1
    assert ScheduledJob.objects.exists()


def test_A12_info_tells_who_lives_the_queues_the_engine_and_the_versions():
    enqueue("t:x", queue="mails")

    said = letsgo("info")

    for word in ("Version", "Django", "Engine", "Workers", "Schedulers"):
        assert word in said
    assert json.loads(letsgo("info", "--json"))
    assert "mails" in letsgo("queue", "list")


def test_A18_messages_and_dead_letters_have_their_verbs(handle, ended):
    @handle("t:x")
    def reject(delivery):
        raise Reject("no")

    dead = ended(enqueue("t:x", {"secret": 1}))
    waits = enqueue("t:y")

    assert [row["id"] for row in json.loads(letsgo("message", "list", "--json"))] == [waits.pk]
    assert [row["id"] for row in json.loads(letsgo("dead", "list", "--json"))] == [dead.pk]
    assert "secret" not in letsgo("dead", "show", dead.pk)
    letsgo("dead", "redrive", dead.pk)
    letsgo("message", "cancel", waits.pk)
    assert Message.objects.get().pk == dead.pk
    assert messages.find(waits.pk).outcome == "cancelled"
    again = ended(Message.objects.get())
    letsgo("dead", "discard", again.pk, "--noinput")
    enqueue("t:y", queue="mails")
    letsgo("queue", "purge", "mails", "--noinput")
    assert not Message.objects.exists()
