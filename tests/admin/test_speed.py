"""The pages stay fast on big tables: a fixed number of statements, none that reads a whole table."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_letsgo_worker import enqueue, inspection, schedules
from django_letsgo_worker.admin import lists
from django_letsgo_worker.inspection import work
from django_letsgo_worker.models import ArchivedMessage, Message, Occurrence, Process, ScheduledJob
from tests.admin.big_tables import addresses, fill_tables
from tests.browser.rows import archived, change_url, dead_letter, list_url, process

pytestmark = pytest.mark.django_db

# The session and the user are two of them.
STATEMENTS = {
    "message": 12,
    "archivedmessage": 8,
    "deadletter": 8,
    "scheduledjob": 12,
    "process": 9,
    "queue": 12,
    "messagetype": 12,
}


def fill(count):
    now = timezone.now()
    start = ScheduledJob.objects.count()
    for n in range(start, start + count):
        enqueue("mail.send", queue="mail", delay=60 * (n % 2))
        letter = dead_letter(scheduled_job_id=n)
        archived()
        job = schedules.add(f"job {n}", "@daily", "mail.send")
        for minutes, message in ((5, letter.pk), (1, archived().pk if n % 2 else None)):
            moment = now - timedelta(minutes=minutes)
            Occurrence.objects.create(
                scheduled_job=job, planned_at=moment, fired_at=moment, message_id=message
            )
        process()


def statements(client, url, query=None):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(url, query).status_code == 200
    return without_lanes([entry["sql"] for entry in captured.captured_queries])


def without_lanes(found):
    """Leave out what finds the next lane: one statement a lane, but all at once on PostgreSQL."""
    return [sql for sql in found if not sql.startswith("SELECT queue, priority, visible_at, EXISTS")]


@pytest.mark.parametrize("model", STATEMENTS)
def test_a_list_takes_as_many_statements_for_many_rows_as_for_few(admin_client, model):
    fill(2)
    few = statements(admin_client, list_url(model))
    fill(20)
    many = statements(admin_client, list_url(model))

    assert len(many) == len(few), "\n".join(many)
    assert len(many) <= STATEMENTS[model], "\n".join(many)


def test_two_hundred_queues_take_as_many_statements_as_one(admin_client, engine):
    if engine != "postgres":
        pytest.skip("elsewhere each lane is found by a statement of its own")
    process()
    enqueue("mail.send", queue="queue-000")
    few = statements(admin_client, list_url("queue"))
    for n in range(200):
        enqueue("mail.send", queue=f"queue-{n:03}")
    many = statements(admin_client, list_url("queue"))
    # Their lanes are counted by the hundred.
    assert len(few) <= STATEMENTS["queue"] and len(many) <= len(few) + 2, "\n".join(many)


def test_lists_leave_the_heavy_columns_where_they_are(admin_client):
    fill(1)
    tables = {model._meta.db_table for model in (Message, ArchivedMessage, ScheduledJob)}
    for model in ("message", "archivedmessage", "deadletter", "scheduledjob"):
        for sql in statements(admin_client, list_url(model)):
            for table in tables:
                for column in ("payload", "headers", "result"):
                    assert f'"{table}"."{column}"' not in sql
            assert "DISTINCT" not in sql
            assert not re.search(r'SELECT[^(]*"errors"', sql)


def test_no_list_counts_further_than_its_cap(admin_client, monkeypatch):
    monkeypatch.setattr(work, "MOST_COUNTED", 5)
    for _ in range(8):
        archived()

    response = admin_client.get(list_url("archivedmessage"))

    assert response.context["cl"].result_count == 5
    assert "5+ archived messages" in response.content.decode()


def test_a_count_past_the_cap_is_written_so():
    assert str(lists.AtLeast(10_000)) == "10,000+"
    assert lists.AtLeast(10_000) == 10_000


def test_a_list_cannot_be_sorted_by_a_column_without_an_index(admin_client):
    archived()
    for o in ("1", "-3.2", "7", "99"):
        found = statements(admin_client, list_url("archivedmessage"), {"o": o})
        sql = " ".join(one for one in found if ArchivedMessage._meta.db_table in one).replace("`", '"')
        # Django writes "1" where it is the only column: where rows are counted.
        assert 'COUNT(*) FROM (SELECT "django_letsgo_worker_archivedmessage"."id" AS' in sql
        orders = set(re.findall(r"ORDER BY ([^)]*?) LIMIT", sql))
        assert orders - {"1 DESC"} == {'"django_letsgo_worker_archivedmessage"."id" DESC'}


# -- PostgreSQL: the plans themselves ----------------------------------------------------------------------


def nodes(plan, ends_early=False):
    """Yield the nodes of a plan, each with whether a LIMIT ends it early; what sorts or hashes reads all."""
    kind = plan["Node Type"]
    yield plan, ends_early
    for child in plan.get("Plans", ()):
        yield from nodes(child, kind == "Limit" or (ends_early and kind not in ("Sort", "Hash", "Aggregate")))


def plan_of(sql):
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}")
        answer = cursor.fetchone()[0]
    return (json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]


def whole_reads(sql):
    """Return the sequential scans of our big tables in a statement's plan that no LIMIT ends."""
    big = {Message._meta.db_table, ArchivedMessage._meta.db_table}
    return [
        node["Relation Name"]
        for node, ends_early in nodes(plan_of(sql))
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in big and not ends_early
    ]


