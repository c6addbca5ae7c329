"""No statement of ours goes past the cursors of a project, or past what it put in front of the database."""

from __future__ import annotations

import functools
import threading

import psycopg
import pytest
from django.core.signals import request_started
from django.db import DatabaseError, OperationalError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.utils.asyncio import async_unsafe

from django_letsgo_worker import enqueue, enqueue_many
from django_letsgo_worker.engines import AtomicScope, NewRow, Settlement, cursors, engine_for, engine_on
from django_letsgo_worker.models import IdleQueue, Message
from tests.support import wait_until

from .conftest import KEPT

pytestmark = pytest.mark.django_db(transaction=True)

ON_POSTGRESQL = connection.vendor == "postgresql"
postgresql_only = pytest.mark.skipif(not ON_POSTGRESQL, reason="PostgreSQL only")
TENANTS = ("t1", "t2")
MANY = 250


@pytest.fixture(autouse=True)
def used(monkeypatch):
    """On PostgreSQL connections count as used, which the fast ways are for, from the first use on."""
    if ON_POSTGRESQL:
        from django_letsgo_worker.engines.postgresql import fastpath

        monkeypatch.setattr(fastpath, "PREPARED_FROM", 1)


@pytest.fixture
def instead(monkeypatch):
    """Put a new connection, which is closed at the end, in the place of this thread's own."""
    own, others = connections["default"], []

    def put(change=lambda connection: None, engine=None):
        if engine is not None:
            monkeypatch.setitem(connections.settings["default"], "ENGINE", engine)
        others.append(connections.create_connection("default"))
        change(others[-1])
        connections["default"] = others[-1]
        return others[-1]

    yield put
    connections["default"] = own
    for other in others:
        vars(other).pop("cursor", None)
        other.close()


@pytest.fixture
def of_tenants(instead):
    """A connection by the backend of a project that sets the tenant's schema for each cursor."""
    return instead(engine="tests.dbbackends." + connection.settings_dict["ENGINE"].rpartition(".")[2])


@pytest.fixture
def schemas(of_tenants):
    """A schema for each tenant, with queue tables in it as a project's migrations make them."""
    tables = [model._meta.db_table for model in (Message, IdleQueue)]
    with of_tenants.cursor() as cursor:
        for tenant in TENANTS:
            cursor.execute(f"CREATE SCHEMA {tenant}")
            for table in tables:
                cursor.execute(f"CREATE TABLE {tenant}.{table} (LIKE public.{table} INCLUDING ALL)")
    yield
    of_tenants.schema = None
    with of_tenants.cursor() as cursor:
        for tenant in TENANTS:
            cursor.execute(f"DROP SCHEMA {tenant} CASCADE")


def payloads_in(schema):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT payload::text FROM {schema}.{Message._meta.db_table} ORDER BY id")
        return [payload for (payload,) in cursor.fetchall()]


@postgresql_only
@pytest.mark.parametrize("how", ["one", "with a key", "many", "in a transaction"])
def test_a_message_is_in_the_schema_of_the_tenant_that_enqueues_it(schemas, how):
    def put(payload):
        if how == "many":
            enqueue_many([("job", payload)] * MANY)
        elif how == "in a transaction":
            with transaction.atomic():
                enqueue("job", payload)
        else:
            enqueue("job", payload, unique_key=str(payload) if how == "with a key" else None)

    for n in range(6):
        connection.schema = TENANTS[n % 2]
        put(n)

    each = MANY if how == "many" else 1
    assert payloads_in("t1") == [str(n) for n in (0, 2, 4) for _ in range(each)]
    assert payloads_in("t2") == [str(n) for n in (1, 3, 5) for _ in range(each)]
    assert payloads_in("public") == []


# -- ways in which projects, and what they install, see or change what is sent --------------------------


class Seen(list):
    """The statements that a watcher was told of."""

    def has(self, *words):
        return any(all(word in str(statement) for word in words) for statement in self)


def by_a_class(name):
    """A subclass of the wrapper that makes its cursors in a method of its own."""

    def patch(instead, monkeypatch, seen):
        kind = type(connections["default"])

        def method(self, *args):
            cursor = getattr(super(own, self), name)(*args)
            return Noting(cursor, seen)

        own = type("DatabaseWrapper", (kind,), {name: method})
        instead(lambda other: setattr(other, "__class__", own))

    patch.__name__ = f"a class with its own {name}()"
    return patch


class Noting:
    """A cursor around a cursor, as instruments have it."""

    def __init__(self, cursor, seen):
        self.__dict__.update(cursor=cursor, seen=seen)

    def __getattr__(self, name):
        return getattr(self.cursor, name)

    def __setattr__(self, name, value):
        setattr(self.cursor, name, value)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.cursor.close()

    def __iter__(self):
        return iter(self.cursor)

    def execute(self, sql, params=None):
        self.seen.append(sql)
        return self.cursor.execute(sql, params)

    def executemany(self, sql, params):
        self.seen.append(sql)
        return self.cursor.executemany(sql, params)


