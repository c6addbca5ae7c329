"""letsgo: what goes where and in which form, what argparse refuses, and what a terminal may be told."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper
from django.db import OperationalError
from django.test import override_settings

from django_letsgo_worker import enqueue, messages, queues, schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.errors import InvalidMessage
from django_letsgo_worker.management.letsgo import formats
from django_letsgo_worker.management.letsgo.console import Console
from django_letsgo_worker.models import (
    ArchivedMessage,
    DeadLetter,
    Message,
    Process,
    Queue,
    ScheduledJob,
    SchedulesPause,
)

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class Said:
    """What a call wrote."""

    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self):
        return self.out.splitlines()


def letsgo(*arguments: object, **options: object) -> Said:
    """Call the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    call_command("letsgo", *[str(argument) for argument in arguments], stdout=out, stderr=err, **options)
    return Said(out.getvalue(), err.getvalue())


def refusal(*arguments: object, **options: object) -> str:
    """Call the command, which must refuse; return its sentence."""
    with pytest.raises(CommandError) as refused:
        letsgo(*arguments, **options)
    assert refused.value.returncode == 1
    return str(refused.value)


def dead_letter(id: int, *, type: str = "t:dead", error: str = "shop.errors.Declined", **fields: object):
    """Put a dead letter into the archive."""
    now = datetime.now(UTC)
    facts = {"payload": {"n": id}, "enqueued_at": now, "visible_at": now, "finished_at": now, "attempts": 3}
    facts |= {"outcome": "dead", "error_class": error, "error_fingerprint": "f", **fields}
    return DeadLetter.objects.create(id=id, type=type, **facts)


def everything() -> list:
    """All rows that a command could change, to be compared."""
    models = (Message, ArchivedMessage, ScheduledJob, SchedulesPause, Queue, Process)
    return [list(model.objects.order_by("pk").values()) for model in models]


PRINTING = [
    ("status",),
    ("info",),
    ("handlers",),
    ("prune",),
    ("enqueue", "t:x", "1"),
    ("schedule", "list"),
    ("schedule", "list", "--names"),
    ("schedule", "show", "nightly"),
    ("schedule", "add", "new", "hourly", "t:x"),
    ("schedule", "delete", "nightly", "--noinput"),
    ("schedule", "enable", "nightly"),
    ("schedule", "disable", "nightly"),
    ("schedule", "run", "nightly"),
    ("schedule", "pause-all"),
    ("schedule", "resume-all"),
    ("schedule", "next", "nightly"),
    ("schedule", "export"),
    ("message", "list"),
    ("message", "show", "MESSAGE"),
    ("message", "cancel", "MESSAGE"),
    ("dead", "list"),
    ("dead", "show", "1001"),
    ("dead", "redrive", "1001"),
    ("dead", "discard", "--all", "--noinput"),
    ("queue", "list"),
    ("queue", "pause", "default"),
    ("queue", "resume", "default"),
    ("queue", "purge", "default", "--noinput"),
    ("worker", "list"),
    ("worker", "stop", "web"),
]


@pytest.fixture
def some_of_everything():
    """A schedule, a message, a dead letter and a worker."""
    schedules.add("nightly", "30 2 * * *", "t:x", {"secret": "s", "seen": "hidden-value"})
    dead_letter(1001)
    now = datetime.now(UTC)
    Process.objects.create(kind="worker", name="web", host="h", pid=1, started_at=now, heartbeat_at=now)
    return enqueue("t:x", {"seen": "hidden-value"}).pk


