"""Which rows a claim takes: choose(), PostgreSQL's one statement and the rule in plain words agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_letsgo_worker.engines import ClaimRequest, Lane, engine_for
from django_letsgo_worker.engines.records import Looked, choose
from django_letsgo_worker.models import Message

ME, OTHER = UUID(int=1), UUID(int=2)

rows = st.lists(
    st.fixed_dictionaries({
        "type": st.sampled_from(["job", "job", "job", "stranger"]),
        "attempts": st.integers(0, 4),
        "max_attempts": st.integers(1, 4),
        "deaths": st.integers(0, 3),
        "held": st.booleans(),
    }),
    max_size=10,
)  # fmt: skip
free_and_prefetch = st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(any)


def by_the_rule(found, free, prefetch):
    """The rule in plain words, one row at a time."""
    taken = []
    for row in (row for row in found if row.type == "job"):
        deaths, attempt = row.deaths + row.held, row.attempts + 1
        worn_out = attempt > row.max_attempts
        suspect = not worn_out and (deaths >= 2 or (deaths == 1 and attempt == row.max_attempts))
        risky = row.held or attempt >= row.max_attempts
        place = sum(1 for other in found[: found.index(row)] if other.type == "job") + 1
        if suspect:
            # Alone, or not now; and what is risky takes a free seat.
            return [row.id] if place == 1 and (free or not risky) else taken[: free + prefetch]
        if place <= free or not risky:
            taken.append(row.id)
    return taken[: free + prefetch]


def request_for(free, prefetch, now=None):
    return ClaimRequest(
        lane=Lane("default", 0),
        types=["job"],
        process=ME,
        lease_seconds=30,
        free=free,
        prefetch=prefetch,
        now=now,
    )


@settings(max_examples=500, deadline=None)
@given(rows=rows, wanted=free_and_prefetch)
def test_choose_is_the_rule(rows, wanted):
    found = [Looked(id=n, visible_at=None, **columns) for n, columns in enumerate(rows)]

    assert choose(found, request_for(*wanted)) == by_the_rule(found, *wanted)


def made(rows, now, queue="default"):
    """Write the messages of a lane, all of them due; return them as a claim sees them."""
    messages = [
        Message(
            type=columns["type"], payload=None, queue=queue, visible_at=now + timedelta(seconds=n - 1000),
            enqueued_at=now,
            attempts=columns["attempts"], max_attempts=columns["max_attempts"], deaths=columns["deaths"],
            leased_by=OTHER if columns["held"] else None, leased_at=now if columns["held"] else None,
        )
        for n, columns in enumerate(rows)
    ]  # fmt: skip
    for message in messages:
        message.save(force_insert=True)
    return [
        Looked(id=message.pk, visible_at=message.visible_at, **columns)
        for message, columns in zip(messages, rows, strict=True)
    ]


@pytest.mark.django_db
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows, wanted=free_and_prefetch)
def test_the_engines_claim_takes_what_choose_takes(rows, wanted):
    engine = engine_for("default")
    with transaction.atomic():
        now = engine.clock().replace(microsecond=0)
        found = made(rows, now)
        claim = engine.claim_within(request_for(*wanted, now=now), 100)

        assert [claimed.id for claimed in claim.rows] == choose(found, request_for(*wanted))
        assert claim.unknown == {row.type for row in found} - {"job"}
        assert claim.looked == len(found)
        transaction.set_rollback(True)


@pytest.mark.django_db
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lanes=st.lists(rows, min_size=2, max_size=4), wanted=free_and_prefetch)
def test_lanes_in_turn_are_claimed_as_if_one_after_the_other(lanes, wanted):
    engine = engine_for("default")
    with transaction.atomic():
        now = engine.clock().replace(microsecond=0)
        found = [made(columns, now, f"lane-{n}") for n, columns in enumerate(lanes)]
        request = replace(
            request_for(*wanted, now=now),
            lane=Lane("lane-0", 0),
            further=[Lane(f"lane-{n}", 0) for n in range(1, len(lanes))],
        )
        claim = engine.claim_within(request, 100)

        expected = in_turn(found, *wanted)
        claims = [[row.id for row in one.rows] for one in (claim, *claim.further)]
        assert claims[: len(expected)] == expected
        assert not any(claims[len(expected) :])
        assert all(one.saw_all for one in (claim, *claim.further))
        transaction.set_rollback(True)


def in_turn(lanes, free, prefetch):
    """What is taken of each lane until there is enough, or one begins with a suspect."""
    taken = []
    for rows in lanes:
        taken.append(by_the_rule(rows, free, prefetch))
        used = min(free, len(taken[-1]))
        free, prefetch = free - used, prefetch - (len(taken[-1]) - used)
        first = next((row for row in rows if row.type == "job"), None)
        if not free + prefetch or (first is not None and first.is_suspect):
            break
    return taken
