"""letsgo_enqueue(), the function of PostgreSQL: what it writes, whom it tells, what it refuses."""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module

import pytest
from django.db import DataError, ProgrammingError, connection, transaction

from django_letsgo_worker import enqueue
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.errors import InvalidMessage
from django_letsgo_worker.models import ArchivedMessage, IdleQueue, Message
from tests import listeners
from tests.conformance.test_rows_written_by_others import facts, sql

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="Only PostgreSQL has the function."),
]

MIGRATION = import_module("django_letsgo_worker.migrations.0010_other_producers")
NEWEST = import_module("django_letsgo_worker.migrations.0011_few_listeners")


def ask(query: str, params: tuple = ()):
    with connection.cursor() as cursor:
        cursor.execute(query, params or None)
        return cursor.fetchone()[0]


def call(arguments: str, params: tuple = ()) -> int:
    """Call the function as another program does, with these arguments."""
    return ask(f"SELECT letsgo_enqueue({arguments})", params)


# -- what it writes ----------------------------------------------------------------------------------------


def test_a_message_of_nothing_but_a_type_is_like_an_enqueued_one(worker):
    made = Message.objects.get(pk=call("'job'"))
    assert facts(made) == facts(enqueue("job"))
    assert made.visible_at == made.enqueued_at
    assert len(worker.claim()) == 2


def test_all_that_enqueue_can_say_it_can_say_too():
    at, until = "2099-01-01T09:00:00Z", "2099-01-02T00:00:00Z"
    made = Message.objects.get(
        pk=call(
            "'job', '{\"order\": 7}', queue => 'orders', priority => -5, visible_at => %s, "
            "max_attempts => 3, deadline => %s, unique_key => 'order-7', headers => '{\"by\": \"sql\"}'",
            (at, until),
        )
    )
    ours = enqueue(
        "job", {"order": 7}, queue="orders", priority=-5, visible_at=made.visible_at, max_attempts=3,
        deadline=made.deadline, unique_key="order-8", headers={"by": "sql"},
    )  # fmt: skip
    assert facts(made, "unique_key") == facts(ours, "unique_key")
    assert made.unique_key == "order-7"
    assert (made.visible_at.isoformat(), made.deadline.isoformat()) == (
        "2099-01-01T09:00:00+00:00",
        "2099-01-02T00:00:00+00:00",
    )


def test_a_delay_is_an_interval_from_the_clock():
    made = Message.objects.get(pk=call("'job', delay => '1 day 2 hours'"))
    assert made.visible_at - made.enqueued_at == timedelta(hours=26)
    assert abs(made.enqueued_at - engine_for("default").clock()) < timedelta(minutes=1)


def test_a_null_is_the_default():
    made = Message.objects.get(
        pk=call("'job', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"),
    )
    assert facts(made) == facts(enqueue("job"))


def test_a_payload_comes_as_it_is_written():
    text = '{"b": 1.50, "a": [null, 12345678901234567890]}'
    id = call("'job', %s::json", (text,))
    assert ask("SELECT payload::text FROM django_letsgo_worker_message WHERE id = %s", (id,)) == text


def test_a_call_for_each_row_of_a_query_makes_a_message_for_each():
    sql("SELECT letsgo_enqueue('job', to_json(n)) FROM generate_series(1, 3) n")
    assert sorted(message.payload for message in Message.objects.all()) == [1, 2, 3]


def test_what_is_rolled_back_was_never_there():
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        call("'job'")
        raise ZeroDivisionError
    assert not Message.objects.exists()


# -- unique keys -------------------------------------------------------------------------------------------


def test_a_second_message_of_a_key_is_the_live_first_one():
    first = call("'job', '1', unique_key => 'k'")
    with transaction.atomic():
        assert call("'job', '2', unique_key => 'k'") == first
        assert call("'other', unique_key => 'k'") != first
    assert Message.objects.get(pk=first).payload == 1


def test_a_key_is_free_again_once_its_message_has_ended(worker):
    first = call("'job', unique_key => 'k'")
    worker.settle(worker.claim_one())
    assert call("'job', unique_key => 'k'") > first


def test_a_twin_waits_for_the_commit_of_the_first_and_is_given_its_id(begin):
    with transaction.atomic():
        first = call("'job', unique_key => 'k'")
        rival = begin(lambda: call("'job', unique_key => 'k'"))
        rival.wait_until_stuck()
        assert not rival.ended.is_set()
    assert rival.result() == first


