"""letsgo type list, pause, resume: one kind of work is held back, and everybody can see it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from django_letsgo_worker import enqueue, enqueue_many, registry
from django_letsgo_worker.inspection import work
from django_letsgo_worker.messages import pause_type, paused_types
from django_letsgo_worker.models import Process

from .test_output import letsgo, refusal

pytestmark = pytest.mark.django_db

KEYS = [
    "name", "state", "waiting", "capped", "queues", "ended_per_minute", "failed_share", "last_success",
    "workers", "paused_at", "paused_by", "pause_reason", "resume_at",
]  # fmt: skip


def listed():
    return {row["name"]: row for row in letsgo("type", "list", "--json").json}


@pytest.fixture
def worker():
    """A living worker that knows mail:send."""
    now = datetime.now(UTC)
    facts = {"host": "h", "pid": 7, "started_at": now, "heartbeat_at": now, "types": ["mail:send"]}
    return Process.objects.create(kind="worker", name="web-1", **facts)


def test_the_list_has_what_is_known_what_waits_and_what_is_paused(worker, handle):
    handle("t:here")(lambda delivery: None)
    enqueue_many([("t:strange", n) for n in range(3)])
    enqueue("t:strange", queue="other", delay=3600)
    pause_type("t:gone", by="ada", reason="the move", seconds=600)

    rows = listed()

    assert all(list(row) == KEYS for row in rows.values())
    assert set(rows) == {*registry.types(), "mail:send", "t:strange", "t:gone"}
    assert rows["mail:send"]["workers"] == ["web-1"]
    assert (rows["t:strange"]["waiting"], rows["t:strange"]["capped"]) == (4, False)
    assert rows["t:strange"]["queues"] == ["default", "other"]
    assert rows["t:strange"]["last_success"] is None
    gone = rows["t:gone"]
    assert (gone["state"], gone["paused_by"], gone["pause_reason"]) == ("paused", "ada", "the move")
    assert rows["t:here"]["state"] == "open" and rows["t:here"]["paused_at"] is None
    text = letsgo("type", "list").out
    assert "the move" in text and "web-1" in text


def test_a_count_that_ends_at_the_head_of_a_long_lane_says_so(monkeypatch):
    monkeypatch.setattr(work, "LOOK_AT", 3)
    enqueue_many([("t:long", n) for n in range(5)], delay=3600)

    assert (listed()["t:long"]["waiting"], listed()["t:long"]["capped"]) == (3, True)
    (line,) = [line for line in letsgo("type", "list").lines if line.startswith("t:long")]
    assert "3+" in line


def test_a_type_is_paused_and_resumed(worker):
    said = letsgo("type", "pause", "mail:send", "--reason", "ticket 4711", "--for", "30m")

    assert said.out == ""
    assert said.err.startswith("Type 'mail:send' is paused until ")
    row = paused_types()["mail:send"]
    assert (row.pause_reason, row.resume_at - row.paused_at) == ("ticket 4711", timedelta(minutes=30))
    assert row.paused_by

    assert letsgo("type", "resume", "mail:send").err == "Type 'mail:send' resumed.\n"
    assert letsgo("type", "resume", "mail:send").err == "Type 'mail:send' was not paused.\n"
    assert paused_types() == {}


def test_both_answer_in_json(worker):
    paused = letsgo("type", "pause", "mail:send", "--json").json
    assert list(paused) == ["name", "paused_at", "paused_by", "pause_reason", "resume_at"]
    assert letsgo("type", "resume", "mail:send", "--json").json == {"name": "mail:send", "was_paused": True}
    assert letsgo("type", "resume", "mail:send", "--json").json == {"name": "mail:send", "was_paused": False}


def test_a_type_that_nobody_has_heard_of_is_paused_with_a_warning(worker):
    said = letsgo("type", "pause", "mail:sned", "--json")

    assert "mail:sned" in paused_types()
    assert said.err == (
        "Nothing has a handler for 'mail:sned', and no such message was met. Did you mean 'mail:send'?\n"
    )
    assert said.json["name"] == "mail:sned"


def test_what_waits_or_is_known_is_paused_without_a_warning(worker):
    enqueue("t:strange")

    for name in ("t:strange", "mail:send"):
        assert letsgo("type", "pause", name, "--json").err == ""


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_what_is_no_type_is_refused_in_one_sentence(verb):
    assert refusal("type", verb, "no such") == (
        "The type 'no such' is refused: use letters, digits and the signs _ . : - only."
    )
