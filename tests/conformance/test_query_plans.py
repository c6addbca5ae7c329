"""What the statements of a worker read on a backlog of 20,000 messages, whatever the statistics believe.

Each statement is explained before it is sent, on the connection it is sent on, and what it reads is counted.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field

import pytest
from django.db import connection, connections, models, transaction

from django_letsgo_worker import enqueue_many
from django_letsgo_worker.engines import TABLE, Lane, Rest, Settlement, adopt_own_connection
from django_letsgo_worker.models import Message

from .conftest import Rewrite, Worker

pytestmark = pytest.mark.django_db(transaction=True)

SEEDS = 142  # 142 and 142 times 142 are 20,306
LANES = {("a", 0), ("default", 5), ("default", 0), ("default", -5), ("z", 0)}
LANE, KEY = "letsgo_message_lane", "the primary key"


@dataclass
class Reading:
    """What one statement does with the table of messages."""

    sql: str
    indexes: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    read: int = 0


class Plans:
    """Explains the statements of a connection, and counts what they read: `most` is what one may."""

    def __init__(self):
        self.readings: list[Reading] = []

    def __call__(self, execute, sql, params, many, context):
        if TABLE not in sql:
            return execute(sql, params, many, context)
        reading = Reading(sql)
        self.readings.append(reading)

        def ask(prefix):
            execute(prefix + sql, params, many, context)
            names = [column[0] for column in context["cursor"].description]
            return [dict(zip(names, row, strict=True)) for row in context["cursor"].fetchall()]

        self.explain(reading, ask)
        with self.counting(reading):
            return execute(sql, params, many, context)

    def counting(self, reading):
        return nullcontext()

    def wrong(self):
        """Return what must not be, in words."""
        faults = [f"{fault}: {r.sql}" for r in self.readings for fault in r.faults]
        return faults + [f"{r.read} read: {r.sql}" for r in self.readings if r.read > self.most]


class SQLitePlans(Plans):
    most = 5_000  # steps of its virtual machine

    def explain(self, reading, ask):
        # Until here, what is fetched counts for the statement before.
        connection.connection.set_progress_handler(None, 0)
        for detail in (row["detail"] for row in ask("EXPLAIN QUERY PLAN ")):
            if "USE TEMP B-TREE" in detail:
                reading.faults.append(detail)
            if re.match(rf"(SCAN|SEARCH) ({TABLE}|m)\b", detail):
                index = re.search(r"USING (?:COVERING )?(?:INDEX (\w+)|INTEGER PRIMARY (KEY))", detail)
                reading.indexes.add((index[1] or KEY) if index else "no index")
                if detail.startswith("SCAN") and f"COVERING INDEX {LANE}" not in detail:
                    reading.faults.append(detail)

    def counting(self, reading):
        def count():
            reading.read += 10

        connection.connection.set_progress_handler(count, 10)
        return super().counting(reading)


class PostgreSQLPlans(Plans):
    most = 300  # rows

    def explain(self, reading, ask):
        with transaction.atomic():
            (row,) = ask("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ")
            transaction.set_rollback(True)
        plan = row["QUERY PLAN"][0]
        self.walk(reading, plan["Plan"], [])
        if "JIT" in plan:
            # A way of reading that is switched off costs 10,000,000,000: more than compiling is worth.
            reading.faults.append("it is compiled each time")

    def walk(self, reading, node, above):
        """Look at a node of a plan; `above` is what stands over it, down from the last LIMIT."""
        kind, index = node["Node Type"], node.get("Index Name", "")
        if node.get("Relation Name") == TABLE and "Scan" in kind:
            reading.read += sum(node.get(f"Rows Removed by {by}", 0) for by in ("Filter", "Index Recheck"))
            reading.read += node["Actual Rows"] * node["Actual Loops"]
        if index == LANE:
            reading.indexes.add(LANE)
            if "Limit" not in above or "Sort" in above or kind not in ("Index Scan", "Index Only Scan"):
                reading.faults.append(f"the lane is read by {' < '.join([kind, *reversed(above)])}")
        elif index == f"{TABLE}_pkey":
            reading.indexes.add(KEY)
            if "id = " not in node.get("Index Cond", ""):
                reading.faults.append("the whole primary key is read")
        elif node.get("Relation Name") == TABLE and kind == "Seq Scan":
            reading.faults.append("the whole table is read")
        for below in node.get("Plans", ()):
            self.walk(reading, below, [kind] if kind == "Limit" else [*above, kind])


class MySQLPlans(Plans):
    most = 300  # rows

    def explain(self, reading, ask):
        for row in ask("EXPLAIN "):
            if row["table"] not in (TABLE, "m"):
                continue  # a list of settlements
            kind, key, extra = row["type"], row["key"], row["Extra"] or ""
            reading.indexes.add({"PRIMARY": KEY, None: "no index"}.get(key, key))
            if kind == "ALL" or "filesort" in extra or "temporary" in extra:
                reading.faults.append(f"{kind} by {key}, {extra}")

    @contextmanager
    def counting(self, reading):
        before = self.handled()
        yield
        reading.read = self.handled() - before

    def handled(self):
        with connection.cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%%'")
            return sum(int(count) for _, count in cursor.fetchall())


PLANS = {"sqlite": SQLitePlans, "postgresql": PostgreSQLPlans, "mysql": MySQLPlans}
OLD_SNAPSHOT = {
    "sqlite": "BEGIN",
    "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "mysql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT",
}


def execute(*statements, on=connection):
    with on.cursor() as cursor:
        for sql in statements:
            cursor.execute(sql)


def analyse():
    execute(f"ANALYZE TABLE {TABLE}" if connection.vendor == "mysql" else f"ANALYZE {TABLE}")


def fill():
    """Make the backlog: five lanes, nearly all of it in the one in the middle."""
    enqueue_many(("job", n) for n in range(SEEDS))
    columns = [f.column for f in Message._meta.concrete_fields if not f.primary_key]
    values = ", ".join(f"a.{column}" for column in columns)
    execute(f"INSERT INTO {TABLE} ({', '.join(columns)}) SELECT {values} FROM {TABLE} a, {TABLE} b")
    for queue, priority in LANES:
        enqueue_many([("job", n) for n in range(30)], queue=queue, priority=priority)


@pytest.fixture
def statistics():
    """Leave the statistics to the test: the server's own housekeeping does not touch them meanwhile."""
    if connection.vendor == "postgresql":
        execute(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = FALSE)")
    yield
    if connection.vendor == "postgresql":
        execute(f"ALTER TABLE {TABLE} RESET (autovacuum_enabled)")
    elif connection.vendor == "sqlite":
        execute("DROP TABLE IF EXISTS sqlite_stat1")


