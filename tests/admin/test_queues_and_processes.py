"""Queues and processes in the admin: pause, resume, stop, and what they are doing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_letsgo_worker import enqueue, queues
from django_letsgo_worker.models import Process, Queue
from tests.browser.rows import change_url, do_url, list_url, process

pytestmark = pytest.mark.django_db


def row(response, name):
    return next(queue for queue in response.context["cl"].result_list if queue.name == name)


def test_queues_without_a_row_are_listed_and_paused_all_the_same(admin_client):
    enqueue("mail.send", queue="mail")
    queues.pause("empty")
    assert not Queue.objects.filter(name="mail").exists()

    response = admin_client.get(list_url("queue"))
    assert [queue.name for queue in response.context["cl"].result_list] == ["empty", "mail"]
    assert admin_client.get(change_url("queue", "mail")).status_code == 200

    data = {"action": "pause", "_selected_action": ["mail"], "index": "0", "reason": "provider is down"}
    admin_client.post(list_url("queue"), data)
    paused = Queue.objects.get(name="mail")
    assert paused.is_paused
    assert paused.paused_by == "admin"
    assert paused.pause_reason == "provider is down"


def test_a_queue_is_paused_with_a_reason_and_resumes_by_itself(admin_client):
    enqueue("mail.send", queue="mail")
    url = f"{list_url('queue')}mail/pause/"

    answer = admin_client.post(url, {"reason": "provider is down", "minutes": "60"}, follow=True)

    queue = Queue.objects.get(name="mail")
    assert timedelta(minutes=59) < queue.resume_at - timezone.now() <= timedelta(minutes=60)
    page = answer.content.decode()
    assert "provider is down" in page
    assert "by admin" in page


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"resume_at": "2020-01-01T00:00"}, "This time is in the past."),
        ({"resume_at": "2090-01-01T00:00", "minutes": "15"}, "Choose one of the two."),
        ({"resume_at": "soon"}, "Enter a valid date/time."),
        ({"minutes": "7"}, "Select a valid choice."),
        ({"reason": "x" * 256}, "at most 255 characters"),
    ],
)
def test_a_pause_that_makes_no_sense_is_refused_at_its_field(admin_client, given, refusal):
    enqueue("mail.send", queue="mail")
    answer = admin_client.post(f"{list_url('queue')}mail/pause/", given)

    assert answer.status_code == 200
    assert refusal in answer.content.decode()
    assert not Queue.objects.exists()


def test_a_paused_queue_is_resumed_by_its_button(admin_client):
    queues.pause("mail")
    assert do_url("queue", "mail", "resume") in admin_client.get(list_url("queue")).content.decode()

    admin_client.post(do_url("queue", "mail", "resume"))

    assert not Queue.objects.get(name="mail").is_paused


def test_the_work_of_a_queue_is_counted_by_lane(admin_client):
    for priority in (0, 5):
        for _ in range(2):
            enqueue("mail.send", queue="mail", priority=priority)
    enqueue("mail.send", queue="mail", delay=60)
    enqueue("mail.send", queue="other", delay=60)
    process(queues=["mail"])

    response = admin_client.get(list_url("queue"))

    assert (row(response, "mail").work.ready, row(response, "mail").work.later) == (4, 1)
    assert row(response, "mail").work.oldest_ready is not None
    assert row(response, "other").work.oldest_ready is None
    assert "no worker serves it" in response.content.decode()


def test_queues_are_searched_by_name(admin_client):
    enqueue("mail.send", queue="mail")
    enqueue("mail.send", queue="other")
    response = admin_client.get(list_url("queue"), {"q": "MA"})
    assert [queue.name for queue in response.context["cl"].result_list] == ["mail"]


@pytest.mark.parametrize("name", ["nowhere", "no such", "<b>", "x" * 65])
def test_a_queue_that_is_none_has_no_page_and_cannot_be_paused(admin_client, name):
    assert admin_client.get(change_url("queue", name)).status_code == 302
    assert admin_client.get(f"{list_url('queue')}{name}/pause/").status_code == 404


def test_the_state_of_a_process_follows_from_its_heartbeat(admin_client):
    process(name="alive")
    process(name="quiet", heartbeat_at=timezone.now() - timedelta(seconds=31))
    process(name="leaving", state="draining")
    process(name="gone", state="stopped", heartbeat_at=timezone.now() - timedelta(hours=1))

    page = admin_client.get(list_url("process")).content.decode()

    for word in ("living", "silent", "draining", "stopped", "3 / 8"):
        assert word in page


def test_a_process_is_asked_to_stop(admin_client):
    running, ended = process(), process(state="stopped")
    data = {"action": "stop", "_selected_action": [str(running.pk), str(ended.pk)], "index": "0"}

    page = admin_client.post(list_url("process"), data, follow=True).content.decode()

    assert "1 process was asked to stop" in page
    assert Process.objects.get(pk=running.pk).stop_requested
    assert not Process.objects.get(pk=ended.pk).stop_requested


def test_a_silent_process_is_forgotten_and_a_living_one_is_refused(admin_client):
    silent = process(name="web-2", heartbeat_at=timezone.now() - timedelta(minutes=5))
    living = process(name="web-1")
    page = admin_client.get(change_url("process", silent.pk)).content.decode()
    assert "Forget" in page
    assert do_url("process", silent.pk, "stop") not in page
    assert (
        do_url("process", living.pk, "forget")
        not in admin_client.get(change_url("process", living.pk)).content.decode()
    )

    data = {"action": "forget", "_selected_action": [silent.pk, living.pk], "index": "0"}
    answer = admin_client.post(list_url("process"), data, follow=True).content.decode()

    assert [row.pk for row in Process.objects.all()] == [living.pk]
    assert "Forgotten: web-2." in answer
    assert "only a silent process can be forgotten" in answer
