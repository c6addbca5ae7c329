"""contrib.celery: results, which are the states of messages, and how one waits for them."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from django_letsgo_worker import messages, testing
from django_letsgo_worker.contrib.celery import (
    AsyncResult,
    EagerResult,
    UnsupportedCelery,
    exceptions,
    ids,
    shared_task,
)
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.support import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("celery_app")]


@pytest.fixture
def add():
    @shared_task(name="shop.add")
    def add(x=1, y=2):
        return x + y

    return add


def in_thread(work):
    """Run something on a thread of its own, which closes its connection."""

    def run():
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


class TestIds:
    def test_an_id_names_a_message_and_nobody_can_guess_another(self, add):
        result = add.delay()
        other = ids.id_of(result.message_id + 1)

        assert result.message_id == Message.objects.get().pk
        assert len(result.id) < 64
        assert result.id.partition(".")[2] != other.partition(".")[2]
        assert AsyncResult(result.id) == result
        assert str(result) == result.task_id == result.id

    @pytest.mark.parametrize("id", ["", "1", "1.x", "not-an-id", "x" * 400, "\ud800", "\u0661.\u0661"])
    def test_what_is_no_id_is_a_task_that_waits_as_in_celery(self, add, id):
        add.delay()
        result = AsyncResult(id)
        assert (result.state, result.result, result.traceback, result.message_id) == (
            "PENDING",
            None,
            None,
            None,
        )
        result.revoke()
        assert Message.objects.count() == 1

    def test_a_message_that_is_no_longer_kept_is_one_that_waits(self, add):
        result = add.delay()
        testing.drain()
        ArchivedMessage.objects.all().delete()
        assert result.state == "PENDING"


class TestStates:
    def test_waiting_running_and_done(self, add):
        states = []

        @shared_task(bind=True)
        def look(self):
            result = self.AsyncResult(self.request.id)
            states.append((result.state, result.ready()))

        result = look.delay()
        states.append((result.state, result.ready()))
        testing.drain()
        states.append((result.state, result.ready()))

        assert states == [("PENDING", False), ("STARTED", False), ("SUCCESS", True)]
        assert result.successful() and not result.failed()
        assert result.date_done == ArchivedMessage.objects.get().finished_at

    def test_between_two_attempts(self):
        @shared_task(bind=True)
        def fetch(self):
            self.retry(countdown=60)

        result = fetch.delay()
        testing.drain()

        assert (result.status, result.ready()) == ("RETRY", False)
        assert isinstance(result.info, exceptions.Retry)
        assert "Retry in 60s" in str(result.info)
        assert "Retry" in result.traceback
        Message.objects.update(visible_at=timezone.now() - timedelta(seconds=1))
        assert result.state == "RETRY"

    def test_cancelled_and_expired(self, add):
        cancelled, expired = add.delay(), add.apply_async(expires=60)
        cancelled.revoke()
        cancelled.revoke()
        messages.expire(now=timezone.now() + timedelta(minutes=2))

        assert [result.state for result in (cancelled, expired)] == ["REVOKED", "REVOKED"]
        with pytest.raises(exceptions.TaskRevokedError, match="revoked"):
            cancelled.get(timeout=0)
        with pytest.raises(exceptions.TaskRevokedError, match="expired"):
            expired.get(timeout=0)

    def test_a_failure_of_a_class_that_is_not_known_here(self):
        class Strange(Exception):
            def __init__(self, one, two):
                super().__init__(one, two)

        @shared_task
        def fail():
            raise Strange(1, 2)

        result = fail.delay()
        testing.drain()

        with pytest.raises(exceptions.TaskError, match=r"Strange: \(1, 2\)"):
            result.get(timeout=0)
        assert isinstance(result.get(timeout=0, propagate=False), exceptions.TaskError)
        assert "Strange" in result.traceback

    @pytest.mark.parametrize("by_call", [False, True])
    def test_nothing_of_the_return_value_is_kept_where_it_is_ignored(self, by_call):
        @shared_task(ignore_result=not by_call)
        def secret():
            return "secret"

        result = secret.apply_async(ignore_result=True) if by_call else secret.delay()
        testing.drain()

        assert (result.state, result.get(timeout=0)) == ("SUCCESS", None)
        assert ArchivedMessage.objects.get().result is None

    def test_a_call_may_want_what_is_ignored_elsewhere(self, settings):
        settings.CELERY_TASK_IGNORE_RESULT = True

        @shared_task
        def add():
            return 1

        ignored, kept = add.delay(), add.apply_async(ignore_result=False)
        testing.drain()
        assert (ignored.result, kept.result) == (None, 1)


class TestWaiting:
    def test_get_waits_for_a_worker(self, add):
        result = add.delay(2, 3)
        worker = in_thread(lambda: call_command("runworker", until_empty=True))
        try:
            assert result.get(timeout=60) == 5
        finally:
            worker.join()

    def test_get_gives_up(self, add):
        result = add.delay()
        with pytest.raises(exceptions.TimeoutError):
            result.get(timeout=0.05)
        with pytest.raises(TimeoutError):
            result.wait(timeout=0)

    def test_get_inside_a_transaction_is_refused(self, add):
        with transaction.atomic(), pytest.raises(UnsupportedCelery, match="would wait for ever"):
            add.delay().get(timeout=10)

    def test_get_inside_a_task_is_refused(self, add):
        @shared_task
        def outer():
            return add.delay().get(timeout=10)

        result = outer.delay()
        testing.drain()
        assert "holds up a seat" in str(result.result)


def test_revoke_cannot_kill(add):
    with pytest.raises(UnsupportedCelery, match=r"revoke\(\) takes no options"):
        add.delay().revoke(terminate=True)


def test_forget_does_nothing(add):
    result = add.delay()
    result.forget()
    assert Message.objects.count() == 1


def test_an_eager_result_has_nothing_to_wait_for(add):
    result = add.apply()
    result.revoke()
    assert isinstance(result, EagerResult)
    assert (result.state, result.get(timeout=0), result.parent, result.traceback) == (
        "SUCCESS",
        3,
        None,
        None,
    )


class TestProgress:
    def test_a_running_task_says_how_far_it_is(self, add, monkeypatch):
        said = []

        @shared_task(bind=True)
        def long(self):
            for state, meta in (
                ("PROGRESS", {"current": 3, "total": 4}),
                ("LOADING", None),
                (None, {"total": 0}),
            ):
                self.update_state(state=state, meta=meta)
                said.append(self.request.delivery._control.progress)

        long.delay()
        testing.drain()
        assert said == [
            (0.75, 'PROGRESS {"current": 3, "total": 4}'),
            (0.0, "LOADING"),
            (0.0, 'STARTED {"total": 0}'),
        ]

    def test_others_see_it_while_it_runs(self, settings):
        settings.LETSGO_WORKER = {"LEASE_SECONDS": 1}
        seen = threading.Event()

        @shared_task(bind=True)
        def long(self):
            self.update_state(state="PROGRESS", meta={"current": 3, "total": 4})
            return seen.wait(60)

        result = long.delay()
        worker = in_thread(lambda: call_command("runworker", until_empty=True))
        try:
            wait_until(lambda: result.state == "PROGRESS")
            assert (result.info, result.ready()) == ({"current": 3, "total": 4}, False)
        finally:
            seen.set()
            worker.join()
        assert (result.state, result.info) == ("SUCCESS", True)

    def test_the_text_is_read_again(self):
        from django_letsgo_worker.contrib.celery.result import progress_text, read_progress

        for meta in (None, {"current": 1, "total": 2, "text": "half"}, [1]):
            assert read_progress(progress_text("PROGRESS", meta)) == ("PROGRESS", meta)
        assert read_progress("") == read_progress("{") == read_progress("half of it") == ("STARTED", None)
        long = progress_text("PROGRESS", {"current": 1, "total": 2, "text": "x" * 200})
        assert read_progress(long) == ("PROGRESS", {"current": 1, "total": 2})

    def test_ends_and_other_tasks_are_refused(self):
        @shared_task(bind=True)
        def long(self, **said):
            self.update_state(**said)

        for said in ({"state": "SUCCESS"}, {"task_id": "another"}):
            with pytest.raises(UnsupportedCelery):
                long(**said)
