"""Types in the admin: all that are known or were met, how they go, pause and resume."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from django_letsgo_worker import counts, enqueue, enqueue_many, handler, messages, schedules
from django_letsgo_worker.counts import Count, Place, minute_of
from django_letsgo_worker.histograms import bucket_of
from django_letsgo_worker.models import Failure, MessageType
from tests.browser.rows import change_url, do_url, list_url, process
from tests.inspection.troubles import now

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def few_handlers(own_registry):
    """No handler of another test names a type."""


def names(response):
    return [type.name for type in response.context["cl"].result_list]


def words(client, name):
    html = client.get(list_url("messagetype")).content.decode().partition("<tbody>")[2]
    texts = [plain(found) for found in re.findall(r"<tr>.*?</tr>", html, re.DOTALL)]
    return next(text for text in texts if f" {name} " in f" {text} ")


def plain(html):
    return " ".join(unescape(re.sub("<[^>]*>", " ", html)).split())


def ended(type, ago, queue="default", **outcomes):
    place = Place(minute_of(now() - ago), queue, type)
    counts.add({place: Count(**outcomes)}, "default")
    return place.minute


def test_types_are_listed_that_are_known_wait_are_paused_or_ended_lately(admin_client):
    handler("here")(print)
    process(types=["there"])
    enqueue("waits", delay=3600)
    messages.pause_type("held")
    ended("gone", timedelta(days=3), succeeded=1)
    ended("long-gone", timedelta(days=8), succeeded=1)
    counts.note_depths({("default", "only-waited"): 4}, now() - timedelta(days=3), "default")

    response = admin_client.get(list_url("messagetype"))

    assert names(response) == ["gone", "held", "here", "there", "waits"]
    assert names(admin_client.get(list_url("messagetype"), {"q": "HE"})) == ["held", "here", "there"]
    assert "unknown no running code knows it" in words(admin_client, "gone")


def test_a_type_shows_how_it_went_in_the_last_hour(admin_client):
    handler("mail.send", queue="mail")(print)
    process(name="web-1", types=["mail.send"])
    ended(
        "mail.send", timedelta(minutes=10), "mail", succeeded=900, failed=100,
        run={bucket_of(0.5): 1000}, wait={bucket_of(8): 1000},
    )  # fmt: skip
    enqueue_many([("mail.send", n) for n in range(3)], queue="mail")
    enqueue("mail.send", queue="other", delay=3600)

    text = words(admin_client, "mail.send")

    assert "open" in text and "mail, other" in text
    assert " 4 15 10 % " in text
    assert "web-1" in text
    page = admin_client.get(change_url("messagetype", "mail.send")).content.decode()
    assert f"{list_url('message')}?type=mail.send" in page
    assert change_url("queue", "mail") in page


def test_the_last_success_is_known_to_the_minute_also_hours_ago(admin_client):
    succeeded = ended("report", timedelta(hours=5), succeeded=1)
    ended("report", timedelta(minutes=3), failed=2)
    ended("never", timedelta(hours=5), failed=2)

    rows = admin_client.get(list_url("messagetype")).context["cl"].result_list

    assert {row.name: row.facts.last_success for row in rows} == {"report": succeeded, "never": None}
    assert "none in 7 days" in words(admin_client, "never")


def test_a_type_is_paused_with_a_reason_and_resumes_by_itself(admin_client):
    handler("mail.send")(print)
    url = f"{list_url('messagetype')}mail.send/pause/"
    assert "Pause the type mail.send" in admin_client.get(url).content.decode()

    page = admin_client.post(url, {"reason": "provider is down", "minutes": "60"}, follow=True)

    pause = messages.paused_types()["mail.send"]
    assert timedelta(minutes=59) < pause.resume_at - timezone.now() <= timedelta(minutes=60)
    assert "The type mail.send was paused." in page.content.decode()
    assert "by admin" in words(admin_client, "mail.send")

    assert do_url("messagetype", "mail.send", "resume") in page.content.decode()
    admin_client.post(do_url("messagetype", "mail.send", "resume"))
    assert messages.paused_types() == {}


def test_types_without_a_row_are_paused_and_resumed_together(admin_client):
    for name in ("mail.send", "mail.fetch"):
        handler(name)(print)
    data = {"_selected_action": ["mail.send", "mail.fetch"], "index": "0", "reason": "the move"}
    answer = admin_client.post(list_url("messagetype"), data | {"action": "pause"}, follow=True)
    assert "2 types were paused." in answer.content.decode()
    assert {pause.pause_reason for pause in messages.paused_types().values()} == {"the move"}

    admin_client.post(list_url("messagetype"), data | {"action": "resume"})
    assert messages.paused_types() == {}


@pytest.mark.parametrize("name", ["nowhere", "no such", "<b>"])
def test_what_is_no_type_has_no_page_and_cannot_be_paused(admin_client, name):
    assert admin_client.get(change_url("messagetype", name)).status_code == 302
    assert admin_client.get(f"{list_url('messagetype')}{name}/pause/").status_code == 404


def test_the_page_of_a_type_leads_to_its_failures_schedules_and_queues(admin_client):
    handler("report", queue="reports")(print)
    job = schedules.add("nightly report", "@daily", "report")
    failure = Failure.objects.create(
        type="report", fingerprint="f", error_class="shop.errors.Down", message="no answer",
        first_at=now(), last_at=now(),
    )  # fmt: skip
    ended("report", timedelta(minutes=3), "reports", succeeded=60)

    page = admin_client.get(change_url("messagetype", "report")).content.decode()

    for url in (
        change_url("failure", failure.pk), change_url("scheduledjob", job.pk), change_url("queue", "reports"),
    ):  # fmt: skip
        assert url in page
    assert "no answer" in page and "nightly report" in page


def test_who_may_only_look_sees_no_button_and_pauses_nothing(client, django_user_model):
    handler("mail.send")(print)
    user = django_user_model.objects.create_user("look", password="x", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_messagetype"))
    client.force_login(user)

    page = client.get(list_url("messagetype")).content.decode()

    assert "mail.send" in page and "Pause" not in page
    assert client.get(f"{list_url('messagetype')}mail.send/pause/").status_code == 403
    assert client.post(do_url("messagetype", "mail.send", "resume")).status_code == 403
    assert MessageType.objects.count() == 0
