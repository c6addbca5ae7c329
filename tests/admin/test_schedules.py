"""Schedules in the admin: the list, the switch, run now, and the form with its errors at the fields."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from django_letsgo_worker import enqueue, planning, schedules
from django_letsgo_worker.models import Message, Occurrence, ScheduledJob
from django_letsgo_worker.schedules import Declared, sync_declared
from django_letsgo_worker.validation import END_OF_TIME
from tests.browser.rows import archived, change_url, do_url, list_url, process

pytestmark = pytest.mark.django_db


def form(**given):
    """Return what the form posts, as a person would fill it in."""
    return {
        "name": "Nightly",
        "enabled": "on",
        "type": "mail.send",
        "schedule": "30 2 * * MON-FRI",
        "timezone": "America/New_York",
        "payload": '{"to": "anna"}',
        "queue": "",
        "priority": "",
        "max_attempts": "",
        "deadline": "",
        "starts_at_0": "",
        "starts_at_1": "",
        "ends_at_0": "",
        "ends_at_1": "",
        "misfire": "once",
        "misfire_grace": "00:01:00",
        "overlap": "allow",
        "spread": "0",
        "except_on": "",
        "max_runs": "",
        "pause_after_failures": "",
        **given,
    }


def add(client, **given):
    return client.post(f"{list_url('scheduledjob')}add/", form(**given))


def errors_of(response):
    return {field: " ".join(errors) for field, errors in response.context["adminform"].form.errors.items()}


def errors_on_page(response):
    """Return the errors that a page shows, whichever form they are of."""
    page = response.content.decode()
    return re.findall(
        r"<li>([^<]*)</li>", "".join(re.findall(r'<ul class="errorlist.*?</ul>', page, re.DOTALL))
    )


def limited_client(*permissions):
    user = User.objects.create_user("limited", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


# -- the list ----------------------------------------------------------------------------------------------


def test_the_list_says_in_english_and_in_its_zone_when_a_schedule_runs(admin_client):
    schedules.add("Nightly", "30 2 * * MON-FRI", "mail.send", timezone="America/New_York")
    page = admin_client.get(list_url("scheduledjob")).content.decode()

    assert "at 02:30, Monday to Friday" in page
    assert "02:30 E" in page
    assert "America/New_York" in page


def test_the_switch_turns_a_schedule_off_and_on(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send")
    page = admin_client.get(list_url("scheduledjob")).content.decode()
    assert 'role="switch" aria-checked="true"' in page

    admin_client.post(do_url("scheduledjob", job.pk, "disable"))
    page = admin_client.get(list_url("scheduledjob")).content.decode()
    assert 'role="switch" aria-checked="false"' in page
    assert "by admin" in page

    admin_client.post(do_url("scheduledjob", job.pk, "enable"))
    assert ScheduledJob.objects.get().enabled


def test_the_reason_of_a_switch_is_kept_and_shown(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send")
    data = {"action": "disable", "_selected_action": [str(job.pk)], "index": "0", "reason": "too many mails"}

    page = admin_client.post(list_url("scheduledjob"), data, follow=True).content.decode()

    assert "1 schedule is off." in page
    assert "too many mails" in page


def test_run_now_makes_a_message_and_links_to_it(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send", {"n": 1})

    page = admin_client.post(do_url("scheduledjob", job.pk, "run_now"), follow=True).content.decode()

    message = Message.objects.get()
    assert message.payload == {"n": 1}
    assert change_url("message", message.pk) in page


def test_the_list_shows_the_result_of_the_last_run(admin_client):
    now = timezone.now()
    results = {
        "succeeded": archived().pk,
        "dead": archived(outcome="dead").pk,
        "ready": enqueue("mail.send").pk,
        "no longer kept": 5,
        "skipped": None,
    }
    for name, message_id in results.items():
        job = schedules.add(f"job of {name}", "@daily", "mail.send")
        why = "overlap: the earlier one is unfinished" if message_id is None else ""
        for minutes, id, because in ((60, archived(outcome="expired").pk, ""), (5, message_id, why)):
            moment = now - timedelta(minutes=minutes)
            Occurrence.objects.create(
                scheduled_job=job, planned_at=moment, fired_at=moment, message_id=id, skipped_because=because
            )

    response = admin_client.get(list_url("scheduledjob"))
    found = {
        row.name: row.newest_runs[0].result(now + timedelta(minutes=1))
        for row in response.context["cl"].result_list
    }

    words = {"no longer kept": "pruned"}
    assert found == {f"job of {name}": words.get(name, name) for name in results}
    for name in (*results, "overlap: the earlier one is unfinished"):
        assert name in response.content.decode()
    assert response.content.decode().count("1 expired") == len(results)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"problem": "DataError: something"}, "DataError: something"),
        ({"next_run_at": timezone.now() - timedelta(hours=2)}, "No scheduler is running"),
        ({"next_run_at": timezone.now() - timedelta(hours=2)}, "due, but no scheduler has fired it"),
        ({"schedule": "nonsense"}, "nonsense"),
        ({"timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"type": "nobody.knows"}, "no handler for this type is known here"),
        ({"enabled": False}, "off"),
    ],
)
def test_the_list_says_what_is_wrong_with_a_schedule(admin_client, change, said):
    job = schedules.add("Nightly", "@daily", "letsgo:scheduled")
    ScheduledJob.objects.filter(pk=job.pk).update(**change)

    assert said in admin_client.get(list_url("scheduledjob")).content.decode()
    assert admin_client.get(change_url("scheduledjob", job.pk)).status_code == 200


def test_a_type_that_a_living_worker_knows_is_known(admin_client):
    schedules.add("Nightly", "@daily", "nobody.knows")
    process(types=["nobody.knows"])
    assert "no handler for this type" not in admin_client.get(list_url("scheduledjob")).content.decode()


@pytest.mark.parametrize(
    ("query", "names"),
    [({"state": "on"}, ["A"]), ({"state": "off"}, ["B"]), ({"q": "B"}, ["B"]), ({"type": "x.two"}, ["B"]),
     ({"state": "code"}, []), ({"state": "nonsense"}, []), ({"state": "on", "q": "B"}, [])],
)  # fmt: skip
def test_the_list_is_filtered_and_searched(admin_client, query, names):
    schedules.add("A", "@daily", "x.one")
    schedules.add("B", "@daily", "x.two", enabled=False)
    response = admin_client.get(list_url("scheduledjob"), query)
    assert [row.name for row in response.context["cl"].result_list] == names


# -- the form ----------------------------------------------------------------------------------------------


def test_a_schedule_is_added_and_planned(admin_client):
    assert add(admin_client).status_code == 302

    job = ScheduledJob.objects.get()
    assert job.next_run_at is not None
    assert job.payload == {"to": "anna"}
    assert (job.queue, job.priority, job.max_attempts) == (None, None, None)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "two\nlines"}),
        ("type", {"type": "no spaces"}),
        ("type", {"type": "letsgo:mine"}),
        ("schedule", {"schedule": "0 0 30 2 *"}),
        ("schedule", {"schedule": "*/90 * * * *"}),
        ("schedule", {"schedule": "at(2001-01-01T09:00:00)"}),
        ("timezone", {"timezone": "Mars/Olympus"}),
        ("payload", {"payload": "{"}),
        ("payload", {"payload": "NaN"}),
        ("payload", {"payload": "[" * 100_000}),
        ("payload", {"payload": "[" * 30 + "]" * 30}),
        ("payload", {"payload": "1" * 5000}),
        ("payload", {"payload": '"' + "x" * 300_000 + '"'}),
        ("payload", {"payload": '"\\u0000"'}),
        ("queue", {"queue": "a b"}),
        ("priority", {"priority": "101"}),
        ("max_attempts", {"max_attempts": "0"}),
        ("deadline", {"deadline": "-00:01:00"}),
        (
            "ends_at",
            {
                "starts_at_0": "2090-01-02",
                "starts_at_1": "00:00",
                "ends_at_0": "2090-01-01",
                "ends_at_1": "00:00",
            },
        ),
        ("misfire", {"misfire": "maybe"}),
        ("misfire_grace", {"misfire_grace": "-1"}),
        ("overlap", {"overlap": "maybe"}),
        ("spread", {"spread": "2000"}),
        ("except_on", {"except_on": "x" * 2001}),
        ("max_runs", {"max_runs": "0"}),
        ("pause_after_failures", {"pause_after_failures": "1001"}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_field(admin_client, field, given):
    response = add(admin_client, **given)

    assert response.status_code == 200
    assert set(errors_of(response)) == {field}
    assert not ScheduledJob.objects.exists()


@pytest.mark.parametrize("overlap", ["allow", "skip", "queue", "replace"])
def test_a_schedule_with_exceptions_and_an_end_is_added(admin_client, overlap):
    given = {"max_runs": "5", "pause_after_failures": "3", "delete_when_over": "on"}
    assert add(admin_client, overlap=overlap, except_on="12-24..12-26", **given).status_code == 302

    job = ScheduledJob.objects.get()
    assert (job.overlap, job.except_on, job.max_runs) == (overlap, "12-24..12-26", 5)
    assert (job.pause_after_failures, job.delete_when_over) == (3, True)


def test_two_schedules_cannot_have_one_name(admin_client):
    add(admin_client)
    assert "exists already" in errors_of(add(admin_client))["name"]


def test_an_edited_schedule_is_planned_anew_and_a_masked_value_stays(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send", {"api_token": "t0ken", "to": "anna"})
    url = change_url("scheduledjob", job.pk)
    shown = admin_client.get(url).content.decode()
    assert "t0ken" not in shown
    assert "•••" in shown

    given = form(
        schedule="at(2090-01-01T09:00:00)", timezone="UTC", payload='{"to": "ben", "api_token": "•••"}'
    )
    assert admin_client.post(url, given).status_code == 302

    job = ScheduledJob.objects.get()
    assert job.payload == {"api_token": "t0ken", "to": "ben"}
    assert job.next_run_at.year == 2090
    assert job.enabled
    assert "t0ken" not in LogEntry.objects.get().change_message


def test_an_edit_while_a_run_is_due_does_not_lose_it(admin_client):
    due = timezone.now() - timedelta(seconds=5)
    schedules.add("Nightly", "@every 1m", "mail.send", now=due - timedelta(minutes=1))
    url = change_url("scheduledjob", ScheduledJob.objects.get().pk)

    assert admin_client.post(url, form(schedule="@daily", timezone="UTC")).status_code == 302

    assert ScheduledJob.objects.get().next_run_at.hour == 0
    assert [message.planned_at for message in schedules.fire_due()] == [due]


def test_a_mask_that_stands_for_nothing_is_refused(admin_client):
    assert (
        "does not stand for a value" in errors_of(add(admin_client, payload='{"password": "•••"}'))["payload"]
    )


def test_without_view_payload_the_payload_is_hidden_locked_and_kept():
    job = schedules.add("Nightly", "@daily", "mail.send", {"city": "Aarhus"})
    client = limited_client("view_scheduledjob", "change_scheduledjob")
    url = change_url("scheduledjob", job.pk)

    page = client.get(url).content.decode()
    assert "Aarhus" not in page
    assert "view_payload" in page
    assert client.post(url, form(payload='{"city": "forged"}')).status_code == 302
    assert ScheduledJob.objects.get().payload == {"city": "Aarhus"}


def test_the_page_of_a_schedule_shows_its_next_runs_in_its_zone_and_on_the_viewers_clock(admin_client):
    job = schedules.add("Gap", "30 2 * * *", "mail.send", timezone="Europe/Berlin")

    page = admin_client.get(change_url("scheduledjob", job.pk)).content.decode()
    assert page.count("02:30 CE") >= 9
    assert "on your clock" in page
    assert page.count(" UTC</time>") == 10

    with timezone.override("Europe/Paris"):
        page = admin_client.get(change_url("scheduledjob", job.pk)).content.decode()
    assert "on your clock" not in page


def facts_of(client, job):
    """Return the facts of a schedule's page as text, by the name of the field."""
    page = client.get(change_url("scheduledjob", job.pk)).content.decode()
    found = re.findall(
        r'<div class="field-(\w+)"><dt>.*?</dt><dd class="readonly">(.*?)</dd>', page, re.DOTALL
    )
    return {name: re.sub(r"<[^>]*>", "", shown) for name, shown in found}


