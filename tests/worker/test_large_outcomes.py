"""Outcomes that are large, alone and together, and what a server does about a packet that is too large."""

from __future__ import annotations

import pytest
from django.db import connection, connections

from django_letsgo_worker import enqueue, enqueue_many
from django_letsgo_worker.engines import ARCHIVE, engine_for
from django_letsgo_worker.messages import redrive_many
from django_letsgo_worker.models import ArchivedMessage, DeadLetter, Message
from tests.support import wait_until

from .test_refused_outcomes import all_at_once, lines_with

__all__ = ["all_at_once"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def result_limit(settings):
    def limit(most):
        settings.LETSGO_WORKER = {**getattr(settings, "LETSGO_WORKER", {}), "MAX_RESULT_BYTES": most}

    return limit


@pytest.fixture
def small_packets():
    """Have MariaDB take a megabyte at a time, from new connections; elsewhere there is no such limit."""
    if connection.vendor != "mysql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@global.max_allowed_packet")
        before = cursor.fetchone()[0]
        cursor.execute("SET GLOBAL max_allowed_packet = 1048576")
    renew_connection()
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET GLOBAL max_allowed_packet = %s", [before])
    renew_connection()


def renew_connection():
    connections["default"].close()
    vars(connections["default"]).pop("letsgo_most_text", None)


# -- results ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "fits"),
    [
        ("x" * 98, True),
        ("x" * 99, False),
        ({"a": "é" * 46}, True),
        ({"a": "é" * 47}, False),
        (list(range(200)), False),
    ],
)
def test_a_result_longer_than_the_limit_is_kept_as_text_and_cut(
    result, fits, result_limit, handle, work_off, ended, caplog
):
    result_limit(100)
    handle("t:it")(lambda delivery: result)
    message = enqueue("t:it")

    work_off()

    kept = ended(message).result
    if fits:
        assert kept == result
        assert not lines_with(caplog, "MAX_RESULT_BYTES")
    else:
        assert isinstance(kept, str)
        assert len(kept.encode()) <= 100
        assert "... [cut] ..." in kept
        (line,) = lines_with(caplog, "is longer than MAX_RESULT_BYTES (100): it is kept as text, cut")
        assert line.levelname == "WARNING"
        assert f"message {message.pk} (t:it)" in line.getMessage()


def test_by_default_a_megabyte_is_the_limit_of_a_result(handle, work_off, ended):
    handle("t:fits")(lambda delivery: "x" * (1_048_576 - 2))
    handle("t:long")(lambda delivery: {"report": "x" * 17_000_000})
    fits, long = enqueue("t:fits"), enqueue("t:long")

    work_off()

    assert len(ended(fits).result) == 1_048_574
    assert ended(long).result.startswith('{"report":"xxx')
    assert len(ended(long).result) == 64 * 1024


def test_a_result_that_changes_while_it_is_written_is_kept_as_text(handle, work_off, ended):
    class Changing(dict):
        def items(self):
            raise RuntimeError("dictionary changed size during iteration")

    handle("t:it")(lambda delivery: Changing(a=1))
    message = enqueue("t:it")

    work_off()

    assert ended(message).result == "{'a': 1}"


def test_a_result_without_a_limit_that_no_packet_holds_costs_the_result_alone(
    small_packets, result_limit, handle, start_worker, ended, caplog
):
    result_limit(None)
    runs = []
    handle("t:long")(lambda delivery: runs.append(1) or "x" * 3_000_000)
    handle("t:good")(lambda delivery: "fine")
    long, good = enqueue("t:long"), enqueue("t:good")

    start_worker(seats=1)

    assert ended(good).result == "fine"
    row = ended(long)
    assert (row.outcome, runs) == ("succeeded", [1])
    if connection.vendor == "mysql":
        assert row.result is None
        assert len(lines_with(caplog, "kept without its result")) == 1
        # The worker's other connections, and its leases, never noticed.
        assert not lines_with(caplog, "The database cannot be used")
    else:
        assert len(row.result) == 3_000_000


# -- together -----------------------------------------------------------------------------------------------


def test_many_long_failures_end_in_one_batch(small_packets, handle, start_worker, all_at_once, caplog):
    @handle("t:fail", max_attempts=1)
    def fail(delivery):
        raise ValueError('a "quoted" line\n' * 10_000)

    enqueue_many([("t:fail", n) for n in range(40)])
    all_at_once(40)

    start_worker(seats=40)

    wait_until(lambda: DeadLetter.objects.count() == 40)
    for dead in DeadLetter.objects.all():
        assert dead.errors[0]["message"].startswith('a "quoted" line')
        assert len(dead.errors[0]["message"]) > 60_000
    assert not lines_with(caplog, "refuse")
    assert not lines_with(caplog, "The database cannot be used")


def test_many_large_results_end_in_one_batch(small_packets, handle, start_worker, all_at_once, caplog):
    handle("t:large")(lambda delivery: '"' * 50_000)
    enqueue_many([("t:large", n) for n in range(40)])
    all_at_once(40)

    start_worker(seats=40)

    wait_until(lambda: ArchivedMessage.objects.filter(outcome="succeeded").count() == 40)
    assert {len(result) for result in ArchivedMessage.objects.values_list("result", flat=True)} == {50_000}
    assert not lines_with(caplog, "refuse")


def test_many_large_payloads_are_enqueued_in_order(small_packets):
    ids = enqueue_many([("t:it", {"n": n, "text": '"' * 40_000}) for n in range(60)])

    assert ids == sorted(ids)
    rows = Message.objects.order_by("visible_at", "pk")
    assert [payload["n"] for payload in rows.values_list("payload", flat=True)] == list(range(60))


def test_many_large_dead_letters_are_redriven_at_once(small_packets):
    ids = enqueue_many([("t:it", {"n": n, "text": "x" * 100_000}) for n in range(30)])
    with connection.cursor() as cursor:
        columns = (
            "id, type, payload, headers, queue, priority, visible_at, enqueued_at, attempts, "
            "max_attempts, receipt, deaths, errors"
        )
        cursor.execute(
            f"INSERT INTO {ARCHIVE} ({columns}, outcome, finished_at, error_class, error_fingerprint) "
            f"SELECT {columns}, 'dead', enqueued_at, '', '' "
            f"FROM {Message._meta.db_table}"
        )
    Message.objects.all().delete()

    assert redrive_many(ids).done == 30

    assert sorted(payload["n"] for payload in Message.objects.values_list("payload", flat=True)) == list(
        range(30)
    )


def test_groups_are_cut_by_their_text_and_by_their_rows():
    engine = engine_for("default")
    most = engine.most_text
    half = most // 2
    lengths = [1, half, half, half, most + 5, 1, 0, 0]

    assert [list(group) for group in engine.in_groups(lengths, int)] == [
        [1, half], [half, half], [most + 5], [1, 0, 0],
    ]  # fmt: skip
    assert [list(group) for group in engine.in_groups(list(range(5)), int, 2)] == [[0, 1], [2, 3], [4]]
    assert list(engine.in_groups([], int)) == []


@pytest.mark.skipif(connection.vendor != "mysql", reason="Others have a constant.")
def test_the_size_of_a_packet_is_asked_once(django_assert_num_queries):
    renew_connection()
    rows = [("t:it", "x" * 50_000) for n in range(4)]
    enqueue_many(rows)
    with django_assert_num_queries(1) as seen:
        engine_for("default").execute("SELECT 1", {})
    with django_assert_num_queries(3) as seen:
        enqueue_many(rows)
    assert not any("max_allowed_packet" in query["sql"] for query in seen.captured_queries)
