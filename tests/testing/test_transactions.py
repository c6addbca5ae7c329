"""testing.drain() around a test's own transactions: savepoints, callbacks on commit, what handlers leave."""

from __future__ import annotations

from functools import partial

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError, close_old_connections, connection, connections, transaction
from django.test import TestCase, TransactionTestCase
from django.test.utils import CaptureQueriesContext

from django_letsgo_worker import LetsGoError, enqueue, registry
from django_letsgo_worker.messages import find
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.signals import delivery_finished, message_died
from django_letsgo_worker.testing import drain
from testproject.shop.models import Mail
from tests.testapp.models import Effect, Entry


@pytest.fixture
def run(handle):
    """Run one message by a function, and return its row: archived, or live again."""

    def run_it(function, **options):
        handle("t:it", backoff=[3600], **options)(function)
        message = enqueue("t:it")
        assert drain() == 1
        return find(message.pk)

    return run_it


@pytest.fixture
def other(db):
    """A second database, in memory, with one table."""
    memory = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    configured = connections.configure_settings({"default": {}, "other": memory})
    connections.databases["other"] = configured["other"]
    # Django refuses to open a database that a test has not named, which this one cannot.
    connections["other"].connect()
    with connections["other"].cursor() as cursor:
        cursor.execute("CREATE TABLE note (n integer UNIQUE)")
    yield connections["other"]
    connections["other"].connection.close()
    del connections["other"], connections.databases["other"]


def note(n):
    with connections["other"].cursor() as cursor:
        cursor.execute("INSERT INTO note VALUES (%s)", [n])


def notes():
    with connections["other"].cursor() as cursor:
        return [n for (n,) in cursor.execute("SELECT n FROM note ORDER BY n").fetchall()]


def effects():
    return sorted(Effect.objects.values_list("n", flat=True))


def effect(n):
    Effect.objects.create(n=n, receipt=0)


def mail():
    """Write a mail that exists already."""
    Mail.objects.create(idempotency_key="one of a kind", to="a@example.com", subject="again")


def break_transaction(using="default"):
    """Fail at a statement, carry on as if nothing had happened."""
    try:
        with transaction.atomic(using=using, savepoint=False):
            raise IntegrityError("refused")
    except IntegrityError:
        pass