class TestForPrograms:
    @pytest.mark.parametrize("words", PRINTING, ids=" ".join)
    def test_each_verb_prints_one_json_document_and_nothing_beside_it(self, some_of_everything, words):
        words = [some_of_everything if word == "MESSAGE" else word for word in words]
        said = letsgo(*words, "--json")
        assert isinstance(said.json, (dict, list))
        if words[-1] != "export":
            assert "hidden-value" not in said.out + said.err

    @pytest.mark.parametrize("words", PRINTING, ids=" ".join)
    def test_each_verb_speaks_to_people_without_showing_payloads(self, some_of_everything, words):
        words = [some_of_everything if word == "MESSAGE" else word for word in words]
        said = letsgo(*words)
        assert said.out + said.err
        assert "\x1b" not in said.out + said.err
        if words[-1] != "export":
            assert "hidden-value" not in said.out + said.err

    def test_times_are_iso_in_utc_lengths_are_seconds_and_the_rest_is_text(self):
        east = timezone(timedelta(hours=2))
        value = {
            "at": datetime(2027, 1, 1, 9, tzinfo=east),
            "for": timedelta(minutes=1, milliseconds=500),
            "id": UUID(int=1),
        }
        assert json.loads(formats.as_json(value)) == {
            "at": "2027-01-01T07:00:00+00:00",
            "for": 60.5,
            "id": "00000000-0000-0000-0000-000000000001",
        }

    def test_verbosity_0_silences_the_chatter_and_not_the_data(self):
        said = letsgo("enqueue", "t:unknown", verbosity=0)
        assert (said.lines, said.err) == ([str(Message.objects.get().pk)], "")

    def test_options_of_django_are_taken_behind_the_verb_too(self):
        assert letsgo("worker", "list", "--verbosity", "0", "--no-color").err == ""
        assert letsgo("worker", "list", "--no-color").err == "None found.\n"


class TestUsage:
    @pytest.mark.parametrize(
        "words",
        [
            (),
            ("schedule",),
            ("schedule", "paint"),
            ("schedule", "add", "a"),
            ("schedule", "add", "a", "hourly", "t", "--misfire", "sometimes"),
            ("schedule", "add", "a", "hourly", "t", "--priority", "high"),
            ("schedule", "add", "a", "hourly", "t", "--deadline", "soon"),
            ("schedule", "next", "hourly", "-n", "0"),
            ("schedule", "disable", "a", "--for", "1w"),
            ("enqueue", "t", "--delay", "5"),
            ("enqueue", "t", "--delay", "5s", "--at", "2027-01-01T00:00:00Z"),
            ("enqueue", "t", "--at", "tomorrow"),
            ("message", "list", "--state", "lost"),
            ("message", "list", "--limit", "-1"),
            ("message", "show", "five"),
            ("queue", "pause"),
            ("prune", "now"),
        ],
        ids=" ".join,
    )
    def test_what_argparse_can_check_changes_nothing(self, words):
        before = everything()
        with pytest.raises(CommandError, match=r"^Error: "):
            letsgo(*words)
        assert everything() == before

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("1d2h3m4s", 93_784), ("0s", 0)],
    )
    def test_a_duration_is_read(self, text, seconds):
        assert formats.duration(text) == timedelta(seconds=seconds)

    @pytest.mark.parametrize(
        "text", ["", "90", "s", "1m1h", "-5s", "1.5h", "5 m", "1w", "٣s", "9999999999999d", "5M"]
    )
    def test_a_duration_that_is_none_is_refused(self, text):
        with pytest.raises(formats.argparse.ArgumentTypeError):
            formats.duration(text)