def test_the_page_says_how_many_of_its_runs_a_schedule_has_had(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send")
    assert "runs_shown" not in facts_of(admin_client, job)
    ScheduledJob.objects.update(runs=3)
    assert facts_of(admin_client, job)["runs_shown"] == "3"
    ScheduledJob.objects.update(max_runs=5)
    assert facts_of(admin_client, job)["runs_shown"] == "3 of 5"


def test_the_page_says_which_run_waits_and_behind_which_message(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send", overlap="queue")
    assert "waiting_shown" not in facts_of(admin_client, job)
    earlier, waiting = schedules.run_now("Nightly"), schedules.run_now("Nightly")
    Message.objects.filter(pk=waiting.pk).update(visible_at=END_OF_TIME)
    ScheduledJob.objects.update(waiting_message_id=waiting.pk)

    assert admin_client.get(list_url("message")).content.decode().count("after an earlier run") == 1
    said = facts_of(admin_client, job)["waiting_shown"]
    assert said == f"one run, message {waiting.pk}, waits behind message {earlier.pk}"
    page = admin_client.get(change_url("scheduledjob", job.pk)).content.decode()
    assert change_url("message", earlier.pk) in page

    Message.objects.filter(pk=earlier.pk).delete()
    said = facts_of(admin_client, job)["waiting_shown"]
    assert said == f"one run, message {waiting.pk}, waits to start"
    ScheduledJob.objects.update(waiting_behind=[[4711, "a process", "since when"]])
    assert facts_of(admin_client, job)["waiting_shown"].endswith("waits behind message 4711")


def test_the_page_says_that_failures_switched_a_schedule_off(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send", pause_after_failures=3)
    schedules.disable("Nightly", reason="its last 3 runs are dead")
    assert "its last 3 runs are dead" in facts_of(admin_client, job)["state_shown"]


def test_the_page_marks_a_run_that_a_clock_change_moves(admin_client):
    job = schedules.add("Gap", "30 2 31 3 *", "mail.send", timezone="Europe/Berlin")
    ScheduledJob.objects.filter(pk=job.pk).update(schedule="30 2 28 3 *")
    page = admin_client.get(change_url("scheduledjob", job.pk)).content.decode()
    assert "moved by a clock change" in page


def test_a_schedule_declared_in_code_is_locked_but_for_its_switch(admin_client):
    sync_declared([Declared(name="From code", schedule="@daily", type="mail.send")])
    job = ScheduledJob.objects.get()
    url = change_url("scheduledjob", job.pk)

    assert "code" in admin_client.get(list_url("scheduledjob")).content.decode()
    assert (
        "<input"
        not in admin_client.get(url).content.decode().split('id="scheduledjob_form"')[1].split("State")[1]
    )
    assert admin_client.post(url, form(schedule="@hourly")).status_code == 403
    admin_client.post(do_url("scheduledjob", job.pk, "disable"))

    job.refresh_from_db()
    assert (job.schedule, job.enabled) == ("@daily", False)


def test_a_schedule_is_deleted_without_reading_its_history(admin_client, django_assert_max_num_queries):
    job = schedules.add("Nightly", "@daily", "mail.send")
    now = timezone.now()
    Occurrence.objects.bulk_create(
        Occurrence(scheduled_job=job, planned_at=now - timedelta(minutes=n), fired_at=now) for n in range(300)
    )
    url = f"{list_url('scheduledjob')}{job.pk}/delete/"

    page = admin_client.get(url).content.decode()
    assert "Nightly" in page
    assert len(page) < 30_000
    with django_assert_max_num_queries(20):
        admin_client.post(url, {"post": "yes"})
    assert not ScheduledJob.objects.exists()


def test_change_does_not_imply_switching_or_running():
    job = schedules.add("Nightly", "@daily", "mail.send")
    client = limited_client(
        "view_scheduledjob", "change_scheduledjob", "add_scheduledjob", "delete_scheduledjob"
    )

    for action in ("enable", "disable", "run_now"):
        assert client.post(do_url("scheduledjob", job.pk, action)).status_code == 403
    client.post(change_url("scheduledjob", job.pk), {k: v for k, v in form().items() if k != "enabled"})
    assert ScheduledJob.objects.get().enabled


def test_the_form_has_each_field_of_a_schedule(admin_client):
    shown = admin_client.get(f"{list_url('scheduledjob')}add/").context["adminform"]
    fields = [field for section in shown.fieldsets for field in section[1]["fields"]]
    assert sorted(fields) == sorted(["name", *planning.FIELDS])
