"""What a handler sets on its database session is not there for the next one, and how long sessions live."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.client import BaseDatabaseClient
from django.db.backends.base.creation import BaseDatabaseCreation
from django.db.backends.base.features import BaseDatabaseFeatures
from django.db.backends.base.introspection import BaseDatabaseIntrospection
from django.db.backends.base.operations import BaseDatabaseOperations
from django.db.backends.signals import connection_created
from django.db.utils import ConnectionHandler
from django.test import override_settings

from django_letsgo_worker import enqueue, enqueue_many, messages, schedules
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.scheduler import Scheduler
from tests.support import PATIENCE, wait_until
from tests.testapp.models import Effect, Entry

pytestmark = pytest.mark.django_db(transaction=True)

ON = connection.vendor
postgresql_only = pytest.mark.skipif(ON != "postgresql", reason="PostgreSQL only")


def rows(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [list(row) for row in cursor.fetchall()] if cursor.description else []


def answer(sql):
    """What a statement finds, or that it fails."""
    try:
        with transaction.atomic():
            return rows(sql)
    except DatabaseError:
        return "an error"


# What is left: how it is done, how it is seen. On each engine what its projects really do.
LEFT = {
    "postgresql": {
        "search_path": ("SET search_path = pg_catalog", "SHOW search_path"),
        "search_path, by a function": (
            "SELECT set_config('search_path', 'pg_catalog', false)",
            "SHOW search_path",
        ),
        "search_path, by a function, from a table": (
            "SELECT SET_CONFIG('search_path', 'pg_catalog', false) FROM pg_class LIMIT 1",
            "SHOW search_path",
        ),
        "search_path, behind a remark": (
            "/* for the tenant */ -- see there\n SET search_path = pg_catalog",
            "SHOW search_path",
        ),
        "search_path, behind another statement": (
            "SELECT 1 FROM pg_class LIMIT 1; SET search_path = pg_catalog",
            "SHOW search_path",
        ),
        "search_path, by a view": (
            "UPDATE pg_settings SET setting = 'pg_catalog' WHERE name = 'search_path'",
            "SHOW search_path",
        ),
        "search_path, by a function of the project's": (
            "SELECT of_a_tenant()",
            "SHOW search_path",
        ),
        "search_path, by a block": (
            "DO $$ BEGIN SET search_path = pg_catalog; END $$",
            "SHOW search_path",
        ),
        "a setting of the project's": (
            "SELECT set_config('shop.tenant', 't1', false)",
            "SELECT NULLIF(current_setting('shop.tenant', true), '')",
        ),
        "a time-out": ("SET statement_timeout = '7s'", "SHOW statement_timeout"),
        "a role": ("SET ROLE pg_monitor", "SELECT current_user"),
        "a user": ("SET SESSION AUTHORIZATION pg_monitor", "SELECT session_user, current_user"),
        "reading only": (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SHOW default_transaction_read_only",
        ),
        "a temporary table": (
            "CREATE TEMPORARY TABLE left_behind (n int)",
            "SELECT to_regclass('pg_temp.left_behind')::text",
        ),
        "a temporary table, by a query": (
            "SELECT 1 AS n INTO TEMP left_behind FROM pg_class LIMIT 1",
            "SELECT to_regclass('pg_temp.left_behind')::text",
        ),
        "an advisory lock": (
            "SELECT pg_advisory_lock(4711)",
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        ),
        "an advisory lock, from a table": (
            "SELECT pg_try_advisory_lock(oid::bigint) FROM pg_class LIMIT 1",
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        ),
        "a channel": ("LISTEN somewhere", "SELECT count(*) FROM pg_listening_channels()"),
        "a cursor": (
            "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1",
            "SELECT count(*) FROM pg_cursors",
        ),
    },
    "mysql": {
        "a variable": ("SET @tenant = 't1'", "SELECT @tenant"),
        "a variable, by a query": (
            "SELECT 't1' INTO @tenant FROM information_schema.engines LIMIT 1",
            "SELECT @tenant",
        ),
        "a variable, in an expression": (
            "SELECT @tenant := 't1' FROM information_schema.engines LIMIT 1",
            "SELECT @tenant",
        ),
        "sql_mode": ("SET sql_mode = 'ANSI_QUOTES'", "SELECT @@sql_mode"),
        "a time-out": ("SET SESSION lock_wait_timeout = 7", "SELECT @@lock_wait_timeout"),
        "reading only": ("SET SESSION TRANSACTION READ ONLY", "SELECT @@session.tx_read_only"),
        "a database": ("USE information_schema", "SELECT DATABASE()"),
        "a temporary table": ("CREATE TEMPORARY TABLE left_behind (n int)", "SELECT n FROM left_behind"),
        "a lock": (
            "SELECT GET_LOCK(CONCAT('of ', DATABASE()), 0)",
            "SELECT IS_USED_LOCK(CONCAT('of ', DATABASE()))",
        ),
        "a lock, from a table": (
            "SELECT GET_LOCK(CONCAT('of ', DATABASE()), 0) FROM information_schema.engines LIMIT 1",
            "SELECT IS_USED_LOCK(CONCAT('of ', DATABASE()))",
        ),
    },
    "sqlite": {
        "foreign_keys": ("PRAGMA foreign_keys = OFF", "PRAGMA foreign_keys"),
        "reading only": ("PRAGMA query_only = ON", "PRAGMA query_only"),
        "recursive_triggers": ("pragma recursive_triggers(1)", "PRAGMA recursive_triggers"),
        "a temporary table": (
            "CREATE TEMP TABLE left_behind (n int)",
            "SELECT name FROM sqlite_temp_master",
        ),
        "a temporary view": (
            "CREATE TEMP VIEW left_behind AS SELECT 1",
            "SELECT name FROM sqlite_temp_master",
        ),
        "a database": (
            "ATTACH ':memory:' AS other",
            "SELECT name FROM pragma_database_list WHERE name = 'other'",
        ),
    },
}[ON]
# What cannot be done inside a transaction, or does nothing there.
OUTSIDE_ONLY = {"foreign_keys", "a database"} if ON == "sqlite" else set()
# After these nothing of ours can be written by the same transaction: the attempt fails, and is made again.
FAILING = {"reading only"} if ON == "sqlite" else set()


@pytest.fixture
def a_function():
    """A function of the project's own, whose name tells nothing."""
    if ON == "postgresql":
        rows(
            "CREATE OR REPLACE FUNCTION of_a_tenant() RETURNS void LANGUAGE sql AS "
            "$$ SELECT set_config('search_path', 'pg_catalog', false) $$"
        )
    yield
    if ON == "postgresql":
        rows("DROP FUNCTION of_a_tenant()")


