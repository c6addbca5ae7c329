"""Search: each kind of word finds the messages that it stands for, live or ended, on every engine."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from django_letsgo_worker import enqueue, handler, schedules
from django_letsgo_worker.inspection import Snapshot, Wanted, find_ended, find_live, search
from django_letsgo_worker.models import ArchivedMessage, Failure, Message, Occurrence
from tests.browser.rows import archived, dead_letter, process

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def a_type(own_registry):
    handler("billing:charge")(print)


def live(**conditions):
    return find_live(Snapshot(), Wanted(**conditions))


def ended(**conditions):
    return find_ended(Snapshot(), Wanted(**conditions))


def a_failure(error_class="shop.errors.CardDeclined", fingerprint="f1", type="billing:charge"):
    now = timezone.now()
    Failure.objects.create(
        fingerprint=fingerprint, type=type, error_class=error_class, first_at=now, last_at=now, count=1
    )


@pytest.fixture
def wanted_live():
    """A message with all that can be looked for, beside one with nothing of it."""
    enqueue("mail:send", queue="mail")
    worker = process(name="web-7")
    job = schedules.add("Nightly sales", "@daily", "billing:charge")
    a_failure()
    pk = enqueue("billing:charge", unique_key="order-5", headers={"correlation_id": "8f3a"}).pk
    later = timezone.now() + timedelta(hours=1)
    Message.objects.filter(pk=pk).update(
        leased_by=worker.pk, scheduled_job_id=job.pk, error_fingerprint="f1", attempts=1, visible_at=later
    )
    return pk


WORDS = [
    "type:charge", "charge", "BILLING:ch", "key:order-5", "order-5", "error:declined", "CardDeclined",
    "schedule:nightly", "Nightly sales", "worker:web-7", "web-7", "correlation:8f3a", "8f3a",
]  # fmt: skip
OTHER_WORDS = [
    "type:order-5", "key:order", "key:charge", "error:billing", "schedule:mail", "worker:order-5",
    "correlation:8f", "type:%", "type:b_lling", "nothing", "' OR 1=1 --", "schedule:billing",
]  # fmt: skip


@pytest.mark.parametrize("words", WORDS)
def test_a_live_message_is_found_by_all_that_it_is(wanted_live, words):
    assert live(words=words) == [wanted_live]


@pytest.mark.parametrize("words", OTHER_WORDS)
def test_a_live_message_is_not_found_by_what_it_is_not(wanted_live, words):
    assert live(words=words) == []


def test_conditions_narrow_each_other(wanted_live):
    assert live(words="charge", state="running", queue="default", type="billing:charge") == [wanted_live]
    assert live(words="charge", state="ready") == []
    assert live(words="charge", queue="mail") == []
    assert live(words="charge", type="mail:send") == []
    assert live(state="dead") == []


@pytest.fixture
def wanted_ended():
    archived(type="mail:send")
    worker = process(name="web-7")
    job = schedules.add("Nightly sales", "@daily", "billing:charge")
    a_failure()
    now = timezone.now()
    row = dead_letter(
        type="billing:charge", unique_key="order-5", headers={"correlation_id": "8f3a"}, leased_by=worker.pk,
        scheduled_job_id=job.pk,
    )  # fmt: skip
    Occurrence.objects.create(scheduled_job=job, planned_at=now, fired_at=now, message_id=row.pk)
    return row.pk


@pytest.mark.parametrize("words", WORDS)
def test_a_message_that_ended_is_found_by_all_that_it_was(wanted_ended, words):
    assert ended(words=words) == [wanted_ended]
    assert ended(words=words, state="dead", type="billing:charge", queue="billing") == [wanted_ended]
    assert ended(words=words, state="succeeded") == []


@pytest.mark.parametrize("words", OTHER_WORDS)
def test_a_message_that_ended_is_not_found_by_what_it_was_not(wanted_ended, words):
    assert ended(words=words) == []


@pytest.mark.parametrize("words", ["type:charge", "error:CardDeclined", "schedule:Nightly"])
def test_what_has_an_index_is_found_behind_the_newest_ones(wanted_ended, monkeypatch, words):
    ArchivedMessage.objects.filter(pk=wanted_ended).update(finished_at=timezone.now() - timedelta(days=3))
    for _ in range(4):
        archived(type="mail:send")
    monkeypatch.setattr(search, "WINDOW", 2)
    assert ended(words=words) == [wanted_ended]


@pytest.mark.parametrize("words", ["key:order-5", "error:CardDeclined", "schedule:Nightly"])
def test_what_has_an_index_is_found_behind_the_first_ones_of_its_lane(wanted_live, monkeypatch, words):
    for _ in range(4):
        enqueue("billing:charge")
    monkeypatch.setattr(search, "WINDOW", 2)
    assert live(words=words) == [wanted_live]


def test_the_rest_is_looked_for_only_among_the_first_ones(wanted_live, monkeypatch):
    for _ in range(4):
        enqueue("billing:charge")
    monkeypatch.setattr(search, "WINDOW", 2)
    assert wanted_live not in live(words="correlation:8f3a")


def test_headers_that_are_no_object_are_passed_by():
    pk = enqueue("billing:charge").pk
    Message.objects.filter(pk=pk).update(headers=["no", "object"])
    assert live(words="correlation:8f3a") == []


def test_the_ids_of_processes_that_are_gone_find_nothing(wanted_live):
    Message.objects.filter(pk=wanted_live).update(leased_by=uuid.uuid4())
    assert live(words="worker:web-7") == []