@pytest.fixture
def old_snapshot():
    """A session that began before the test and still sees what was there then, as a dump does."""
    other = connections.create_connection("default")
    execute(*OLD_SNAPSHOT[other.vendor].split("; "), f"SELECT COUNT(*) FROM {TABLE}", on=other)
    yield
    execute("ROLLBACK", on=other)
    other.close()


@pytest.fixture(params=["analysed while empty", "full and analysed", "all dead and analysed"])
def backlog(statistics, request):
    """A backlog, and what the database believes about it."""
    if request.param == "analysed while empty":
        analyse()
    fill()
    if request.param == "all dead and analysed":
        # Then filled again: what is dead is still there, since somebody can see it.
        request.getfixturevalue("old_snapshot")
        Message.objects.all().delete()
        analyse()
        fill()
    if request.param == "full and analysed":
        analyse()


@pytest.fixture
def wrong_about(begin):
    """Let a worker act on a connection of its own; return all that is wrong with how it reads."""

    def run(act, *rewrites):
        plans = PLANS[connection.vendor]()

        def work():
            connection.close()  # the one that is replaced
            adopt_own_connection("default")
            with ExitStack() as stack:
                for wrapper in (*rewrites, plans):
                    stack.enter_context(connection.execute_wrapper(wrapper))
                act(Worker(), plans)

        begin(work).result()
        assert plans.readings
        return plans.wrong()

    return run


def look_for_lanes(worker, plans):
    found, _ = worker.engine.last_look(Rest())

    assert {(lane.queue, lane.priority) for lane in found} == LANES


def claim(worker, plans):
    assert len(worker.claim()) == 10
    assert worker.look(types=["another"], free=10).looked == 100


def claim_from_lanes(worker, plans):
    """The first two have too few; the longest ends it, and what is behind it is not read."""
    places = [("z", 0), ("a", 0), ("default", 0), ("default", 5), ("default", -5)]
    first, *further = [Lane(*place) for place in places]
    request = worker.request(first.queue, first.priority, free=80, further=further)
    with worker.engine.transaction():
        claim = worker.engine.claim_within(request, 80)

    assert [len(one.rows) for one in (claim, *claim.further)] == [30, 30, 20]
    assert [one.saw_all for one in (claim, *claim.further)] == [True, True, False]


def settle(worker, plans, outcomes=("succeeded", "again", "dead", "released")):
    claimed = hold(worker, plans)
    outcomes = [*outcomes] * (12 // len(outcomes))
    written = worker.settle_all(
        [Settlement(id=c.id, receipt=c.receipt, outcome=o) for c, o in zip(claimed, outcomes, strict=True)]
    )

    assert len(written) == 12
    assert {index for r in plans.readings for index in r.indexes} == {KEY}


def settle_successes(worker, plans):
    settle(worker, plans, ["succeeded"])


def renew(worker, plans):
    leases = [(c.id, c.receipt) for c in hold(worker, plans)]

    assert len(worker.engine.renew(worker.process, leases, 60)) == 12
    assert len(worker.engine.still_held(worker.process, leases)) == 12


def hold(worker, plans):
    """Claim something, and look only at what comes after it."""
    claimed = worker.claim(free=12)
    plans.readings.clear()
    return claimed


ACTS = (look_for_lanes, claim, claim_from_lanes, settle, settle_successes, renew)


def test_workers_read_lanes_in_order_and_messages_by_their_key(backlog, wrong_about):
    assert [wrong for act in ACTS for wrong in wrong_about(act)] == []


def swap(old, new):
    with connection.schema_editor() as editor:
        editor.remove_index(Message, old)
        editor.add_index(Message, new)


@pytest.mark.parametrize("backlog", ["full and analysed"], indirect=True)
def test_a_lane_index_on_other_columns_is_noticed(backlog, wrong_about):
    (lane,) = [index for index in Message._meta.indexes if index.name == LANE]
    other = models.Index(fields=["enqueued_at"], name=LANE)
    swap(lane, other)
    try:
        assert wrong_about(look_for_lanes) and wrong_about(claim)
    finally:
        swap(other, lane)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="elsewhere no statement settles by itself")
@pytest.mark.parametrize("backlog", ["analysed while empty", "all dead and analysed"], indirect=True)
def test_a_settle_that_only_joins_is_noticed(backlog, wrong_about):
    ids = r"m\.id = ANY\(%\(ids\)s::bigint\[\]\)"
    alone = Rewrite(rf"AND {ids}|(?<=WHERE ){ids} AND")

    assert wrong_about(settle, alone) and wrong_about(settle_successes, alone)
    assert alone.hits == 6
