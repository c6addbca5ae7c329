"""Bulk operations in the admin: begin one, see how far it is, stop it, take it back; retry now."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry

from django_letsgo_worker import enqueue, enqueue_many, messages
from django_letsgo_worker.models import BulkOperation, Message
from tests.browser.rows import change_url, do_url, list_url

from .test_permissions import client_with

__all__ = ["client_with"]

pytestmark = pytest.mark.django_db

ADD = list_url("bulkoperation") + "add/"


@pytest.fixture
def waiting():
    return enqueue_many([("mail.send", n) for n in range(3)], delay=3600)


def work_off():
    while messages.work_off_operations():
        pass


class TestBegin:
    def test_the_form_begins_an_operation_and_logs_who_and_why(self, admin_client, waiting):
        assert admin_client.get(ADD).status_code == 200
        given = {"kind": "retry", "type": "mail.send", "over": "10m", "reason": "the provider is back"}
        answer = admin_client.post(ADD, given)
        assert answer.status_code == 302, answer.context["errors"]
        operation = BulkOperation.objects.get()
        assert (operation.kind, operation.filter, operation.over, operation.by, operation.reason) == (
            "retry", {"type": "mail.send"}, timedelta(minutes=10), "admin", "the provider is back",
        )  # fmt: skip
        (entry,) = LogEntry.objects.all()
        assert entry.get_change_message() == "retry: type mail.send. the provider is back"
        assert entry.object_id == str(operation.pk)

    def test_a_link_may_fill_it_in(self, admin_client):
        page = admin_client.get(f"{ADD}?kind=redrive&fingerprint={'f' * 32}").content.decode()
        assert f'value="{"f" * 32}"' in page
        assert '<option value="redrive" selected>' in page

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({"kind": "retry", "type": "no type"}, "The type &#x27;no type&#x27; is refused"),
            ({"kind": "move"}, "to_queue says where messages are moved"),
            ({"kind": "retry", "over": "soon"}, "over is a number of seconds"),
            ({"kind": "discard", "state": "ready"}, "state can only be dead here"),
            ({"kind": "drop"}, "Select a valid choice"),
        ],
        ids=str,
    )
    def test_what_cannot_be_is_said_on_the_form(self, admin_client, given, sentence):
        assert sentence in admin_client.post(ADD, given).content.decode()
        assert not BulkOperation.objects.exists()

    def test_people_begin_only_what_they_may_do(self, client_with, waiting):
        client = client_with("view_bulkoperation", "retry_message")
        page = client.get(ADD).content.decode()
        assert 'value="retry"' in page and 'value="discard"' not in page
        assert "Select a valid choice" in client.post(ADD, {"kind": "cancel"}).content.decode()
        assert client.post(ADD, {"kind": "retry"}).status_code == 302
        assert BulkOperation.objects.get().kind == "retry"

    def test_whoever_only_looks_begins_none(self, client_with):
        client = client_with("view_bulkoperation", "add_bulkoperation")
        assert client.get(ADD).status_code == 403
        assert client.post(ADD, {"kind": "retry"}).status_code == 403


class TestSteer:
    @pytest.fixture
    def operation(self, waiting):
        return messages.operate("retry", over="1h", by="ada", reason="it is back")

    def test_list_and_page_say_how_far_it_is(self, admin_client, operation):
        work_off()
        for url in (list_url("bulkoperation"), change_url("bulkoperation", operation.pk)):
            page = admin_client.get(url).content.decode()
            assert "3 / 3" in page and "ada" in page and "it is back" in page

    def test_without_a_worker_it_says_that_it_waits(self, admin_client, operation):
        assert "no worker is running" in admin_client.get(list_url("bulkoperation")).content.decode()

    def test_stop(self, admin_client, operation):
        admin_client.post(do_url("bulkoperation", operation.pk, "stop"))
        assert messages.find_operation(operation.pk).state == "stopped"
        assert LogEntry.objects.get().change_message == "Stopped."
        said = admin_client.post(do_url("bulkoperation", operation.pk, "stop"), follow=True).content.decode()
        assert "cannot be stopped: it is stopped already" in said

    def test_take_back(self, admin_client, operation):
        work_off()
        before = Message.objects.filter(visible_at__lte=operation.created_at + timedelta(minutes=55)).count()
        admin_client.post(do_url("bulkoperation", operation.pk, "undo"))
        work_off()
        assert before == 3
        assert messages.find_operation(operation.pk).given_back == 3

    @pytest.mark.parametrize(("action", "permission"), [("stop", "stop"), ("undo", "undo")])
    def test_each_has_its_permission(self, client_with, operation, action, permission):
        client = client_with("view_bulkoperation", "retry_message")
        assert client.post(do_url("bulkoperation", operation.pk, action)).status_code == 403
        assert messages.find_operation(operation.pk).state == "waiting"

    def test_the_list_asks_few_questions(self, admin_client, operation, django_assert_max_num_queries):
        with django_assert_max_num_queries(10):
            admin_client.get(list_url("bulkoperation"))


class TestRetry:
    def test_a_message_that_waits_is_due_and_it_is_logged(self, admin_client, waiting):
        answer = admin_client.post(do_url("message", waiting[0], "retry"), follow=True)
        assert "1 message is due now." in answer.content.decode()
        assert Message.objects.get(pk=waiting[0]).visible_at < Message.objects.get(pk=waiting[1]).visible_at
        assert LogEntry.objects.get().change_message == "Retried."

    def test_the_button_is_there_where_it_makes_sense(self, admin_client, waiting):
        assert "Retry now" in admin_client.get(change_url("message", waiting[0])).content.decode()
        ready = enqueue("mail.send")
        assert "Retry now" not in admin_client.get(change_url("message", ready.pk)).content.decode()

    def test_many_at_once(self, admin_client, waiting):
        data = {"action": "retry", "_selected_action": waiting, "index": "0"}
        answer = admin_client.post(list_url("message"), data, follow=True)
        assert "3 messages are due now." in answer.content.decode()