def by_a_method_in_djangos_class(instead, monkeypatch, seen):
    djangos = BaseDatabaseWrapper._cursor

    # Bears the name and the module of what it wraps.
    @functools.wraps(djangos)
    def method(self, name=None):
        return Noting(djangos(self, name), seen)

    monkeypatch.setattr(BaseDatabaseWrapper, "_cursor", method)


def by_a_method_that_is_no_function(instead, monkeypatch, seen):
    class Proxy:
        """Equal to what it wraps, with all its attributes, as wrapt's are."""

        def __init__(self, wrapped):
            self.wrapped = wrapped

        def __getattr__(self, name):
            return getattr(self.wrapped, name)

        def __eq__(self, other):
            return self.wrapped == other

        def __hash__(self):
            return hash(self.wrapped)

        def __get__(self, instance, owner):
            return functools.partial(self, instance) if instance is not None else self

        def __call__(self, instance):
            return Noting(self.wrapped(instance), seen)

    monkeypatch.setattr(BaseDatabaseWrapper, "cursor", Proxy(BaseDatabaseWrapper.cursor))


def by_djangos_decorator_on_its_own_method(instead, monkeypatch, seen):
    djangos = BaseDatabaseWrapper.cursor

    @async_unsafe
    def cursor(self):
        return Noting(djangos(self), seen)

    monkeypatch.setattr(BaseDatabaseWrapper, "cursor", cursor)


def by_a_method_of_one_connection(instead, monkeypatch, seen):
    own = connection.cursor
    monkeypatch.setattr(connections["default"], "cursor", lambda: Noting(own(), seen), raising=False)


def by_djangos_cursor_wrapper(instead, monkeypatch, seen):
    for name in ("execute", "executemany"):
        djangos = getattr(CursorWrapper, name)

        @functools.wraps(djangos)
        def method(self, sql, params=None, djangos=djangos):
            seen.append(sql)
            return djangos(self, sql, params)

        monkeypatch.setattr(CursorWrapper, name, method)


def by_an_execute_wrapper(instead, monkeypatch, seen):
    def note(execute, sql, params, many, context):
        seen.append(sql)
        return execute(sql, params, many, context)

    instead(lambda other: other.execute_wrappers.append(note))


def by_the_cursors_of_psycopg(instead, monkeypatch, seen):
    from django.db.backends.postgresql.base import Cursor

    class Factory(Cursor):
        def execute(self, query, *args, **options):
            seen.append(query)
            return super().execute(query, *args, **options)

    connect = psycopg.Connection.connect.__func__

    def traced(kind, *args, **kwargs):
        made = connect(kind, *args, **kwargs)
        made.cursor_factory = Factory
        return made

    monkeypatch.setattr(psycopg.Connection, "connect", classmethod(traced))
    monkeypatch.setattr(psycopg, "connect", psycopg.Connection.connect)
    instead()


def by_the_options(instead, monkeypatch, seen):
    from django.db.backends.postgresql.base import Cursor

    class Factory(Cursor):
        def execute(self, query, *args, **options):
            seen.append(query)
            return super().execute(query, *args, **options)

    def give(other):
        options = {**other.settings_dict["OPTIONS"], "cursor_factory": Factory}
        other.settings_dict = {**other.settings_dict, "OPTIONS": options}

    instead(give)


WATCHERS = [
    by_a_class("cursor"),
    by_a_class("_cursor"),
    by_a_class("make_cursor"),
    by_a_class("create_cursor"),
    by_a_method_in_djangos_class,
    by_a_method_that_is_no_function,
    by_djangos_decorator_on_its_own_method,
    by_a_method_of_one_connection,
    by_djangos_cursor_wrapper,
    by_an_execute_wrapper,
    *([by_the_cursors_of_psycopg, by_the_options] if ON_POSTGRESQL else []),
]


@pytest.fixture(params=WATCHERS, ids=lambda watcher: watcher.__name__)
def seen(request, instead, monkeypatch):
    if connection.vendor == "sqlite" and "create_cursor" in request.param.__name__:
        pytest.skip("Python's own cursors bind in another way than Django's statements are written.")
    seen = Seen()
    request.param(instead, monkeypatch, seen)
    return seen


INTO = f"INTO {Message._meta.db_table}"


def test_a_watcher_sees_each_message_that_is_enqueued(seen):
    for n in range(2):
        seen.clear()
        enqueue("job", n)
        assert seen.has("INSERT", INTO)
    assert Message.objects.count() == 2


