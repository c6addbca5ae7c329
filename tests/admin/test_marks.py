"""No mark of any page is green beside a thing that a problem is about: its row, or the row of its queue."""

from __future__ import annotations

import re

import pytest

from django_letsgo_worker import enqueue_many, handler, schedules
from django_letsgo_worker.inspection import CODES
from django_letsgo_worker.models import Message, Process
from tests.browser.rows import list_url
from tests.inspection.troubles import MINUTE, TROUBLES, all_is_well, due, now, process

pytestmark = pytest.mark.django_db

GREEN = "lg-good"
# What the rows of each page are that a problem is about, by a word in them.
ABOUT = {
    "no_worker": {
        "queue": ["default", "mails"], "message": ["t:x", "t:strange"], "messagetype": ["t:x", "t:strange"],
    },
    "no_scheduler": {"scheduledjob": ["nightly"]},
    "process_silent": {"process": ["web-2"], "queue": ["videos"], "message": ["videos"]},
    "type_failing": {
        "queue": ["default"], "message": ["t:x"], "scheduledjob": ["t:x"], "messagetype": ["t:x"],
    },
    "type_unknown": {"queue": ["default"], "message": ["t:y"], "messagetype": ["t:y"]},
    "queue_unserved": {"queue": ["mails"], "message": ["mails"], "messagetype": ["mails"]},
    "backlog_growing": {"queue": ["default"], "message": ["t:x"], "messagetype": ["t:x"]},
    "type_paused": {"queue": ["default"], "message": ["t:x"], "messagetype": ["t:x"]},
    "queue_paused": {"queue": ["mails"], "message": ["mails"], "messagetype": ["mails"]},
    "schedules_paused": {"scheduledjob": ["nightly"]},
    "schedule_broken": {"scheduledjob": ["nightly"]},
    "schedule_failing": {"scheduledjob": ["nightly"]},
    "schedule_of_unknown_type": {"scheduledjob": ["nightly"]},
    "schedule_late": {"scheduledjob": ["nightly"]},
    "schedule_never_fires": {"scheduledjob": ["never"]},
}  # fmt: skip
# These are about no row of a page.
ABOUT_NO_ROW = {
    "not_migrated", "dead_letters", "schedule_missing", "clock_skew", "old_snapshot", "table_bloat",
}  # fmt: skip
PAGES = ("queue", "message", "messagetype", "scheduledjob", "process")


@pytest.fixture(autouse=True)
def healthy(own_registry, settings):
    handler("t:x")(print)
    settings.LETSGO_WORKER = {"SCHEDULE": ""}
    all_is_well()


def rows(client, page):
    """Return the rows of a list as HTML, but for the last result of schedules, which is history."""
    html = client.get(list_url(page)).content.decode()
    found = re.findall(r"<tr>.*?</tr>", html.partition("<tbody>")[2], re.DOTALL)
    return [re.sub(r'<td [^>]*class="field-history.*?</td>', "", row, flags=re.DOTALL) for row in found]


def test_each_code_is_looked_at():
    assert set(ABOUT) | ABOUT_NO_ROW == set(CODES)
    assert not set(ABOUT) & ABOUT_NO_ROW


def test_control_where_all_is_well_the_marks_are_green(admin_client):
    due("t:x")
    schedules.add("nightly", "@daily", "t:x")
    for page in PAGES:
        found = rows(admin_client, page)
        assert found
        assert all(GREEN in row for row in found), page


@pytest.mark.parametrize("code", ABOUT)
def test_no_mark_is_green_beside_a_problem(admin_client, code):
    make, _about = TROUBLES[code]
    if code == "type_failing":
        due("t:x")
        schedules.add("nightly", "@daily", "t:x")
    with make():
        for page, words in ABOUT[code].items():
            for word in words:
                found = [row for row in rows(admin_client, page) if word in row]
                assert found, (page, word)
                assert [row for row in found if GREEN in row] == [], (page, word)


@pytest.mark.parametrize("code", ["queue_unserved", "type_failing", "backlog_growing", "schedule_late"])
def test_the_marks_are_green_again_when_it_is_mended(admin_client, code):
    make, _about = TROUBLES[code]
    with make():
        pass
    for page, words in ABOUT[code].items():
        for row in rows(admin_client, page):
            assert GREEN in row or not any(word in row for word in words), page


def test_what_a_silent_worker_runs_says_so(admin_client):
    silent = process("web-2", age=300)
    [pk] = enqueue_many([("t:x", 1)])
    Message.objects.filter(pk=pk).update(leased_by=silent.pk, visible_at=now() + MINUTE)
    [row] = rows(admin_client, "message")
    assert "its worker is silent" in row


def test_without_a_scheduler_a_schedule_that_is_on_has_no_tick(admin_client):
    schedules.add("nightly", "@daily", "t:x")
    Process.objects.filter(kind="scheduler").delete()
    [row] = rows(admin_client, "scheduledjob")
    assert "✓" not in row
    assert admin_client.get(list_url("scheduledjob")).content.decode().count("No scheduler is running") == 1
