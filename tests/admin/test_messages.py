"""Live and archived messages in the admin: states, filters, search, cancel."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from django_letsgo_worker import enqueue, queues
from django_letsgo_worker.admin import filters, messages
from django_letsgo_worker.inspection import search, work
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.browser.rows import archived, change_url, dead_letter, do_url, list_url, process

pytestmark = pytest.mark.django_db


def ids_on(response):
    return [row.pk for row in response.context["cl"].result_list]


def lease(message):
    later = timezone.now() + timedelta(hours=1)
    Message.objects.filter(pk=message.pk).update(leased_by=uuid.uuid4(), attempts=1, visible_at=later)


@pytest.fixture
def one_of_each():
    """A message in each state."""
    rows = {
        "ready": enqueue("mail.send", queue="mail"),
        "running": enqueue("mail.send", queue="mail"),
        "retrying": enqueue("mail.send", queue="mail", delay=3600),
        "scheduled": enqueue("letsgo:scheduled", queue="other", delay=3600),
    }
    lease(rows["running"])
    Message.objects.filter(pk=rows["retrying"].pk).update(attempts=2)
    return {state: message.pk for state, message in rows.items()}


@pytest.mark.parametrize("state", ["ready", "running", "retrying", "scheduled"])
def test_the_filter_by_state_finds_what_the_list_calls_so(admin_client, one_of_each, state):
    response = admin_client.get(list_url("message"), {"state": state})

    assert ids_on(response) == [one_of_each[state]]
    assert state in response.content.decode()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"queue": "other"}, ["scheduled"]),
        ({"type": "mail.send", "queue": "mail", "state": "ready"}, ["ready"]),
        ({"type": "letsgo:scheduled"}, ["scheduled"]),
        ({"type": "mail.send", "state": "scheduled"}, []),
        ({"queue": "nowhere", "state": "ready"}, []),
        ({"state": "nonsense"}, []),
    ],
)
def test_filters_narrow_each_other(admin_client, one_of_each, query, found):
    response = admin_client.get(list_url("message"), query)
    assert ids_on(response) == [one_of_each[state] for state in found]


def test_a_search_takes_an_id_the_beginning_of_a_type_or_a_key(admin_client):
    keyed = enqueue("letsgo:scheduled", unique_key="order-5").pk
    other = enqueue("mail.send").pk

    assert ids_on(admin_client.get(list_url("message"), {"q": str(other)})) == [other]
    assert ids_on(admin_client.get(list_url("message"), {"q": "letsgo:"})) == [keyed]
    assert ids_on(admin_client.get(list_url("message"), {"q": "mail.send"})) == [other]
    assert ids_on(admin_client.get(list_url("message"), {"q": "key:order-5"})) == [keyed]
    assert ids_on(admin_client.get(list_url("message"), {"q": "key:order"})) == []


def test_messages_of_higher_priority_come_first_where_a_filter_is_on(admin_client):
    low, high = enqueue("mail.send", priority=-5).pk, enqueue("mail.send", priority=5).pk
    assert ids_on(admin_client.get(list_url("message"), {"state": "ready"})) == [high, low]


def test_the_list_says_why_a_ready_message_is_not_running(admin_client):
    enqueue("mail.send", queue="mail")
    assert "no worker is running" in admin_client.get(list_url("message")).content.decode()

    process(types=["other"])
    assert "no worker takes this type" in admin_client.get(list_url("message")).content.decode()

    process(queues=["mail"])
    assert "no worker" not in admin_client.get(list_url("message")).content.decode()

    queues.pause("mail")
    assert "its queue is paused" in admin_client.get(list_url("message")).content.decode()


def test_a_cancelled_message_is_archived(admin_client):
    message = enqueue("mail.send")
    answer = admin_client.post(do_url("message", message.pk, "cancel"), follow=True)

    assert "1 message was cancelled." in answer.content.decode()
    assert ArchivedMessage.objects.get(pk=message.pk).outcome == "cancelled"


def test_all_that_match_are_cancelled_in_batches(admin_client, monkeypatch):
    monkeypatch.setattr(work, "BATCH", 3)
    wanted = [enqueue("mail.send", queue="mail").pk for _ in range(10)]
    kept = enqueue("mail.send", queue="other").pk

    data = {"action": "cancel", "_selected_action": [str(wanted[0])], "select_across": "1", "index": "0"}
    page = admin_client.post(f"{list_url('message')}?queue=mail", data, follow=True).content.decode()

    assert "10 messages were cancelled." in page
    assert list(Message.objects.values_list("pk", flat=True)) == [kept]


def test_a_message_that_has_ended_is_shown_where_it_is_now(admin_client):
    message = enqueue("mail.send")
    admin_client.post(do_url("message", message.pk, "cancel"))

    answer = admin_client.get(change_url("message", message.pk), follow=True)

    assert answer.redirect_chain == [(change_url("archivedmessage", message.pk), 302)]
    assert "exist" not in "".join(str(notice) for notice in answer.context["messages"])


def test_the_archive_is_filtered_by_outcome_and_type(admin_client):
    well, dead = archived(type="letsgo:scheduled").pk, dead_letter().pk

    assert ids_on(admin_client.get(list_url("archivedmessage"))) == [dead, well]
    assert ids_on(admin_client.get(list_url("archivedmessage"), {"outcome": "dead"})) == [dead]
    assert ids_on(admin_client.get(list_url("archivedmessage"), {"type": "letsgo:scheduled"})) == [well]
    assert ids_on(admin_client.get(list_url("archivedmessage"), {"q": "letsgo"})) == [well]
    assert ids_on(admin_client.get(list_url("archivedmessage"), {"q": str(dead)})) == [dead]


def test_an_archived_message_shows_its_result_and_its_links(admin_client):
    row = archived(
        result={"sum": 42}, scheduled_job_id=5, headers={"schedule": "Nightly"}, leased_by=uuid.uuid4()
    )
    page = admin_client.get(change_url("archivedmessage", row.pk)).content.decode()

    assert "42" in page
    assert change_url("scheduledjob", 5) in page
    assert change_url("process", row.leased_by) in page


def test_a_filter_looks_at_those_that_come_first_and_says_so(admin_client, monkeypatch):
    for module in (filters, messages, search):
        monkeypatch.setattr(module, "WINDOW", 5)
    wanted = [enqueue("mail.send", queue="mail").pk for _ in range(8)]

    response = admin_client.get(list_url("message"), {"queue": "mail"})
    assert ids_on(response) == wanted[:5]
    assert "only at the first 10,000 in their lanes" in response.content.decode()

    assert response.content.decode().count("in their lanes") == 1
    ended = admin_client.get(list_url("archivedmessage"), {"q": "mail"}).content.decode()
    assert "in their lanes" not in ended and "only at the newest 10,000" in ended

    data = {"action": "cancel", "_selected_action": [str(wanted[0])], "select_across": "1", "index": "0"}
    page = admin_client.post(f"{list_url('message')}?queue=mail", data, follow=True).content.decode()
    assert "5 messages were cancelled." in page
    assert "There are more" in page


def test_a_filtered_list_has_pages(admin_client):
    wanted = [enqueue("mail.send", queue="mail").pk for _ in range(55)]
    first, second = (admin_client.get(list_url("message"), {"queue": "mail", "p": p}) for p in ("1", "2"))
    assert ids_on(first) + ids_on(second) == wanted


def test_the_page_of_a_message_begins_with_why_it_waits_and_says_it_once(admin_client):
    process(queues=["mail"])
    queues.pause("mail", by="anna", reason="ticket 4711")
    message = enqueue("mail.send", queue="mail")
    page = admin_client.get(change_url("message", message.pk)).content.decode()

    sentence = (
        "Waits: anna paused mail 0s ago (ticket 4711). `manage.py letsgo queue resume mail` ends the pause."
    )
    assert page.count(sentence) == 1
    assert page.index(sentence) < page.index("field-state_alone")
    assert "its queue is paused" not in page
    assert "Enqueued into mail." in page


@pytest.mark.parametrize("model", ["archivedmessage", "deadletter"])
def test_the_page_of_a_message_that_ended_begins_with_what_became_of_it(admin_client, model):
    row = dead_letter()
    page = admin_client.get(change_url(model, row.pk)).content.decode()

    assert page.index("after 5 of 5 tries: CardDeclined: card declined.") < page.index("field-outcome_shown")
    assert page.index("Enqueued into billing.") < page.index("Try 2 failed after 250 ms: CardDeclined")
    assert page.index("Try 2 failed after 250 ms") < page.index("Became a dead letter after 5 of 5 tries.")
    assert page.count('<details class="lg-attempt"') == 2


def test_the_holder_of_a_message_has_its_name(admin_client):
    worker = process(name="web-7")
    message = enqueue("mail.send", queue="mail")
    later = timezone.now() + timedelta(hours=1)
    Message.objects.filter(pk=message.pk).update(leased_by=worker.pk, leased_at=later, visible_at=later)
    page = admin_client.get(change_url("message", message.pk)).content.decode()

    assert f'<a href="{change_url("process", worker.pk)}">web-7</a>' in page


def test_equal_neighbours_are_folded_but_each_can_be_chosen(admin_client):
    for _ in range(6):
        enqueue("mail.send", queue="mail")
    enqueue("other.type", queue="mail")
    page = admin_client.get(list_url("message")).content.decode()

    assert "5 more like this" in page
    assert page.count('class="action-select"') == 7
    folded = page.partition('<tbody class="lg-rest">')[2].partition("</tbody>")[0]
    assert folded.count("<tr>") == 5 and "other.type" not in folded


def test_running_messages_are_never_folded(admin_client):
    for _ in range(6):
        lease(enqueue("mail.send", queue="mail"))
    assert "more like this" not in admin_client.get(list_url("message")).content.decode()


def test_a_list_shows_the_last_error_in_short_and_where_the_class_is_from(admin_client):
    message = enqueue("mail.send")
    error = {"attempt": 1, "class": "shop.errors.CardDeclined", "message": "card <4711> declined"}
    Message.objects.filter(pk=message.pk).update(attempts=1, errors=[error])
    page = admin_client.get(list_url("message")).content.decode()

    assert '<span class="lg-error" title="shop.errors.CardDeclined">CardDeclined</span>' in page
    assert "card &lt;4711&gt; declined" in page


def test_the_tabs_lead_from_live_messages_to_those_that_ended_and_keep_the_search(admin_client):
    enqueue("mail.send")
    archived()
    dead_letter()
    page = admin_client.get(list_url("message"), {"q": "mail"}).content.decode()

    assert f'href="{list_url("archivedmessage")}?outcome=succeeded&amp;q=mail"' in page
    assert f'href="{list_url("deadletter")}?q=mail"' in page
    for place, tab in (("archivedmessage", "Ended"), ("deadletter", "Dead")):
        tabs = admin_client.get(list_url(place)).content.decode().partition('class="lg-tabs"')[2]
        assert tabs.partition('aria-current="page">')[2].startswith(tab)


def test_an_id_that_is_on_another_tab_is_found_there(admin_client):
    ended = archived().pk
    page = admin_client.get(list_url("message"), {"q": str(ended)}).content.decode()
    assert change_url("archivedmessage", ended) in page

    live = enqueue("mail.send").pk
    page = admin_client.get(list_url("archivedmessage"), {"q": str(live)}).content.decode()
    assert change_url("message", live) in page
    assert "Nothing matches." in admin_client.get(list_url("message"), {"q": "99999999"}).content.decode()


def test_a_type_that_no_code_knows_can_be_chosen(admin_client):
    enqueue("legacy:import")
    assert '<option value="legacy:import"' in admin_client.get(list_url("message")).content.decode()