@pytest.mark.django_db
class TestCallbacksOnCommit:
    @pytest.mark.parametrize("atomic", [False, True])
    def test_they_run_once_when_the_handler_is_done(self, run, atomic, django_capture_on_commit_callbacks):
        seen = []

        def it(delivery):
            transaction.on_commit(lambda: seen.append(effects()))
            effect(1)

        with django_capture_on_commit_callbacks(execute=True):
            run(it, atomic=atomic)
            assert seen == [[1]]
        assert seen == [[1]]

    def test_those_of_an_atomic_handler_see_the_acknowledgement(self, run):
        seen = []
        run(
            lambda delivery: transaction.on_commit(
                lambda: seen.append(ArchivedMessage.objects.get().outcome)
            ),
            atomic=True,
        )

        assert seen == ["succeeded"]

    @pytest.mark.parametrize("atomic", [False, True])
    def test_they_run_before_the_delivery_is_said_to_be_finished(self, run, atomic):
        seen = []

        def receive(sender, **facts):
            seen.append("finished")

        delivery_finished.connect(receive)
        try:
            run(lambda delivery: transaction.on_commit(lambda: seen.append("callback")), atomic=atomic)
        finally:
            delivery_finished.disconnect(receive)
        assert seen == ["callback", "finished"]

    @pytest.mark.parametrize("atomic", [False, True])
    def test_what_they_enqueue_is_drained_and_what_they_register_runs(self, handle, atomic):
        seen = []
        handle("t:next")(lambda delivery: seen.append("next"))

        @handle("t:it", atomic=atomic)
        def it(delivery):
            transaction.on_commit(lambda: transaction.on_commit(lambda: enqueue("t:next")))

        enqueue("t:it")

        assert drain() == 2
        assert seen == ["next"]

    @pytest.mark.parametrize("atomic", [False, True])
    def test_those_of_a_block_that_was_rolled_back_never_run(self, run, atomic):
        seen = []

        def it(delivery):
            with transaction.atomic():
                transaction.on_commit(lambda: seen.append("kept"))
            try:
                with transaction.atomic():
                    transaction.on_commit(lambda: seen.append("rolled back"))
                    raise ValueError
            except ValueError:
                pass

        run(it, atomic=atomic)

        assert seen == ["kept"]

    def test_those_of_an_atomic_handler_that_fails_never_run(self, run):
        seen = []

        def it(delivery):
            transaction.on_commit(lambda: seen.append("no"))
            raise ValueError("too late")

        assert run(it, atomic=True).errors[0]["message"] == "too late"
        assert seen == []

    def test_those_of_a_plain_handler_that_fails_later_run_all_the_same(self, run):
        seen = []

        def it(delivery):
            transaction.on_commit(lambda: seen.append("yes"))
            raise ValueError("too late")

        assert run(it).errors[0]["message"] == "too late"
        assert seen == ["yes"]

    def test_one_that_fails_fails_a_plain_handler_and_ends_the_others(self, run):
        seen = []

        def fail():
            raise LookupError("on commit")

        def it(delivery):
            transaction.on_commit(fail)
            transaction.on_commit(lambda: seen.append("never"))

        assert run(it).errors[0]["message"] == "on commit"
        assert seen == []
        assert connection.run_on_commit == []

    def test_one_that_fails_does_not_undo_an_atomic_handler(self, run, caplog):
        def fail():
            raise LookupError("on commit")

        row = run(lambda delivery: transaction.on_commit(fail), atomic=True)

        assert row.outcome == "succeeded"
        assert "A callback on commit of message" in caplog.text
        assert "LookupError: on commit" in caplog.text

    @pytest.mark.parametrize("atomic", [False, True])
    def test_a_robust_one_that_fails_breaks_nothing(self, run, atomic):
        seen = []

        def fail():
            raise LookupError("on commit")

        def it(delivery):
            transaction.on_commit(fail, robust=True)
            transaction.on_commit(lambda: seen.append("next"))

        assert run(it, atomic=atomic).outcome == "succeeded"
        assert seen == ["next"]

    def test_those_of_the_test_itself_are_left_to_it(self, run, django_capture_on_commit_callbacks):
        seen = []
        with django_capture_on_commit_callbacks(execute=True):
            transaction.on_commit(partial(seen.append, "the test's"))
            run(lambda delivery: None)
            assert seen == []
        assert seen == ["the test's"]

    def test_those_of_a_signals_receiver_run(self, run):
        seen = []

        def receive(sender, **facts):
            transaction.on_commit(lambda: seen.append("received"))

        delivery_finished.connect(receive)
        try:
            run(lambda delivery: None)
        finally:
            delivery_finished.disconnect(receive)
        assert seen == ["received"]

    def test_those_of_a_receiver_run_for_a_message_that_is_refused_too(self, handle):
        seen = []

        def receive(sender, **facts):
            transaction.on_commit(lambda: seen.append("received"))

        handle("t:it")(lambda delivery: None)
        message = enqueue("t:it", max_attempts=1)
        Message.objects.filter(pk=message.pk).update(attempts=1)
        message_died.connect(receive)
        try:
            drain()
        finally:
            message_died.disconnect(receive)
        assert seen == ["received"]


