"""The contract of docs/reference/message-table.md: the columns of a message, and the view, as they are."""

from __future__ import annotations

import json

import pytest
from django.db import connection
from django.db.models import CharField, Func

from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.models import Message
from tests.conformance.conftest import Worker
from tests.conformance.test_enqueue_function import MIGRATION
from tests.support import table

COLUMNS = table("reference/message-table.md", "column", "type", "default", "may be inserted", "what it is")
SEATS = table("reference/message-table.md", "column", "what it counts")
ARGUMENTS = table("howto/enqueue-from-other-programs.md", "argument", "default", "what it is")
TYPES = {
    "BigAutoField": "bigint", "BigIntegerField": "bigint", "SmallIntegerField": "smallint",
    "UUIDField": "UUID", "DateTimeField": "moment", "JSONField": "JSON",
}  # fmt: skip


def named(row: list[str]) -> str:
    return row[0].strip("`")


def type_of(field) -> str:
    return f"text, {field.max_length}" if isinstance(field, CharField) else TYPES[field.get_internal_type()]


def default_of(field) -> str:
    if field.name == "id":
        return "the next number"
    if field.null:
        return "`NULL`"
    if not field.has_db_default():
        return "–"
    default = field.db_default
    if isinstance(default, Func) and not default.get_source_expressions():
        return "the clock"
    return f"`{default.get_source_expressions()[0].value if isinstance(default, Func) else default}`"


def test_each_column_is_in_the_table_with_its_type_and_its_default():
    fields = Message._meta.concrete_fields
    key, *rest = sorted(fields, key=lambda field: not field.primary_key)
    assert [(named(row), row[1], row[2]) for row in COLUMNS] == [
        (field.column, type_of(field), default_of(field)) for field in (key, *rest)
    ]


# What another program would write; None: no such column.
VALUES = {
    "type": "job", "payload": '{"order": 7}', "headers": '{"by": "sql"}', "queue": "orders", "priority": -5,
    "visible_at": "2020-01-01 09:00:00.000000", "deadline": "2099-01-01 09:00:00.000000", "max_attempts": 3,
    "unique_key": "order-7",
}  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_what_may_be_inserted_comes_to_a_worker():
    may = [named(row) for row in COLUMNS if row[3] == "yes"]
    assert {row[3] for row in COLUMNS} == {"yes", "no"}
    marks = ", ".join(["%s"] * len(may))
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL TIME ZONE 'UTC'")
        cursor.execute(
            f"INSERT INTO {Message._meta.db_table} ({', '.join(may)}) VALUES ({marks})",
            [VALUES[name] for name in may],
        )
    claimed = Worker().claim_one(queue="orders", priority=-5)
    message = Message.objects.get(pk=claimed.id)
    for name in may:
        kept = getattr(message, name)
        if name in ("payload", "headers"):
            assert kept == json.loads(VALUES[name])
        elif name == "deadline":
            assert kept.isoformat(" ", "microseconds").removesuffix("+00:00") == VALUES[name]
        elif name != "visible_at":
            assert kept == VALUES[name]
    # It was due long ago, and is leased now.
    assert message.visible_at > engine_for("default").clock()


@pytest.mark.django_db
def test_the_view_has_the_columns_of_the_page():
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM letsgo_seats_wanted")
        assert [column[0] for column in cursor.description] == [named(row) for row in SEATS]


def test_the_page_gives_the_function_s_arguments_as_they_are():
    head = MIGRATION.FUNCTION.partition("letsgo_enqueue(")[2].partition(")")[0]
    made = [line.strip(" ,") for line in head.splitlines() if line.strip()]
    declared = [line.partition(" DEFAULT ")[0] for line in made]
    assert [named(row) for row in ARGUMENTS] == declared
    assert len(MIGRATION.SIGNATURE.split(", ")) == len(declared)
    assert {one.split()[0] for one in declared} - {"delay"} == {
        named(row) for row in COLUMNS if row[3] == "yes"
    }


@pytest.mark.django_db
def test_the_defaults_of_the_function_are_those_of_the_page():
    if connection.vendor != "postgresql":
        pytest.skip("Only PostgreSQL has the function.")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_function_arguments('letsgo_enqueue'::regproc)")
        ((arguments,),) = cursor.fetchall()
    defaults = [part.partition(" DEFAULT ")[2].partition("::")[0] for part in arguments.split(", ")]
    said = [row[1].strip("`") for row in ARGUMENTS]
    assert [
        {"none": "NULL", "null": "NULL", "now": "NULL", "{}": "NULL"}.get(one, one) for one in said
    ] == defaults
