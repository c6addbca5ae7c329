"""The overview, which is the app's index: problems, work, charts and tables, for those who may see them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_letsgo_worker import counts, enqueue, handler, schedules
from django_letsgo_worker.admin.charts import Chart, Mark, Series
from django_letsgo_worker.counts import Count, Place, minute_of
from django_letsgo_worker.models import Message
from tests.admin.test_speed import without_lanes
from tests.browser.rows import archived, change_url, list_url, process
from tests.inspection.troubles import TROUBLES, all_is_well

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def healthy(own_registry, settings):
    handler("t:x")(print)
    settings.LETSGO_WORKER = {"SCHEDULE": ""}
    all_is_well()


def overview(client, **query):
    return client.get(reverse("admin:app_list", args=["django_letsgo_worker"]), query).content.decode()


def ended(type="t:x", queue="default", ago=timedelta(0), **numbers):
    place = Place(minute_of(timezone.now() - ago), queue, type)
    counts.add({place: Count(**numbers)}, "default")


def tile(page, label):
    found = re.search(
        rf'lg-tile-label">{label}</span> <strong>([^<]*)</strong> <span class="lg-why">([^<]*)', page
    )
    return found.groups() if found else None


def test_a_new_project_is_told_how_to_begin(admin_client):
    page = overview(admin_client)
    assert "Nothing has been enqueued yet" in page
    assert "enqueue(" in page


def test_where_all_is_well_it_says_so_and_what_is_there(admin_client):
    archived()
    assert "All is well: nothing waits." in overview(admin_client)

    enqueue("t:x")
    page = overview(admin_client)
    assert "All is well: nothing waits for longer than" in page
    assert "Queues: 1, workers: 1, schedulers: 1." in page


def test_problems_come_first_and_are_counted_in_the_title(admin_client):
    archived()
    with TROUBLES["queue_unserved"][0]():
        page = overview(admin_client)
    assert "<title>(1) " in page
    assert "All is well" not in page
    assert page.index("no living worker serves it") < page.index("lg-tiles")


def test_the_tiles_lead_to_what_they_count(admin_client):
    enqueue("t:x")
    retrying = enqueue("t:x", delay=3600).pk
    Message.objects.filter(pk=retrying).update(attempts=2)
    ended(succeeded=120, failed=60, dead=0)
    page = overview(admin_client)

    assert tile(page, "Ready")[0] == "1"
    assert tile(page, "Retrying")[0] == "1"
    assert tile(page, "Workers")[0] == "1"
    assert tile(page, "Ended a minute")[1] == "33 % failed"
    assert f'href="{list_url("message")}?state=retrying"' in page


def test_charts_have_their_numbers_as_a_table(admin_client):
    ended(succeeded=7, dead=2, failed=5, run={10: 7}, wait={20: 7})
    page = overview(admin_client)

    assert page.count('<svg role="img"') == 5
    numbers = re.findall(r"<caption>Ended</caption>.*?</table>", page, re.DOTALL)
    assert re.findall(r"<td>([^<]*)</td>", numbers[0]) == ["7", "0", "2"]
    assert "style=" not in page.partition('id="lg-overview"')[2].partition("<footer")[0]


def test_a_span_a_queue_and_a_type_narrow_the_numbers(admin_client):
    archived()
    ended(type="t:x", succeeded=60)
    ended(type="t:y", queue="other", succeeded=3, ago=timedelta(hours=5))

    def types_on(**query):
        table = overview(admin_client, **query).partition("Run p50 / p95")[2]
        return re.findall(r'<th scope="row"><a[^>]*>([^<]*)', table)

    assert types_on() == ["t:x"]
    assert types_on(span="24h") == ["t:x", "t:y"]
    assert types_on(span="24h", queue="other") == ["t:y"]
    assert types_on(span="24h", type="t:x") == ["t:x"]
    assert types_on(span="nonsense") == ["t:x"]
    kept = overview(admin_client, span="7d", queue="other")
    assert '<input type="hidden" name="span" value="7d">' in kept
    assert '<option value="other" selected>' in kept


def test_a_new_version_of_workers_is_marked(admin_client):
    archived()
    ended(succeeded=1)
    now = timezone.now()
    process(name="old", version="1.0", started_at=now - timedelta(hours=3))
    assert "lg-mark" not in overview(admin_client)

    process(name="new", version="1.1", started_at=now - timedelta(minutes=30))
    page = overview(admin_client)
    assert "workers of version 1.1 started" in page
    assert "version 1.0" not in page


def test_the_next_runs_stand_there_with_their_links(admin_client):
    archived()
    job = schedules.add("nightly", "@daily", "t:x")
    assert change_url("scheduledjob", job.pk) in overview(admin_client)


def test_each_part_is_for_those_who_may_see_it(client, django_user_model):
    archived()
    schedules.add("nightly", "@daily", "t:x")
    user = django_user_model.objects.create_user("ada", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_queue"))
    client.force_login(user)
    assert "lg-overview" not in overview(client)

    user.user_permissions.add(Permission.objects.get(codename="view_message"))
    page = overview(client)
    assert "lg-overview" in page
    assert "nightly" not in page
    assert list_url("process") not in page


def test_it_takes_at_most_thirty_statements(admin_client):
    for n in range(5):
        enqueue("t:x", queue=f"queue-{n}")
        ended(queue=f"queue-{n}", succeeded=1)
    with TROUBLES["dead_letters"][0](), CaptureQueriesContext(connection) as captured:
        overview(admin_client)
    assert len(without_lanes([one["sql"] for one in captured])) <= 30


def test_hostile_names_are_text(admin_client):
    archived()
    ended(type='"><script>alert(1)</script>', queue="<b>", succeeded=1)
    process(version="<i>2</i>", started_at=timezone.now() - timedelta(minutes=5))
    page = overview(admin_client)
    assert "<script>alert" not in page and "<b>" not in page and "<i>2" not in page


# -- charts ----------------------------------------------------------------------------------------------


def a_chart(values, *, marks=(), is_stacked=False):
    until = timezone.now()
    moments = [until - timedelta(minutes=len(values) - n) for n in range(len(values))]
    series = [Series("one", "good", values)]
    return Chart("Title", moments, until, series, str, marks, is_stacked).html()


def test_a_line_is_broken_where_nothing_is_known():
    assert a_chart([1, 2, None, 3]).count("<polyline") == 2
    assert a_chart([None, None]).count("<polyline") == 0


def test_a_chart_without_values_says_so():
    assert "Nothing in this time." in a_chart([None, None])
    assert "Nothing in this time." in a_chart([])


def test_bars_fill_the_height_and_no_more():
    heights = [
        float(height) for height in re.findall(r'height="([\d.]+)"/>', a_chart([1, 4, 2], is_stacked=True))
    ]
    assert heights == [25, 100, 50]


def test_only_marks_within_the_axis_are_drawn():
    now = timezone.now()
    near, far = Mark(now - timedelta(minutes=1), "near"), Mark(now - timedelta(days=1), "far")
    drawn = a_chart([1, 2, 3], marks=[near, far])
    assert "near" in drawn and "far" not in drawn
