"""Workers that are killed while a message dies, and what its handler says is to follow that (on_dead).

1. Killed at any point, the death and the message that follows it are both there, or neither is.
2. In the end there is one death and one follower, whatever killed whom.
C. Followed by a signal after the commit, a death may be followed by nothing.
"""

from __future__ import annotations

import pytest

from django_letsgo_worker import enqueue
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.support import wait_until
from tests.testapp.models import Entry

pytestmark = pytest.mark.django_db(transaction=True)

LEASE = {"LEASE_SECONDS": 1, "POLL_SECONDS": 0.1}
POINTS = ["the death is written", "its follower is written", "both are committed"]
TYPES = ["work:reject", "work:reject-atomic", "work:die-mourned"]


def run_until_killed(fleet, type, point, **options):
    """Have a message die in a worker that is killed at a point of that; return the message."""
    message = enqueue(type, max_attempts=1)
    if type == "work:die-mourned":
        # The worker that claims it dies; the next one finds it worn out.
        fleet.start(**LEASE).process.wait(30)
    worker = fleet.start(**LEASE, kill_at=point, **options)
    assert worker.process.wait(30) == -9, worker.output
    return message


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("point", POINTS)
def test_a_death_and_what_follows_it_are_committed_together(fleet, type, point):
    message = run_until_killed(fleet, type, point)

    are_committed = point == POINTS[-1]
    assert ArchivedMessage.objects.filter(pk=message.pk, outcome="dead").exists() == are_committed
    assert Message.objects.filter(type="work:mourn").exists() == are_committed

    fleet.start(**LEASE)
    fleet.wait_until_all_is_done(2)
    assert ArchivedMessage.objects.get(pk=message.pk).outcome == "dead"
    assert [entry.n for entry in Entry.objects.all()] == [message.pk]


@pytest.mark.parametrize("type", TYPES)
def test_followed_by_a_signal_a_death_may_be_followed_by_nothing(fleet, type):
    message = run_until_killed(fleet, type, POINTS[-1], without="one transaction for deaths")

    fleet.start("--until-empty", **LEASE).wait()
    wait_until(lambda: not Message.objects.exists())
    assert ArchivedMessage.objects.get(pk=message.pk).outcome == "dead"
    assert not Entry.objects.exists()
