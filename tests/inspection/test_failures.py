"""Failures as inspection tells them: retried and dead ones are counted, in few statements."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_letsgo_worker import enqueue, inspection
from django_letsgo_worker.engines import AtLeast, engine_for
from django_letsgo_worker.errors import AmbiguousFailure, FailureNotFound, InvalidMessage
from django_letsgo_worker.failures import FailedAttempts, hour_of, record
from django_letsgo_worker.inspection import failure_groups as reading
from django_letsgo_worker.models import Message
from tests.browser.rows import dead_letter, process

pytestmark = pytest.mark.django_db


@pytest.fixture
def met():
    """Record attempts of a failure: met("f1", ago=timedelta(hours=2))."""
    now = engine_for("default").clock()

    def record_one(fingerprint, *, type="t:x", ago=timedelta(0), count=1, **facts):
        at = now - ago
        defaults = {"error_class": "shop.errors.Late", "message": "late", "traceback": "", "message_id": 1}
        record(
            [
                FailedAttempts(
                    type=type,
                    fingerprint=fingerprint,
                    first_at=at,
                    last_at=at,
                    hours={hour_of(at): count},
                    **{**defaults, **facts},
                )
            ]
        )

    return record_one


def waiting(fingerprint, *, type="t:x", queue="default"):
    message = enqueue(type, queue=queue)
    Message.objects.filter(pk=message.pk).update(error_fingerprint=fingerprint, attempts=1)
    return message.pk


def marks(**filters):
    return [group.fingerprint for group in inspection.failures(**filters)]


def test_a_failure_has_its_facts_and_what_became_of_its_messages(met):
    met("f1", ago=timedelta(hours=1), version="1.0", count=3)
    met("f1", count=2)
    waiting("f1")
    waiting("f1", type="t:other")
    for type in ("t:x", "t:x", "t:other"):
        dead_letter(type=type, error_fingerprint="f1")

    (group,) = inspection.failures()
    assert (group.retrying, group.dead, group.count, group.state) == (1, 2, 5, "retrying")
    assert (group.title, group.versions) == ("Late: late", ("1.0",))
    assert (len(group.trend), group.trend[-2:]) == (48, (3, 2))
    json.dumps(group.trend)


def test_the_one_met_last_is_first_and_one_without_messages_stays_as_over(met):
    met("old", ago=timedelta(days=3))
    met("new")

    assert [(group.fingerprint, group.state) for group in inspection.failures()] == [
        ("new", "over"), ("old", "over"),
    ]  # fmt: skip
    assert marks(limit=1) == ["new"]


def test_it_narrows_by_type_queue_time_and_state(met):
    met("waits", ago=timedelta(hours=1))
    met("dead", type="t:y", ago=timedelta(hours=2))
    met("over", ago=timedelta(hours=3))
    waiting("waits", queue="mail")
    dead_letter(type="t:y", error_fingerprint="dead", queue="billing")
    now = engine_for("default").clock()

    assert marks(type="t:y") == ["dead"]
    assert marks(since=now - timedelta(minutes=90)) == ["waits"]
    assert [marks(state=state) for state in ("retrying", "dead", "over")] == [["waits"], ["dead"], ["over"]]
    assert [marks(queue=name) for name in ("mail", "billing", "none")] == [["waits"], ["dead"], []]
    with pytest.raises(InvalidMessage, match="not 'lost'"):
        inspection.failures(state="lost")


def test_counts_end_at_their_cap(met, monkeypatch):
    monkeypatch.setattr(reading, "MOST_COUNTED", 2)
    monkeypatch.setattr(reading, "LEAST_COUNTED", 1)
    met("f1")
    for _ in range(3):
        waiting("f1")
        dead_letter(type="t:x", error_fingerprint="f1")

    (group,) = inspection.failures()
    assert (str(group.retrying), str(group.dead)) == ("2+", "2+")
    assert isinstance(group.retrying, AtLeast)


def test_the_list_takes_as_many_statements_for_many_as_for_few(met):
    def statements():
        with CaptureQueriesContext(connection) as seen:
            inspection.failures(state="retrying", queue="default")
        return len(seen)

    for n in range(3):
        met(f"f{n}")
        waiting(f"f{n}")
    few = statements()
    for n in range(3, 40):
        met(f"f{n}", type=f"t:{n}")
        waiting(f"f{n}", type=f"t:{n}")
    assert statements() == few <= 10


@pytest.mark.parametrize(
    ("ago", "said"), [(4, "began 4m after version 0.1.1 started"), (-4, None), (60 * 25, None)]
)
def test_it_says_after_which_start_it_began(met, ago, said):
    started = timezone.now() - timedelta(hours=1)
    process(version="0.1.1", started_at=started)
    process(version="0.1.1", started_at=started + timedelta(minutes=1))
    first = started + timedelta(minutes=ago)
    met("f1", ago=engine_for("default").clock() - first - timedelta(milliseconds=50), version="0.1.1")

    assert inspection.failures()[0].began == said


def test_where_the_rows_of_its_version_are_gone_nothing_is_said(met):
    met("f1", version="0.1.0")

    assert inspection.failures()[0].began is None


def test_one_is_found_by_the_beginning_of_its_fingerprint_with_its_newest_messages(met):
    met("abc1")
    met("abd")
    met("abd", type="t:y")
    live = waiting("abc1")
    dead = [
        dead_letter(
            type="t:x", error_fingerprint="abc1", finished_at=timezone.now() - timedelta(hours=hours)
        ).pk
        for hours in (3, 2, 1)
    ]

    group = inspection.failure("abc")
    assert (group.fingerprint, group.samples) == ("abc1", (live, dead[2], dead[1]))
    assert inspection.failure("abd", "t:y").type == "t:y"
    with pytest.raises(AmbiguousFailure, match="'abd' fits several failures.*abd of type t:y"):
        inspection.failure("abd")
    for text in ("x", "", "a%", "\0"):
        with pytest.raises(FailureNotFound):
            inspection.failure(text)


# -- plans: the partial indexes, whatever stands in the tables ---------------------------------------------


def test_counts_and_states_are_found_through_the_partial_indexes(met):
    if connection.vendor == "mysql":
        pytest.skip("Its indexes are whole, and EXPLAIN says so in other words.")
    for n in range(20):
        met(f"f{n}")
    with CaptureQueriesContext(connection) as seen:
        inspection.failures()
        for state in ("retrying", "dead", "over"):
            inspection.failures(state=state, queue="mail")
    asked = [each["sql"] for each in seen if "error_fingerprint" in each["sql"]]
    assert len(asked) >= 5
    for sql in asked:
        plan = explained(sql)
        assert "letsgo_message_fingerprint" in plan or "letsgo_archive_fingerprint" in plan, (sql, plan)
        for table in ("message", "archivedmessage"):
            assert f"Seq Scan on django_letsgo_worker_{table}" not in plan
            assert f"SCAN django_letsgo_worker_{table} " not in plan


def explained(sql):
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # On empty tables nothing is cheaper than reading them whole.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_bitmapscan = off")
        cursor.execute(("EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN ") + sql)
        return "\n".join(str(row) for row in cursor.fetchall())
