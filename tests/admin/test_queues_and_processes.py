"""Queues and processes in the admin: pause, resume, stop, and what they are doing."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.utils import timezone

from django_letsgo_worker import enqueue, enqueue_many, handler, queues
from django_letsgo_worker.models import Message, Process, Queue
from tests.browser.rows import change_url, dead_letter, do_url, list_url, process
from tests.inspection.troubles import tries

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def few_handlers(own_registry):
    """No handler of another test names a queue."""


def row(response, name):
    return next(queue for queue in response.context["cl"].result_list if queue.name == name)


def names(response):
    return [queue.name for queue in response.context["cl"].result_list]


def words(client, page, name):
    """Return the words of the row of a list that has this one."""
    html = client.get(list_url(page)).content.decode().partition("<tbody>")[2]
    texts = [plain(found) for found in re.findall(r"<tr>.*?</tr>", html, re.DOTALL)]
    return next(text for text in texts if f" {name} " in f" {text} ")


def plain(html):
    return " ".join(unescape(re.sub("<[^>]*>", " ", html)).split())


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

    mail, other = row(response, "mail").facts, row(response, "other").facts
    assert (mail.work.ready, mail.work.scheduled) == (4, 1)
    assert mail.work.oldest_ready is not None
    assert other.work.oldest_ready is None
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

    for word in ("alive", "quiet", "leaving", "draining", "3 / 8"):
        assert word in page
    assert "gone" not in page
    stopped = admin_client.get(list_url("process"), {"state": "stopped"}).content.decode()
    assert "gone" in stopped and "alive" not in stopped
    tabs = [plain(tab) for tab in re.findall(r"<li><a href.*?</a></li>", page)]
    assert {"Living and silent 3", "Stopped 1"} <= set(tabs)


def test_a_process_shows_the_queues_that_it_leaves_out(admin_client):
    process(name="most", excluded_queues=["mail", "videos"])
    process(name="few", queues=["mail", "orders"], excluded_queues=["mail", "videos"])

    assert "all but mail, videos" in words(admin_client, "process", "most")
    few = words(admin_client, "process", "few")
    assert "orders" in few and "mail" not in few
    # A queue that is only left out is not named by anything.
    assert names(admin_client.get(list_url("queue"))) == ["orders"]


def test_a_process_is_asked_to_stop(admin_client):
    running, ended = process(), process(state="stopped")
    data = {"action": "stop", "_selected_action": [str(running.pk), str(ended.pk)], "index": "0"}

    page = admin_client.post(list_url("process"), data, follow=True).content.decode()

    assert "1 process was asked to drain" in page
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


# -- queues that nothing is in ------------------------------------------------------------------------------


def test_queues_that_a_handler_a_worker_a_setting_or_a_pause_names_are_listed_though_they_are_empty(
    admin_client, settings
):
    handler("mail.send", queue="mail")(print)
    handler("other")(print)
    process(queues=["videos"])
    process(queues=["old"], state="stopped")
    settings.LETSGO_WORKER = {"QUEUES": ["reports"]}
    queues.pause("held")
    enqueue("search.index", queue="search")

    response = admin_client.get(list_url("queue"))

    assert names(response) == ["default", "held", "mail", "reports", "search", "videos"]
    assert admin_client.get(change_url("queue", "reports")).status_code == 200


def test_two_hundred_queues_stand_on_four_pages_and_are_searched(admin_client):
    for n in range(200):
        enqueue("mail.send", queue=f"queue-{n:03}")

    assert len(names(admin_client.get(list_url("queue")))) == 50
    assert names(admin_client.get(list_url("queue"), {"p": "4"}))[-1] == "queue-199"
    assert names(admin_client.get(list_url("queue"), {"q": "-199"})) == ["queue-199"]


def test_all_queues_that_a_search_found_are_paused_and_no_other(admin_client):
    for name in ("mail-1", "mail-2", "videos"):
        enqueue("mail.send", queue=name)
    data = {"action": "pause", "select_across": "1", "_selected_action": ["mail-1"], "index": "0"}
    admin_client.post(f"{list_url('queue')}?q=mail", data)
    assert queues.paused() == {"mail-1", "mail-2"}


def test_a_queue_shows_what_becomes_of_its_messages(admin_client):
    ids = enqueue_many([("mail.send", n) for n in range(5)], queue="mail")
    later = timezone.now() + timedelta(hours=1)
    Message.objects.filter(pk__in=ids[:2]).update(visible_at=later, attempts=2)
    dead_letter(queue="mail")
    tries("mail.send", failed=3, succeeded=9, queue="mail")
    process(queues=["mail"])

    found = row(admin_client.get(list_url("queue")), "mail").facts

    assert (found.work.ready, found.work.retrying, found.dead, found.workers) == (3, 2, 1, 1)
    assert (found.failed_share, found.per_minute) == (0.25, 9 / 60)
    text = words(admin_client, "queue", "mail")
    assert "25 % failed" in text and " 0.1 " in text
    page = admin_client.get(change_url("queue", "mail")).content.decode()
    assert f"{list_url('message')}?queue=mail&amp;state=retrying" in page
    assert f"{list_url('deadletter')}?queue=mail" in page
    assert change_url("messagetype", "mail.send") in page


# -- what a worker has in hand ------------------------------------------------------------------------------


@pytest.fixture
def hold():
    """Let a worker hold messages of a type; return their ids."""

    def take(worker, type, count=1, *, queue="videos", ends_in=20):
        ids = enqueue_many([(type, n) for n in range(count)], queue=queue)
        now = timezone.now()
        Message.objects.filter(pk__in=ids).update(
            leased_by=worker.pk, leased_at=now - timedelta(minutes=2), attempts=1,
            visible_at=now + timedelta(seconds=ends_in),
        )  # fmt: skip
        return ids

    return take


def test_a_worker_shows_what_it_has_in_hand_and_since_when(admin_client, hold):
    worker, other = process(name="web-1"), process(name="web-2")
    first, *_rest = hold(worker, "video.encode", 5)
    hold(other, "mail.send", queue="mail")
    enqueue("video.encode", queue="videos")

    text = words(admin_client, "process", "web-1")
    assert text.count("video.encode") == 3 and "+2" in text and "mail.send" not in text
    assert "2 min" in text
    assert "mail.send" in words(admin_client, "process", "web-2")
    page = admin_client.get(change_url("process", worker.pk)).content.decode()
    assert change_url("message", first) in page
    assert page.count("video.encode") == 5


def test_a_silent_worker_shows_what_it_held_and_what_still_waits(admin_client, hold):
    silent = process(name="web-1", busy=3, heartbeat_at=timezone.now() - timedelta(minutes=5))
    hold(silent, "video.encode", ends_in=-200)

    assert "held 3 messages: 2 taken up, 1 of videos waits" in words(admin_client, "process", "web-1")
    page = plain(admin_client.get(change_url("process", silent.pk)).content.decode())
    assert "held 3 messages: 2 taken up, 1 of videos waits" in page


def test_what_a_silent_worker_held_may_all_be_taken_up(admin_client):
    process(name="web-1", busy=1, heartbeat_at=timezone.now() - timedelta(minutes=5))
    assert "held 1 message: 1 taken up" in words(admin_client, "process", "web-1")


def test_versions_that_differ_are_said_during_a_deploy(admin_client):
    process(name="web-1", version="0.1.0")
    assert "while others" not in words(admin_client, "process", "web-1")
    process(name="web-2", version="0.1.1")
    process(name="web-3", version="0.0.9", state="stopped")
    assert "0.1.0 while others run 0.1.1" in words(admin_client, "process", "web-1")


def test_only_what_makes_sense_can_be_pressed_in_a_row(admin_client):
    living = process(name="web-1")
    silent = process(name="web-2", heartbeat_at=timezone.now() - timedelta(minutes=5))
    page = admin_client.get(list_url("process")).content.decode()
    assert do_url("process", living.pk, "stop") in page
    assert do_url("process", living.pk, "forget") not in page
    assert do_url("process", silent.pk, "forget") in page
    assert do_url("process", silent.pk, "stop") not in page
