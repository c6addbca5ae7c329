"""Whatever a handler leaves behind, the next delivery on the same seat notices nothing."""

from __future__ import annotations

import contextlib
import decimal
import gettext

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone, translation

from django_letsgo_worker import enqueue
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.testapp.models import Effect, Entry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("connection_is")]


def raw_begin_left_open(delivery):
    connection.cursor().execute("BEGIN")
    write(-1)


def raw_begin_left_broken(delivery):
    connection.cursor().execute("BEGIN")
    with contextlib.suppress(DatabaseError):
        connection.cursor().execute("SELECT nonsense FROM nowhere")


def error_swallowed_in_autocommit(delivery):
    with contextlib.suppress(DatabaseError):
        connection.cursor().execute("SELECT nonsense FROM nowhere")


def error_swallowed_inside_atomic(delivery):
    with contextlib.suppress(DatabaseError, transaction.TransactionManagementError), transaction.atomic():
        with contextlib.suppress(DatabaseError):
            connection.cursor().execute("SELECT nonsense FROM nowhere")
        write(-1)
        raise IntegrityError("rolled back")


def connection_closed(delivery):
    connection.close()


def connection_closed_inside_atomic(delivery):
    transaction.atomic().__enter__()
    write(-1)
    connection.close()


def driver_connection_closed(delivery):
    connection.ensure_connection()
    connection.connection.close()


def atomic_never_left(delivery):
    transaction.atomic().__enter__()
    write(-1)


def atomic_never_left_twice(delivery):
    transaction.atomic().__enter__()
    transaction.atomic().__enter__()
    transaction.on_commit(lambda: write(-1))
    write(-1)


def atomic_never_left_and_an_error(delivery):
    transaction.atomic().__enter__()
    write(-1)
    raise ValueError("in the middle")


def marked_for_rollback(delivery):
    transaction.atomic().__enter__()
    transaction.set_rollback(True)


def autocommit_switched_off(delivery):
    transaction.set_autocommit(False)
    write(-1)


def time_zone_activated(delivery):
    timezone.activate("Pacific/Apia")


def language_activated(delivery):
    translation.activate("fr")


def translations_switched_off(delivery):
    translation.deactivate_all()


def decimal_context_changed(delivery):
    decimal.getcontext().prec = 2


def time_zone_of_the_session_set(delivery):
    statement = {
        "postgresql": "SET TIME ZONE 'Pacific/Apia'",
        "mysql": "SET time_zone = '+05:00'",
        "sqlite": "SELECT 1",
    }[connection.vendor]
    connection.cursor().execute(statement)


LEFTOVERS = [
    raw_begin_left_open,
    raw_begin_left_broken,
    error_swallowed_in_autocommit,
    error_swallowed_inside_atomic,
    connection_closed,
    connection_closed_inside_atomic,
    driver_connection_closed,
    atomic_never_left,
    atomic_never_left_twice,
    atomic_never_left_and_an_error,
    marked_for_rollback,
    autocommit_switched_off,
    time_zone_activated,
    language_activated,
    translations_switched_off,
    decimal_context_changed,
    time_zone_of_the_session_set,
]


def write(n):
    Effect.objects.create(n=n, receipt=0)


def surroundings(delivery):
    """What a handler can see of the world, and a transaction to show that the connection is whole."""
    session_zone = {
        "postgresql": "SELECT current_setting('TimeZone')",
        "mysql": "SELECT @@session.time_zone",
        "sqlite": "SELECT 'none'",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(session_zone)
        zone = cursor.fetchone()[0]
    with transaction.atomic():
        Entry.objects.create(n=1, receipt=delivery.receipt, attempt=1, process=0)
    return {
        "autocommit": connection.get_autocommit(),
        "zone": timezone.get_current_timezone_name(),
        "zone of the session": zone,
        "language": translation.get_language(),
        "precision": decimal.getcontext().prec,
        "translation": gettext.gettext("Yes"),
    }


@pytest.mark.parametrize("atomic", [False, True], ids=["next plain", "next atomic"])
@pytest.mark.parametrize("leave", LEFTOVERS, ids=lambda leave: leave.__name__)
def test_the_next_delivery_notices_nothing_of(handle, work_off, leave, atomic):
    threads = set()

    def look(delivery):
        import threading

        threads.add(threading.get_ident())
        return surroundings(delivery)

    def untidy(delivery):
        import threading

        threads.add(threading.get_ident())
        leave(delivery)

    handle("t:look", atomic=atomic)(look)
    handle("t:leave", backoff=[3600])(untidy)
    before = enqueue("t:look", priority=3)
    untidy_one = enqueue("t:leave", priority=2)
    after = enqueue("t:look", priority=1)

    work_off()

    results = {row.pk: row.result for row in ArchivedMessage.objects.filter(outcome="succeeded")}
    assert results[after.pk] == results[before.pk], "the next delivery saw something else"
    assert len(threads) == 1, "not the same seat"
    assert untidy_one.pk in results or Message.objects.get().attempts == 1
    assert Effect.objects.count() == 0, "what was left uncommitted was committed"
    assert Entry.objects.count() == 2, "the next delivery's own rows are gone"


@pytest.mark.parametrize(
    "leave",
    [
        connection_closed_inside_atomic,
        atomic_never_left,
        atomic_never_left_and_an_error,
        marked_for_rollback,
        connection_closed,
        driver_connection_closed,
        time_zone_activated,
        language_activated,
    ],
    ids=lambda leave: leave.__name__,
)
def test_the_same_inside_an_atomic_handler(handle, work_off, leave):
    handle("t:look")(surroundings)
    handle("t:leave", backoff=[3600], atomic=True)(leave)
    before = enqueue("t:look", priority=3)
    untidy_one = enqueue("t:leave", priority=2)
    after = enqueue("t:look", priority=1)

    work_off()

    results = {row.pk: row.result for row in ArchivedMessage.objects.filter(outcome="succeeded")}
    assert results[after.pk] == results[before.pk]
    assert untidy_one.pk in results or Message.objects.get().attempts == 1
    assert Entry.objects.count() == 2


def test_a_context_variable_is_set_for_one_delivery_only(handle, work_off):
    import contextvars

    variable = contextvars.ContextVar("variable", default="untouched")

    @handle("t:set")
    def set_it(delivery):
        found = variable.get()
        variable.set("touched")
        return found

    for _ in range(3):
        enqueue("t:set")

    work_off()

    assert set(ArchivedMessage.objects.values_list("result", flat=True)) == {"untouched"}
