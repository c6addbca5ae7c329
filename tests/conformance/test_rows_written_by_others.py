"""Rows that others write: SQL, a trigger, a data migration, bulk_create, a fixture.

They say what only they know, and the database the rest; then the row is like one that the verbs made.
"""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import DataError, connection, migrations, transaction
from django.db.migrations.loader import MigrationLoader

from django_letsgo_worker import enqueue, schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.messages import find
from django_letsgo_worker.models import (
    ArchivedMessage,
    Housekeeping,
    IdleQueue,
    Message,
    Occurrence,
    Process,
    Queue,
    ScheduledJob,
)
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

APP = "django_letsgo_worker"
# What only the writer knows of a row: an INSERT that says this, and no less, is good.
NEEDED = {
    Message: {"type": "job"},
    ArchivedMessage: {"id": 7, "type": "job", "outcome": "succeeded"},
    ScheduledJob: {"name": "stranger", "schedule": "rate(5 minutes)", "type": "job"},
    Occurrence: {"scheduled_job_id": 0, "planned_at": "2027-01-01 00:00:00.000000"},
    Process: {"id": uuid4().hex, "kind": "worker", "name": "w", "host": "h", "pid": 1},
    Queue: {"name": "orders"},
    IdleQueue: {"name": "orders"},
    Housekeeping: {"id": 1},
}
CLOCKS = [
    (model, field)
    for model in NEEDED
    for field in model._meta.concrete_fields
    if field.get_internal_type() == "DateTimeField" and not field.null and field.name != "planned_at"
]


def sql(statement: str, params: tuple = ()) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, params or None)


def insert(model: type, columns: dict) -> None:
    """Write a row in bare SQL, naming these columns only."""
    names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
    sql(f"INSERT INTO {model._meta.db_table} ({names}) VALUES ({marks})", tuple(columns.values()))


def with_the_historical_model(model: type, columns: dict) -> None:
    """Write a row in a data migration, with the model that migrations know."""

    def fill(apps: object, schema_editor: object) -> None:
        apps.get_model(APP, model.__name__).objects.create(**columns)

    apply(fill)


def in_bulk_with_the_historical_model(model: type, columns: dict) -> None:
    def fill(apps: object, schema_editor: object) -> None:
        historical = apps.get_model(APP, model.__name__)
        historical.objects.bulk_create([historical(**columns)])

    apply(fill)


def apply(fill) -> None:
    """Run a function as the data migration of another app."""
    state = MigrationLoader(connection).project_state()
    migration = migrations.Migration("0002_fill", "shop")
    migration.operations = [migrations.RunPython(fill)]
    with connection.schema_editor(atomic=True) as schema_editor:
        migration.apply(state, schema_editor)


def with_bulk_create(model: type, columns: dict) -> None:
    model.objects.bulk_create([model(**columns)])


def with_create(model: type, columns: dict) -> None:
    model.objects.create(**columns)


WAYS = [insert, with_the_historical_model, in_bulk_with_the_historical_model, with_bulk_create, with_create]
every_way = pytest.mark.parametrize("write", WAYS, ids=lambda way: way.__name__)


def facts(row, *but: str) -> dict:
    """The columns of a row, but for its number, its moments and what is named."""
    return {
        field.name: getattr(row, field.attname)
        for field in row._meta.concrete_fields
        if field.name not in ("id", *but) and field.get_internal_type() != "DateTimeField"
    }


def in_a_fixture(tmp_path, model: type, columns: dict) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"model": model._meta.label_lower, "fields": columns}]))
    call_command("loaddata", file, verbosity=0)


@pytest.fixture
def trigger(transactional_db):
    """Have each new row of a table of the user's run a statement: trigger("INSERT INTO ...")."""
    sql("CREATE TABLE stranger_order (id integer PRIMARY KEY, sum integer)")

    def make(statement: str) -> None:
        head = "CREATE TRIGGER stranger_placed AFTER INSERT ON stranger_order FOR EACH ROW"
        if connection.vendor == "postgresql":
            sql(
                "CREATE FUNCTION stranger_placed() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN {statement}; RETURN NEW; END $$"
            )
            sql(f"{head} EXECUTE FUNCTION stranger_placed()")
        else:
            sql(f"{head} BEGIN {statement}; END")

    yield make
    sql("DROP TABLE stranger_order")
    if connection.vendor == "postgresql":
        sql("DROP FUNCTION IF EXISTS stranger_placed()")


