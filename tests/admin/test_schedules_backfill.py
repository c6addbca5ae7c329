"""The page that makes up for planned times: it asks from when until when, counts, has its own permission."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry

from django_letsgo_worker import schedules
from django_letsgo_worker.models import Message, Occurrence, ScheduledJob
from tests.admin.test_schedules import errors_on_page, limited_client
from tests.browser.rows import change_url, list_url

pytestmark = pytest.mark.django_db

A_WEEK = {"start": "2026-03-01T00:00", "end": "2026-03-07T12:00", "over": ""}
DAYS = [datetime(2026, 3, day, 2, tzinfo=UTC) for day in range(1, 8)]


@pytest.fixture
def job():
    return schedules.add("Nightly", "0 2 * * *", "mail.send")


def url(job):
    return f"{list_url('scheduledjob')}{job.pk}/backfill/"


def counted(client, job, **given):
    page = client.post(url(job), {**A_WEEK, **given, "_preview": "Preview"}).content.decode()
    found = re.search(r'role="status">([^<]*)<', page)
    return found and found[1]


# -- the count ---------------------------------------------------------------------------------------------


def test_it_counts_the_planned_times_that_have_no_record_and_makes_nothing(admin_client, job):
    assert (
        "role="
        not in admin_client.get(url(job)).content.decode().partition("<form")[2].partition("</form")[0]
    )
    assert counted(admin_client, job) == "7 planned times have no record."
    Occurrence.objects.create(scheduled_job=job, planned_at=DAYS[2], fired_at=DAYS[2])
    assert counted(admin_client, job) == "6 planned times have no record."
    assert counted(admin_client, job, end="2026-03-01T02:00") == "1 planned time has no record."
    assert counted(admin_client, job, start="2026-03-01T02:00", end="2026-03-01T02:00") is not None
    assert counted(admin_client, job, end="2026-03-01T01:59") == "0 planned times have no record."
    assert not Message.objects.exists()


def test_what_was_typed_stays_when_it_is_counted(admin_client, job):
    page = admin_client.post(url(job), {**A_WEEK, "over": "2h", "_preview": "x"}).content.decode()
    assert 'value="2026-03-01T00:00"' in page and 'value="2h"' in page


@pytest.mark.parametrize("button", [{}, {"_preview": "Preview"}])
def test_more_than_a_backfill_takes_are_refused(admin_client, button):
    job = schedules.add("Pulse", "@every 1s", "mail.send", now=datetime(2026, 1, 1, tzinfo=UTC))
    [sentence] = errors_on_page(admin_client.post(url(job), {**A_WEEK, **button}))
    assert "561,601 planned times" in sentence
    assert not Message.objects.exists()


# -- the backfill ------------------------------------------------------------------------------------------


def test_it_makes_up_for_them_and_is_logged(admin_client, job):
    page = admin_client.post(f"{url(job)}?from=change", A_WEEK, follow=True).content.decode()

    assert list(Message.objects.order_by("pk").values_list("planned_at", flat=True)) == DAYS
    assert Occurrence.objects.filter(is_backfill=True).count() == 7
    assert "7 messages were made." in page
    assert "7 of them backfilled" in page
    assert LogEntry.objects.get().change_message.startswith("Backfilled from 2026-03-01 00:00")


def test_it_spreads_their_starts(admin_client, job):
    admin_client.post(url(job), {**A_WEEK, "over": "7h"})
    starts = list(Message.objects.order_by("pk").values_list("visible_at", flat=True))
    assert timedelta(hours=5) < starts[-1] - starts[0] <= timedelta(hours=7)


@pytest.mark.parametrize("button", [{}, {"_preview": "Preview"}])
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"end": "2099-01-01T00:00"}, "This time is in the future."),
        ({"end": "2026-02-01T00:00"}, "This is before the first of the two times."),
        ({"start": "0001-01-01T00:00"}, "This time is too long ago."),
        ({"start": ""}, "This field is required."),
        ({"start": "soon"}, "Enter a valid date/time."),
        ({"over": "long"}, "Write a length of time such as 90s, 10m, 1h30m or 2d."),
        ({"over": "9" * 30 + "d"}, "Write a length of time such as 90s, 10m, 1h30m or 2d."),
    ],
)
def test_what_is_wrong_is_said_and_makes_nothing(admin_client, job, given, sentence, button):
    assert errors_on_page(admin_client.post(url(job), {**A_WEEK, **given, **button})) == [sentence]
    assert not Message.objects.exists()


@pytest.mark.parametrize("button", [{}, {"_preview": "Preview"}])
def test_a_rule_that_cannot_be_read_is_said(admin_client, job, button):
    ScheduledJob.objects.update(schedule="nonsense")
    [sentence] = errors_on_page(admin_client.post(url(job), {**A_WEEK, **button}))
    assert "nonsense" in sentence
    assert not Message.objects.exists()


# -- who may ----------------------------------------------------------------------------------------------


def test_the_page_of_a_schedule_leads_there(admin_client, job):
    assert f"{url(job)}?from=change" in admin_client.get(change_url("scheduledjob", job.pk)).content.decode()


def test_it_needs_its_permission(job):
    client = limited_client(
        "view_scheduledjob", "change_scheduledjob", "run_scheduledjob", "switch_scheduledjob"
    )
    assert client.get(url(job)).status_code == 403
    assert client.post(url(job), A_WEEK).status_code == 403
    assert "/backfill/" not in client.get(change_url("scheduledjob", job.pk)).content.decode()
    assert not Message.objects.exists()


def test_its_permission_and_that_to_view_are_enough(job):
    client = limited_client("view_scheduledjob", "backfill_scheduledjob")
    assert "/backfill/" in client.get(change_url("scheduledjob", job.pk)).content.decode()
    client.post(url(job), A_WEEK)
    assert Message.objects.count() == 7


def test_a_schedule_that_is_gone_has_no_such_page(admin_client):
    for id in ("4711", "x", "9" * 30):
        assert admin_client.get(f"{list_url('scheduledjob')}{id}/backfill/").status_code == 404
