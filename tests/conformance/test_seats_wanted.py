"""The view letsgo_seats_wanted: by queue, what runs, what is due, and what will be within a minute."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from importlib import import_module
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection, transaction

from django_letsgo_worker import enqueue, enqueue_many, queues
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.models import Message
from tests.conformance.test_rows_written_by_others import sql

pytestmark = pytest.mark.django_db(transaction=True)

MOST = 10_000


def seats(where: str = "") -> dict[str, tuple[int, int, int, int]]:
    """All rows of the view: (running, due, due_soon, wanted) by queue."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT queue, running, due, due_soon, wanted FROM letsgo_seats_wanted {where}")
        return {queue: tuple(numbers) for queue, *numbers in cursor.fetchall()}


def test_where_nothing_waits_no_seat_is_wanted():
    assert seats() == {}


def test_seats_are_wanted_for_what_runs_is_due_and_will_be_soon(worker):
    enqueue("job")
    worker.claim_one()
    for delay in (0, 0, 30, 3600):
        enqueue("job", delay=delay)

    assert seats() == {"default": (1, 2, 1, 4)}


def test_a_running_message_wants_its_seat_however_long_its_lease_is(worker):
    enqueue("job")
    worker.claim_one(lease_seconds=7200)

    assert seats() == {"default": (1, 0, 0, 1)}


def test_a_message_whose_lease_has_lapsed_is_due(worker):
    Message.objects.filter(pk=enqueue("job").pk).update(leased_by=uuid4(), attempts=1)

    assert seats() == {"default": (0, 1, 0, 1)}


def test_each_queue_has_its_row_whatever_its_priorities():
    for queue, priority in (("mails", 5), ("mails", -5), ("orders", 0)):
        enqueue("job", queue=queue, priority=priority)

    assert seats() == {"mails": (0, 2, 0, 2), "orders": (0, 1, 0, 1)}
    assert seats("WHERE queue IN ('orders', 'reports')") == {"orders": (0, 1, 0, 1)}


def test_a_paused_queue_wants_seats_only_for_what_runs(worker):
    enqueue("job")
    worker.claim_one()
    enqueue("job")
    enqueue("job", delay=10)
    queues.pause("default")

    assert seats() == {"default": (1, 0, 0, 1)}


def test_it_says_what_counting_every_row_says():
    chance = random.Random(4711)
    clock = engine_for("default").clock()
    wanted: dict[str, Counter[str]] = {}
    rows = []
    for _ in range(400):
        # Not so near to a limit that the time until we look matters.
        later = chance.choice([-500, -1, 30, 90, 4000]) + chance.random() / 2
        leased_by = chance.choice([None, uuid4()])
        row = Message(
            type="job",
            queue=chance.choice(["a", "b", "c:1"]),
            priority=chance.randrange(-3, 3),
            visible_at=clock + timedelta(seconds=later),
            leased_by=leased_by,
        )
        rows.append(row)
        state = "due" if later < 0 else "running" if leased_by else "due_soon" if later < 60 else "later"
        wanted.setdefault(row.queue, Counter())[state] += 1
    Message.objects.bulk_create(rows)

    assert seats() == {
        queue: (*(parts := (count["running"], count["due"], count["due_soon"])), sum(parts))
        for queue, count in wanted.items()
    }


@pytest.fixture(params=["analysed when it was empty", "analysed"])
def long_lane(request):
    """A lane longer than what is counted: 12,000 are due, 12,000 much later; one runs, one is for soon."""
    table = Message._meta.db_table
    if connection.vendor != "sqlite":
        sql(f"ANALYZE {'TABLE' if connection.vendor == 'mysql' else ''} {table}")
    enqueue_many([("job", None)] * 12_000)
    enqueue_many([("job", None)] * 12_000, delay=36_000)
    clock = engine_for("default").clock()
    enqueue("job", visible_at=clock + timedelta(seconds=40))
    running = enqueue("job", visible_at=clock + timedelta(seconds=50))
    Message.objects.filter(pk=running.pk).update(leased_by=uuid4(), attempts=1)
    if request.param == "analysed" and connection.vendor != "sqlite":
        sql(f"ANALYZE {'TABLE' if connection.vendor == 'mysql' else ''} {table}")


def test_a_long_lane_is_counted_up_to_ten_thousand_and_no_further_read(long_lane):
    with connection.cursor() as cursor:
        read = READ[connection.vendor](cursor)
        assert seats() == {"default": (1, MOST, 1, MOST + 2)}
        assert 0 < read() <= 4 * MOST


def rows_of_postgresql(cursor):
    """The rows that its plan reads of the table, those that it throws away too."""
    with transaction.atomic():
        # By statistics that earlier tests left, so small a table may be read as a whole.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM letsgo_seats_wanted")
        [[(plan,)]] = [cursor.fetchall()]

    def rows(node):
        here = 0
        if node.get("Relation Name") == Message._meta.db_table:
            assert node["Node Type"] in ("Index Scan", "Index Only Scan")
            here = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        return here + sum(rows(part) for part in node.get("Plans", []))

    return lambda: rows(plan[0]["Plan"])


def rows_of_mariadb(cursor):
    cursor.execute("FLUSH STATUS")

    def read():
        cursor.execute("SHOW STATUS LIKE 'Handler_read%'")
        # For each row that a range gives it reads the index, and then the table.
        return sum(int(number) for _, number in cursor.fetchall()) / 2

    return read


def rows_of_sqlite(cursor):
    """It counts no rows; but each way to the table is a search in the index, and ends with its LIMIT."""
    cursor.execute("EXPLAIN QUERY PLAN SELECT * FROM letsgo_seats_wanted")
    ways = [row[-1] for row in cursor.fetchall() if row[-1].startswith(("SEARCH m ", "SCAN django"))]
    assert len(ways) == 6
    assert [way for way in ways if "INDEX letsgo_message_lane" not in way] == []
    return lambda: len(ways)


READ = {"postgresql": rows_of_postgresql, "mysql": rows_of_mariadb, "sqlite": rows_of_sqlite}


def test_the_view_comes_with_its_migration_and_goes_with_it():
    migration = import_module("django_letsgo_worker.migrations.0010_other_producers")
    with connection.schema_editor(atomic=False) as editor:
        migration.add(None, editor)
        migration.take_away(None, editor)
    try:
        with pytest.raises(DatabaseError, match="letsgo_seats_wanted"):
            seats()
    finally:
        with connection.schema_editor(atomic=False) as editor:
            migration.add(None, editor)
            # The function that came with the view has changed since.
            import_module("django_letsgo_worker.migrations.0011_few_listeners").tell_few(None, editor)
    assert seats() == {}
