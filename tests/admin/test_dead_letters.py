"""Dead letters in the admin: redrive and discard, one, some or all that match."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from django_letsgo_worker import enqueue
from django_letsgo_worker.admin import message_base
from django_letsgo_worker.inspection import work
from django_letsgo_worker.models import ArchivedMessage, DeadLetter, Message
from tests.browser.rows import archived, change_url, dead_letter, do_url, list_url

pytestmark = pytest.mark.django_db


def act(client, action, ids, query="", **data):
    given = {"action": action, "_selected_action": [str(id) for id in ids], "index": "0", **data}
    return client.post(f"{list_url('deadletter')}{query}", given, follow=True)


def test_a_redriven_dead_letter_lives_again_under_its_id(admin_client):
    letter = dead_letter()

    page = act(admin_client, "redrive", [letter.pk]).content.decode()

    assert "1 dead letter was redriven." in page
    assert Message.objects.get(pk=letter.pk).attempts == 0
    assert not ArchivedMessage.objects.exists()


def test_what_cannot_be_redriven_is_counted_and_stays(admin_client):
    enqueue("billing.charge", unique_key="order-5")
    stays, goes = dead_letter(unique_key="order-5"), dead_letter()

    page = act(admin_client, "redrive", [stays.pk, goes.pk]).content.decode()

    assert "1 dead letter was redriven." in page
    assert "1 was skipped" in page
    assert list(DeadLetter.objects.values_list("pk", flat=True)) == [stays.pk]
    assert [entry.object_id for entry in LogEntry.objects.all()] == [str(goes.pk)]


def test_all_that_match_are_redriven_in_batches_of_ids(admin_client, monkeypatch):
    monkeypatch.setattr(work, "BATCH", 4)
    wanted = [dead_letter(type="mail.send") for _ in range(11)]
    others = [dead_letter() for _ in range(3)]

    page = act(admin_client, "redrive", [wanted[0].pk], "?type=mail.send", select_across="1").content.decode()

    assert "11 dead letters were redriven." in page
    assert set(Message.objects.values_list("pk", flat=True)) == {letter.pk for letter in wanted}
    assert DeadLetter.objects.count() == len(others)


def test_letters_that_die_again_meanwhile_are_not_redriven_for_ever(admin_client, monkeypatch):
    monkeypatch.setattr(work, "BATCH", 1)
    first = dead_letter()
    dead_letter(finished_at=timezone.now() + timedelta(hours=1))

    page = act(admin_client, "redrive", [first.pk], select_across="1").content.decode()

    assert "1 dead letter was redriven." in page
    assert DeadLetter.objects.count() == 1


def test_an_action_that_takes_too_long_says_that_there_are_more(admin_client, monkeypatch):
    monkeypatch.setattr(work, "BATCH", 1)
    monkeypatch.setattr(message_base, "BUDGET_SECONDS", -1.0)
    letters = [dead_letter() for _ in range(3)]

    page = act(admin_client, "redrive", [letters[0].pk], select_across="1").content.decode()

    assert "1 dead letter was redriven." in page
    assert "There are more" in page
    assert DeadLetter.objects.count() == 2


def test_discard_asks_before_it_deletes(admin_client):
    letters = [dead_letter() for _ in range(12)]
    ids = [letter.pk for letter in letters[:11]]

    question = act(admin_client, "discard", ids).content.decode()
    assert "Dead letters to delete: 11" in question
    assert DeadLetter.objects.count() == 12

    hidden = {"action": "discard", "_selected_action": [str(id) for id in ids], "post": "yes"}
    page = admin_client.post(list_url("deadletter"), hidden, follow=True).content.decode()
    assert "11 dead letters were discarded." in page
    assert DeadLetter.objects.count() == 1


def test_discard_of_all_that_match_leaves_the_others(admin_client):
    for _ in range(3):
        dead_letter(error_fingerprint="same")
    dead_letter(error_fingerprint="other")
    query = "?error_fingerprint=same"

    assert (
        "Dead letters to delete: 3"
        in act(admin_client, "discard", [1], query, select_across="1").content.decode()
    )
    hidden = {"action": "discard", "_selected_action": ["1"], "select_across": "1", "post": "yes"}
    admin_client.post(f"{list_url('deadletter')}{query}", hidden)

    assert DeadLetter.objects.get().error_fingerprint == "other"


def test_the_page_of_one_letter_has_its_own_buttons(admin_client):
    letter = dead_letter()
    page = admin_client.get(change_url("deadletter", letter.pk)).content.decode()
    assert do_url("deadletter", letter.pk, "redrive") in page

    question = admin_client.post(do_url("deadletter", letter.pk, "discard"))
    assert b"Dead letters to delete: 1" in question.content
    assert DeadLetter.objects.exists()

    answer = admin_client.post(do_url("deadletter", letter.pk, "discard"), {"post": "yes"})
    assert answer.headers["Location"] == list_url("deadletter")
    assert not DeadLetter.objects.exists()


def test_the_list_says_the_newest_error_and_leads_to_all_with_the_same(admin_client):
    dead_letter()
    dead_letter(errors=[], error_class="")
    page = admin_client.get(list_url("deadletter")).content.decode()

    assert "shop.errors.CardDeclined" in page
    assert "card declined" in page
    assert "error_fingerprint=f1" in page
    assert "Traceback" not in page


def test_only_dead_ones_are_dead_letters(admin_client):
    well = archived()
    assert admin_client.get(change_url("deadletter", well.pk)).status_code == 302
    act(admin_client, "redrive", [well.pk])
    assert not Message.objects.exists()


def test_each_attempt_shows_its_own_traceback(admin_client):
    page = admin_client.get(change_url("deadletter", dead_letter().pk)).content.decode()

    assert page.count("<details") - page.count("<details><summary") >= 2
    assert "CardDeclined: first" in page
    assert "CardDeclined: card declined" in page


@pytest.mark.parametrize("errors", [None, {}, "text", [None, "text", 5, {"attempt": []}]])
def test_a_record_of_errors_that_is_no_such_thing_breaks_no_page(admin_client, errors):
    letter = dead_letter(errors=errors)
    assert admin_client.get(list_url("deadletter")).status_code == 200
    assert admin_client.get(change_url("deadletter", letter.pk)).status_code == 200
