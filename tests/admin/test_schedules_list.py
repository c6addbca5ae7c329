"""The list of schedules: the last runs as a strip, tabs with counts, the viewer's clock, few statements."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_letsgo_worker import handler, schedules
from django_letsgo_worker.models import Occurrence, ScheduledJob
from tests.admin.test_marks import ABOUT
from tests.browser.rows import archived, change_url, do_url, list_url
from tests.inspection.troubles import TROUBLES, all_is_well, process, tries

pytestmark = pytest.mark.django_db

LIST = "scheduledjob"


def ran(job, *outcomes):
    """Write one occurrence a minute, the oldest first; None is one that was skipped."""
    now = timezone.now()
    for age, outcome in zip(range(len(outcomes), 0, -1), outcomes, strict=True):
        moment = now - timedelta(minutes=age)
        message = outcome and archived(outcome=outcome, scheduled_job_id=job.pk).pk
        Occurrence.objects.create(
            scheduled_job=job, planned_at=moment, fired_at=moment, message_id=message,
            skipped_because="" if outcome else "overlap",
        )  # fmt: skip


def page_of(client, query=None):
    return client.get(list_url(LIST), query).content.decode()


# -- the strip ---------------------------------------------------------------------------------------------


def test_the_last_twenty_runs_are_drawn_and_said_in_words(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send")
    ran(job, *["expired"] * 5, *["succeeded"] * 17, "dead", "dead", None)

    page = page_of(admin_client)

    assert "<title>17 succeeded, 2 dead, 1 skipped</title>" in page
    strip = re.search(r"<svg class=\"lg-strip\" role=\"img\".*?</svg>", page, re.DOTALL)[0]
    assert len(re.findall(r"<(?:rect|path) ", strip)) == 20
    assert "style=" not in strip


def test_runs_of_each_result_differ_in_shape(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send")
    ran(job, None, "expired", "dead", "succeeded")
    strip = re.search(r"</title>(.*?)</svg>", page_of(admin_client).partition("lg-strip")[2], re.DOTALL)[1]
    shapes = re.sub(r'(class|x)="[^"]*"|M\d+', "", strip).split("<")[1:]
    assert len(set(shapes)) == 4


def test_runs_that_were_made_up_for_by_hand_are_hollow_and_said_in_words(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send")
    ran(job, "succeeded", "dead", "succeeded")
    first = Occurrence.objects.order_by("planned_at").first()
    Occurrence.objects.filter(pk=first.pk).update(is_backfill=True)

    strip = re.search(r"<svg class=\"lg-strip\".*?</svg>", page_of(admin_client), re.DOTALL)[0]
    assert "<title>2 succeeded, 1 dead; 1 of them backfilled</title>" in strip
    assert strip.index("lg-good lg-backfill") < strip.index("lg-bad")
    assert strip.count("lg-backfill") == 1
    page = admin_client.get(change_url(LIST, job.pk)).content.decode()
    assert page.count('<span class="lg-why">backfilled') == 1


def test_a_run_that_a_day_or_an_edit_kept_from_running_says_so(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send")
    ran(job, None, None, None)
    reasons = ["excluded: 12-24..12-26", "edit: it was switched off", "overlap: an earlier one waits"]
    for occurrence, reason in zip(Occurrence.objects.order_by("planned_at"), reasons, strict=True):
        Occurrence.objects.filter(pk=occurrence.pk).update(skipped_because=reason)

    assert "<title>1 skipped, 1 excluded, 1 edited away</title>" in page_of(admin_client)
    page = admin_client.get(change_url(LIST, job.pk)).content.decode()
    told = [
        re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", page) if "lg-badge" in cell
    ]
    assert told == [
        "○ skipped overlap: an earlier one waits",
        "○ edited away it was switched off",
        "○ excluded 12-24..12-26",
    ]


def test_the_newest_run_is_the_rightmost(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send")
    ran(job, "succeeded", "expired")
    strip = re.search(r"</title>(.*?)</svg>", page_of(admin_client).partition("lg-strip")[2], re.DOTALL)[1]
    places = {kind: int(x) for kind, x in re.findall(r'class="lg-(\w+)" x="(\d+)"', strip)}
    assert places["warn"] == 19 * 6 > places["good"]


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        (["succeeded", "dead"], "last success"),
        (["dead", "dead"], "no success among these"),
        (["dead", "succeeded"], None),
    ],
)
def test_below_the_strip_stand_the_last_result_and_the_last_success(admin_client, outcomes, said):
    ran(schedules.add("Nightly", "@daily", "mail.send"), *outcomes)
    page = page_of(admin_client)
    told = [word for word in ("last success", "no success among these") if word in page]
    assert told == ([said] if said else [])


# -- tabs --------------------------------------------------------------------------------------------------


def counts_of(client, query=None):
    page = page_of(client, query)
    found = re.findall(r'>([\w ]+?) <span class="lg-count">(\d+)<', page.partition("lg-tabs")[2])
    return {label: int(count) for label, count in found}


def test_the_tabs_count_what_is_behind_them(admin_client, own_registry):
    handler("t:x")(print)
    schedules.add("a", "@daily", "t:x")
    schedules.add("b", "@daily", "t:x", enabled=False)
    schedules.add("c", "@daily", "t:y")
    ScheduledJob.objects.filter(name="a").update(declared_in_code=True)

    assert counts_of(admin_client) == {
        "All": 3, "On": 2, "Off": 1, "With a problem": 1, "Declared in code": 1,
    }  # fmt: skip
    assert counts_of(admin_client, {"type": "t:x"})["All"] == 2
    assert counts_of(admin_client, {"q": "b"})["Off"] == 1
    assert counts_of(admin_client, {"q": "b"})["On"] == 0


@pytest.mark.parametrize("code", [code for code in ABOUT if code.startswith("schedule_")])
def test_what_a_problem_is_about_is_behind_the_tab_of_problems(admin_client, own_registry, settings, code):
    handler("t:x")(print)
    settings.LETSGO_WORKER = {"SCHEDULE": ""}
    all_is_well()
    make, about = TROUBLES[code]
    with make():
        schedules.add("all is well", "@daily", "t:x")
        shown = admin_client.get(list_url(LIST), {"state": "problem"}).context["cl"].result_list
        assert [row.name for row in shown] == [about]
        assert counts_of(admin_client)["With a problem"] == 1


# -- rules and clocks --------------------------------------------------------------------------------------


def test_the_rule_stands_in_english_with_its_text_below_and_as_title(admin_client):
    schedules.add("Nightly", "30 2 * * MON-FRI", "mail.send")
    page = page_of(admin_client)
    assert '<span title="30 2 * * MON-FRI">at 02:30, Monday to Friday</span>' in page
    assert "<code>30 2 * * MON-FRI</code>" in page


def test_the_next_run_is_told_on_the_viewers_clock_where_it_differs(admin_client):
    schedules.add("Nightly", "30 2 * * *", "mail.send", timezone="Asia/Tokyo")
    with timezone.override("Etc/GMT-8"):
        assert "01:30 your time" in page_of(admin_client)
    with timezone.override("Etc/GMT+3"):
        assert re.search(r"\w{3} 14:30 your time", page_of(admin_client))
    with timezone.override("Asia/Seoul"):
        assert "your time" not in page_of(admin_client)


def test_a_type_that_nobody_knows_has_the_known_one_beside_it(admin_client, own_registry):
    handler("audit:write")(print)
    schedules.add("Audit", "@daily", "aduit:write")
    assert "did you mean audit:write?" in page_of(admin_client)


def test_a_schedule_whose_type_fails_has_no_tick(admin_client, own_registry):
    handler("t:x")(print)
    all_is_well()
    schedules.add("nightly", "@daily", "t:x")
    tries("t:x", failed=20)
    assert "most attempts of its type fail" in page_of(admin_client)


# -- statements --------------------------------------------------------------------------------------------

QUERIES = [{}, {"state": "problem"}, {"q": "job"}, {"type": "mail.send", "state": "on", "q": "job"}]


def statements(client, query):
    with CaptureQueriesContext(connection) as captured:
        assert client.get(list_url(LIST), query).status_code == 200
    return [entry["sql"] for entry in captured.captured_queries]


@pytest.mark.parametrize("query", QUERIES)
def test_a_page_takes_at_most_twelve_statements_however_many_rows_it_has(admin_client, query):
    process("clock-1", kind="scheduler", types=[])
    process("web-1", types=["mail.send"])
    for n in range(3):
        outcomes = ["dead"] * 4 if n else ["succeeded", None]
        ran(schedules.add(f"job {n}", "@daily", "mail.send"), *outcomes)
    few = statements(admin_client, query)
    for n in range(3, 40):
        ran(schedules.add(f"job {n}", "@daily", "mail.send"), "succeeded", None)
    many = statements(admin_client, query)

    assert len(many) == len(few) <= 12, "\n".join(sql[:200] for sql in many)
    assert not [sql for sql in many if "OVER (" in sql]


def test_the_newest_runs_are_read_through_the_index(admin_client, engine):
    if engine != "postgres":
        pytest.skip("plans are read on PostgreSQL")
    now = timezone.now()
    jobs = [schedules.add(f"job {n}", "@daily", "mail.send") for n in range(3)]
    Occurrence.objects.bulk_create(
        Occurrence(scheduled_job=job, planned_at=now - timedelta(minutes=n), fired_at=now)
        for job in jobs
        for n in range(3_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        [sql] = [sql for sql in statements(admin_client, {}) if "occurrence" in sql and "UNION ALL" in sql]
        cursor.execute(f"EXPLAIN {sql}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert plan.count("Index Scan") == len(jobs), plan
    assert "Seq Scan" not in plan


# -- the switch and its reason -----------------------------------------------------------------------------


def test_after_switching_off_a_link_asks_why(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send")
    page = admin_client.post(do_url(LIST, job.pk, "disable"), follow=True).content.decode()
    assert f'<a href="{list_url(LIST)}{job.pk}/off/">Say why, and until when</a>' in page


def test_the_page_of_a_schedule_leads_to_the_page_that_switches_it_off(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send")
    assert f"{job.pk}/off/?from=change" in admin_client.get(change_url(LIST, job.pk)).content.decode()
