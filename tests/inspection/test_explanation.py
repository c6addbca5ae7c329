"""Why a message does not run, and what became of it: each cause made once, by the verbs that make it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.test.utils import CaptureQueriesContext, override_settings
from django.urls import clear_url_caches

from django_letsgo_worker import Snooze, enqueue, enqueue_many, inspection, messages, queues, schedules
from django_letsgo_worker.engines import AtLeast
from django_letsgo_worker.inspection import explanation
from django_letsgo_worker.models import Message, Process, ScheduledJob
from django_letsgo_worker.testing import drain
from django_letsgo_worker.validation import END_OF_TIME
from tests.inspection.troubles import MINUTE, now, process
from tests.support import table

pytestmark = pytest.mark.django_db


class ProviderDown(Exception):
    pass


CODES = """
running ready behind scheduled retrying queue_paused type_paused queue_unserved type_unknown succeeded dead
cancelled expired not_found
"""


@pytest.fixture(autouse=True)
def one_handler(own_registry, handle):
    """A type that succeeds and one that fails, and a worker of both."""

    @handle("t:bad", max_attempts=3, backoff="10m")
    def fail(delivery):
        raise ProviderDown("connect timeout")

    handle("t:x")(lambda delivery: None)
    process("web-1", types=["t:x", "t:bad"], queues=["default"], seats=8)


def explained(message):
    return inspection.explain(message.pk)


def commands(found):
    return {one["verb"]: one["command"] for one in found.actions}


def at(moment):
    return inspection.at_clock(moment, now())


# -- it waits ----------------------------------------------------------------------------------------------


def test_what_is_due_is_next_of_its_workers():
    found = explained(enqueue("t:x"))

    assert (found.code, found.state) == ("ready", "ready")
    assert re.fullmatch(r"Is next, due since \d\d:\d\d, 0s ago: web-1 takes it\.", found.sentence)


def test_where_all_seats_are_busy_that_is_said():
    Process.objects.update(busy=8)
    process("web-2", types=["t:x"], queues=["default"], seats=2, busy=2)
    found = explained(enqueue("t:x"))

    assert found.code == "ready"
    assert "web-1 or 1 more takes it when a seat is free; 10 seats are busy." in found.sentence.replace(
        "web-2", "web-1"
    )
    assert commands(found)["run"] == "manage.py runworker --queues default"


def test_a_lease_that_lapsed_is_taken_over():
    message = enqueue("t:x")
    held = process("web-9", age=600).pk
    Message.objects.filter(pk=message.pk).update(leased_by=held, leased_at=now(), attempts=1)

    assert "after web-9 let its lease lapse" in explained(message).sentence


def test_what_was_enqueued_for_later_waits_for_its_time():
    message = enqueue("t:x", delay=600)
    found = explained(message)

    assert (found.code, found.state) == ("scheduled", "scheduled")
    assert found.sentence.startswith(f"Waits until {at(message.visible_at)}, in 9m5")
    assert "it was enqueued for then. `manage.py letsgo message retry" in found.sentence
    assert commands(found) == {
        "retry": f"manage.py letsgo message retry {message.pk}",
        "cancel": f"manage.py letsgo message cancel {message.pk}",
    }
    assert found.actions[0]["url"].endswith(f"/message/{message.pk}/change/")


def test_what_its_handler_snoozed_is_said_to_be_snoozed(handle):
    @handle("t:sleepy")
    def snooze(delivery):
        raise Snooze(3600)

    message = enqueue("t:sleepy")
    drain()
    found = explained(message)

    assert (found.code, found.state) == ("scheduled", "scheduled")
    assert "its handler snoozed it" in found.sentence


@pytest.fixture
def held_back():
    """A run of a schedule that waits for an earlier one; all three."""
    job = schedules.add("nightly", "@daily", "t:x", overlap="queue")
    earlier, waiting = schedules.run_now("nightly"), schedules.run_now("nightly")
    Message.objects.filter(pk=waiting.pk).update(visible_at=END_OF_TIME)
    ScheduledJob.objects.update(waiting_message_id=waiting.pk)
    return job, earlier, waiting


def test_what_is_held_back_behind_an_earlier_run_of_its_schedule_names_that(held_back):
    _job, earlier, waiting = held_back
    found = explained(waiting)

    assert (found.code, found.state) == ("scheduled", "scheduled")
    assert found.sentence.startswith(
        f"It waits for an earlier message of its schedule to end: message {earlier.pk}. `manage.py"
    )
    assert commands(found)["cancel"] == f"manage.py letsgo message cancel {waiting.pk}"
    [enqueued] = found.timeline
    assert enqueued["sentence"].endswith(", to run after an earlier message of it.")
    assert explained(earlier).code == "ready"


def test_where_the_earlier_run_lives_no_more_none_is_named(held_back):
    _job, earlier, waiting = held_back
    messages.cancel(earlier.pk)
    assert explained(waiting).sentence.startswith(
        "It waits for an earlier message of its schedule to end. `manage.py letsgo message retry"
    )


def test_another_message_of_that_schedule_that_waits_for_its_time_is_not_held_back(held_back):
    _job, earlier, _waiting = held_back
    Message.objects.filter(pk=earlier.pk).update(visible_at=now() + 10 * MINUTE)
    assert "it was enqueued for then" in explained(earlier).sentence


def test_what_failed_waits_for_its_next_try_and_says_why():
    message = enqueue("t:bad")
    drain()
    found = explained(message)
    due = Message.objects.get(pk=message.pk).visible_at

    assert (found.code, found.state) == ("retrying", "retrying")
    assert found.sentence.startswith(f"Waits for try 2 of 3 at {at(due)}, in ")
    assert ": try 1 failed with ProviderDown: connect timeout. `manage.py letsgo" in found.sentence
    assert commands(found)["retry"] == f"manage.py letsgo message retry {message.pk}"


def test_what_will_stop_it_even_then_is_said_too():
    message = enqueue("t:bad")
    drain()
    queues.pause("default", by="anna")
    found = explained(message)

    assert found.code == "retrying"
    assert "Even then: anna paused default 0s ago." in found.sentence
    assert commands(found)["resume"] == "manage.py letsgo queue resume default"


def test_a_paused_queue_is_named_with_who_and_why():
    queues.pause("default", by="anna", reason="ticket 4711", seconds=3600)
    message = enqueue("t:x")
    found = inspection.explain(message.pk, now=now() + 8 * MINUTE)

    assert (found.code, found.state) == ("queue_paused", "ready")
    assert found.sentence.startswith("Waits: anna paused default 8m ago (ticket 4711), until ")
    assert commands(found)["resume"] == "manage.py letsgo queue resume default"

    queues.resume("default")
    assert explained(message).code == "ready"


def test_a_paused_type_is_named_with_who_and_why():
    messages.pause_type("t:x", by="ben", reason="ticket 4712")
    message = enqueue("t:x")
    found = explained(message)

    assert found.code == "type_paused"
    assert found.sentence.startswith("Waits: ben paused the type t:x 0s ago (ticket 4712).")
    assert commands(found)["resume"] == "manage.py letsgo type resume t:x"

    messages.resume_type("t:x")
    assert explained(message).code == "ready"


def test_a_queue_that_nobody_serves_names_its_last_worker():
    last = process("web-2", queues=["search"], age=3600)
    message = enqueue("t:x", queue="search")
    found = explained(message)

    assert found.code == "queue_unserved"
    assert found.sentence == (
        f"Waits: no worker serves search; the last was web-2, until {at(last.heartbeat_at)}. "
        "Run `manage.py runworker --queues search`."
    )
    assert commands(found)["run"] == "manage.py runworker --queues search"

    process("web-3", excluded_queues=["search"])
    assert explained(message).code == "queue_unserved"
    process("web-4", queues=["search"])
    assert explained(message).code == "ready"


def test_a_type_that_nobody_knows_names_what_it_is_like():
    message = enqueue("t:badd")
    found = explained(message)

    assert found.code == "type_unknown"
    assert found.sentence.startswith("Waits: no living worker has a handler for 't:badd': deploy its handler")
    assert "Did you mean 't:bad'?" in found.sentence

    process("web-2", types=["t:badd"])
    assert explained(message).code == "ready"


def test_how_many_are_before_it_in_its_lane_is_counted():
    enqueue_many([("t:x", n) for n in range(3)])
    message = enqueue("t:x")
    found = explained(message)

    assert found.code == "behind"
    assert found.sentence.startswith("Waits: 3 due messages are before it in its lane (default, priority 0).")


def test_those_before_it_that_nobody_takes_do_not_count():
    enqueue_many([("t:strange", 1), ("t:bad", 2)])
    message = enqueue("t:x")
    messages.pause_type("t:bad")

    assert explained(message).code == "ready"


def test_higher_priorities_come_first():
    message = enqueue("t:x")
    enqueue("t:x", priority=5)
    found = explained(message)

    assert found.code == "behind"
    assert "messages of a higher priority come first" in found.sentence


def test_the_count_of_those_before_it_ends_at_its_cap(monkeypatch):
    monkeypatch.setattr(explanation, "MOST_COUNTED", 2)
    enqueue_many([("t:x", n) for n in range(4)])

    assert f"{AtLeast(2)} due messages are before it" in explained(enqueue("t:x")).sentence


# -- it runs -----------------------------------------------------------------------------------------------


def test_what_runs_says_which_try_where_and_since_when():
    message, holder = enqueue("t:x"), Process.objects.get()
    begun = now()
    Message.objects.filter(pk=message.pk).update(
        leased_by=holder.pk, leased_at=begun, visible_at=begun + MINUTE, attempts=2
    )
    found = explained(message)

    assert (found.code, found.state) == ("running", "running")
    assert found.sentence == f"Runs: try 2 of 10 on web-1 since {at(begun)}, 0s ago."

    Process.objects.update(heartbeat_at=begun - timedelta(hours=1))
    assert "web-1 gives no sign of life; if it is dead, another worker takes over at" in (
        explained(message).sentence
    )


# -- it ended ----------------------------------------------------------------------------------------------


def test_what_succeeded_says_when_and_how_long():
    message = enqueue("t:x")
    drain()
    found = explained(message)

    assert (found.code, found.state) == ("succeeded", "succeeded")
    assert re.fullmatch(r"Succeeded at \d\d:\d\d, 0s ago, at try 1 of 10, in .+\.", found.sentence)
    assert found.actions == []


def test_what_died_says_of_what_and_how_to_redrive_it():
    message = enqueue("t:bad", max_attempts=1)
    drain()
    found = explained(message)

    assert (found.code, found.state) == ("dead", "dead")
    assert "after 1 of 1 tries: ProviderDown: connect timeout. Once the cause is mended" in found.sentence
    assert commands(found) == {
        "redrive": f"manage.py letsgo dead redrive {message.pk}",
        "discard": f"manage.py letsgo dead discard {message.pk}",
    }
    assert found.actions[0]["url"].endswith(f"/deadletter/{message.pk}/change/")

    messages.redrive(message.pk)
    assert explained(message).code == "ready"


def test_what_was_cancelled_says_so():
    message = enqueue("t:x")
    messages.cancel(message.pk)
    found = explained(message)

    assert (found.code, found.state) == ("cancelled", "cancelled")
    assert found.sentence.startswith("Was cancelled at ")


def test_what_expired_names_its_deadline():
    message = enqueue("t:x", deadline=now() + MINUTE)
    drain(now=now() + 5 * MINUTE)
    found = explained(message)

    assert (found.code, found.state) == ("expired", "expired")
    assert f"its deadline {at(message.deadline)} had passed" in found.sentence


@pytest.mark.parametrize("id", [1_000_000_007, 0, -1, 2**70, "17", None, True])
def test_what_is_not_there_is_said_not_to_be_there(id):
    found = inspection.explain(id)

    assert (found.code, found.state) == ("not_found", "not_found")
    assert found.sentence.startswith(f"There is no message {id}: ")
    assert (found.actions, found.timeline) == ([], [])


# -- all of them ---------------------------------------------------------------------------------------------


def test_each_code_is_made_here_and_documented():
    codes = [code.strip("`") for code, _means in table("reference/problems.md", "code", "the message")]
    made = Path(__file__).read_text()

    assert [code for code in codes if f'"{code}"' not in made] == []
    assert set(codes) == set(CODES.split())


def test_it_takes_few_statements(transactional_db):
    from django.db import connection

    enqueue_many([("t:x", n) for n in range(3)])
    message = enqueue("t:x")
    with CaptureQueriesContext(connection) as captured:
        assert explained(message).code == "behind"
    assert len(captured) <= 8, "\n".join(entry["sql"] for entry in captured.captured_queries)


def test_it_takes_few_statements_for_one_that_is_held_back_too(held_back):
    from django.db import connection

    queues.pause("default")
    with CaptureQueriesContext(connection) as captured:
        assert "earlier message" in explained(held_back[2]).sentence
    assert len(captured) <= 8, "\n".join(entry["sql"] for entry in captured.captured_queries)


def test_the_words_of_an_error_stay_in_one_line_of_a_bearable_length(handle):
    @handle("t:long", max_attempts=2)
    def fail(delivery):
        raise ProviderDown("line\n" * 10_000)

    message = enqueue("t:long")
    drain()
    sentence = explained(message).sentence

    assert "\n" not in sentence and len(sentence) < 700


def test_no_payload_is_in_it():
    message = enqueue("t:x", {"card": "4111"}, headers={"cookie": "c00kie"})
    found = repr(explained(message))
    assert "4111" not in found and "c00kie" not in found


def test_without_the_admin_there_are_commands_and_no_addresses(settings):
    message = enqueue("t:x", delay=60)
    with override_settings(ROOT_URLCONF=__name__):
        clear_url_caches()
        assert {one["url"] for one in explained(message).actions} == {""}
    clear_url_caches()


urlpatterns: list[object] = []