def test_a_watcher_sees_many_messages_that_are_enqueued_at_once(seen):
    enqueue_many([("job", n) for n in range(MANY)])

    assert seen.has("INSERT", INTO)
    assert Message.objects.count() == MANY


def test_a_watcher_sees_the_frame_of_an_atomic_handler(seen, worker, archived):
    for n in range(2):
        enqueue("job", n)
        claimed = worker.claim_one()
        seen.clear()
        with transaction.atomic():
            hold = engine_for("default").atomic_scope(worker.process, (claimed.id, claimed.receipt))
            assert hold.open()
            with hold:
                pass
            hold.settle(Settlement(id=claimed.id, receipt=claimed.receipt, outcome="succeeded"), keep=KEPT)
        assert seen.has("DELETE", Message._meta.db_table)
        assert archived(claimed.id).outcome == "succeeded"


@pytest.mark.parametrize("act", ["enqueue", "many", "atomic"])
def test_a_wrapper_that_refuses_all_statements_is_obeyed(act, worker):
    enqueue("job")
    claimed = worker.claim_one()

    def refuse(*args):
        raise PermissionError

    with connection.execute_wrapper(refuse), pytest.raises(PermissionError):
        if act == "enqueue":
            enqueue("job")
        elif act == "many":
            enqueue_many([("job", n) for n in range(MANY)])
        else:
            with transaction.atomic():
                engine_for("default").atomic_scope(worker.process, (claimed.id, claimed.receipt)).open()

    assert Message.objects.count() == 1


@pytest.mark.fastpath
@postgresql_only
def test_control_where_nobody_watches_the_fast_ways_are_taken(instead, worker):
    """Else all that is above would say nothing of them."""
    seen = Seen()
    execute = psycopg.Cursor.execute

    def note(self, query, *args, **options):
        seen.append(query)
        return execute(self, query, *args, **options)

    instead()
    enqueue("job")
    with pytest.MonkeyPatch.context() as patch:
        # Where no instrument is: below all cursors.
        patch.setattr(psycopg.Cursor, "execute", note)
        enqueue("job")
        enqueue_many([("job", n) for n in range(MANY)])
    hold = engine_for("default").atomic_scope(worker.process, (1, 1))

    assert not seen.has("INSERT", INTO)
    assert type(hold) is not AtomicScope


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite only")
def test_control_on_sqlite_too_where_nobody_watches_and_no_transaction_is_open(instead, monkeypatch):
    from django.db.backends.sqlite3.base import SQLiteCursorWrapper

    seen, execute = Seen(), SQLiteCursorWrapper.execute

    def note(self, query, params=None):
        seen.append(query)
        return execute(self, query, params)

    instead()
    monkeypatch.setattr(SQLiteCursorWrapper, "execute", note)
    first = enqueue("job", unique_key="one")
    assert enqueue("job", unique_key="one").pk == first.pk
    assert not seen.has("INSERT", INTO)

    with transaction.atomic():
        enqueue("job")
    assert seen.has("INSERT", INTO)
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Message._meta.db_table} RENAME TO away")
        try:
            with pytest.raises(OperationalError):
                enqueue("job")
        finally:
            cursor.execute(f"ALTER TABLE away RENAME TO {Message._meta.db_table}")


@postgresql_only
@pytest.mark.parametrize("module", ["contrib.gis.db.backends.postgis", "db.backends.postgresql"])
def test_what_is_part_of_django_counts_as_its_own(module):
    from importlib import import_module

    try:
        kind = import_module(f"django.{module}.base").DatabaseWrapper
    except Exception:
        pytest.skip("Its libraries are not installed.")
    assert not cursors.has_own_cursors(kind(connection.settings_dict))


# -- what Django sees to before it gives a cursor ------------------------------------------------------------


@postgresql_only
@pytest.mark.parametrize("how", ["enqueue", "with a key"])
def test_a_connection_that_died_between_two_requests_is_made_again(instead, how):
    other = instead()
    other.settings_dict = {**other.settings_dict, "CONN_HEALTH_CHECKS": True, "CONN_MAX_AGE": None}
    enqueue("job")
    pid = other.connection.info.backend_pid
    killer = connections.create_connection("default")
    with killer.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        wait_until(lambda: is_gone(cursor, pid), what="the end of a session")
    killer.close()

    request_started.send(sender=None)
    enqueue("job", unique_key="one" if how == "with a key" else None)

    assert Message.objects.count() == 2


def is_gone(cursor, pid):
    cursor.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid])
    return cursor.fetchone() is None


def test_a_connection_of_another_thread_is_refused(instead):
    engine = engine_on(instead())
    row = NewRow(type="job", payload="1", queue="default", priority=0, max_attempts=1)
    enqueue("job")
    refusals = []

    def use():
        try:
            engine.insert(row)
        except DatabaseError as error:
            refusals.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()

    assert len(refusals) == 1 and "thread" in refusals[0]