@pytest.mark.django_db
class TestInsideATransaction:
    @pytest.mark.parametrize("atomic", [False, True])
    def test_a_database_error_ends_the_attempt_and_nothing_else(self, run, atomic):
        effect(1)
        mail()

        row = run(lambda delivery: mail(), atomic=atomic)

        assert row.errors[0]["class"] == "django.db.utils.IntegrityError"
        assert effects() == [1]
        assert Mail.objects.count() == 1

    @pytest.mark.parametrize("atomic", [False, True])
    def test_so_does_one_in_sql_that_django_knows_nothing_of(self, run, atomic):
        def it(delivery):
            effect(2)
            with connection.cursor() as cursor:
                cursor.execute("SELECT * FROM nowhere")

        effect(1)

        assert "nowhere" in run(it, atomic=atomic).errors[0]["message"]
        # PostgreSQL lets nothing follow but a rollback, the other engines let it stay.
        kept = not atomic and connection.vendor != "postgresql"
        assert effects() == ([1, 2] if kept else [1])

    def test_a_database_error_in_a_block_of_its_own_is_no_failure(self, run):
        mail()

        def it(delivery):
            effect(1)
            with pytest.raises(IntegrityError), transaction.atomic():
                mail()
            effect(2)

        assert run(it).outcome == "succeeded"
        assert effects() == [1, 2]

    def test_going_on_after_an_error_that_broke_the_transaction_is_a_failure_that_says_so(self, run):
        def it(delivery):
            effect(1)
            transaction.on_commit(lambda: effect(2))
            break_transaction()

        row = run(it)

        assert "here all of it runs inside the test's own transaction" in row.errors[0]["message"]
        assert effects() == []
        effect(3)

    def test_a_block_that_is_left_open_is_one_too(self, run):
        depth = len(connection.savepoint_ids), len(connection.atomic_blocks)

        def it(delivery):
            transaction.atomic().__enter__()
            effect(1)

        assert "left a transaction open" in run(it).errors[0]["message"]
        assert (len(connection.savepoint_ids), len(connection.atomic_blocks)) == depth
        assert effects() == []

    def test_a_durable_block_is_one_as_it_is_in_a_worker(self, run):
        def it(delivery):
            with transaction.atomic(durable=True):
                effect(1)

        assert run(it).outcome == "succeeded"

    def test_in_an_atomic_handler_there_is_no_durable_block(self, run):
        def it(delivery):
            with transaction.atomic(durable=True):
                effect(1)

        assert run(it, atomic=True).errors[0]["class"] == "RuntimeError"

    @pytest.mark.parametrize("atomic", [False, True])
    def test_no_savepoint_is_left(self, run, atomic):
        before = list(connection.savepoint_ids), len(connection.run_on_commit)
        run(lambda delivery: effect(1), atomic=atomic)

        assert (list(connection.savepoint_ids), len(connection.run_on_commit)) == before

    def test_rolling_back_the_block_around_it_takes_all_of_it_back(self, handle):
        handle("t:it", atomic=True)(lambda delivery: effect(1))
        message = enqueue("t:it")
        with pytest.raises(LookupError), transaction.atomic():
            drain()
            assert effects() == [1]
            raise LookupError

        assert effects() == []
        assert find(message.pk).attempts == 0

    def test_each_of_the_open_transactions_has_its_savepoint(self, run, other):
        def it(delivery):
            note(2)
            break_transaction("other")

        with transaction.atomic(using="other"):
            note(1)
            row = run(it)
            assert "here all of it runs" in row.errors[0]["message"]
            assert notes() == [1]

    def test_the_other_transactions_of_an_atomic_handler_have_theirs_too(self, run, other):
        def it(delivery):
            note(2)
            break_transaction("other")

        with transaction.atomic(using="other"):
            note(1)
            assert "here all of it runs" in run(it, atomic=True).errors[0]["message"]
            assert notes() == [1]

    def test_a_database_outside_any_transaction_is_left_in_autocommit(self, run, other):
        def it(delivery):
            transaction.atomic(using="other").__enter__()
            note(2)

        note(1)
        assert run(it).outcome == "succeeded"
        assert not other.in_atomic_block
        assert other.get_autocommit()
        assert notes() == [1]


@pytest.mark.django_db
@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("close", [close_old_connections, lambda: connection.close()])
def test_a_handler_that_closes_the_connection_of_a_test_is_an_error_that_says_so(handle, atomic, close):
    handle("t:it", atomic=atomic)(lambda delivery: close())
    enqueue("t:it")

    with pytest.raises(LetsGoError, match=r"\(t:it\) closed the connection of its test"):
        drain()