@pytest.fixture
def series(handle, work_off):
    """On one seat, run each handler that leaves something between two that look; what these saw, by name.

    All are made one after the other, so each of them is a neighbour of the next ones, too.
    """

    def run(pairs, **options):
        def look(delivery):
            return pairs[delivery.payload][1]()

        def leave(delivery):
            pairs[delivery.payload][0]()

        handle("t:look")(look)
        handle("t:leave", backoff=[3600], **options)(leave)
        rows = {what: [enqueue(f"t:{do}", what).pk for do in ("look", "leave", "look")] for what in pairs}
        work_off()
        results = dict(ArchivedMessage.objects.filter(outcome="succeeded").values_list("pk", "result"))
        return {what: (results[before], results[after]) for what, (before, _, after) in rows.items()}

    return run


@pytest.fixture
def neighbours(series):
    """The same for one."""
    return lambda leave, look, **options: series({"it": (leave, look)}, **options)["it"]


def succeeded():
    """What the handlers were about that left something and came to their end."""
    return set(
        ArchivedMessage.objects.filter(type="t:leave", outcome="succeeded").values_list("payload", flat=True)
    )


def in_sql(left):
    return {what: (partial(rows, leave), partial(answer, look)) for what, (leave, look) in left.items()}


def test_the_next_delivery_does_not_find_what_a_handler_left(a_function, series):
    seen = series(in_sql(LEFT))

    assert {what: after for what, (_, after) in seen.items()} == {
        what: before for what, (before, _) in seen.items()
    }
    assert succeeded() == set(LEFT)


