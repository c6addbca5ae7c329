"""A look at many quiet schedules: an index that is empty in peace answers it, and one for the next run."""

from __future__ import annotations

import pytest
from django.db import connection

from django_letsgo_worker import schedules
from django_letsgo_worker.models import ScheduledJob, needs_a_look_sql
from tests.conformance.schedule_support import T0, add, raw, row

# An analysis of a table commits on MariaDB.
pytestmark = pytest.mark.django_db(transaction=True)

MANY = 3_000


@pytest.fixture
def many_quiet():
    """Rows that are planned, and statistics of them."""
    first = add(schedule="0 9 * * *")
    columns = [field.attname for field in ScheduledJob._meta.concrete_fields]
    facts = {name: getattr(first, name) for name in columns if name not in ("id", "name")}
    ScheduledJob.objects.bulk_create(ScheduledJob(name=f"r{n}", **facts) for n in range(MANY))
    with connection.cursor() as cursor:
        table = connection.ops.quote_name(ScheduledJob._meta.db_table)
        cursor.execute(f"ANALYZE {'TABLE ' if connection.vendor == 'mysql' else ''}{table}")
        if cursor.description:
            cursor.fetchall()


def plan(sql: str) -> str:
    explain = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN", "mysql": "EXPLAIN"}
    with connection.cursor() as cursor:
        cursor.execute(f"{explain[connection.vendor]} {sql}")
        return " ".join(str(one) for one in cursor.fetchall())


NOW = {"sqlite": "'2027-03-01 09:00:30.250000'", "postgresql": "now()", "mysql": "UTC_TIMESTAMP(6)"}


def looked_for(condition: str) -> str:
    return f"SELECT 1 FROM {ScheduledJob._meta.db_table} WHERE {condition} LIMIT 1"


def test_edits_are_found_by_an_index_that_is_empty_in_peace(many_quiet):
    sql = looked_for(needs_a_look_sql(connection.vendor, NOW[connection.vendor]))
    assert "letsgo_schedule_look" in plan(sql)
    assert not schedules.look().has_edits
    raw(schedule="0 10 * * *")
    assert schedules.look().has_edits
    assert [job.name for job in ScheduledJob.objects.needing_a_look(T0)] == ["report"]


def test_the_control_a_condition_in_other_words_reads_all_rows(many_quiet):
    assert "letsgo_schedule_look" not in plan(looked_for("planned_from <> schedule OR anchor IS NULL"))


def test_the_next_run_is_found_by_its_index(many_quiet):
    condition = "enabled AND problem = '' AND next_run_at IS NOT NULL ORDER BY next_run_at"
    assert "letsgo_schedule_next_run" in plan(looked_for(condition))
    assert schedules.look().next_run_at == row().next_run_at
