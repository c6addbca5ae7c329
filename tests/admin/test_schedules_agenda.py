"""The agenda page: pile-ups in words, frequent schedules in one line, a cap that is said, few statements."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_letsgo_worker import inspection, schedules
from django_letsgo_worker.admin import schedule_pages
from tests.admin.test_schedules import limited_client
from tests.browser.rows import change_url, list_url

pytestmark = pytest.mark.django_db

AGENDA = "/admin/django_letsgo_worker/scheduledjob/agenda/"


def agenda_of(client):
    response = client.get(AGENDA)
    assert response.status_code == 200
    return response.content.decode()


def test_a_pile_up_stands_out_in_words(admin_client):
    # An hour that lies ahead as a whole: the page splits the present one into now and tomorrow.
    hour, later = ((timezone.now() + timedelta(hours=ahead)).hour for ahead in (3, 8))
    for n in range(12):
        schedules.add(f"Tenant {n:02}", f"{5 * n} {hour} * * *", "export:csv")
    schedules.add("Alone", f"30 {later} * * *", "export:csv")

    page = agenda_of(admin_client)

    assert f"Most in one hour: 12 runs at {hour:02}:00\u2013{hour:02}:55." in page
    [pile_up] = re.findall(r'<tr class="lg-pile-up">.*?</tr>', page, re.DOTALL)
    assert f"12 runs at {hour:02}:00\u2013{hour:02}:55" in pile_up
    assert "Tenant 11" in pile_up
    assert 'class="lg-pile-up"' not in page.replace(pile_up, "")


def test_every_run_leads_to_its_schedule(admin_client):
    job = schedules.add("Nightly", "30 1 * * *", "export:csv")
    assert f'01:30</span> <a href="{change_url("scheduledjob", job.pk)}">Nightly</a>' in agenda_of(
        admin_client
    )


def test_the_hours_are_those_of_the_viewers_clock(admin_client):
    schedules.add("Nightly", "30 1 * * *", "export:csv")
    with timezone.override("Asia/Tokyo"):
        page = agenda_of(admin_client)
    assert "10:30</span>" in page
    assert "All times are those of Asia/Tokyo." in page


def test_a_frequent_schedule_stands_in_one_line(admin_client):
    job = schedules.add("Cache", "* * * * *", "export:csv")
    page = agenda_of(admin_client)
    assert page.count(change_url("scheduledjob", job.pk)) == 1
    assert "every minute" in page
    assert re.search(r"14[34]\d runs", page)


def test_of_many_runs_in_one_quarter_some_are_named_some_folded_and_the_rest_counted(
    admin_client, monkeypatch
):
    monkeypatch.setattr(schedule_pages, "FOLDED", 3)
    for n in range(10):
        schedules.add(f"Tenant {n:02}", "0 1 * * *", "export:csv")
    page = agenda_of(admin_client)
    assert "6 more</summary>" in page
    assert "and 3 more" in page
    assert "Tenant 06" in page and "Tenant 07" not in page


def test_the_cap_is_said(admin_client, monkeypatch):
    schedules.add("a", "@daily", "export:csv")
    schedules.add("b", "@daily", "export:csv")
    assert "that run next are here" not in agenda_of(admin_client)
    monkeypatch.setattr(schedule_pages, "MOST_JOBS", 1)
    assert "Only the 1 schedules that run next are here." in agenda_of(admin_client)
    assert inspection.MOST_JOBS == 300


def test_it_is_linked_and_needs_the_permission_to_view(admin_client):
    assert f'href="{AGENDA}"' in admin_client.get(list_url("scheduledjob")).content.decode()
    assert "The next 24 hours" in agenda_of(admin_client)
    assert limited_client("run_scheduledjob").get(AGENDA).status_code == 403


def test_it_takes_at_most_three_statements_beside_the_session_and_the_user(admin_client):
    for n in range(30):
        schedules.add(f"job {n}", f"{n} * * * *", "export:csv")
    with CaptureQueriesContext(connection) as captured:
        agenda_of(admin_client)
    assert len(captured) - 2 <= 3
