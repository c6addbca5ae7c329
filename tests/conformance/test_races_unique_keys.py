"""Twins at the same moment: one wins, the others wait for its commit, and no constraint fires."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction

from django_letsgo_worker import enqueue
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.errors import DuplicateMessage
from django_letsgo_worker.models import Message
from tests.support import wait_until

from .conftest import Rewrite, Worker

pytestmark = pytest.mark.django_db(transaction=True)


class TestTwo:
    @pytest.fixture
    def twin_of(self, begin):
        """Enqueue a key, start a rival that enqueues it too, then end the first transaction."""

        def run(*, rollback=False, on_conflict="return"):
            with transaction.atomic():
                first = enqueue("job", "first", unique_key="k")
                rival = begin(lambda: enqueue("job", "second", unique_key="k", on_conflict=on_conflict))
                rival.wait_until_stuck()
                if connection.vendor != "sqlite":
                    assert not rival.ended.is_set()
                transaction.set_rollback(rollback)
            return first, rival

        return run

    def test_the_other_waits_for_the_commit_and_gets_the_twin(self, twin_of):
        first, rival = twin_of()

        assert (rival.result().pk, rival.result().created, rival.result().payload) == (
            first.pk,
            False,
            "first",
        )
        assert Message.objects.count() == 1

    def test_after_a_rollback_the_other_is_the_new_one(self, twin_of):
        _, rival = twin_of(rollback=True)

        assert rival.result().created
        assert Message.objects.get().payload == "second"

    def test_the_other_replaces_what_was_committed(self, twin_of):
        first, rival = twin_of(on_conflict="replace")

        assert rival.result().pk == first.pk
        assert (Message.objects.get().payload, Message.objects.get().receipt) == ("second", 1)

    def test_the_other_is_told(self, twin_of):
        first, rival = twin_of(on_conflict="raise")

        with pytest.raises(DuplicateMessage) as caught:
            rival.result()
        assert caught.value.message_id == first.pk

    def test_the_other_may_be_in_the_middle_of_its_own_transaction(self, begin):
        def transact():
            with transaction.atomic():
                enqueue("job", "before")
                twin = enqueue("job", "second", unique_key="k")
                enqueue("job", "after")
            return twin

        with transaction.atomic():
            first = enqueue("job", "first", unique_key="k")
            rival = begin(transact)
            rival.wait_until_stuck()

        assert (rival.result().pk, rival.result().payload) == (first.pk, "first")
        assert sorted(Message.objects.values_list("payload", flat=True)) == ["after", "before", "first"]

    def test_a_twin_that_took_the_place_of_an_ended_one_is_the_live_one(self, begin, worker):
        """The caller's transaction may still see the old one."""
        if connection.vendor == "sqlite":
            pytest.skip("one writer at a time: nothing changes under a transaction that writes")
        enqueue("job", "old", unique_key="k")
        claimed = worker.claim_one()

        def replace_it():
            worker.settle(claimed)
            return enqueue("job", "new", unique_key="k")

        with transaction.atomic():
            assert Message.objects.get().payload == "old"
            new = begin(replace_it).result()
            twin = enqueue("job", "mine", unique_key="k")

        assert (twin.pk, twin.payload) == (new.pk, "new")

    def test_a_twin_that_ended_before_makes_room(self, begin, worker):
        if connection.vendor == "sqlite":
            pytest.skip("one writer at a time: nothing changes under a transaction that writes")
        enqueue("job", "old", unique_key="k")
        claimed = worker.claim_one()
        with transaction.atomic():
            assert Message.objects.get().payload == "old"
            begin(lambda: worker.settle(claimed)).result()
            mine = enqueue("job", "mine", unique_key="k")

        assert mine.created
        assert Message.objects.get().payload == "mine"

    def test_a_snapshot_of_the_caller_does_not_bring_an_ended_twin_back(self, begin, worker):
        if connection.vendor != "mysql":
            pytest.skip("elsewhere a conflict with what the snapshot cannot see is a serialization failure")
        enqueue("job", "old", unique_key="k")
        claimed = worker.claim_one()

        def replace_it():
            worker.settle(claimed)
            return enqueue("job", "new", unique_key="k")

        def transact():
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            with transaction.atomic():
                assert Message.objects.get().payload == "old"
                new = begin(replace_it).result()
                return new, enqueue("job", "mine", unique_key="k")

        new, twin = begin(transact).result()
        assert (twin.pk, twin.payload) == (new.pk, "new")

    @pytest.mark.parametrize("on_conflict", ["return", "replace", "raise"])
    def test_a_twin_that_ends_between_the_insert_and_the_look_makes_room(self, begin, worker, on_conflict):
        enqueue("job", "old", unique_key="k")
        claimed = worker.claim_one()
        settled = []

        def settle_meanwhile(execute, sql, params, many, context):
            result = execute(sql, params, many, context)
            if "INSERT" in sql and not settled:
                settled.append(begin(lambda: worker.settle(claimed)).result())
            return result

        enqueues = begin(
            lambda: enqueue("job", "new", unique_key="k", on_conflict=on_conflict), settle_meanwhile
        )
        assert enqueues.result().created
        assert settled == ["succeeded"]
        assert Message.objects.get().payload == "new"

    def test_replace_sees_who_claimed_it_meanwhile(self, begin, worker):
        twin = enqueue("job", "old", unique_key="k")
        claimed = []

        def claim_before_the_lock(execute, sql, params, many, context):
            if "FOR UPDATE" in sql and not claimed:
                claimed.append(begin(worker.claim_one).result())
            return execute(sql, params, many, context)

        if not engine_for("default").skip_locked:
            claimed.append(worker.claim_one())
        rival = begin(
            lambda: enqueue("job", "new", unique_key="k", on_conflict="replace"), claim_before_the_lock
        )
        with pytest.raises(DuplicateMessage):
            rival.result()
        assert Message.objects.get(pk=twin.pk).payload == "old"
        assert worker.settle(claimed[0]) == "succeeded"


class TestMany:
    @pytest.mark.parametrize("on_conflict", ["return", "replace"])
    def test_of_many_threads_one_makes_the_message(self, race, on_conflict):
        for n in range(4):
            key = f"{on_conflict} {n}"
            rivals = race(
                *[lambda key=key: enqueue("job", unique_key=key, on_conflict=on_conflict)] * 6
            )  # fmt: skip
            made = [rival.result() for rival in rivals if not isinstance(rival.error, DuplicateMessage)]

            assert len([message for message in made if message.created]) == 1
            assert len({message.pk for message in made}) == 1
            assert on_conflict == "replace" or len(made) == 6

    def test_control_without_looking_away_the_constraint_fires(self, race):
        strict = Rewrite(r"ON CONFLICT.*?DO NOTHING|(?<=INSERT) IGNORE")
        rivals = race(*[lambda: enqueue("job", unique_key="k")] * 6, wrappers=(strict,))

        assert [rival for rival in rivals if isinstance(rival.error, IntegrityError)]
        assert strict.hits

    def test_a_key_that_changes_hands_all_the_time_is_never_twice_alive(self, race):
        def churn():
            worker, made = Worker(), 0
            for _ in range(20):
                made += enqueue("job", unique_key="k").created
                for claimed in worker.claim(free=2):
                    # A rival's claim may have the row locked for a moment: then it is asked once more.
                    assert wait_until(lambda claimed=claimed: worker.settle(claimed)) == "succeeded"
            return made

        rivals = race(*[churn] * 4)

        assert sum(rival.result() for rival in rivals) >= 1
        assert Message.objects.count() <= 1