def test_many_that_call_at_once_are_all_given_one_id(race):
    rivals = race(*[lambda: call("'job', unique_key => 'k'")] * 6)
    assert len({rival.result() for rival in rivals}) == 1
    assert Message.objects.count() == 1


# -- whom it tells -----------------------------------------------------------------------------------------


@pytest.fixture
def told():
    """What a worker that listens is told until it is asked."""
    with listeners.listener() as one:
        yield lambda: listeners.told([one])[0]


@pytest.mark.parametrize(
    ("waiting", "lanes"), [(None, ["orders:-7"]), (True, ["orders:-7"]), (False, [])], ids=str
)
def test_it_tells_whom_our_own_insert_tells(told, waiting, lanes):
    if waiting is not None:
        IdleQueue.objects.create(name="orders", waiting=waiting)
    enqueue("job", queue="orders", priority=-7)
    assert told() == lanes
    call("'job', queue => 'orders', priority => -7")
    assert told() == lanes


def test_who_is_listed_is_told_alone_until_the_migration_is_taken_back(told):
    IdleQueue.objects.create(name="default", listeners="1")
    call("'job'")
    assert told() == []
    try:
        with connection.schema_editor() as editor:
            NEWEST.tell_all(None, editor)
        call("'job'")
        assert told() == ["default:0"]
    finally:
        with connection.schema_editor() as editor:
            NEWEST.tell_few(None, editor)


def test_a_twin_tells_nobody(told):
    call("'job', unique_key => 'k'")
    told()
    call("'job', unique_key => 'k'")
    assert told() == []


def test_of_a_longer_transaction_workers_are_told_at_the_commit(told):
    with transaction.atomic():
        call("'job'")
    assert told() == ["default:0"]
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        call("'job'")
        raise ZeroDivisionError
    assert told() == []


# -- what it refuses ---------------------------------------------------------------------------------------

# As SQL, and as enqueue() is called: the sentence is the same.
REFUSED = [
    ("'a b'", {"type": "a b"}),
    ("''", {"type": ""}),
    ("E'a\\n'", {"type": "a\n"}),
    ("'ü'", {"type": "ü"}),
    ("'job', queue => 'my queue'", {"queue": "my queue"}),
    ("'job', priority => 101", {"priority": 101}),
    ("'job', priority => -101", {"priority": -101}),
    ("'job', max_attempts => 0", {"max_attempts": 0}),
    ("'job', max_attempts => 32001", {"max_attempts": 32001}),
    ("'job', delay => '1s', visible_at => now()", {"delay": 1, "visible_at": "soon"}),
    ("'job', delay => '2h', deadline => now() + interval '1h'", {"delay": 7200, "deadline": "1h"}),
]
REFUSED_HERE = [
    ("NULL", "A type is text, not NULL."),
    ("repeat('a', 256)", "The type is longer than 255 characters."),
    ("'job', queue => repeat('a', 65)", "The queue is longer than 64 characters."),
    ("'job', unique_key => ''", "unique_key is text of 1 to 200 characters."),
    ("'job', unique_key => repeat('a', 201)", "unique_key is text of 1 to 200 characters."),
    ("'job', delay => '-1 second'", "delay must not be negative, not -00:00:01."),
    ("'job', visible_at => 'infinity'", "beyond the year 9999"),
    ("'job', delay => '9000 years'", "beyond the year 9999"),
    ("'job', visible_at => '-infinity'", "before the year 1"),
    ("'job', deadline => 'infinity'", "The deadline reaches beyond the year 9999."),
    ("'job', deadline => '2020-01-01Z'", "The deadline is past: 2020-01-01"),
    ("'job', headers => '[]'", "headers is a JSON object."),
]


def refusal_of(arguments: str) -> str:
    with pytest.raises(DataError) as caught, transaction.atomic():
        call(arguments)
    assert caught.value.__cause__.sqlstate == "22023"
    assert not Message.objects.exists()
    return caught.value.__cause__.diag.message_primary


