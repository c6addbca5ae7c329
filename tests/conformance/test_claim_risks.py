"""What a claim leaves: unknown types, what may kill its worker, and what was tried too often."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F

from django_letsgo_worker import enqueue, enqueue_many
from django_letsgo_worker.messages import settlements
from django_letsgo_worker.models import Message

pytestmark = pytest.mark.django_db


@pytest.fixture
def make(at):
    """Make due messages in this order, each with columns of its own: make({"deaths": 2}, {}) are ids."""

    def make_all(*rows):
        ids = []
        for n, columns in enumerate(rows):
            message = enqueue(columns.get("type", "job"), visible_at=at(n / 1000 - 10), max_attempts=10)
            Message.objects.filter(pk=message.pk).update(**columns)
            ids.append(message.pk)
        return ids

    return make_all


@pytest.fixture
def taken(worker, at):
    """Claim at(60), and return the ids that were taken."""
    return lambda **options: [claimed.id for claimed in worker.claim(now=at(60), **options)]


class TestUnknownTypes:
    def test_they_are_left_as_they_are_and_named(self, worker, at, row):
        stranger = enqueue("stranger")
        before = row(stranger.pk)
        known = enqueue("job")
        claim = worker.look(now=at(0))

        assert [claimed.id for claimed in claim.rows] == [known.pk]
        assert claim.unknown == {"stranger"}
        assert row(stranger.pk) == before

    def test_known_ones_behind_them_are_claimed(self, worker, at):
        enqueue_many(("stranger", n) for n in range(30))
        ids = enqueue_many(("job", n) for n in range(5))

        assert [claimed.id for claimed in worker.claim(now=at(0), free=4)] == ids[:4]

    def test_the_look_ends_at_ten_times_the_limit_and_says_how_far_it_got(self, worker, at):
        strangers = enqueue_many(("stranger", n) for n in range(25))
        enqueue("job")
        claim = worker.look(now=at(0), free=2)

        assert claim.rows == []
        assert claim.looked == 20
        assert claim.looked_until == Message.objects.get(pk=strangers[19]).visible_at

    def test_the_next_claim_goes_on_from_there(self, worker, at):
        enqueue_many({"type": "stranger", "visible_at": at(n / 100 - 10)} for n in range(25))
        known = enqueue("job", visible_at=at(0))
        until = worker.look(now=at(0), free=2).looked_until

        assert [claimed.id for claimed in worker.claim(now=at(0), free=2, start_at=until)] == [known.pk]

    def test_many_strangers_of_one_moment_do_not_hold_up_those_behind_them(self, worker, at):
        enqueue_many([("stranger", n) for n in range(60)], visible_at=at(-5))
        known = enqueue("job", visible_at=at(0))
        until, taken = None, []
        for _ in range(5):
            claim = worker.look(now=at(0), free=2, start_at=until)
            until, taken = claim.looked_until or until, taken + claim.rows

        assert [claimed.id for claimed in taken] == [known.pk]

    @pytest.mark.parametrize(("count", "saw_all"), [(19, True), (20, False)])
    def test_it_says_whether_it_saw_all_that_is_due(self, worker, at, count, saw_all):
        enqueue_many(("stranger", n) for n in range(count))

        assert worker.look(now=at(0), free=2).saw_all == saw_all

    def test_the_next_claim_begins_before_the_first_known_one_that_was_left(self, worker, at):
        stranger, *known = enqueue_many([("stranger", 0), *(("job", n) for n in range(30))])
        claim = worker.look(now=at(0), free=2)

        # Two looks, at 2 rows and at 20: what they saw behind the second message is not passed.
        assert [claimed.id for claimed in claim.rows] == known[:2]
        assert claim.left
        due = Message.objects.get(pk=known[2]).visible_at
        assert Message.objects.get(pk=stranger).visible_at < claim.looked_until < due

    def test_nothing_is_passed_before_one_that_waits_for_a_free_seat(self, worker, at):
        enqueue("job", max_attempts=1, visible_at=at(-9))
        enqueue_many([("stranger", n) for n in range(5)], visible_at=at(-1))
        claim = worker.look(now=at(0), free=0, prefetch=9)

        assert (claim.rows, claim.left, claim.looked_until) == ([], True, None)

    def test_the_limit_holds_over_both_looks(self, worker, at):
        enqueue_many([("job", 0), *(("stranger", n) for n in range(5)), *(("job", n) for n in range(9))])

        assert len(worker.claim(now=at(0), free=2, prefetch=1)) == 3

    def test_a_suspect_of_an_unknown_type_stops_nothing(self, make, taken):
        ids = make({"type": "stranger", "deaths": 5}, {}, {})

        assert taken() == ids[1:]


class TestSuspects:
    """Two deaths, or one and the last attempt: it may be what kills its workers."""

    def test_a_suspect_at_the_front_is_claimed_alone(self, make, taken):
        ids = make({"deaths": 2}, {}, {})

        assert taken() == ids[:1]

    def test_what_stands_before_a_suspect_is_claimed_without_it(self, make, taken):
        ids = make({}, {}, {"deaths": 2}, {})

        assert taken() == ids[:2]
        assert taken() == ids[2:3]
        assert taken() == ids[3:]

    def test_the_lapsed_lease_that_it_is_taken_from_counts(self, make, taken, rival):
        ids = make({"deaths": 1, "leased_by": rival.process}, {})

        assert taken() == ids[:1]

    def test_one_death_and_the_last_attempt_make_a_suspect(self, make, taken):
        ids = make({"deaths": 1, "attempts": 9}, {})

        assert taken() == ids[:1]

    def test_one_death_alone_does_not(self, make, taken):
        ids = make({"deaths": 1}, {})

        assert taken() == ids

    def test_it_says_so(self, make, worker, at):
        make({"deaths": 2})

        assert worker.claim_one(now=at(60)).is_poison_suspect

    def test_no_suspect_is_claimed_beyond_a_free_seat(self, make, taken, rival):
        make({"deaths": 2, "leased_by": rival.process}, {})

        assert taken(free=0, prefetch=5) == []

    def test_a_suspect_stays_alone_when_the_claim_looks_past_strangers(self, make, worker, at):
        strangers = [{"type": "stranger"}] * 6
        make({"deaths": 2}, *strangers, {}, {})
        claimed = worker.claim(now=at(60), free=5)

        assert [message.is_poison_suspect for message in claimed] == [True]

    def test_nothing_is_beside_a_suspect_that_stands_behind_strangers(self, make, worker, at):
        strangers = [{"type": "stranger"}] * 6
        make({}, *strangers, {"deaths": 2}, {})
        claimed = worker.claim(now=at(60), free=5)

        assert [message.is_poison_suspect for message in claimed] == [False]


class TestRisky:
    """A lapsed lease, or the last attempt: never claimed to wait for a seat."""

    @pytest.mark.parametrize("risky", ["lapsed", "last"])
    def test_risky_ones_are_claimed_for_free_seats_only(self, make, taken, rival, risky):
        columns = {"lapsed": {"leased_by": rival.process}, "last": {"attempts": 9}}[risky]
        ids = make(columns, {}, columns, {}, columns)

        assert taken(free=1, prefetch=4) == [ids[0], ids[1], ids[3]]

    def test_all_are_claimed_while_seats_are_free(self, make, taken, rival):
        ids = make({"attempts": 9}, {"leased_by": rival.process}, {"attempts": 9})

        assert taken(free=3) == ids

    def test_with_no_free_seat_only_the_harmless_are_claimed(self, make, taken):
        ids = make({"attempts": 9}, {}, {"attempts": 9})

        assert taken(free=0, prefetch=3) == [ids[1]]


class TestWornOut:
    def test_the_claim_that_finds_out_makes_it_a_dead_letter_that_says_so(self, worker, at, archived):
        message = enqueue("job", max_attempts=3)
        for n in range(3):
            worker.claim_one(now=at(60 * n))
        claimed = worker.claim_one(now=at(180))
        assert claimed.has_exhausted_attempts
        worker.settle_all([settlements.refusal_of(claimed, "host:1")], now=at(180))
        letter = archived(message.pk)

        assert (letter.outcome, letter.attempts, letter.max_attempts, letter.deaths) == ("dead", 3, 3, 3)
        assert letter.error_class == "django_letsgo_worker.errors.WorkerDied"
        (entry,) = letter.errors
        assert entry["message"] == "the worker died 3 times while handling it"
        assert (entry["class"], entry["attempt"], entry["process"]) == (letter.error_class, 3, "host:1")
        assert letter.error_fingerprint

    def test_a_single_death_is_said_in_the_singular(self, worker, at):
        enqueue("job", max_attempts=1)
        worker.claim_one(now=at(0))
        settlement = settlements.refusal_of(worker.claim_one(now=at(60)), "host:1")

        assert "the worker died 1 time while handling it" in settlement.errors

    def test_it_is_no_suspect_and_holds_up_nobody(self, make, taken, rival):
        ids = make({"attempts": 10, "deaths": 3, "leased_by": rival.process}, {}, {})

        assert taken() == ids

    def test_what_may_run_is_not_settled(self, worker, at):
        enqueue("job")

        assert settlements.refusal_of(worker.claim_one(now=at(0)), "host:1") is None


class TestDeadlines:
    def test_what_is_claimed_after_its_deadline_expires_without_an_attempt(self, worker, at, archived):
        message = enqueue("job", deadline=at(10))
        claimed = worker.claim_one(now=at(10))
        worker.settle_all([settlements.refusal_of(claimed, "host:1")], now=at(10))
        letter = archived(message.pk)

        assert (letter.outcome, letter.attempts, letter.errors) == ("expired", 0, [])

    def test_until_then_it_runs(self, worker, at):
        enqueue("job", deadline=at(10))

        assert settlements.refusal_of(worker.claim_one(now=at(9.999)), "host:1") is None

    def test_a_deadline_wins_over_being_worn_out(self, worker, at):
        enqueue("job", deadline=at(10), max_attempts=1)
        worker.claim_one(now=at(0))

        assert settlements.refusal_of(worker.claim_one(now=at(60)), "host:1").outcome == "expired"


@pytest.mark.parametrize(("free", "prefetch"), [(0, 2), (1, 0), (1, 2), (3, 0), (3, 2)])
def test_a_claim_never_exceeds_its_limit(make, taken, free, prefetch):
    make(*[{}] * 8)

    assert len(taken(free=free, prefetch=prefetch)) == free + prefetch


def test_a_claim_touches_no_other_row(make, taken, row):
    ids = make(*[{}] * 6)
    Message.objects.filter(pk=ids[3]).update(visible_at=F("visible_at") + timedelta(days=1))
    before = {id: row(id) for id in ids}
    claimed = taken(free=3)

    assert claimed == ids[:3]
    assert {id: row(id) for id in ids[3:]} == {id: before[id] for id in ids[3:]}
