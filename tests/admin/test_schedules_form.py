"""The form of a schedule and what stands beside it: the preview, presets, folded fields, a likely type."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from django_letsgo_worker import handler, schedules
from django_letsgo_worker.admin.schedule_form import PRESETS
from django_letsgo_worker.models import ScheduledJob
from django_letsgo_worker.recurrence import Recurrence
from tests.admin.test_schedules import add, form, limited_client
from tests.browser.rows import change_url, list_url
from tests.inspection.troubles import process

pytestmark = pytest.mark.django_db

ADD = "/admin/django_letsgo_worker/scheduledjob/add/"
PREVIEW = "/admin/django_letsgo_worker/scheduledjob/preview/"


def preview(client, **typed):
    response = client.get(PREVIEW, {"timezone": "UTC", **typed})
    assert response.status_code == 200
    return response.content.decode()


def times_in(page):
    return re.findall(r'<time datetime="([^"]+)"', page)


# -- the preview -------------------------------------------------------------------------------------------


def test_the_next_ten_runs_of_what_is_typed_are_shown(admin_client):
    page = preview(admin_client, schedule="30 2 * * MON-FRI", timezone="Asia/Tokyo")

    assert "At 02:30, Monday to Friday" in page
    assert page.count("02:30 JST") == 10
    assert page.count("17:30 UTC") == 10
    assert "on your clock" in page
    assert "<html" not in page


def test_what_is_wrong_with_the_rule_is_said_as_its_sentence(admin_client):
    assert "No date ever matches" in preview(admin_client, schedule="0 0 30 2 *")
    assert "IANA" in preview(admin_client, schedule="@daily", timezone="Mars/Olympus")
    assert "is past" in preview(admin_client, schedule="at(2001-01-01T09:00:00)")
    assert times_in(preview(admin_client, schedule="")) == []


def test_runs_keep_within_the_bounds_and_a_bound_half_typed_counts_for_nothing(admin_client):
    bounds = {"starts_at_0": "2090-01-01", "starts_at_1": "00:00:00"}
    bounds |= {"ends_at_0": "2090-01-03", "ends_at_1": "00:00:00"}
    found = times_in(preview(admin_client, schedule="@daily", **bounds))
    assert [time[:10] for time in found] == ["2090-01-01", "2090-01-02", "2090-01-03"]
    assert len(times_in(preview(admin_client, schedule="@daily", **{**bounds, "ends_at_1": "x"}))) == 10
    assert len(times_in(preview(admin_client, schedule="@daily", starts_at_0="209"))) == 10


def test_the_grid_of_a_saved_rate_stays_where_it_is(admin_client):
    begin = timezone.now() - timedelta(minutes=10)
    job = schedules.add("Sync", "rate(1 hour)", "mail.send", now=begin)

    same = times_in(preview(admin_client, schedule="rate(60 minutes)", of=str(job.pk)))
    other = times_in(preview(admin_client, schedule="rate(2 hours)", of=str(job.pk)))

    assert datetime.fromisoformat(same[0]) == begin + timedelta(hours=1)
    assert datetime.fromisoformat(other[0]) > begin + timedelta(hours=2)
    assert ScheduledJob.objects.get().schedule == "rate(1 hour)"


@pytest.mark.parametrize(
    ("rule", "zone", "since", "said"),
    [
        ("30 2 * * *", "Europe/Berlin", "2090-03-25", ["this time of day is left out"]),
        ("30 2 * * *", "Europe/Berlin", "2090-10-28", ["twice: the first of them"]),
        ("*/30 * * * *", "Europe/Berlin", "2090-10-29", ["the first of them", "the second of them"]),
        ("30 2 * * *", "UTC", "2090-03-25", []),
    ],
)
def test_runs_that_a_clock_change_moves_or_repeats_are_marked_with_words(
    admin_client, rule, zone, since, said
):
    page = preview(
        admin_client, schedule=rule, timezone=zone, starts_at_0=since, starts_at_1="00:00:00"
    )  # fmt: skip
    words = ("this time of day is left out", "the first of them", "the second of them")
    assert [word for word in words if word in page] == [word for word in words if word in " ".join(said)]


def test_times_at_which_nothing_runs_are_struck_through_and_say_why(admin_client):
    begin = {"starts_at_0": "2090-12-23", "starts_at_1": "00:00:00"}
    page = preview(admin_client, schedule="@daily", except_on="12-24..12-26", **begin)

    struck = re.findall(r'<del class="lg-excluded" title="([^"]*)">(.*?)</del>', page)
    assert [times_in(shown)[0][:10] for _why, shown in struck] == ["2090-12-24", "2090-12-25", "2090-12-26"]
    for why, _shown in struck:
        assert "12-24..12-26" in why
        assert page.count(f"<td>{why}</td>") == 1
    assert "lg-excluded" not in preview(admin_client, schedule="@daily", **begin)


def test_no_more_runs_are_shown_than_there_will_be(admin_client):
    begin = {"starts_at_0": "2090-12-23", "starts_at_1": "00:00:00", "except_on": "12-24"}
    page = preview(admin_client, schedule="@daily", max_runs="3", **begin)
    # One of the four is struck through.
    assert [time[8:10] for time in times_in(page)] == ["23", "24", "25", "26"]
    job = schedules.add("Nightly", "@daily", "mail.send", max_runs=5)
    ScheduledJob.objects.update(runs=3)
    page = admin_client.get(change_url("scheduledjob", job.pk)).content.decode()
    assert len(times_in(page.partition("The next planned times")[2].partition("</table>")[0])) == 2


def test_what_is_wrong_with_the_days_left_out_is_said_while_typing(admin_client):
    assert "13-45" in preview(admin_client, schedule="@daily", except_on="13-45")


def test_the_preview_needs_the_permission_to_add_or_to_change():
    assert limited_client("view_scheduledjob").get(PREVIEW).status_code == 403


@pytest.mark.parametrize("permission", ["add_scheduledjob", "change_scheduledjob"])
def test_one_of_the_two_permissions_is_enough(permission):
    client = limited_client(permission)
    assert len(times_in(preview(client, schedule="@hourly"))) == 10


def test_hostile_text_in_the_preview_is_escaped(admin_client):
    hostile = "<script>alert(1)</script>"
    page = preview(admin_client, schedule=hostile, type=hostile, timezone=hostile)
    assert "<script>" not in page
    assert preview(admin_client, schedule="\0", type="\0", of="x\0") is not None


def test_the_preview_button_shows_the_runs_on_the_forms_page_and_saves_nothing(admin_client):
    typed = form(name="", schedule="15 4 * * *", timezone="UTC", _preview="Preview")

    page = admin_client.post(ADD, typed).content.decode()

    assert page.count("04:15 UTC") == 10
    assert 'value="15 4 * * *"' in page
    assert "errorlist" not in page
    assert not ScheduledJob.objects.exists()


def test_the_preview_button_leaves_a_saved_schedule_as_it_is(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send")
    url = change_url("scheduledjob", job.pk)

    page = admin_client.post(url, form(schedule="15 4 * * *", timezone="UTC", _preview="x")).content.decode()

    assert page.count("04:15 UTC") == 10
    job.refresh_from_db()
    assert (job.schedule, job.type) == ("@daily", "mail.send")
    assert not LogEntry.objects.exists()


# -- presets and types -------------------------------------------------------------------------------------


def test_every_preset_is_a_rule_and_is_suggested_without_javascript(admin_client):
    page = admin_client.get(ADD).content.decode()
    for rule, name in PRESETS:
        assert Recurrence.parse(rule).describe()
        assert f'<option value="{rule}" label="{name}">' in page
    assert '<span class="lg-presets" hidden>' in page


def test_the_types_of_living_workers_are_suggested(admin_client):
    process(types=["reports.nightly"])
    assert '<option value="reports.nightly">' in admin_client.get(ADD).content.decode()


def test_a_type_that_nobody_knows_is_warned_about_and_saved(admin_client, own_registry):
    handler("audit:write")(print)
    assert "did you mean audit:write?" in preview(admin_client, type="aduit:write", schedule="@daily")
    assert "no handler" not in preview(admin_client, type="audit:write", schedule="@daily")

    page = admin_client.post(ADD, form(type="aduit:write"), follow=True).content.decode()

    assert "did you mean audit:write?" in page
    assert ScheduledJob.objects.get().type == "aduit:write"


# -- folded fields -----------------------------------------------------------------------------------------


def folded(page):
    """Return the headings of the fields that are folded away, as text."""
    found = re.findall(r"<details><summary>(.*?)</summary>", page, re.DOTALL)
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", one)).strip() for one in found]


def test_fields_that_are_seldom_needed_are_folded_away_with_a_line_that_says_what_they_hold(admin_client):
    assert folded(admin_client.get(ADD).content.decode()) == [
        "Its messages queue, priority, attempts allowed, deadline",
        "When it runs starts at, ends at, not on, spread, runs at most, delete when over",
        "Late, overlapping and failing runs if late, late after, overlap, switch off after failures",
    ]


def test_the_line_says_which_values_are_chosen(admin_client):
    until = datetime(2090, 1, 1, tzinfo=UTC)
    job = schedules.add(
        "Nightly", "@daily", "mail.send", queue="mail", deadline=600, ends_at=until, overlap="skip",
        except_on="12-24..12-26", max_runs=5, delete_when_over=True,
    )  # fmt: skip
    messages, bounds, rules = folded(admin_client.get(change_url("scheduledjob", job.pk)).content.decode())
    assert messages == "Its messages queue: mail, priority, attempts allowed, deadline: 10 min"
    assert "ends at: 2090-01-01 00:00, not on: 12-24..12-26, spread" in bounds
    assert "runs at most: 5, delete when over: yes" in bounds
    assert "overlap: skip while an earlier one is unfinished" in rules


def test_an_error_in_a_folded_field_unfolds_it(admin_client):
    page = add(admin_client, priority="101").content.decode()
    assert [line.partition(" starts")[0].partition(" if")[0] for line in folded(page)] == [
        "When it runs", "Late, overlapping and failing runs",
    ]  # fmt: skip
    assert "Its messages" in page


# -- switch off --------------------------------------------------------------------------------------------


def off_url(job):
    return f"{list_url('scheduledjob')}{job.pk}/off/"


def test_the_page_that_switches_off_keeps_why_and_until_when_and_is_logged(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send")
    assert "Reason" in admin_client.get(off_url(job)).content.decode()
    assert ScheduledJob.objects.get().enabled

    given = {"reason": "too many mails", "minutes": "60"}
    page = admin_client.post(off_url(job), given, follow=True).content.decode()

    job.refresh_from_db()
    assert (job.enabled, job.switched_by, job.switch_reason) == (False, "admin", "too many mails")
    assert timedelta(minutes=59) < job.resume_at - job.switched_at <= timedelta(minutes=60)
    for word in ("The schedule Nightly is off.", "by admin", "too many mails", "until "):
        assert word in page
    assert LogEntry.objects.get().change_message == "Switched off."


def test_the_reason_of_one_that_is_off_can_be_given_later(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send")
    schedules.disable("Nightly", reason="ticket 47")
    assert 'value="ticket 47"' in admin_client.get(off_url(job)).content.decode()

    admin_client.post(f"{off_url(job)}?from=change", {"reason": "ticket 4711"})
    job.refresh_from_db()
    assert (job.switch_reason, job.resume_at) == ("ticket 4711", None)


def test_a_time_that_is_past_is_refused_at_its_field(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send")
    page = admin_client.post(off_url(job), {"resume_at": "2001-01-01T00:00"}).content.decode()
    assert "This time is in the past." in page
    assert ScheduledJob.objects.get().enabled


def test_the_page_that_switches_off_needs_its_permission():
    job = schedules.add("Nightly", "@daily", "mail.send")
    client = limited_client("view_scheduledjob", "change_scheduledjob", "run_scheduledjob")

    assert client.get(off_url(job)).status_code == 403
    assert client.post(off_url(job), {"reason": "forged"}).status_code == 403
    assert "/off/" not in client.get(change_url("scheduledjob", job.pk)).content.decode()
    assert ScheduledJob.objects.get().enabled


def test_a_schedule_that_is_gone_has_no_page_that_switches_it_off(admin_client):
    for id in ("4711", "x", "9" * 30):
        assert admin_client.get(f"{list_url('scheduledjob')}{id}/off/").status_code == 404
