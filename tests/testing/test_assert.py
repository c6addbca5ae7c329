"""testing.assert_enqueued(): which messages wait, and what a failure says."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import ANY

import pytest

from django_letsgo_worker import enqueue, messages, schedules
from django_letsgo_worker.errors import InvalidMessage
from django_letsgo_worker.models import Message
from django_letsgo_worker.testing import assert_enqueued, fire_due

pytestmark = pytest.mark.django_db


def refusal(*arguments, **fields):
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(*arguments, **fields)
    return str(caught.value)


def test_one_message_of_the_type_is_returned():
    enqueue("t:other")
    message = enqueue("t:it", {"n": 1})

    (found,) = assert_enqueued("t:it")

    assert isinstance(found, Message)
    assert (found.pk, found.payload) == (message.pk, {"n": 1})


def test_as_many_as_are_expected_are_returned_in_order():
    ids = [enqueue("t:it", n).pk for n in range(3)]

    assert [message.pk for message in assert_enqueued("t:it", count=3)] == ids


def test_none_is_expected_by_a_count_of_zero():
    assert assert_enqueued("t:it", count=0) == []
    enqueue("t:it")
    assert "Expected 0 live messages of the type 't:it'; found 1." in refusal("t:it", count=0)


def test_fields_choose_among_messages_of_a_type():
    enqueue("t:it", {"n": 1}, queue="a")
    wanted = enqueue("t:it", {"n": 2}, queue="b", priority=5, max_attempts=3, unique_key="k")

    for fields in (
        {"payload": {"n": 2}},
        {"queue": "b"},
        {"priority": 5},
        {"unique_key": "k"},
        {"payload": {"n": 2}, "queue": "b", "max_attempts": 3, "attempts": 0},
        {"payload": {"n": ANY}, "queue": "b"},
        {"id": wanted.pk},
    ):
        assert [message.pk for message in assert_enqueued("t:it", **fields)] == [wanted.pk]
    assert "found 0" in refusal("t:it", payload={"n": 2}, queue="a")


def test_a_tuple_is_the_list_that_it_became():
    enqueue("t:it", {"ids": (1, 2)})

    assert_enqueued("t:it", payload={"ids": (1, 2)})
    assert_enqueued("t:it", payload={"ids": [1, 2]})


def test_a_number_and_its_text_are_told_apart():
    enqueue("t:it", {"n": 1})

    assert "found 0" in refusal("t:it", payload={"n": "1"})


@pytest.mark.parametrize("delay", [90, 90.0, timedelta(seconds=90)])
def test_a_delay_is_asked_for_as_it_was_given(delay):
    enqueue("t:it", delay=90)

    assert_enqueued("t:it", delay=delay)
    assert "delay=" in refusal("t:it", delay=91)
    with pytest.raises(InvalidMessage, match="delay is a number of seconds"):
        assert_enqueued("t:it", delay="soon")


def test_a_planned_time_can_be_asked_for():
    job = schedules.add("it", "rate(1 hour)", "t:it")
    fire_due(job.next_run_at)

    assert_enqueued("t:it", planned_at=job.next_run_at, scheduled_job_id=job.pk)


def test_what_has_ended_is_not_counted():
    messages.cancel(enqueue("t:it").pk)

    assert_enqueued("t:it", count=0)


def test_a_failure_says_what_is_there_instead():
    near = enqueue("t:it", {"n": 1}, queue="a")
    enqueue("t:other")
    enqueue("t:other")
    enqueue("t:third")

    assert refusal("t:it", payload={"n": 2}, priority=7).splitlines() == [
        "Expected 1 live message of the type 't:it' with payload={'n': 2}, priority=7; found 0.",
        "Messages of this type: 1.",
        f"  {near.pk}: payload={{'n': 1}}, queue='a', priority=0",
        "Of other types: t:other (2), t:third (1).",
    ]


def test_a_failure_shows_some_of_many_and_a_part_of_what_is_long():
    for _ in range(30):
        enqueue("t:it", "x" * 10_000)

    said = refusal("t:it")

    assert "Messages of this type: 30." in said
    assert len(said.splitlines()) == 13
    assert len(said) < 10_000


def test_nothing_at_all_is_said_too():
    assert refusal("t:it").splitlines()[1:] == ["Messages of this type: none.", "Of other types: none."]


def test_what_is_no_field_is_refused():
    with pytest.raises(TypeError, match="A message has no field 'color'; it has attempts, "):
        assert_enqueued("t:it", color="red")
