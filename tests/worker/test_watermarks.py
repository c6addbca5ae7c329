"""Low-water marks: where the next claim of a lane begins, and how often all of it is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django_letsgo_worker.engines import Claim, ClaimRequest, Lane
from django_letsgo_worker.worker.lanes import AT_THE_LATEST, MARGIN, Watermarks

LANE = Lane("default", 0)
OLDEST = datetime(2026, 1, 1, tzinfo=UTC)


def request(start_at=None):
    return ClaimRequest(
        lane=LANE, types=["job"], process=UUID(int=1), lease_seconds=30, free=8, start_at=start_at
    )


def test_the_first_claim_reads_from_the_start(clock):
    assert Watermarks().of(LANE.key) is None
    assert Watermarks().of_lanes() is None


def test_the_next_begins_a_margin_before_the_oldest_that_was_found(clock):
    marks = Watermarks()
    marks.note(request(), Claim(looked=3, looked_from=OLDEST), seconds=0.01)

    assert marks.of(LANE.key) == OLDEST - MARGIN
    assert marks.of(("default", 5)) is None


def test_full_claims_take_a_twentieth_of_the_time(clock):
    marks = Watermarks()
    marks.note(request(), Claim(looked=3, looked_from=OLDEST), seconds=0.01)

    clock.seconds += 0.19
    assert marks.of(LANE.key) is not None
    clock.seconds += 0.02
    assert marks.of(LANE.key) is None


def test_a_slow_one_comes_again_after_five_seconds_at_the_latest(clock):
    marks = Watermarks()
    marks.note(request(), Claim(looked=3, looked_from=OLDEST), seconds=60)
    marks.note_full_look(60)

    clock.seconds += AT_THE_LATEST + 0.01
    assert marks.of(LANE.key) is None
    assert marks.of_lanes() is None


def test_a_claim_from_the_mark_puts_off_no_full_one(clock):
    marks = Watermarks()
    marks.note(request(), Claim(looked=3, looked_from=OLDEST), seconds=0.01)
    clock.seconds += 0.15
    later = OLDEST + timedelta(seconds=1)
    marks.note(request(start_at=OLDEST), Claim(looked=3, looked_from=later), seconds=0.01)

    assert marks.of(LANE.key) == later - MARGIN
    clock.seconds += 0.06
    assert marks.of(LANE.key) is None


def test_a_full_claim_may_move_the_mark_back(clock):
    marks = Watermarks()
    marks.note(request(), Claim(looked=1, looked_from=OLDEST), seconds=0.01)
    earlier = OLDEST - timedelta(hours=1)
    marks.note(request(), Claim(looked=1, looked_from=earlier), seconds=0.01)

    assert marks.of(LANE.key) == earlier - MARGIN


def test_looks_begin_at_the_marks_until_a_full_one_is_due(clock):
    marks = Watermarks()
    marks.note(request(), Claim(looked=1, looked_from=OLDEST), seconds=0.01)
    marks.note_full_look(0.01)

    assert marks.of_lanes() == [Lane("default", 0, OLDEST - MARGIN)]
    clock.seconds += 0.21
    assert marks.of_lanes() is None


def test_after_forgetting_all_is_read_from_the_start(clock):
    marks = Watermarks()
    marks.note(request(), Claim(looked=1, looked_from=OLDEST), seconds=0.01)
    marks.note_full_look(0.01)
    marks.forget()

    assert (marks.of(LANE.key), marks.of_lanes()) == (None, None)


class TestUnknownTypes:
    """A claim passes them, and the next one begins behind them."""

    def passing(self, until, **more):
        return Claim(
            unknown={"stranger"}, looked=80, saw_all=False, looked_from=OLDEST, looked_until=until, **more
        )

    def test_the_next_begins_where_the_last_one_ended(self, clock):
        marks = Watermarks()
        until = OLDEST + timedelta(milliseconds=1)
        marks.note(request(), self.passing(until), seconds=0.01)

        assert marks.of(LANE.key) == until

    def test_none_begins_at_the_start_before_their_end_is_reached(self, clock):
        marks = Watermarks()
        marks.note(request(), self.passing(OLDEST), seconds=0.01)
        clock.seconds += 60
        assert marks.of(LANE.key) == OLDEST

        end = OLDEST + timedelta(seconds=1)
        marks.note(request(start_at=OLDEST), self.passing(end, rows=["a message"]), seconds=0.01)
        assert marks.of(LANE.key) == end
        # All of the way counts: twenty times 0.02 s.
        clock.seconds += 0.39
        assert marks.of(LANE.key) == end
        clock.seconds += 0.02
        assert marks.of(LANE.key) is None

    def test_what_was_left_before_them_is_not_passed(self, clock):
        marks = Watermarks()
        marks.note(
            request(), Claim(unknown={"stranger"}, looked=8, left=True, looked_from=OLDEST), seconds=0.01
        )

        assert marks.of(LANE.key) == OLDEST - MARGIN
