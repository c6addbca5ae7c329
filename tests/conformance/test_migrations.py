"""The database defaults come to tables that are in use, and go again: nothing else of the tables changes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from django_letsgo_worker import enqueue, schedules
from django_letsgo_worker.models import Message, Occurrence
from tests.conformance.schedule_support import T0, add, fire
from tests.conformance.test_rows_written_by_others import insert, sql

pytestmark = pytest.mark.django_db(transaction=True)

APP = "django_letsgo_worker"
BEFORE, AFTER = (APP, "0003_vacuum_live_messages"), (APP, "0004_database_defaults")
# What today's code runs on: whatever came later must lose nothing either.
[NEWEST] = MigrationLoader(None).graph.leaf_nodes(APP)
LONG_AGO = datetime(2024, 2, 29, 12, tzinfo=UTC)


def migrate(where: tuple[str, str]) -> None:
    MigrationExecutor(connection).migrate([where])


@pytest.fixture
def before(transactional_db):
    """The tables as they were before the defaults; at the end all is as the newest release wants it."""
    migrate(BEFORE)
    yield
    migrate(NEWEST)


def asked(query: str) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return sorted(cursor.fetchall(), key=repr)


def structure() -> list[tuple]:
    """All that the database says of our tables, but for the defaults and the order of columns."""
    if connection.vendor == "sqlite":
        found = asked(f"SELECT type, name, tbl_name, sql FROM sqlite_master WHERE tbl_name LIKE '{APP}%'")
        return [(kind, name, table, parts(text)) for kind, name, table, text in found]
    if connection.vendor == "postgresql":
        return [
            *asked(f"SELECT tablename, indexdef FROM pg_indexes WHERE tablename LIKE '{APP}%'"),
            *asked(f"SELECT relname, relpersistence, reloptions FROM pg_class WHERE relname LIKE '{APP}%'"),
            *asked(
                "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
                f"WHERE conrelid::regclass::text LIKE '{APP}%'"
            ),
            *columns(
                "table_name, column_name, data_type, is_nullable, is_identity, character_maximum_length"
            ),
        ]
    return [
        *asked(
            "SELECT table_name, index_name, seq_in_index, column_name, non_unique "
            f"FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name LIKE '{APP}%'"
        ),
        *asked(
            "SELECT table_name, constraint_name, check_clause FROM information_schema.check_constraints "
            f"WHERE constraint_schema = DATABASE() AND table_name LIKE '{APP}%'"
        ),
        *columns("table_name, column_name, column_type, is_nullable, extra, collation_name"),
    ]


def columns(what: str) -> list[tuple]:
    where = "DATABASE()" if connection.vendor == "mysql" else "current_schema()"
    return asked(
        f"SELECT {what} FROM information_schema.columns "
        f"WHERE table_schema = {where} AND table_name LIKE '{APP}%'"
    )


def parts(text: str | None) -> list[str]:
    """The columns and constraints of a CREATE TABLE, without what a column is when nothing is said."""
    if text is None or not text.startswith("CREATE TABLE"):
        return [text or ""]
    said = re.sub(r" DEFAULT (\(.*?\)(?= NOT NULL)|'[^']*'|\S+)", "", text.partition("(")[2][:-1])
    return sorted(re.split(r', (?="|CONSTRAINT)', said))


def rows() -> list[dict]:
    """All rows of ours, read by the names of the columns that they had before."""
    previous, found = MigrationLoader(None).project_state(BEFORE).apps, []
    for name in ("Message", "ArchivedMessage", "ScheduledJob", "Occurrence", "Process"):
        found += previous.get_model(APP, name).objects.order_by("pk").values()
    return found


def fill() -> None:
    """Rows as the previous release leaves them: waiting, finished, planned, recorded."""
    previous = MigrationLoader(None).project_state(BEFORE).apps
    moments = {"visible_at": LONG_AGO, "enqueued_at": LONG_AGO}
    for n in range(3):
        previous.get_model(APP, "Message").objects.create(
            type=f"job{n}", payload={"n": [n, 1.50]}, unique_key=f"key {n}", **moments
        )
    previous.get_model(APP, "ArchivedMessage").objects.create(
        id=900, type="job", payload=None, outcome="dead", finished_at=LONG_AGO, **moments
    )
    job = previous.get_model(APP, "ScheduledJob").objects.create(
        name="old", schedule="@daily", type="job", created_at=LONG_AGO, updated_at=LONG_AGO
    )
    previous.get_model(APP, "Occurrence").objects.create(
        scheduled_job_id=job.pk, planned_at=LONG_AGO, fired_at=LONG_AGO, message_id=900
    )
    previous.get_model(APP, "Process").objects.create(
        id=uuid4(), kind="worker", name="w", host="h", pid=1, started_at=LONG_AGO, heartbeat_at=LONG_AGO
    )


def test_rows_indexes_and_constraints_are_the_same_after_it_and_after_going_back(before):
    fill()
    rows_before, structure_before = rows(), structure()
    assert len(rows_before) == 7

    migrate(AFTER)
    assert (rows(), structure()) == (rows_before, structure_before)
    migrate(BEFORE)
    assert (rows(), structure()) == (rows_before, structure_before)


@pytest.mark.parametrize("left", [0, 1], ids=["an empty table", "a table with rows"])
def test_ids_go_on_where_they_were(before, left):
    fill()
    last = Message.objects.values_list("pk", flat=True).latest("pk")
    Message.objects.filter(pk__gt=last - 3 + left).delete()
    assert Message.objects.count() == left
    migrate(NEWEST)

    assert enqueue("job").pk == last + 1
    job = schedules.find("old")
    schedules.remove("old")
    migrate(BEFORE)
    migrate(NEWEST)
    assert schedules.add("new", "@daily", "job").pk > job.pk
    assert enqueue("job").pk == last + 2


def test_a_schedule_still_takes_its_occurrences_with_it(before):
    fill()
    migrate(NEWEST)
    schedules.remove("old")
    assert not Occurrence.objects.exists()
    add()
    assert fire(T0.replace(minute=10)) != []
    assert connection.check_constraints() is None


def test_triggers_and_views_of_the_users_are_still_there(before):
    table = Message._meta.db_table
    sql("CREATE TABLE stranger_log (type varchar(255))")
    sql("CREATE TABLE stranger_order (id integer)")
    sql(f"CREATE VIEW stranger_view AS SELECT id, type FROM {table}")
    insert_trigger("stranger_on_ours", table, "INSERT INTO stranger_log (type) VALUES (NEW.type)")
    insert_trigger("stranger_elsewhere", "stranger_order", f"INSERT INTO {table} (type) VALUES ('placed')")
    try:
        migrate(NEWEST)
        enqueue("job")
        sql("INSERT INTO stranger_order (id) VALUES (1)")
        assert asked("SELECT type FROM stranger_log") == [("job",), ("placed",)]
        assert asked("SELECT type FROM stranger_view") == [("job",), ("placed",)]
    finally:
        sql("DROP VIEW stranger_view")
        drop_trigger("stranger_on_ours", table)
        sql("DROP TABLE stranger_log")
        sql("DROP TABLE stranger_order")


def insert_trigger(name: str, table: str, statement: str) -> None:
    head = f"CREATE TRIGGER {name} AFTER INSERT ON {table} FOR EACH ROW"
    if connection.vendor == "postgresql":
        sql(
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {statement}; RETURN NEW; END $$"
        )
        sql(f"{head} EXECUTE FUNCTION {name}()")
    else:
        sql(f"{head} BEGIN {statement}; END")


def drop_trigger(name: str, table: str) -> None:
    sql(f"DROP TRIGGER {name}" + (f" ON {table}" if connection.vendor == "postgresql" else ""))


def test_the_previous_release_writes_to_the_new_tables(before):
    migrate(NEWEST)
    fill()
    assert len(rows()) == 7


def test_the_defaults_go_when_it_is_taken_back(before):
    migrate(AFTER)
    migrate(BEFORE)
    with pytest.raises(Exception, match=r"(?i)visible_at|payload|null|default"), transaction.atomic():
        insert(Message, {"type": "job"})
    assert not Message.objects.exists()