@pytest.mark.parametrize(("arguments", "ours"), REFUSED, ids=[arguments for arguments, _ in REFUSED])
def test_it_refuses_what_enqueue_refuses_in_the_same_sentence(arguments, ours):
    with pytest.raises(InvalidMessage) as caught:
        enqueue(**{"type": "job", **ours})
    # SQL writes what is no plain ASCII in another way.
    quoted = re.compile(r"'.*?' is refused", re.DOTALL)
    said, expected = (quoted.sub("", str(one)) for one in (refusal_of(arguments), caught.value))
    assert said == expected


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED_HERE, ids=[sql for sql, _ in REFUSED_HERE])
def test_it_refuses_in_one_sentence(arguments, sentence):
    assert sentence in refusal_of(arguments)


def test_a_payload_that_is_no_json_is_refused_by_the_database():
    with pytest.raises(DataError, match="json"), transaction.atomic():
        call("'job', '{order: 7}'")


# -- whose rights it has, and whose tables -----------------------------------------------------------------


@contextmanager
def as_role(name: str, *statements: str):
    """A role with these grants, which the session has for the time of the block."""
    sql(f"CREATE ROLE {name}")
    try:
        for statement in statements:
            sql(statement)
        sql(f"SET ROLE {name}")
        yield
    finally:
        sql("RESET ROLE")
        sql(f"DROP OWNED BY {name}")
        sql(f"DROP ROLE {name}")


GRANTS = (
    "GRANT INSERT, SELECT (id, type, unique_key) ON django_letsgo_worker_message TO letsgo_stranger",
    "GRANT SELECT ON django_letsgo_worker_idlequeue TO letsgo_stranger",
)


def test_it_has_no_more_rights_than_its_caller():
    with as_role("letsgo_stranger"), pytest.raises(ProgrammingError, match="permission denied"):
        call("'job'")
    assert not Message.objects.exists()


def test_a_role_that_may_only_add_messages_can_read_none(told):
    with as_role("letsgo_stranger", *GRANTS):
        id = call("'job', '7', unique_key => 'k'")
        assert call("'job', '8', unique_key => 'k'") == id
        with pytest.raises(ProgrammingError, match="permission denied"):
            sql("SELECT payload FROM django_letsgo_worker_message")
    assert Message.objects.get().payload == 7
    assert told() == ["default:0"]


def test_a_role_of_the_view_reads_the_numbers_and_no_message():
    call("'job', '7'")
    with as_role("letsgo_stranger", "GRANT SELECT ON letsgo_seats_wanted TO letsgo_stranger"):
        assert ask("SELECT wanted FROM letsgo_seats_wanted") == 1
        with pytest.raises(ProgrammingError, match="permission denied"):
            sql("SELECT payload FROM django_letsgo_worker_message")


def test_it_takes_nobody_else_s_table_for_ours():
    sql("CREATE TEMPORARY TABLE django_letsgo_worker_message (LIKE public.django_letsgo_worker_message)")
    try:
        id = ask("SELECT public.letsgo_enqueue('job')")
        assert ask("SELECT count(*) FROM pg_temp.django_letsgo_worker_message") == 0
    finally:
        sql("DROP TABLE pg_temp.django_letsgo_worker_message")
    assert Message.objects.get().pk == id


def test_it_works_from_a_session_whose_search_path_is_elsewhere():
    with transaction.atomic():
        sql("CREATE SCHEMA stranger")
        sql("SET LOCAL search_path = stranger")
        sql("SELECT public.letsgo_enqueue('job')")
        sql("DROP SCHEMA stranger")
        sql("SET LOCAL search_path = public")
    assert Message.objects.count() == 1


# -- the migration -----------------------------------------------------------------------------------------


def test_the_migration_can_be_run_again_and_taken_back():
    try:
        with connection.schema_editor() as editor:
            MIGRATION.add(None, editor)
            MIGRATION.take_away(None, editor)
            MIGRATION.take_away(None, editor)
        with pytest.raises(ProgrammingError, match="letsgo_enqueue"), transaction.atomic():
            call("'job'")
        with pytest.raises(ProgrammingError, match="letsgo_seats_wanted"), transaction.atomic():
            sql("SELECT * FROM letsgo_seats_wanted")
    finally:
        with connection.schema_editor() as editor:
            MIGRATION.add(None, editor)
            NEWEST.tell_few(None, editor)
    assert call("'job'") > 0
    assert not ArchivedMessage.objects.exists()
