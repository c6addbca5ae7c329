"""Bulk operations on one failure: one first, all at once or over a time, and what became of the last."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry

from django_letsgo_worker import enqueue, messages
from django_letsgo_worker.models import ArchivedMessage, BulkOperation, DeadLetter, Message
from tests.browser.rows import change_url, dead_letter, list_url

from .test_failures import fail
from .test_permissions import client_with
from .test_speed import statements

__all__ = ["client_with"]

pytestmark = pytest.mark.django_db

ADD = list_url("bulkoperation") + "add/"


def address(kind, **more):
    return f"{ADD}?{urlencode({'kind': kind, 'type': 'billing.charge', 'fingerprint': 'f1', **more})}"


def text(client, url):
    return unescape(client.get(url).content.decode())


def chosen(page):
    """Return the way that is chosen on a page."""
    (radio,) = re.findall(r'<input type="radio"[^>]*checked[^>]*>', page)
    return re.search(r'value="(\w+)"', radio)[1]


@pytest.fixture
def failed():
    """Return the ids of a live message that waits for a retry, and of its dead letters, oldest first."""
    _row, live, dead = fail()
    oldest = dead_letter(error_fingerprint="f1", queue="other").pk
    ArchivedMessage.objects.filter(pk=oldest).update(
        finished_at=ArchivedMessage.objects.get(pk=dead).finished_at - timedelta(hours=1)
    )
    Message.objects.filter(pk=live).update(visible_at="2100-01-01T00:00:00Z", attempts=1)
    return live, [oldest, dead]


class TestPage:
    def test_it_says_how_many_it_is_about_and_asks_how(self, admin_client, failed):
        page = text(admin_client, address("redrive"))

        assert "Dead letters: 2." in page and "All 2 now" in page
        assert chosen(page) == "one"
        assert "No worker is running: what you begin waits for one." in page

    def test_further_filters_of_the_address_narrow_it_and_are_said(self, admin_client, failed):
        page = text(admin_client, address("redrive", queue="other"))

        assert "Dead letters: 1." in page and "Only those with queue other." in page

    def test_only_those_that_wait_are_retried(self, admin_client, failed):
        due = enqueue("billing.charge").pk
        Message.objects.filter(pk=due).update(error_fingerprint="f1")

        assert "Messages that wait for a retry: 1." in text(admin_client, address("retry"))

    def test_a_time_in_the_address_is_filled_in(self, admin_client, failed):
        page = text(admin_client, address("redrive", over="2h"))

        assert 'value="2h"' in page and chosen(page) == "spread"

    @pytest.mark.parametrize("kind", ["discard", "cancel", "move"])
    def test_what_cannot_be_tried_by_one_is_not_asked_how(self, admin_client, failed, kind):
        page = text(admin_client, address(kind))

        assert 'name="how"' not in page and ('name="to_queue"' in page) == (kind == "move")
        assert ("This cannot be taken back." in page) == (kind != "move")

    @pytest.mark.parametrize(
        "more", [{"all": 1}, {"fingerprint": "unknown"}, {"type": "no type"}, {"queue": "no queue"}], ids=str
    )
    def test_the_form_of_all_filters_is_there_for_everything_else(self, admin_client, failed, more):
        assert 'name="older_than"' in text(admin_client, address("redrive", **more))

    def test_whoever_may_not_see_failures_gets_the_form_of_all_filters(self, client_with, failed):
        client = client_with("view_bulkoperation", "redrive_message")

        assert 'name="older_than"' in text(client, address("redrive"))

    @pytest.mark.parametrize(
        "query", [{"\0": "\0"}, {"error_class": "\0"}, {"tried": "\0"}, {"tried": 2**70}]
    )
    def test_nonsense_in_the_address_breaks_nothing(self, admin_client, failed, query):
        assert admin_client.get(address("redrive", **query)).status_code == 200

    def test_it_asks_few_questions(self, admin_client, failed):
        messages.redrive(failed[1][0], by="ada")
        asked = statements(admin_client, address("redrive"))

        assert len(asked) <= 12, [sql[:100] for sql in asked]


class TestOneFirst:
    def test_the_oldest_dead_letter_alone_is_redriven_and_its_page_says_how_to_go_on(
        self, admin_client, failed
    ):
        _live, (oldest, other) = failed
        answer = admin_client.post(address("redrive"), {"how": "one", "reason": "card <fixed>"}, follow=True)

        assert answer.redirect_chain == [(change_url("message", oldest), 302)]
        assert f'{address("redrive", tried=oldest).replace("&", "&amp;")}">go on with the rest' in (
            answer.content.decode()
        )
        assert list(DeadLetter.objects.values_list("pk", flat=True)) == [other]
        entry = Message.objects.get(pk=oldest).errors[-1]
        assert (entry["by"], entry["reason"]) == ("admin", "card <fixed>")
        logged = LogEntry.objects.get()
        assert (logged.object_id, logged.change_message) == (str(oldest), "Redriven. card <fixed>")
        assert not BulkOperation.objects.exists()

    def test_the_message_that_waits_alone_is_retried(self, admin_client, failed):
        live, _dead = failed
        answer = admin_client.post(address("retry"), {"how": "one"})

        assert answer.url == change_url("message", live)
        assert Message.objects.get(pk=live).errors[-1]["retry"]
        assert LogEntry.objects.get().change_message == "Retried."

    def test_whoever_may_not_see_messages_is_led_to_what_became_of_it(self, client_with, failed):
        client = client_with("view_failure", "redrive_message")
        answer = client.post(address("redrive"), {"how": "one"}, follow=True)

        page = unescape(answer.content.decode())
        assert "The last one that was done is" in page and "It has not begun" in page

    def test_where_none_is_left_it_is_said(self, admin_client, failed):
        DeadLetter.objects.all().delete()

        assert 'value="Redrive"' not in text(admin_client, address("redrive"))
        answer = admin_client.post(address("redrive"), {"how": "one"})
        assert "There is none any more." in answer.content.decode()

    def test_why_it_cannot_be_is_said(self, admin_client, failed):
        enqueue("billing.charge", unique_key="k")
        ArchivedMessage.objects.filter(outcome="dead").update(unique_key="k")
        answer = admin_client.post(address("redrive"), {"how": "one"})

        assert (answer.status_code == 200 and "errornote" in answer.content.decode()) or "errorlist" in (
            answer.content.decode()
        )
        assert DeadLetter.objects.count() == 2 and not LogEntry.objects.exists()


class TestWhatBecameOfTheLast:
    def test_the_one_of_the_address_that_succeeded(self, admin_client, failed):
        _live, (oldest, _other) = failed
        ArchivedMessage.objects.filter(pk=oldest).update(outcome="succeeded")
        page = text(admin_client, address("redrive", tried=oldest))

        assert f'{change_url("message", oldest)}">message {oldest}</a>. It succeeded.' in page

    def test_one_of_another_type_is_not_told(self, admin_client, failed):
        page = text(admin_client, address("redrive", tried=enqueue("mail.send").pk))

        assert "The last one that was done" not in page

    def test_the_newest_of_an_operation(self, admin_client, failed):
        messages.operate("redrive", type="billing.charge", fingerprint="f1")
        while messages.work_off_operations():
            pass

        assert "It has not begun" in text(admin_client, address("retry"))

    def test_a_sample_that_failed_again(self, admin_client, failed):
        live, _dead = failed
        messages.retry(live, by="ada")
        Message.objects.filter(pk=live).update(visible_at="2100-01-01T00:00:00Z")

        assert "It failed again, and waits for its next attempt." in text(admin_client, address("retry"))


class TestAll:
    @pytest.mark.parametrize(
        ("given", "over"), [({"how": "all"}, None), ({"how": "spread", "over": "10m"}, 600)], ids=str
    )
    def test_they_are_an_operation_whose_page_follows(self, admin_client, failed, given, over):
        answer = admin_client.post(address("redrive", queue="other"), given | {"reason": "fixed"})

        operation = BulkOperation.objects.get()
        assert answer.url == change_url("bulkoperation", operation.pk)
        assert operation.filter == {"type": "billing.charge", "fingerprint": "f1", "queue": "other"}
        assert operation.over == (None if over is None else timedelta(seconds=over))
        assert (operation.by, operation.reason) == ("admin", "fixed")
        assert LogEntry.objects.get().object_id == str(operation.pk)

    @pytest.mark.parametrize("over", ["", "soon", "-1m"])
    def test_a_time_that_is_none_is_said_at_its_field(self, admin_client, failed, over):
        answer = admin_client.post(address("redrive"), {"how": "spread", "over": over})

        assert answer.context["form"].errors.keys() == {"over"}
        assert not BulkOperation.objects.exists()

    def test_they_are_moved(self, admin_client, failed):
        assert admin_client.post(address("move"), {"to_queue": "quiet"}).status_code == 302
        assert BulkOperation.objects.get().to_queue == "quiet"
        assert "This field is required." in admin_client.post(address("move"), {}).content.decode()

    def test_they_are_discarded(self, admin_client, failed):
        assert admin_client.post(address("discard"), {}).status_code == 302
        assert BulkOperation.objects.get().kind == "discard"


@pytest.mark.parametrize(
    ("kind", "permission"),
    [
        ("retry", "retry_message"),
        ("redrive", "redrive_message"),
        ("discard", "discard_deadletter"),
        ("cancel", "cancel_message"),
        ("move", "move_message"),
    ],
)
def test_a_form_for_a_kind_that_one_may_not_do_is_refused(client_with, failed, kind, permission):
    others = {"retry_message", "redrive_message", "discard_deadletter", "cancel_message", "move_message"}
    client = client_with("view_failure", "view_bulkoperation", *others - {permission})
    given = {"how": "one", "to_queue": "x"}

    assert client.get(address(kind)).status_code == 403
    assert client.post(address(kind), given).status_code == 403
    assert client.get(f"{ADD}?kind={kind}").status_code == 403
    assert not BulkOperation.objects.exists() and DeadLetter.objects.count() == 2


@pytest.mark.parametrize(("kind", "permission"), [("redrive", "redrive_message"), ("retry", "retry_message")])
def test_its_permission_is_all_that_a_kind_needs(client_with, failed, kind, permission):
    client = client_with("view_failure", permission)

    assert client.get(address(kind)).status_code == 200
    assert client.post(address(kind), {"how": "one"}).status_code == 302
    assert LogEntry.objects.get().user.username == "viewer"
