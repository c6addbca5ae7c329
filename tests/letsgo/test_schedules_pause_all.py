"""letsgo schedule pause-all, resume-all: one switch for all schedules, and what the other verbs say of it."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError

from django_letsgo_worker import schedules
from django_letsgo_worker.models import SchedulesPause

from .test_output import everything, letsgo, refusal

pytestmark = pytest.mark.django_db

LATER = datetime(2099, 1, 1, 9, tzinfo=UTC)


def present():
    return schedules.present_pause("default", datetime.now(UTC))


@pytest.fixture
def nightly():
    return schedules.add("nightly", "30 2 * * *", "report")


def test_all_are_paused_and_resumed():
    said = letsgo("schedule", "pause-all", "--reason", "the move", "--for", "30m")

    assert said.out == ""
    assert said.err.startswith("All schedules are paused until ")
    assert said.err.endswith("; messages that wait still run.\n")
    pause = present()
    assert (pause.paused_by, pause.pause_reason) == (getpass.getuser(), "the move")
    assert abs(pause.resume_at - pause.paused_at - timedelta(minutes=30)) < timedelta(seconds=10)

    assert letsgo("schedule", "resume-all").err == "All schedules resumed.\n"
    assert letsgo("schedule", "resume-all").err == "All schedules were not paused.\n"
    assert present() is None
    assert SchedulesPause.objects.get().resumed_by == getpass.getuser()


def test_the_end_can_be_a_time_and_the_name_anothers():
    letsgo("schedule", "pause-all", "--until", LATER.isoformat(), "--by", "anna")
    assert (present().paused_by, present().resume_at) == ("anna", LATER)

    assert letsgo("schedule", "pause-all").err.startswith("All schedules are paused; ")
    assert present().resume_at is None

    letsgo("schedule", "resume-all", "--by", "ben")
    assert SchedulesPause.objects.get().resumed_by == "ben"


def test_both_answer_in_json():
    paused = letsgo("schedule", "pause-all", "--by", "anna", "--until", LATER.isoformat(), "--json").json
    assert list(paused) == ["paused_at", "paused_by", "pause_reason", "resume_at"]
    assert (paused["paused_by"], paused["resume_at"]) == ("anna", LATER.isoformat())
    assert [letsgo("schedule", "resume-all", "--json").json for _ in range(2)] == [
        {"was_paused": True}, {"was_paused": False},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--until", "2020-01-01T09:00:00+00:00"], "until is past: 2020-01-01T09:00:00+00:00."),
        (["--until", "2099-01-01T09:00:00"], "until needs a time zone: "),
        (["--by", "x" * 151], "by is longer than 150 characters."),
        (["--reason", "x" * 256], "reason is longer than 255 characters."),
        (["--reason", "\udcff"], "reason "),
    ],
)
def test_what_it_cannot_take_is_refused_and_changes_nothing(options, sentence):
    before = everything()
    assert refusal("schedule", "pause-all", *options).startswith(sentence)
    assert everything() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--until", "tomorrow"], "a time such as 2027-01-01T09:00:00"),
        (["--for", "soon"], "a duration such as 90s"),
        (["--for", "1h", "--until", LATER.isoformat()], "not allowed with argument"),
    ],
)
def test_what_is_no_time_is_wrong_usage(options, words):
    with pytest.raises(CommandError, match=words):
        letsgo("schedule", "pause-all", *options)
    assert present() is None


def test_status_says_it(nightly):
    schedules.pause_all(by="anna", reason="the move", until=LATER)

    found = letsgo("status", "--json").json
    assert found["schedules"]["pause"]["paused_by"] == "anna"
    assert found["schedules"]["pause"]["resume_at"] == LATER.isoformat()
    assert found["schedules"]["on"] == 1
    assert ("schedules_paused", "notice") in {(one["code"], one["severity"]) for one in found["problems"]}
    text = letsgo("status").out
    assert "all schedules are paused until 2099-01-01 " in text
    assert "! All schedules are paused by anna since " in text

    schedules.resume_all()
    text = letsgo("status").out
    assert "paused" not in text and "nightly in " in text


@pytest.mark.parametrize("words", [["list"], ["show", "nightly"], ["next", "nightly"]], ids=" ".join)
def test_who_looks_at_schedules_is_told_so_beside_the_data(nightly, words):
    before = letsgo("schedule", *words)
    schedules.pause_all(by="anna", reason="the move")

    said = letsgo("schedule", *words)

    assert "All schedules are paused by anna since " in said.err and said.err.endswith(": the move.\n")
    assert said.out.splitlines()[0] == before.out.splitlines()[0]
    assert "paused" not in before.err
