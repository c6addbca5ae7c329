"""All schedules paused in the admin: the button, the page that asks, and what every page says meanwhile."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from django_letsgo_worker import handler, schedules
from django_letsgo_worker.inspection import at_clock
from django_letsgo_worker.models import ScheduledJob, SchedulesPause
from tests.admin.test_marks import GREEN
from tests.admin.test_schedules import limited_client
from tests.browser.rows import change_url, list_url
from tests.inspection.troubles import MINUTE, all_is_well, due, now

pytestmark = pytest.mark.django_db

LIST = list_url("scheduledjob")
PAUSE, RESUME, AGENDA = f"{LIST}pause-all/", f"{LIST}resume-all/", f"{LIST}agenda/"
OVERVIEW = "/admin/django_letsgo_worker/"


@pytest.fixture(autouse=True)
def nightly(own_registry, settings):
    """A schedule that runs in twenty minutes, and all is well."""
    handler("t:x")(print)
    settings.LETSGO_WORKER = {"SCHEDULE": ""}
    all_is_well()
    job = schedules.add("nightly", "@daily", "t:x")
    plan(now() + 20 * MINUTE)
    return job


def plan(moment):
    ScheduledJob.objects.update(next_run_at=moment, next_planned_at=moment)


def page_of(client, address=LIST, query=None):
    response = client.get(address, query)
    assert response.status_code == 200
    return response.content.decode()


def plain(html):
    return " ".join(unescape(re.sub("<[^>]*>", " ", html)).split())


def cell(page, column):
    return plain(re.search(rf'<td [^>]*class="field-{column}.*?</td>', page, re.DOTALL)[0])


def present():
    return schedules.present_pause("default", now())


# -- the button and the page -------------------------------------------------------------------------------


def test_the_list_leads_to_a_page_that_asks_and_pauses_all(admin_client):
    assert f'<a href="{PAUSE}" class="lg-tool">Pause all…</a>' in page_of(admin_client)
    assert "nothing is made up for later" in page_of(admin_client, PAUSE)
    assert present() is None

    answer = admin_client.post(PAUSE, {"reason": "the move", "minutes": "60", "resume_at": ""}, follow=True)

    pause = present()
    assert (pause.paused_by, pause.pause_reason) == ("admin", "the move")
    assert timedelta(minutes=59) < pause.resume_at - pause.paused_at <= timedelta(hours=1)
    assert "All schedules are paused." in answer.content.decode()
    assert answer.redirect_chain[-1][0] == LIST
    assert ScheduledJob.objects.get().enabled


def test_a_time_that_is_past_stands_as_an_error_at_its_field(admin_client):
    local = timezone.localtime(now() - timedelta(hours=1))
    page = admin_client.post(PAUSE, {"resume_at": f"{local:%Y-%m-%dT%H:%M}"}).content.decode()
    assert "This time is in the past." in page
    assert present() is None


def test_one_who_changes_a_pause_begins_with_what_it_says(admin_client):
    schedules.pause_all(by="anna", reason="the move", until=now() + timedelta(hours=2))
    page = page_of(admin_client, PAUSE)
    local = timezone.localtime(present().resume_at)
    assert 'value="the move"' in page
    assert f'value="{local:%Y-%m-%dT%H:%M}"' in page

    admin_client.post(PAUSE, {"reason": "the move takes long"})

    [pause] = SchedulesPause.objects.all()
    assert (pause.paused_by, pause.pause_reason, pause.resume_at) == ("admin", "the move takes long", None)


def test_the_banner_says_who_since_when_until_when_and_why_and_resumes_all(admin_client):
    until = now() + timedelta(hours=2)
    schedules.pause_all(by="anna", reason="the <move>", until=until)

    page = page_of(admin_client)

    since, end = (at_clock(moment, now()) for moment in (present().paused_at, until))
    assert f"All schedules are paused by anna since {since}, until {end}: the <move>." in plain(page)
    assert "the <move>" not in page
    assert "Pause all…" not in page
    [form] = re.findall(r'<form method="post" id="lg-resume-all" action="([^"]*)">', page)
    assert form == RESUME and 'form="lg-resume-all"' in page
    # A form within a form is none.
    before = page.partition('id="lg-resume-all"')[0]
    assert before.count("<form") - 1 == before.count("</form>")

    answer = admin_client.post(form, follow=True)

    assert present() is None
    assert SchedulesPause.objects.get().resumed_by == "admin"
    assert "The schedules run again." in answer.content.decode()
    assert "lg-resume-all" not in answer.content.decode()


def test_resuming_what_is_not_paused_is_said(admin_client):
    assert "The schedules were not paused." in admin_client.post(RESUME, follow=True).content.decode()
    assert admin_client.get(RESUME).status_code == 405


def test_both_are_in_the_log_of_the_admin(admin_client):
    admin_client.post(PAUSE, {"reason": ""})
    admin_client.post(RESUME)
    entries = LogEntry.objects.order_by("pk").values_list("change_message", "content_type__model")
    assert list(entries) == [("Paused.", "schedulespause"), ("Resumed.", "schedulespause")]
    assert page_of(admin_client, "/admin/").count("schedules paused at") == 2


@pytest.mark.parametrize(
    ("permissions", "may"),
    [
        (["view_scheduledjob", "switch_scheduledjob"], True),
        (["view_scheduledjob", "change_scheduledjob", "run_scheduledjob"], False),
        (["switch_scheduledjob"], False),
    ],
)
def test_it_needs_the_permission_to_switch_and_to_view(permissions, may):
    client = limited_client(*permissions)
    if "view_scheduledjob" in permissions:
        assert ("Pause all…" in page_of(client)) is may
    assert client.get(PAUSE).status_code == (200 if may else 403)
    assert client.post(PAUSE, {"reason": ""}).status_code == (302 if may else 403)
    assert (present() is not None) is may
    schedules.pause_all()
    if "view_scheduledjob" in permissions:
        page = page_of(client)
        assert "All schedules are paused" in page
        assert ("Resume all" in page) is may
    assert client.post(RESUME).status_code == (302 if may else 403)
    assert (present() is None) is may


# -- what the pages say meanwhile --------------------------------------------------------------------------


def test_no_mark_is_green_and_the_next_run_reads_paused(admin_client):
    page = page_of(admin_client)
    assert GREEN in page and "○ paused" not in plain(page)
    assert "in 19 min" in cell(page, "next_run") or "in 20 min" in cell(page, "next_run")

    schedules.pause_all(by="anna")

    page = page_of(admin_client)
    assert GREEN not in page
    assert cell(page, "state_shown") == "○ paused with all schedules"
    assert cell(page, "next_run") == "paused"


def test_a_run_after_the_end_that_was_set_is_told_as_ever(admin_client):
    schedules.pause_all(until=now() + 10 * MINUTE)
    assert "paused" not in cell(page_of(admin_client), "next_run")
    schedules.pause_all(until=now() + 30 * MINUTE)
    assert cell(page_of(admin_client), "next_run").startswith("paused until in 29 min")


def test_one_that_is_off_or_broken_says_that_all_the_same(admin_client):
    schedules.pause_all()
    ScheduledJob.objects.update(problem="'Asia/Nowhere' is no IANA time zone.")
    assert cell(page_of(admin_client), "state_shown").startswith("✕ broken")
    schedules.disable("nightly", by="ben")
    assert cell(page_of(admin_client), "state_shown").startswith("○ off by ben")


def test_nothing_is_late_while_all_are_paused_nor_in_the_minute_after(admin_client):
    plan(now() - 3 * MINUTE)
    assert "! late" in cell(page_of(admin_client), "state_shown")

    schedules.pause_all()
    assert "late" not in cell(page_of(admin_client), "state_shown")
    assert admin_client.get(LIST, {"state": "problem"}).context["cl"].result_count == 0

    schedules.resume_all()
    assert "late" not in cell(page_of(admin_client), "state_shown")

    SchedulesPause.objects.update(resumed_at=now() - 2 * MINUTE)
    assert "! late" in cell(page_of(admin_client), "state_shown")
    assert admin_client.get(LIST, {"state": "problem"}).context["cl"].result_count == 1


def test_the_page_of_a_schedule_says_it(admin_client, nightly):
    address = change_url("scheduledjob", nightly.pk)
    assert "paused" not in plain(page_of(admin_client, address))

    schedules.pause_all(by="anna", reason="the move")

    page = page_of(admin_client, address)
    assert "All schedules are paused by anna since" in plain(page)
    assert "The next planned times; none runs while all schedules are paused" in page
    assert GREEN not in page
    # Its form is the page's: nothing here posts to another.
    assert "Resume all" not in page


def test_the_agenda_says_it_and_marks_the_runs_that_are_held_back(admin_client):
    schedules.add("later", "@daily", "t:x")
    later = now() + 90 * MINUTE
    ScheduledJob.objects.filter(name="later").update(next_run_at=later)
    assert "paused" not in plain(page_of(admin_client, AGENDA))

    schedules.pause_all(by="anna", until=now() + 60 * MINUTE)

    text = plain(page_of(admin_client, AGENDA))
    assert "All schedules are paused by anna since" in text
    assert re.search(r"\d\d:\d\d nightly paused", text)
    assert re.search(r"\d\d:\d\d later (?!paused)", text)


def test_a_run_that_is_held_back_is_not_late_on_the_agenda(admin_client):
    plan(now() - 5 * MINUTE)
    assert "late nightly" in plain(page_of(admin_client, AGENDA))
    schedules.pause_all()
    text = plain(page_of(admin_client, AGENDA))
    assert "late" not in text and "nightly paused" in text


def test_the_overview_says_it_among_the_problems_and_the_next_runs(admin_client):
    due("t:x")
    runs = page_of(admin_client, OVERVIEW).partition("<h2>Next runs</h2>")[2]
    assert "nightly in 19 min" in plain(runs) or "nightly in 20 min" in plain(runs)

    schedules.pause_all(by="anna", reason="the move")

    page = page_of(admin_client, OVERVIEW)
    assert "1 schedule is on and does not run; `manage.py letsgo schedule resume-all`" in plain(page)
    assert f'<a class="button lg-button" href="{LIST}">Resume</a>' in page
    assert plain(page.partition("<h2>Next runs</h2>")[2]).startswith("nightly paused")