@pytest.mark.usefixtures("connection_is")
def test_nor_what_an_atomic_handler_left_and_its_own_acknowledgement_is_written(a_function, series):
    inside = {what: how for what, how in LEFT.items() if what not in OUTSIDE_ONLY}
    seen = series(in_sql(inside), atomic=True)

    assert {what: after for what, (_, after) in seen.items()} == {
        what: before for what, (before, _) in seen.items()
    }
    assert succeeded() == set(inside) - FAILING


def test_control_the_one_who_left_it_does_find_it(a_function, series):
    """Each of these outlasts its transaction: else the tests above would say nothing."""
    found = {}

    def leave_and_look(what):
        leave, look = LEFT[what]
        before = answer(look)
        rows(leave)
        found[what] = before != answer(look)

    series({what: (partial(leave_and_look, what), int) for what in LEFT})

    assert found == dict.fromkeys(LEFT, True)


def session():
    """Which session of the server this is; on SQLite, which connection."""
    if ON == "postgresql":
        return connection.connection.info.backend_pid
    return connection.connection.thread_id() if ON == "mysql" else id(connection.connection)


def rows_of_all_kinds():
    """All that handlers do most of the time."""
    Effect.objects.create(n=1, receipt=0)
    Effect.objects.bulk_create([Effect(n=n, receipt=0) for n in (2, 3)])
    with transaction.atomic():
        Effect.objects.select_for_update().get(n=2)
        Effect.objects.filter(n=2).update(receipt=1)
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            Entry.objects.create(n=1, receipt=0, attempt=1, process=0)
            1 / 0  # noqa: B018
    Effect.objects.filter(n__in=Effect.objects.filter(receipt=0).values("n")).exists()
    list(Effect.objects.filter(n=1).union(Effect.objects.filter(n=2)).iterator(chunk_size=1))
    Effect.objects.all().delete()
    enqueue("t:none", delay=3600)
    enqueue_many([("t:none", n) for n in range(3)], delay=3600)
    messages.cancel(messages.find(enqueue("t:none", delay=3600).pk).pk)
    schedules.add("often", "@daily", "t:none")
    rows("SELECT 1")


@pytest.mark.usefixtures("connection_is")
@pytest.mark.parametrize("atomic", [False, True], ids=["plain", "atomic"])
def test_a_handler_that_reads_and_writes_rows_leaves_its_session_as_it_is(neighbours, monkeypatch, atomic):
    from django_letsgo_worker.engines import engine_for

    resets = []
    kind = type(engine_for("default"))
    monkeypatch.setattr(kind, "reset_session", lambda engine: bool(resets.append(engine)))
    seen = []

    def look():
        Effect.objects.count()
        seen.append(session())

    neighbours(rows_of_all_kinds, look, atomic=atomic)

    assert succeeded() == {"it"}
    assert resets == []
    assert len(set(seen)) == 1


@pytest.mark.fastpath
@postgresql_only
def test_on_postgresql_the_session_stays_and_with_it_what_is_prepared(neighbours):
    def look():
        Message.objects.count()
        return session(), answer("SELECT name FROM pg_prepared_statements ORDER BY name")

    def leave():
        rows("PREPARE of_the_project AS SELECT 1")
        rows("SET search_path = pg_catalog")

    before, after = neighbours(leave, look)

    assert after == [before[0], [*before[1], ["of_the_project"]]]


