"""The purge of a queue in the admin: it asks for the name, says what goes, and is logged with its reason."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from django_letsgo_worker import enqueue, enqueue_many, queues
from django_letsgo_worker.inspection import work
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.browser.rows import change_url, list_url

pytestmark = pytest.mark.django_db

PURGE = "mail/purge/"


@pytest.fixture
def url():
    enqueue_many([("mail.send", n) for n in range(3)], queue="mail")
    enqueue("mail.send", queue="mail", delay=3600)
    enqueue("mail.send", queue="other")
    return f"{list_url('queue')}{PURGE}"


@pytest.fixture
def viewer():
    """A user who sees queues, and may pause them."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_queue", "pause_queue"]))
    client = Client()
    client.force_login(user)
    client.user = user
    return client


def test_the_page_says_how_many_go_for_good_and_deletes_nothing(admin_client, url):
    page = admin_client.get(url).content.decode()

    assert "This deletes 4 messages, even those that run. Nothing is archived" in page
    assert Message.objects.count() == 5


def test_the_count_is_capped(admin_client, url, monkeypatch):
    monkeypatch.setattr(work, "MOST_COUNTED", 2)

    assert "This deletes 2+ messages" in admin_client.get(url).content.decode()


def test_with_the_name_typed_the_live_messages_are_deleted_and_the_reason_is_logged(admin_client, url):
    data = {"name": "mail", "reason": "sent twice already"}

    page = admin_client.post(url, data, follow=True).content.decode()

    assert "4 messages were deleted from the queue mail." in page
    assert list(Message.objects.values_list("queue", flat=True)) == ["other"]
    assert not ArchivedMessage.objects.exists()
    entry = LogEntry.objects.get()
    assert (entry.object_repr, entry.user.get_username()) == ("mail", "admin")
    assert entry.get_change_message() == "Purged: 4 messages were deleted: sent twice already."


@pytest.mark.parametrize("name", ["", "Mail", " mail", "other", "x" * 300])
def test_another_name_deletes_nothing_and_is_refused_in_a_sentence(admin_client, url, name):
    answer = admin_client.post(url, {"name": name, "reason": "oops"})

    page = answer.content.decode()
    assert answer.status_code == 200
    assert page.count("This is not the name of the queue, so nothing was deleted.") == 1
    assert (Message.objects.count(), LogEntry.objects.count()) == (5, 0)


def test_only_people_with_the_permission_see_it_and_may_do_it(viewer, url):
    for page in (list_url("queue"), change_url("queue", "mail")):
        assert PURGE not in viewer.get(page).content.decode()
    assert viewer.get(url).status_code == viewer.post(url, {"name": "mail"}).status_code == 403
    assert Message.objects.count() == 5

    viewer.user.user_permissions.add(Permission.objects.get(codename="purge_queue"))

    for page in (list_url("queue"), change_url("queue", "mail")):
        assert PURGE in viewer.get(page).content.decode()
    assert viewer.post(url, {"name": "mail"}).status_code == 302
    assert Message.objects.count() == 1


def test_a_queue_without_messages_offers_none_and_one_that_is_none_has_no_page(admin_client):
    queues.pause("mail")
    assert PURGE not in admin_client.get(list_url("queue")).content.decode()

    assert admin_client.get(f"{list_url('queue')}nowhere/purge/").status_code == 404
