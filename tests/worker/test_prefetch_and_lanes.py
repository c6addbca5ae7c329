"""What a worker keeps in mind: its pace, the lanes it knows, the messages it has in flight."""

from __future__ import annotations

import random
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID

import pytest

from django_letsgo_worker.delivery import Control
from django_letsgo_worker.engines import Claim, ClaimRequest, Lane, Rest
from django_letsgo_worker.outcomes import SUCCEEDED
from django_letsgo_worker.worker.inflight import FINISHED, RUNNING, WAITING, InFlight, InFlightTable
from django_letsgo_worker.worker.lanes import (
    ASKED_AT_ONCE,
    BELIEVED_AT_MOST,
    Lanes,
    TimedClaim,
    Watermarks,
)
from django_letsgo_worker.worker.options import Options
from django_letsgo_worker.worker.prefetch import MOST_PREFETCHED, Pace, Prefetch

PAST, FUTURE = datetime(2000, 1, 1, tzinfo=UTC), datetime(2500, 1, 1, tzinfo=UTC)


class TestPace:
    @pytest.fixture
    def pace(self):
        pace = Pace()
        pace._at = 0.0
        return pace

    def test_it_is_what_begins_in_a_tenth_of_a_second(self, pace):
        assert pace.prefetch == 0
        pace.measure(1000, 1.0)
        assert pace.prefetch == 100

    def test_a_long_time_is_believed_at_once_and_a_short_one_in_part(self, pace):
        pace.measure(500, 0.5)
        assert pace.per_second == 1000
        pace.measure(500, 0.75)
        assert pace.per_second == 500
        pace.measure(500, 100.0)
        assert pace.per_second == 0

    def test_moments_that_are_too_close_are_taken_together(self, pace):
        for n in range(99):
            pace.measure(n, n * 0.0001)
        assert pace.per_second == 0
        pace.measure(100, 1.0)
        assert pace.per_second == 100

    def test_there_is_a_bound(self, pace):
        pace.measure(10**9, 1.0)

        assert pace.prefetch == MOST_PREFETCHED


NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Engine:
    """An engine that has messages that become visible at these moments, at the moment `now`."""

    def __init__(self, *messages, paused=()):
        self.messages, self.paused, self.now = messages, paused, NOW

    def name_queues(self, queues):
        """Do nothing: nobody tells it anything."""

    def last_look(self, rest, marked=None):
        return self.lanes(marked), True

    def lanes(self, marked=None):
        since = {(lane.queue, lane.priority): lane.next_visible_at for lane in marked or ()}
        first = {}
        for queue, priority, visible_at in self.messages:
            key = queue, priority
            if marked is None or (key in since and visible_at >= since[key]):
                first[key] = min(visible_at, first.get(key, visible_at))
        return [
            Lane(queue, priority, moment, queue in self.paused, self.now)
            for (queue, priority), moment in first.items()
        ]


def known(*found, paused=(), **options):
    """What a worker knows that has looked once."""
    lanes = Lanes(Engine(*found, paused=paused), Options(**options), Watermarks())
    lanes.look()
    return lanes


LANE = Lane("a", 0)


def request(start_at=None, lane=LANE):
    return ClaimRequest(
        lane=lane, types=["job"], process=UUID(int=1), lease_seconds=30, free=8, start_at=start_at
    )


def due(lanes):
    return [(lane.queue, lane.priority) for lane in lanes.due()]


