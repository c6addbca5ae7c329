"""Whatever stands in a row, the admin shows it as text: nothing runs, nothing breaks, nothing leaves."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.utils import timezone

from django_letsgo_worker import schedules
from django_letsgo_worker.models import Message, Occurrence, Queue, ScheduledJob
from tests.browser.rows import an_error, change_url, dead_letter, list_url, process

pytestmark = pytest.mark.django_db

MARKUP = (
    "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>{{ 7|add:7 }}{% now 'Y' %}%(a)s {0}"
)
RIGHT_TO_LEFT = "\u202eevil\u202c \u05d0\u05d1"
HOSTILE = f"{MARKUP}{RIGHT_TO_LEFT}"


@pytest.fixture
def pages():
    """Put hostile text into every text of every row, past all checks; return the addresses of all pages."""
    now = timezone.now()
    text = HOSTILE
    facts = {
        "type": text,
        "queue": text[:64],
        "payload": {text: [text]},
        "headers": {"schedule": text, text: text},
        "unique_key": text[:200],
        "scheduled_job_id": 1,
        "planned_at": now,
        "leased_by": uuid.uuid4(),
        "errors": [{**an_error(text), "class": text, "process": text, "at": text, "attempt": text}],
    }
    live = Message.objects.create(visible_at=now, enqueued_at=now, **facts)
    letter = dead_letter(result=text, error_class=text, error_fingerprint=text[:40], **facts)
    job = schedules.add("Nightly", "@daily", "mail.send", overlap="skip")
    columns = {
        "name": text, "type": text, "payload": {text: text}, "queue": text[:64], "switched_by": text,
        "switch_reason": text, "problem": text,
    }  # fmt: skip
    ScheduledJob.objects.filter(pk=job.pk).update(**columns)
    odd = schedules.add("Odd", "@daily", "mail.send", enabled=False)
    ScheduledJob.objects.filter(pk=odd.pk).update(
        schedule=text, timezone=text[:64], **(columns | {"name": f"{text[:190]}2"})
    )
    Occurrence.objects.create(scheduled_job=job, planned_at=now, fired_at=now, skipped_because=text)
    Occurrence.objects.create(scheduled_job=odd, planned_at=now, fired_at=now, message_id=letter.pk)
    worker = process(name=text, host=text, version=text[:32], queues=[text], types=[text])
    Queue.objects.create(
        name=text[:64],
        paused_at=now,
        paused_by=text[:150],
        pause_reason=text,
        resume_at=now + timedelta(hours=1),
    )
    rows = [
        ("message", live.pk), ("archivedmessage", letter.pk), ("deadletter", letter.pk),
        ("scheduledjob", job.pk), ("scheduledjob", odd.pk), ("process", worker.pk),
    ]  # fmt: skip
    lists = [
        list_url(model)
        for model in ("message", "archivedmessage", "deadletter", "scheduledjob", "process", "queue")
    ]
    return [
        *lists,
        *(change_url(model, pk) for model, pk in rows),
        *(f"{change_url(m, pk)[:-7]}history/" for m, pk in rows),
    ]


def test_hostile_text_is_escaped_on_every_page(admin_client, pages):
    for url in pages:
        response = admin_client.get(url)
        page = response.content.decode()
        assert response.status_code == 200, url
        for markup in ("<img", "<script>alert", "</script><script>alert", "\"'</script>"):
            assert markup not in page.replace('<img src="/static/', ""), url
        assert "{{ 7|add:7 }}" in page or "/history/" in url or "/queue/" in url, url


def test_hostile_text_is_escaped_in_what_actions_say(admin_client, pages):
    for model, action in (
        ("scheduledjob", "run_now"),
        ("scheduledjob", "disable"),
        ("deadletter", "redrive"),
        ("queue", "resume"),
    ):
        rows = admin_client.get(list_url(model)).context["cl"].result_list
        data = {
            "action": action,
            "_selected_action": [row.pk for row in rows],
            "index": "0",
            "reason": HOSTILE[:200],
        }
        page = admin_client.post(list_url(model), data, follow=True).content.decode()
        assert "<img src=x" not in page
        assert "<script>alert" not in page


def test_hostile_text_is_escaped_in_the_question_before_a_discard(admin_client, pages):
    letter = admin_client.get(list_url("deadletter")).context["cl"].result_list[0]
    data = {"action": "discard", "_selected_action": [letter.pk], "index": "0", "select_across": MARKUP}
    assert b"<img src=x" not in admin_client.post(list_url("deadletter"), data).content


def test_hostile_filters_and_searches_are_escaped(admin_client, pages):
    for model in ("message", "archivedmessage", "deadletter", "scheduledjob", "process", "queue"):
        for name in ("q", "type", "queue", "state", "outcome", "error_fingerprint", "kind"):
            response = admin_client.get(list_url(model), {name: HOSTILE, "_changelist_filters": HOSTILE})
            assert response.status_code in (200, 302, 400)
            assert b"<img src=x" not in response.content
            assert b"<script>alert" not in response.content


def test_a_text_of_any_length_leaves_the_lists_short(admin_client):
    dead_letter(errors=[an_error("x" * 60_000)], error_class="c" * 255, type="t" * 255)
    schedules.add("n" * 200, "@daily", "t" * 255)
    process(name="p" * 200, host="h" * 255, types=["t" * 255] * 200)

    for model in ("deadletter", "archivedmessage", "scheduledjob", "process"):
        page = admin_client.get(list_url(model)).content.decode()
        assert "x" * 400 not in page
        assert "h" * 100 not in page


class Scanner(HTMLParser):
    """Finds what a policy of default-src 'self' would block, after the head that is Django's own."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.in_main = False

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.in_main = self.in_main or given.get("id") == "content"
        is_data = given.get("type") == "application/json"
        if self.in_main and (tag == "style" or (tag == "script" and "src" not in given and not is_data)):
            self.found.append(tag)
        for name, value in attrs:
            is_foreign = name in ("src", "href", "action", "formaction") and re.match(r"\w*:|//", value or "")
            if (self.in_main and (name == "style" or name.startswith("on"))) or is_foreign:
                self.found.append((tag, name, value))


def test_the_pages_work_under_a_strict_content_security_policy(admin_client, pages):
    for url in pages:
        scanner = Scanner()
        scanner.feed(admin_client.get(url).content.decode())
        assert scanner.in_main
        assert scanner.found == [], url


def test_the_scanner_sees_what_a_policy_would_block():
    scanner = Scanner()
    scanner.feed('<div id="content"><p style="a" onclick="b"><script>c</script><img src="https://d"></div>')
    assert len(scanner.found) == 4