# -- what the database knows by itself ---------------------------------------------------------------------


@pytest.mark.parametrize("model", NEEDED, ids=lambda model: model.__name__)
def test_a_row_of_no_more_than_its_writer_knows_is_whole(model):
    columns = dict(NEEDED[model])
    if model is Occurrence:
        columns["scheduled_job_id"] = schedules.add("mine", "@daily", "job").pk
    if model in (IdleQueue, Housekeeping):
        model.objects.all().delete()
    insert(model, columns)

    row = model.objects.latest("pk")
    plain = model(**{name: getattr(row, name) for name in columns})
    assert facts(row) == facts(plain)


@pytest.mark.parametrize("model", NEEDED, ids=lambda model: model.__name__)
def test_the_columns_that_a_writer_must_name_are_these(model):
    known = {field.column for field in model._meta.concrete_fields if field.null or field.has_db_default()}
    known |= {"id"} - set(NEEDED[model])
    assert {field.column for field in model._meta.concrete_fields} - known == set(NEEDED[model])


@pytest.mark.parametrize(
    ("model", "field"), CLOCKS, ids=lambda one: getattr(one, "__name__", None) or one.name
)
def test_a_moment_that_nobody_names_is_the_database_s_clock_in_utc(model, field):
    engine = engine_for("default")
    columns = dict(NEEDED[model])
    if model is Occurrence:
        columns["scheduled_job_id"] = schedules.add("mine", "@daily", "job").pk
    if model is Housekeeping:
        model.objects.all().delete()
    before = engine.clock()
    insert(model, columns)
    after = engine.clock()
    if connection.vendor == "sqlite":
        # What SQLite itself tells of the clock ends with the milliseconds.
        before = before.replace(microsecond=before.microsecond // 1000 * 1000)

    assert before <= getattr(model.objects.latest("pk"), field.name) <= after
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT DISTINCT length(' ' || {field.column}) FROM {model._meta.db_table}")
            assert cursor.fetchall() == [(27,)]


# -- messages ----------------------------------------------------------------------------------------------


@every_way
def test_a_message_of_nothing_but_a_type_is_like_an_enqueued_one(write, worker):
    write(Message, {"type": "job"})
    stranger = Message.objects.get()
    assert facts(stranger) == facts(enqueue("job"))
    assert stranger.visible_at == stranger.enqueued_at

    first, second = sorted(worker.claim(), key=lambda claimed: claimed.id)
    assert (first.id, first.payload, first.headers, first.errors) == (stranger.pk, "null", "{}", "[]")
    assert (first.attempts, first.receipt, first.has_exhausted_attempts) == (1, 1, False)
    assert worker.settle(first) == "succeeded"
    assert facts(ArchivedMessage.objects.get(), "attempts", "seconds")["payload"] is None
    assert worker.settle(second) == "succeeded"


@pytest.mark.parametrize("payload", [{"id": 1, "ü": [1.50, None, "a"]}, "text", 7, [], None, True], ids=repr)
def test_a_payload_in_sql_comes_to_the_handler_as_it_is(payload):
    insert(Message, {"type": "job", "payload": json.dumps(payload)})
    assert Message.objects.get().payload == payload


@pytest.mark.parametrize("text", ["hello", "", "{", "{'a': 1}"])
def test_a_payload_that_is_no_json_is_refused_or_can_be_looked_at(text, worker):
    if connection.vendor == "postgresql":
        with pytest.raises(DataError), transaction.atomic():
            insert(Message, {"type": "job", "payload": text})
        return
    insert(Message, {"type": "job", "payload": text})
    assert Message.objects.get().payload == text
    claimed = worker.claim_one()
    assert worker.settle(claimed, "dead", error_class="ValueError") == "dead"
    assert find(claimed.id).payload == text


def test_a_fixture_says_what_it_knows(tmp_path, worker):
    in_a_fixture(tmp_path, Message, {"type": "job", "payload": {"id": 1}})
    assert facts(Message.objects.get()) == facts(enqueue("job", {"id": 1}))
    assert len(worker.claim()) == 2


def test_a_trigger_on_a_table_of_the_user_s_makes_messages_and_a_worker_handles_them(trigger, manage):
    build = {"postgresql": "json_build_object", "mysql": "JSON_OBJECT", "sqlite": "json_object"}
    trigger(
        f"INSERT INTO {Message._meta.db_table} (type, payload) "
        f"VALUES ('letsgo:scheduled', {build[connection.vendor]}('order', NEW.id, 'sum', NEW.sum))"
    )
    sql("INSERT INTO stranger_order (id, sum) VALUES (1, 99), (2, 5)")
    assert [message.payload for message in Message.objects.order_by("id")] == [
        {"order": 1, "sum": 99},
        {"order": 2, "sum": 5},
    ]

    assert manage("runworker", "--until-empty").wait() == 0

    archived = ArchivedMessage.objects.all()
    assert [(one.outcome, one.attempts) for one in archived] == [("succeeded", 1), ("succeeded", 1)]


def test_a_message_rolled_back_with_the_trigger_s_transaction_is_none(trigger):
    trigger(f"INSERT INTO {Message._meta.db_table} (type) VALUES ('job')")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        sql("INSERT INTO stranger_order (id) VALUES (1)")
        assert Message.objects.count() == 1
        raise ZeroDivisionError
    assert not Message.objects.exists()


def test_a_running_worker_picks_up_what_sql_inserts(manage):
    process = manage("runworker")
    wait_until(lambda: Process.objects.filter(kind="worker").exists(), what="its row")
    insert(Message, {"type": "letsgo:scheduled"})
    wait_until(lambda: ArchivedMessage.objects.filter(outcome="succeeded").exists(), what="it is handled")
    assert process.stop() == 0


# -- schedules ---------------------------------------------------------------------------------------------


def look_and_fire(name: str) -> ScheduledJob:
    """Let a scheduler look at a row, and again when its next run has come; return it in between."""
    clock = engine_for("default").clock()
    assert schedules.fire_due(clock) == []
    job = schedules.find(name)
    assert [message.planned_at for message in schedules.fire_due(job.next_run_at)] == [job.next_run_at]
    return job


@every_way
def test_a_schedule_of_name_expression_and_type_is_planned_and_runs(write):
    write(ScheduledJob, NEEDED[ScheduledJob])
    stranger = look_and_fire("stranger")
    ours = schedules.add("ours", "rate(5 minutes)", "job")

    assert facts(stranger, "name", "version") == facts(ours, "name", "version")
    assert stranger.next_run_at == stranger.anchor + timedelta(minutes=5)
    assert stranger.created_at <= ours.created_at


def test_a_schedule_in_a_fixture_is_planned_and_runs(tmp_path):
    in_a_fixture(tmp_path, ScheduledJob, NEEDED[ScheduledJob])
    assert look_and_fire("stranger").state == "on"


def test_a_schedule_that_a_trigger_makes_is_planned_and_runs(trigger):
    columns = NEEDED[ScheduledJob]
    values = ", ".join(f"'{value}'" for value in columns.values())
    trigger(f"INSERT INTO {ScheduledJob._meta.db_table} ({', '.join(columns)}) VALUES ({values})")
    sql("INSERT INTO stranger_order (id) VALUES (1)")
    assert look_and_fire("stranger").state == "on"


def test_a_running_scheduler_notices_a_schedule_that_sql_inserts(manage):
    process = manage("runscheduler")
    wait_until(lambda: Process.objects.filter(kind="scheduler").exists(), what="its row")
    insert(ScheduledJob, {"name": "tick", "schedule": "@every 1s", "type": "tick"})
    wait_until(lambda: Message.objects.filter(type="tick").exists(), what="a tick")
    assert process.stop() == 0


@pytest.mark.parametrize(
    ("schedule", "sentence"), [("nonsense", "nonsense"), ("at(2020-01-01T00:00:00)", "past")]
)
def test_a_schedule_in_sql_that_cannot_be_planned_says_why(schedule, sentence):
    insert(ScheduledJob, {**NEEDED[ScheduledJob], "schedule": schedule})
    schedules.fire_due()
    assert schedules.find("stranger").state == "broken"
    assert sentence in schedules.find("stranger").problem


@pytest.mark.parametrize(
    "make", [partial(Message, type="job"), partial(ScheduledJob, **NEEDED[ScheduledJob])]
)
def test_an_object_knows_its_moments_once_it_is_saved(make):
    row = make()
    row.save()
    assert facts(row) == facts(type(row).objects.get())
    for field in row._meta.concrete_fields:
        assert getattr(row, field.attname) == getattr(type(row).objects.get(), field.attname)
