"""contrib.celery: chains, whose steps follow each other as messages."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_letsgo_worker import messages, testing
from django_letsgo_worker.contrib.celery import (
    AsyncResult,
    UnsupportedCelery,
    canvas,
    chain,
    shared_task,
    signature,
)
from django_letsgo_worker.contrib.celery.exceptions import NotRegistered, TaskRevokedError
from django_letsgo_worker.contrib.celery.ids import id_of
from django_letsgo_worker.delivery import Delivery
from django_letsgo_worker.models import ArchivedMessage, Message

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("celery_app")]


@pytest.fixture
def done():
    return []


@pytest.fixture
def add(done):
    @shared_task(name="shop.add")
    def add(x, y=1):
        done.append((x, y))
        if y is None:
            raise LookupError("no y")
        return x + y

    return add


def live():
    return list(Message.objects.order_by("pk"))


class TestAChain:
    def test_each_step_is_given_the_result_of_the_one_before(self, add, done):
        result = chain(add.s(1), add.s(10), add.s(y=100)).delay()
        testing.drain()

        assert done == [(1, 1), (2, 10), (12, 100)]
        assert (result.state, result.get(timeout=0)) == ("SUCCESS", 112)
        assert (result.parent.get(timeout=0), result.parent.parent.get(timeout=0)) == (12, 2)
        assert result.parent.parent.parent is None
        assert AsyncResult(result.id).get(timeout=0) == 112

    def test_a_step_is_enqueued_when_the_one_before_has_succeeded(self, add):
        result = (add.s(1) | add.s(10)).apply_async()

        (first,) = live()
        assert result.state == "PENDING"
        assert result.message_id is None
        assert result.parent.message_id == first.pk
        testing.drain()
        assert result.message_id == ArchivedMessage.objects.order_by("pk").last().pk

    def test_an_immutable_step_is_given_its_own_arguments_only(self, add, done):
        chain(add.s(1), add.si(5, y=6), add.s(y=1)).delay()
        testing.drain()
        assert done == [(1, 1), (5, 6), (11, 1)]

    def test_the_forms_in_which_one_is_written(self, add):
        chains = [
            add.s(1) | add.s(2) | add.s(3),
            chain(add.s(1), chain(add.s(2), add.s(3))),
            add.s(1) | (add.s(2) | add.s(3)),
            chain([add.s(1), add.s(2), add.s(3)]),
            chain(add.signature((1,)), signature("shop.add", (2,)), add.subtask(args=(3,))),
        ]
        results = [each() for each in chains]
        testing.drain()

        assert [result.get(timeout=0) for result in results] == [7] * 5
        assert repr(chains[0]) == "<chain of shop.add | shop.add | shop.add>"

    def test_of_one_step(self, add):
        result = chain(add.s(1)).delay(2)
        testing.drain()
        assert result.get(timeout=0) == 3

    def test_its_arguments_go_to_the_first_step(self, add, done):
        chain(add.s(), add.s(10))(1, y=2)
        testing.drain()
        assert done == [(1, 2), (3, 10)]

    def test_steps_have_options_of_their_own(self, add):
        eta = timezone.now() + timedelta(days=1)
        chain(
            add.s(1).set(queue="first"), add.s(2).set(queue="second", priority=5, eta=eta, ignore_result=True)
        ).apply_async(priority=2)

        (first,) = live()
        assert (first.queue, first.priority) == ("first", 2)
        testing.drain()
        (second,) = live()
        assert (second.queue, second.priority, second.visible_at) == ("second", 5, eta)
        assert second.headers["celery"] == {"ignore_result": True}

    def test_its_requests_know_their_chain(self):
        seen = []

        @shared_task(bind=True)
        def look(self, *args):
            seen.append((self.request.id, self.request.parent_id, self.request.root_id))

        result = chain(look.si(), look.si(), look.si()).delay()
        testing.drain()

        first, second, third = [id_of(row.pk) for row in ArchivedMessage.objects.order_by("pk")]
        assert seen == [(first, None, first), (second, first, first), (third, second, first)]
        assert result.message_id == ArchivedMessage.objects.order_by("pk").last().pk

    def test_what_is_not_kept_is_given_to_the_next_all_the_same(self, done):
        @shared_task(ignore_result=True)
        def secret():
            return "secret"

        @shared_task
        def read(text):
            done.append(text)

        chain(secret.s(), read.s()).delay()
        testing.drain()
        assert done == ["secret"]
        assert [row.result for row in ArchivedMessage.objects.all()] == [None, None]


class TestAChainThatFails:
    def test_nothing_follows_and_get_raises_what_ended_it(self, add, done):
        result = chain(add.s(1), add.s(None), add.s(3)).delay()
        testing.drain()

        assert done == [(1, 1), (2, None)]
        assert (result.state, result.ready()) == ("PENDING", False)
        with pytest.raises(LookupError, match="no y"):
            result.get(timeout=0)

    def test_a_redrive_of_the_step_goes_on_with_the_rest(self, add):
        mended = []

        @shared_task
        def fetch():
            if not mended:
                raise LookupError
            return 1

        result = chain(fetch.s(), add.s(10)).delay()
        testing.drain()
        mended.append(True)
        messages.redrive(ArchivedMessage.objects.get(outcome="dead").pk)
        testing.drain()

        assert result.get(timeout=0) == 11

    def test_revoke_ends_it_where_it_is(self, add, done):
        result = chain(add.s(1), add.s(2).set(countdown=60), add.s(3)).delay()
        testing.drain()
        result.revoke()
        testing.drain(now=timezone.now() + timedelta(hours=1))

        assert done == [(1, 1)]
        assert not live()
        with pytest.raises(TaskRevokedError):
            result.get(timeout=0)

    def test_an_attempt_that_is_retried_is_followed_once(self, done):
        @shared_task(bind=True, default_retry_delay=0)
        def fetch(self):
            if self.request.retries < 2:
                self.retry()
            return "page"

        @shared_task
        def store(page):
            done.append(page)

        chain(fetch.s(), store.s()).delay()
        testing.drain()
        assert done == ["page"]


class TestAStepThatRunsAgain:
    """Its worker died between the enqueueing of the next and its own acknowledgement."""

    def delivery(self, row, receipt):
        return Delivery(
            message_id=row.pk, type=row.type, payload=row.payload, headers={}, queue="default", priority=0,
            attempt=receipt, max_attempts=4, receipt=receipt, enqueued_at=row.enqueued_at,
        )  # fmt: skip

    def test_the_next_is_enqueued_once_while_it_waits(self, add):
        chain(add.s(1), add.s(10)).delay()
        (row,) = live()
        for receipt in (1, 2):
            canvas.follow(self.delivery(row, receipt), 2)
        assert [message.payload["args"] for message in live()] == [[1], [2, 10]]

    def test_the_next_is_enqueued_once_even_when_it_has_ended(self, add, done):
        chain(add.s(1), add.s(10), add.s(100)).delay()
        (row,) = live()
        canvas.follow(self.delivery(row, 1), 2)
        Message.objects.filter(pk=row.pk).update(visible_at=timezone.now() + timedelta(hours=1))
        testing.drain()
        assert done == [(2, 10), (12, 100)]

        canvas.follow(self.delivery(row, 2), 2)
        testing.drain()
        assert done == [(2, 10), (12, 100)]

    def test_another_chain_of_the_same_steps_is_its_own(self, add, done):
        for _ in range(2):
            chain(add.s(1), add.s(10)).delay()
        testing.drain()
        assert len(done) == 4


class TestRefusals:
    def test_a_step_that_nobody_knows(self, add):
        with pytest.raises(
            NotRegistered, match=r"No task is named 'shop\.nowhere': is its module imported\?"
        ):
            chain(add.s(1), signature("shop.nowhere")).delay()
        assert not live()

    def test_an_option_of_a_later_step(self, add):
        with pytest.raises(UnsupportedCelery, match="A call of shop.add cannot have task_id='x'"):
            chain(add.s(1), add.s(2).set(task_id="x")).delay()
        assert not live()

    def test_what_is_no_signature(self, add):
        with pytest.raises(UnsupportedCelery, match="A chain is made of signatures"):
            chain(add.s(1), add)
        with pytest.raises(UnsupportedCelery, match="A chain of no tasks"):
            chain()