def counts_by_index_alone(sql):
    kinds = {node["Node Type"] for node, _ends_early in nodes(plan_of(sql))}
    return "Index Only Scan" in kinds and not kinds & {"Sort", "Bitmap Heap Scan", "Index Scan"}


def reads_whole(sql):
    is_ours = sql.lstrip().startswith(("SELECT", "WITH")) and "django_letsgo_worker" in sql
    return whole_reads(sql) if is_ours else []


# Emptied at the end, not rolled back: a million dead rows would be a problem for the tests behind it.
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(300)
def test_no_page_reads_a_whole_table_of_a_million_rows_or_asks_much(admin_client, engine):
    if engine != "postgres":
        pytest.skip("plans are read on PostgreSQL")
    fill_tables(ended=1_000_000, live=200_000)
    faults = []
    for url, query, most in addresses():
        asked = statements(admin_client, url, query)
        if len(asked) > most:
            faults.append((url, query, [sql[:160] for sql in asked]))
        faults += [(url, query, sql) for sql in asked if reads_whole(sql)]
    assert faults == []

    with CaptureQueriesContext(connection) as captured:
        found = inspection.problems()
    assert {problem.code for problem in found} >= {"dead_letters"}
    assert len(captured) <= 20
    assert [one["sql"] for one in captured.captured_queries if reads_whole(one["sql"])] == []

    # Control: a statement that reads a whole table is noticed.
    table = Message._meta.db_table
    assert whole_reads(f"SELECT COUNT(*) FROM {table} WHERE attempts = 0") == [table]

    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM {ArchivedMessage._meta.db_table}")
    counts = [
        sql
        for url, query in ((list_url("deadletter"), {"error_fingerprint": "f7"}), (list_url("failure"), {}))
        for sql in statements(admin_client, url, query)
        if "COUNT(*)" in sql and "'f7'" in sql and ArchivedMessage._meta.db_table in sql
    ]
    assert len(counts) == 3
    assert [sql for sql in counts if not counts_by_index_alone(sql)] == []
    # Control: a column that the index has not.
    assert not counts_by_index_alone(counts[-1].replace("type = 'mail.send'", "queue = 'queue-1'"))


def test_a_page_of_one_row_takes_few_statements(admin_client):
    ContentType.objects.clear_cache()
    fill(3)
    job = ScheduledJob.objects.first()
    rows = [
        ("message", Message.objects.first().pk, 12),
        ("archivedmessage", ArchivedMessage.objects.first().pk, 5),
        ("process", Process.objects.first().pk, 8),
        ("queue", "mail", 13),
        ("messagetype", "mail.send", 14),
        ("scheduledjob", job.pk, 12),
    ]
    for model, pk, most in rows:
        found = statements(admin_client, change_url(model, pk))
        assert len(found) <= most, "\n".join(found)