class TestLanes:
    def test_a_look_is_believed_for_a_second(self, clock):
        lanes = known(("a", 0, PAST))
        clock.seconds += 0.999
        assert not lanes.is_stale
        clock.seconds += 0.001
        assert lanes.is_stale

    def test_forgetting_makes_it_look_again(self, clock):
        lanes = known(("a", 0, PAST))
        assert (lanes.are_all_known, lanes.is_stale) == (True, False)
        lanes.forget()
        assert (lanes.are_all_known, lanes.is_stale) == (False, True)

    def test_higher_priorities_come_first_whatever_the_turn(self, clock):
        found = [("a", -100, PAST), ("b", 100, PAST), ("c", 0, PAST), ("a", 100, PAST), ("b", 0, PAST)]
        random.Random(1).shuffle(found)
        lanes = known(*found)

        for _ in range(10):
            assert [priority for _, priority in due(lanes)] == [100, 100, 0, 0, -100]

    def test_queues_of_one_priority_take_turns(self, clock):
        lanes = known(*((queue, 0, PAST) for queue in "abc"))
        first = Counter()
        for _ in range(30):
            assert sorted(due(lanes)) == [("a", 0), ("b", 0), ("c", 0)]
            lane = lanes.due()[0]
            lanes.note([TimedClaim(request(lane=lane), Claim(rows=["a message"], saw_all=False), 0.01)])
            first[lane.queue] += 1

        assert first == {"a": 10, "b": 10, "c": 10}

    def test_those_that_were_not_asked_keep_their_turn_whatever_a_look_finds(self, clock):
        lanes = known(*((f"q{n:03}", 0, PAST) for n in range(300)))
        asked = []
        while len(asked) < 300:
            for lane in lanes.due():
                lanes.note([TimedClaim(request(lane=lane), Claim(rows=["a message"], saw_all=False), 0.01)])
                asked.append(lane.queue)
            assert lanes.has_unasked
            lanes.watermarks.forget()
            lanes.look()

        assert len(set(asked)) == 300

    def test_there_are_as_many_as_messages_are_wanted(self, clock):
        lanes = known(*((f"q{n:03}", 0, PAST) for n in range(300)))

        assert [len(lanes.due(wanted)) for wanted in (1, 299)] == [ASKED_AT_ONCE, 299]
        assert lanes.has_unasked
        assert (len(lanes.due(500)), lanes.has_unasked) == (300, False)

    @pytest.mark.parametrize(("takes", "believed_for"), [(0.01, 1.0), (0.1, 2.0), (60, BELIEVED_AT_MOST)])
    def test_looks_take_a_twentieth_of_the_time(self, clock, takes, believed_for):
        lanes = known(("a", 0, PAST))
        look = lanes.engine.lanes

        def look_long(marked=None):
            clock.seconds += takes
            return look(marked)

        lanes.engine.lanes = look_long
        lanes.look()

        clock.seconds += believed_for - 0.001
        assert not lanes.is_stale
        clock.seconds += 0.002
        assert lanes.is_stale

    def test_what_is_not_due_is_left_out_and_known(self, clock):
        lanes = known(("a", 0, FUTURE), ("b", 0, NOW + timedelta(hours=1)))

        assert due(lanes) == []
        assert lanes.next_due_in() == 3600
        clock.seconds += 3600
        assert due(lanes) == [("b", 0)]
        assert known(("a", 0, PAST), ("b", 0, FUTURE)).next_due_in() == 0.0

    def test_the_databases_clock_counts_and_counts_at_once_when_it_is_set(self, clock):
        lanes = known(("a", 0, NOW + timedelta(hours=1)))
        assert due(lanes) == []
        lanes.engine.now = NOW + timedelta(hours=2)
        lanes.look()
        assert due(lanes) == [("a", 0)]

    def test_paused_queues_are_left_out(self, clock):
        lanes = known(("a", 0, PAST), ("b", 5, PAST), ("c", 0, PAST), paused={"b", "c"})

        assert due(lanes) == [("a", 0)]

    def test_only_the_queues_served_are_known(self, clock):
        lanes = known(("a", 0, PAST), ("b", 0, PAST), queues=("a",))
        lanes.add("b", 5)
        lanes.add("a", 5)

        assert due(lanes) == [("a", 5), ("a", 0)]

    @pytest.mark.parametrize("queues", [None, ("a", "b")])
    def test_excluded_queues_are_not_known(self, clock, queues):
        lanes = known(("a", 0, PAST), ("b", 0, PAST), queues=queues, excluded_queues=("b",))
        lanes.add("b", 5)
        lanes.add("a", 5)

        assert due(lanes) == [("a", 5), ("a", 0)]

    def test_a_wake_up_makes_a_lane_due_at_once(self, clock):
        lanes = known(("a", 0, FUTURE))
        lanes.add("a", 0)

        assert due(lanes) == [("a", 0)]

    def test_a_drained_lane_is_out_until_the_next_look(self, clock):
        lanes = known(("a", 0, PAST), ("b", 0, PAST))
        lanes.drained(Lane("a", 0), Claim(rows=["a message"]))
        lanes.drained(Lane("nowhere", 0), Claim(rows=["a message"]))
        assert due(lanes) == [("b", 0)]

        lanes.look()
        assert sorted(due(lanes)) == [("a", 0), ("b", 0)]

    def test_behind_what_is_not_for_this_worker_the_next_that_may_be_is_found(self, clock):
        unknown, later = ("a", 0, PAST), ("a", 0, NOW + timedelta(seconds=9))
        lanes = known(unknown, later, ("b", 0, PAST))
        lanes.drained(Lane("a", 0), Claim(unknown={"stranger"}, looked=1, looked_until=PAST))

        lanes.look(rest=Rest())

        assert due(lanes) == [("b", 0)]
        clock.seconds += 9
        assert sorted(due(lanes)) == [("a", 0), ("b", 0)]

    def test_what_another_session_has_locked_is_passed_up_to_the_last_look(self, clock):
        lanes = known(("a", 0, PAST), ("a", 0, NOW), ("a", 0, NOW + timedelta(seconds=9)))
        lanes.drained(Lane("a", 0), Claim())

        lanes.look(rest=Rest())

        assert (due(lanes), lanes.next_due_in()) == ([], 9)

    @pytest.mark.parametrize("how", ["a poll", "a write", "its name", "another type", "a second"])
    def test_what_was_not_for_this_worker_is_tried_again_after(self, clock, how):
        lanes = known(("a", 0, PAST))
        lanes.drained(Lane("a", 0), Claim(unknown={"stranger"}, looked=1, looked_until=PAST))
        lanes.look(rest=Rest())
        assert due(lanes) == []

        if how in ("a poll", "a write"):
            lanes.look_after_rest({"a poll": "time", "a write": "written"}[how])
        elif how == "its name":
            lanes.add("a", 0)
        elif how == "another type":
            lanes.learned()
        else:
            clock.seconds += 1
        if how != "its name":
            lanes.look(rest=Rest())

        assert due(lanes) == [("a", 0)]

    def test_what_a_claim_from_the_mark_cannot_see_is_claimed_from_the_start_as_soon_as_that_is_due(
        self, clock
    ):
        lanes = known(("a", 0, PAST))
        lanes.note([TimedClaim(request(), Claim(looked=1, looked_from=NOW, rows=["a message"]), 0.2)])
        clock.seconds += 1.5
        lanes.add("a", 0)
        (lane,) = lanes.due()
        assert lane.next_visible_at is not None
        # A message with a moment in the past has come meanwhile; the claim begins behind it.
        lanes.note([TimedClaim(request(start_at=lane.next_visible_at), Claim(), 0.001)])

        lanes.look(rest=Rest())

        assert (due(lanes), lanes.are_all_known) == ([], True)
        assert lanes.next_due_in() == pytest.approx(0.2 / 0.05 - 1.5)
        clock.seconds += lanes.next_due_in()
        (lane,) = lanes.due()
        assert lane.next_visible_at is None

    def test_what_a_claim_from_the_start_has_seen_is_left_alone_until_the_poll(self, clock):
        lanes = known(("a", 0, PAST))
        lanes.note([TimedClaim(request(), Claim(unknown={"stranger"}, looked=1, looked_until=PAST), 0.2)])

        lanes.look(rest=Rest())

        assert (due(lanes), lanes.are_all_known, lanes.next_due_in()) == ([], True, None)

    def test_only_a_look_at_all_lanes_says_that_all_are_known(self, clock):
        lanes = known(("a", 0, PAST), ("b", 0, PAST))
        lanes.watermarks.note(request(), Claim(looked=1, looked_from=PAST), seconds=0.01)
        lanes.watermarks.note_full_look(0.01)

        lanes.look(rest=Rest())

        assert sorted(due(lanes)) == [("a", 0), ("b", 0)]
        assert not lanes.are_all_known
        # The rest before a full look is no longer than this.
        assert lanes.next_due_in() <= lanes.watermarks.full_look_in() == pytest.approx(0.2)