def test_what_the_project_sets_on_each_connection_is_there_for_the_next(neighbours):
    """As a receiver of connection_created sets it, after Django's own."""
    sets, look = {
        "postgresql": ("SET statement_timeout = '77s'", "SHOW statement_timeout"),
        "mysql": ("SET @kept = 'kept'", "SELECT @kept"),
        "sqlite": ("PRAGMA recursive_triggers = ON", "PRAGMA recursive_triggers"),
    }[ON]
    leave, _ = next(iter(LEFT.values()))

    def configure(connection, **kwargs):
        with connection.cursor() as cursor:
            cursor.execute(sets)

    connection_created.connect(configure)
    try:
        before, after = neighbours(lambda: rows(leave), lambda: answer(look))
    finally:
        connection_created.disconnect(configure)

    assert after == before != "an error"
    assert before[0][0] in ("77s", "77000ms", "kept", 1)


@postgresql_only
def test_the_zone_of_a_server_that_is_not_in_utc_does_not_come_back(neighbours):
    before, after = neighbours(lambda: rows("SET search_path = pg_catalog"), lambda: answer("SHOW TimeZone"))

    assert after == before == [["UTC"]]


def test_failures_of_statements_are_told_apart_by_the_handlers_that_sent_them(handle, work_off):
    """What looks at each statement is on the stack of all of them."""

    @handle("t:here", max_attempts=1)
    def fail_here(delivery):
        connection.cursor().execute("SELECT nonsense FROM nowhere")

    @handle("t:there", max_attempts=1)
    def fail_there(delivery):
        connection.cursor().execute("SELECT nonsense FROM nowhere")

    for name in ("t:here", "t:there", "t:here"):
        enqueue(name)
    work_off()

    here, there, again = ArchivedMessage.objects.order_by("pk").values_list("error_fingerprint", flat=True)
    assert here == again != there


# -- how long a session lives --------------------------------------------------------------------------------


@pytest.fixture
def max_age(monkeypatch):
    """Set CONN_MAX_AGE for the connections that are made from now on."""

    def set_to(seconds):
        monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", seconds)

    return set_to


def sessions_of(neighbours):
    # Kept, so that no new connection has the address of an old one.
    seen, kept = set(), []

    def look():
        Message.objects.count()
        kept.append(connection.connection)
        seen.add(session())

    neighbours(lambda: None, look)
    return len(seen)


@pytest.mark.parametrize(
    ("seconds", "count"),
    [(0, 1), (None, 1), (3600, 1), (0.000001, 2)],
    ids=["not said", "for ever", "an hour", "over at once"],
)
def test_a_session_lives_as_long_as_conn_max_age_says(neighbours, max_age, seconds, count):
    max_age(seconds)

    assert sessions_of(neighbours) == count


def test_a_setting_has_the_connections_closed_after_each_delivery(neighbours):
    with override_settings(LETSGO_WORKER={"CLOSE_CONNECTIONS": True}):
        assert sessions_of(neighbours) == 2


# -- what a wrapper of the project's remembers -------------------------------------------------------------


@pytest.fixture
def of_tenants(monkeypatch):
    """Have new connections made by the backend of a project that sets a tenant's schema for each cursor."""
    engine = connections.settings["default"]["ENGINE"].rpartition(".")[2]
    monkeypatch.setitem(connections.settings["default"], "ENGINE", f"tests.dbbackends.{engine}")


@pytest.mark.usefixtures("connection_is")
@pytest.mark.parametrize("queries", [True, False], ids=["that it used", "that it did not use"])
@pytest.mark.parametrize("atomic", [False, True], ids=["plain", "atomic"])
def test_a_tenant_that_a_handler_sets_on_its_connection_is_not_the_next_ones(
    of_tenants, neighbours, atomic, queries
):
    def leave():
        connection.tenant = "t1"
        if queries:
            Message.objects.count()
        if ON == "postgresql":
            connection.schema = "pg_catalog"

    def look():
        return connection.tenant, answer("SHOW search_path" if ON == "postgresql" else "SELECT 1")

    before, after = neighbours(leave, look, atomic=atomic)

    assert after == before
    assert before[0] is None
    assert succeeded() == {"it"}