class TestWhatAPersonMustRepair:
    def test_a_fault_of_the_database_is_one_sentence(self, monkeypatch):
        def fails(*_):
            raise OperationalError("the server went away\nwith details")

        monkeypatch.setattr(type(engine_for("default")), "lanes", fails)
        assert refusal("queue", "list") == "The database 'default' does not answer: the server went away"

    @override_settings(LETSGO_WORKER={"CONCURENCY": 1})
    def test_a_setting_that_is_wrong_is_one_sentence(self):
        assert "CONCURRENCY" in refusal("status")

    def test_an_interruption_is_no_traceback(self, monkeypatch):
        def interrupted(_):
            raise KeyboardInterrupt

        monkeypatch.setattr(messages.Pruning, "batches", interrupted)
        with pytest.raises(CommandError) as stopped:
            letsgo("prune")
        assert stopped.value.returncode == 130

    def test_an_error_that_nobody_foresaw_stays_what_it_is(self, monkeypatch):
        monkeypatch.setattr(messages.Pruning, "batches", lambda _: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            letsgo("prune")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def printer(out: io.StringIO, err: io.StringIO | None = None, **options: object) -> Console:
    defaults = {"verbosity": 1, "no_color": False, "force_color": False}
    return Console(OutputWrapper(out), OutputWrapper(err or io.StringIO()), {**defaults, **options})


@pytest.fixture
def without_rich(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rich", None)


ROWS = [{"name": "a[red]", "state": "on", "count": 5}, {"name": "b\x1b[2J", "state": "off", "count": 1000}]


class TestForPeople:
    def test_elsewhere_than_on_a_terminal_a_table_is_aligned_text(self):
        out = io.StringIO()
        printer(out).rows(ROWS, ["name", "state", "count"])
        assert out.getvalue().splitlines() == [
            "name      state  count",
            "a[red]    on         5",
            r"b\x1b[2J  off     1000",
        ]

    def test_on_a_terminal_rich_draws_it_in_colours_and_hostile_text_steers_nothing(self, monkeypatch):
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)
        out = Terminal()
        printer(out).rows(ROWS, ["name", "state", "count"])
        assert "\x1b[32mon" in out.getvalue()
        assert "a[red]" in out.getvalue() and r"\x1b[2J" in out.getvalue()

    def test_no_color_keeps_the_table_and_drops_the_colours(self):
        out = Terminal()
        printer(out, no_color=True).rows(ROWS, ["name", "state", "count"])
        assert "─" in out.getvalue() and "\x1b[32m" not in out.getvalue()

    def test_on_a_terminal_without_rich_it_is_aligned_text(self, without_rich):
        out = Terminal()
        printer(out).rows(ROWS, ["name", "state", "count"])
        assert out.getvalue().splitlines()[1] == "a[red]    on         5"

    def test_what_a_terminal_cannot_show_is_written_as_its_code(self):
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        printer(out).line("ä")
        out.flush()
        assert out.buffer.getvalue() == b"\\xe4\n"

    @pytest.mark.parametrize("rich", [True, False])
    def test_progress_is_shown_on_a_terminal_only(self, rich, request):
        if not rich:
            request.getfixturevalue("without_rich")
        shown, hidden = Terminal(), io.StringIO()
        for err in (shown, hidden):
            with printer(io.StringIO(), err).progress("work", 2) as advance:
                advance(1)
                advance(1)
        assert "work" in shown.getvalue()
        assert hidden.getvalue() == ""

    @pytest.mark.parametrize(
        ("answer", "goes_on"), [("y\n", True), ("YES\n", True), ("\n", False), ("", False)]
    )
    def test_at_a_terminal_it_asks_and_takes_silence_for_no(self, answer, goes_on, monkeypatch):
        keyboard, err = Terminal(answer), Terminal()
        monkeypatch.setattr("sys.stdin", keyboard)
        if goes_on:
            printer(io.StringIO(), err).confirm("Deleting it")
        else:
            with pytest.raises(CommandError, match=r"^Nothing was changed\.$"):
                printer(io.StringIO(), err).confirm("Deleting it")
        assert err.getvalue() == "Deleting it: are you sure? [y/N] "

    @pytest.mark.parametrize(
        ("seconds", "text"), [(0, "0s"), (59.9, "59s"), (61, "1m1s"), (7_800, "2h10m"), (200_000, "2d7h")]
    )
    def test_a_length_of_time_is_its_two_largest_units(self, seconds, text):
        assert formats.length(seconds) == text

    def test_a_distance_says_its_direction(self):
        now = datetime(2027, 1, 1, tzinfo=UTC)
        assert formats.how_far(now + timedelta(hours=2), now) == "in 2h"
        assert formats.how_far(now - timedelta(days=3), now) == "3d ago"


def test_purging_what_is_no_queue_is_refused_by_the_verb():
    with pytest.raises(InvalidMessage):
        queues.purge("a b")