class TestInFlightTable:
    @pytest.fixture
    def table(self):
        return InFlightTable(2)

    @pytest.fixture
    def take(self, table):
        """Take messages in flight: take(1, 2) are two, waiting."""

        def take(*ids):
            taken = [InFlight(SimpleNamespace(id=id, receipt=id * 10), None, Control()) for id in ids]
            table.add(taken)
            return taken

        return take

    def test_a_message_goes_from_its_claim_to_its_settlement(self, table, take):
        (entry,) = take(1)
        assert (entry.state, entry.lease, entry.seconds, table.is_empty) == (WAITING, (1, 10), 0.0, False)
        assert table.begin(entry)
        assert (entry.state, table.begun) == (RUNNING, 1)
        table.finish(entry, SUCCEEDED)
        assert (entry.state, entry.outcome, entry.seconds >= 0) == (FINISHED, SUCCEEDED, True)
        assert (table.take_finished(), table.take_finished()) == ([entry], [])
        assert table.leases() == [entry]
        table.drop([entry])
        assert table.is_empty

    def test_it_begins_once(self, table, take):
        (entry,) = take(1)

        assert [table.begin(entry) for _ in range(3)] == [True, False, False]
        assert table.begun == 1

    def test_what_is_taken_back_never_begins(self, table, take):
        waiting, running = take(1, 2)
        table.begin(running)

        assert table.take_back_waiting() == [waiting]
        assert not table.begin(waiting)
        assert (table.take_back_waiting(), table.in_state(RUNNING)) == ([], [running])

    def test_a_message_claimed_again_is_another_entry(self, table, take):
        (old,) = take(1)
        (new,) = take(1)

        assert not table.begin(old)
        table.drop([old])
        assert table.begin(new)
        table.finish(old, SUCCEEDED)
        assert table.take_finished() == []

    def test_what_was_interrupted_has_no_outcome_whatever_it_returns(self, table, take):
        waiting, entry = take(1, 2)
        table.begin(entry)

        assert table.interrupt_running() == [entry] == table.take_finished()
        table.finish(entry, SUCCEEDED)
        assert (entry.outcome, table.take_finished(), waiting.state) == (None, [], WAITING)

    def test_a_lost_message_that_waits_is_let_go_and_one_that_runs_goes_on(self, table, take):
        waiting, running, finished = take(1, 2, 3)
        for entry in (running, finished):
            table.begin(entry)
        table.finish(finished, SUCCEEDED)

        assert [table.lose(entry) for entry in (waiting, running, finished)] == [True, True, False]
        assert not table.begin(waiting)
        assert table.in_state(WAITING, RUNNING, FINISHED) == [running, finished]
        running.lost = True
        assert table.leases() == [finished]

    def test_what_could_not_be_settled_comes_first_next_time(self, table, take):
        first, second = take(1, 2)
        for entry in (first, second):
            table.begin(entry)
        table.finish(first, SUCCEEDED)
        taken = table.take_finished()
        table.finish(second, SUCCEEDED)
        table.put_back(taken)

        assert table.take_finished() == [first, second]

    def test_waiting_ends_when_the_last_one_has_finished(self, table, take):
        assert table.wait_until_idle(0, threading.Event())
        (entry,) = take(1)
        assert not table.wait_until_idle(0, threading.Event())
        table.begin(entry)
        assert not table.wait_until_idle(0, threading.Event())

        threading.Thread(target=table.finish, args=(entry, SUCCEEDED)).start()
        assert table.wait_until_idle(30, threading.Event())

    def test_waiting_ends_when_told_to_hurry(self, table, take):
        take(1)
        hurry = threading.Event()
        hurry.set()

        assert not table.wait_until_idle(30, hurry)

    def test_wanted_is_what_is_free_and_what_will_begin_soon(self, table, take):
        prefetch = Prefetch(Options(name="w"), table)
        prefetch.pace.per_second, prefetch.pace._at = 50.0, float("inf")
        found = [prefetch.now(table.load)]
        for id in (1, 2, 3):
            take(id)
            found.append(prefetch.now(table.load))

        assert found == [(2, 5), (1, 5), (0, 5), (0, 4)]

    def test_beside_a_suspect_there_is_none(self, table, take):
        prefetch = Prefetch(Options(name="w"), table)
        take(1)[0].is_suspect = True

        assert prefetch.now(table.load) == (0, 0)

    def test_nobody_takes_more_than_it_was_told_to(self, table, take):
        prefetch = Prefetch(Options(name="w", max_messages=3), table)
        table.taken = 2
        assert (prefetch.now(table.load), prefetch.is_sated) == ((1, 0), False)
        table.taken = 3
        assert (prefetch.now(table.load), prefetch.is_sated) == ((0, 0), True)
        take(1)
        assert not prefetch.is_sated

    def test_what_is_added_may_begin_in_order(self, table, take):
        taken = take(1, 2)
        assert [*table.ready] == taken

    def test_once_closed_nothing_that_is_added_may_begin(self, table, take):
        (before,) = take(1)
        table.close()
        take(2)

        assert [*table.ready] == [before]

    def test_a_suspect_may_begin_once_nothing_is_beside_it(self, table, take):
        beside, finished = take(1, 2)
        suspect = InFlight(SimpleNamespace(id=3, receipt=30), None, Control(), is_suspect=True)
        table.add([suspect])
        table.drop([finished])
        assert suspect not in table.ready

        table.drop([beside])
        assert [*table.ready].count(suspect) == 1
        table.drop([])
        assert [*table.ready].count(suspect) == 1

    def test_what_is_set_aside_is_beside_no_suspect(self, table, take):
        (aside,) = take(1)
        suspect = InFlight(SimpleNamespace(id=2, receipt=20), None, Control(), is_suspect=True)
        table.add([suspect])
        table.begin(aside)
        table.finish(aside, SUCCEEDED)
        table.set_aside(*table.take_finished(), 60)

        assert suspect in table.ready
