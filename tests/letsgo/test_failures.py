"""letsgo failures: what fails, in a list and one by one, for people and for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from django_letsgo_worker import enqueue
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.failures import FailedAttempts, hour_of, record
from django_letsgo_worker.inspection import failure_groups as reading
from django_letsgo_worker.models import Message

from .test_output import dead_letter, letsgo, refusal

pytestmark = pytest.mark.django_db

TRACEBACK = """Traceback (most recent call last):
  File "/srv/venv/lib/python3.13/site-packages/stripe/_api.py", line 7, in request
    raise error
  File "/srv/shop/handlers.py", line 3, in charge
    stripe.charge(card)
shop.errors.Declined: card 4242 was declined
"""


# An id that no message of these tests is given.
DEAD = 7_000_000


@pytest.fixture
def two():
    """A failure that is retried and dead, and one that is over."""
    now = engine_for("default").clock()
    for fingerprint, ago in (("aa11", timedelta(0)), ("bb22", timedelta(hours=5))):
        record(
            [
                FailedAttempts(
                    type="t:dead",
                    fingerprint=fingerprint,
                    error_class="shop.errors.Declined",
                    message="card 4242 was declined",
                    traceback=TRACEBACK,
                    first_at=now - ago,
                    last_at=now - ago,
                    hours={hour_of(now - ago): 2},
                    message_id=DEAD,
                )
            ]
        )
    live = enqueue("t:dead").pk
    Message.objects.filter(pk=live).update(error_fingerprint="aa11")
    dead_letter(DEAD, error_fingerprint="aa11")
    return live


def test_the_list_says_what_fails_and_how_many_messages_it_has(two):
    first, second = letsgo("failures", "list").lines[1:]

    assert first.split()[:3] == ["aa11", "retrying", "t:dead"]
    assert "Declined: card 4242 was declined" in first and "shop.errors" not in first
    assert second.split()[:2] == ["bb22", "over"]


def test_programs_get_all_facts_and_moments_in_utc(two):
    first, _ = letsgo("failures", "list", "--json").json

    assert list(first) == [
        "fingerprint", "type", "state", "error_class", "message", "retrying", "dead", "capped", "count",
        "first_at", "last_at", "began", "versions", "trend", "last_message_id",
    ]  # fmt: skip
    assert (first["retrying"], first["dead"], first["capped"], first["trend"][-1]) == (1, 1, False, 2)
    assert datetime.fromisoformat(first["last_at"]).tzinfo == UTC


def test_a_capped_count_ends_in_a_plus_and_programs_are_told(two, monkeypatch):
    monkeypatch.setattr(reading, "MOST_COUNTED", 1)
    monkeypatch.setattr(reading, "LEAST_COUNTED", 1)
    dead_letter(8, error_fingerprint="aa11")

    assert " 1+ " in letsgo("failures", "list").out
    first = letsgo("failures", "list", "--json").json[0]
    assert (first["dead"], first["capped"]) == (1, True)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--state", "over"), ["bb22"]),
        (("--since", "2h"), ["aa11"]),
        (("--since", "2020-01-01T00:00:00Z"), ["aa11", "bb22"]),
        (("--queue", "default"), ["aa11"]),
        (("--type", "t:none"), []),
        (("--limit", "1"), ["aa11"]),
    ],
)
def test_options_narrow_it(two, options, found):
    assert [row["fingerprint"] for row in letsgo("failures", "list", "--json", *options).json] == found


def test_one_is_shown_by_the_beginning_of_its_fingerprint_with_own_frames_and_what_to_press(two):
    said = letsgo("failures", "show", "aa")

    assert "handlers.py" in said.out and "site-packages" not in said.out
    assert f"{two}, {DEAD}" in said.out
    assert "letsgo dead redrive --fingerprint aa11 --type t:dead --one-first" in said.err
    assert "letsgo message retry --fingerprint aa11 --type t:dead" in said.err


def test_programs_get_the_whole_traceback_and_the_commands(two):
    shown = letsgo("failures", "show", "aa11", "--json").json

    assert shown["last_traceback"] == TRACEBACK
    assert shown["messages"] == [two, DEAD]
    assert [command["verb"] for command in shown["commands"]] == ["redrive", "retry"]
    assert letsgo("failures", "show", "bb", "--json").json["commands"] == []


def test_what_is_not_there_is_said_in_one_sentence(two):
    assert (
        refusal("failures", "show", "cc") == "There is no failure whose fingerprint is or begins with 'cc'."
    )