@pytest.mark.django_db(transaction=True)
class TestInAutocommit:
    @pytest.mark.parametrize(
        "leave",
        [
            lambda: transaction.atomic().__enter__(),
            lambda: transaction.set_autocommit(False),
            lambda: connection.cursor().execute("BEGIN"),
            lambda: connection.close(),
        ],
        ids=["an open block", "autocommit off", "a transaction of its own", "no connection"],
    )
    def test_the_next_delivery_notices_nothing_of_what_a_handler_leaves(self, handle, leave):
        seen = []

        @handle("t:it", backoff=[3600])
        def it(delivery):
            seen.append((connection.in_atomic_block, connection.get_autocommit()))
            leave()
            effect(delivery.payload)

        enqueue("t:it", 1)
        enqueue("t:it", 2)

        assert drain() == 2
        assert seen == [(False, True)] * 2
        assert set(ArchivedMessage.objects.values_list("outcome", flat=True)) == {"succeeded"}
        assert not connection.in_atomic_block

    def test_the_queries_that_a_test_counts_stay_counted(self, handle):
        handle("t:it")(lambda delivery: effect(1))
        enqueue("t:it")

        with CaptureQueriesContext(connection) as queries:
            drain()

        assert any("testapp_effect" in str(query["sql"]) for query in queries)

    def test_a_constraint_that_fails_at_the_commit_fails_the_attempt(self, run):
        if connection.vendor != "postgresql":
            pytest.skip("only PostgreSQL defers constraints of its own tables here")
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE late (n integer, CONSTRAINT one UNIQUE (n) DEFERRABLE INITIALLY DEFERRED)"
            )
        try:

            def it(delivery):
                with connection.cursor() as cursor:
                    cursor.execute("INSERT INTO late VALUES (1), (1)")

            assert run(it, atomic=True).errors[0]["class"] == "django.db.utils.IntegrityError"
        finally:
            with connection.cursor() as cursor:
                cursor.execute("DROP TABLE late")

    def test_a_callback_that_fails_after_the_commit_does_not_undo_an_atomic_handler(self, run, caplog):
        def fail():
            raise LookupError("on commit")

        def it(delivery):
            effect(1)
            transaction.on_commit(fail)

        assert run(it, atomic=True).outcome == "succeeded"
        assert effects() == [1]
        assert "LookupError: on commit" in caplog.text


class Registered:
    """Handlers for the tests of a class, as unittest knows them."""

    @classmethod
    def setUpClass(cls):
        registry.handler("t:class")(lambda delivery: effect(delivery.payload))
        registry.handler("t:async")(cls.write)
        super().setUpClass()
        cls.addClassCleanup(registry.remove, "t:class")
        cls.addClassCleanup(registry.remove, "t:async")

    @staticmethod
    async def write(delivery):
        await Entry.objects.acreate(n=delivery.payload, receipt=1, attempt=1, process=0)

    def test_effects_are_there(self):
        enqueue("t:class", 1)
        enqueue("t:async", 2)
        assert drain() == 2
        assert effects() == [1]
        assert Entry.objects.get().n == 2

    async def test_an_async_test_calls_it_on_a_thread(self):
        await sync_to_async(enqueue)("t:class", 1)
        await sync_to_async(enqueue)("t:async", 2)
        assert await sync_to_async(drain)() == 2
        assert await Entry.objects.acount() == 1


class ATestCase(Registered, TestCase):
    @classmethod
    def setUpTestData(cls):
        enqueue("t:class", 10)
        drain()

    def test_what_was_drained_for_the_class_is_there(self):
        assert effects() == [10]

    def test_effects_are_there(self):
        Effect.objects.all().delete()
        super().test_effects_are_there()


class ATransactionTestCase(Registered, TransactionTestCase):
    pass