# -- DEBUG --------------------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch):
    """All connections that were made meanwhile, on whatever thread, and are still there."""
    made = weakref.WeakSet()
    create = ConnectionHandler.create_connection

    def note(handler, alias):
        one = create(handler, alias)
        made.add(one)
        return one

    monkeypatch.setattr(ConnectionHandler, "create_connection", note)
    return made


def kept_by(made):
    """The statements that their logs hold."""
    gc.collect()
    return [entry["sql"] for one in made for entry in one.queries_log]


def test_under_debug_no_connection_of_a_worker_keeps_the_statements_that_it_sent(made, handle, start_worker):
    gate = threading.Event()

    @handle("t:work")
    def work(delivery):
        Message.objects.count()
        # Whoever closes it has a log all the same.
        connection.close()
        return "x" * 1000

    @handle("t:async")
    async def work_on_the_loop(delivery):
        await sync_to_async(Message.objects.count)()

    @handle("t:last")
    def last(delivery):
        gate.set()

    with override_settings(DEBUG=True):
        for n in range(30):
            enqueue("t:work" if n % 2 else "t:async")
        enqueue("t:last", delay=0.5)
        worker = start_worker(lease_seconds=1.0)
        assert gate.wait(PATIENCE)
        # What is left was sent once, at the start.
        wait_until(lambda: not [sql for sql in kept_by(made) if "_message" in sql], what="short logs")
        assert len(kept_by(made)) < 10
        # The heartbeat's, the loop's, a handler's.
        assert len(made) >= 3
        worker.stop()


def test_under_debug_a_scheduler_keeps_the_statements_of_one_round_at_most():
    stop = threading.Event()
    rounds = []

    class Rounds(Scheduler):
        def _round(self):
            rounds.append(len(connection.queries_log))
            if len(rounds) == 5:
                stop.set()
            return min(super()._round(), 0.05)

    with override_settings(DEBUG=True):
        thread = threading.Thread(target=Rounds(stop=stop).run)
        thread.start()
        thread.join(PATIENCE)

    assert rounds == [0] * 5


class Foreign(BaseDatabaseWrapper):
    """As of a database that Django knows nothing of: with nothing of its own between it and the base."""

    vendor = "foreign"
    client_class = BaseDatabaseClient
    creation_class = BaseDatabaseCreation
    features_class = BaseDatabaseFeatures
    introspection_class = BaseDatabaseIntrospection
    ops_class = BaseDatabaseOperations

    def create_cursor(self, name=None):
        raise NotImplementedError


def test_a_backend_of_no_relation_to_djangos_does_no_harm(monkeypatch, neighbours):
    create = ConnectionHandler.create_connection
    monkeypatch.setitem(connections.settings, "foreign", {**connections.settings["default"]})
    monkeypatch.setattr(
        ConnectionHandler,
        "create_connection",
        lambda handler, alias: Foreign({}, alias) if alias == "foreign" else create(handler, alias),
    )

    before, after = neighbours(lambda: connections["foreign"].alias, lambda: connections["foreign"].vendor)

    assert after == before == "foreign"


# -- pools -------------------------------------------------------------------------------------------------


@pytest.fixture
def pool(monkeypatch):
    """Have the connections of handlers come from a pool of one; what workers need for themselves does not."""
    pytest.importorskip("psycopg_pool")
    own = connections.settings["default"]
    monkeypatch.setitem(own, "OPTIONS", {**own["OPTIONS"], "pool": {"min_size": 1, "max_size": 1}})
    yield
    connections.create_connection("default").close_pool()


@postgresql_only
def test_a_session_goes_back_to_its_pool_as_it_came(a_function, pool, handle, work_off):
    """An async handler's does so after each delivery, to whoever comes next."""
    seen = []

    def look():
        seen.append({what: answer(look) for what, (_, look) in LEFT.items()})

    @handle("t:async")
    async def leave_it(delivery):
        await sync_to_async(look)()
        await sync_to_async(rows)(LEFT[delivery.payload][0])

    for what in LEFT:
        enqueue("t:async", what)
    work_off()

    assert len(seen) == len(LEFT)
    assert seen == [seen[0]] * len(seen)
