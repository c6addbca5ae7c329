"""One clock, the database's: what is written now is neither older than the call for it, nor due later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from django_letsgo_worker import enqueue, enqueue_many, messages, processes, queues, schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.errors import InvalidMessage
from django_letsgo_worker.models import ArchivedMessage, Message, Process, Queue, ScheduledJob

pytestmark = pytest.mark.django_db

# Often enough that a clock which counts milliseconds is caught.
OFTEN = 50


def now():
    """The process's clock where it is the database's, too: two machines have two."""
    return datetime.now(UTC) if connection.vendor == "sqlite" else engine_for("default").clock()


def enqueue_one(worker):
    message = enqueue("job")
    return [message.enqueued_at, message.visible_at]


def enqueue_a_list(worker):
    (id,) = enqueue_many([("job", 1)])
    return [Message.objects.get(pk=id).enqueued_at]


def claim(worker):
    return [worker.claim_one().leased_at]


def succeed(worker):
    claimed = worker.claim_one()
    worker.settle(claimed, started_seconds_ago=0.0, seconds=0.0)
    archived = ArchivedMessage.objects.get(pk=claimed.id)
    return [archived.first_started_at, archived.finished_at]


def release(worker):
    claimed = worker.claim_one()
    worker.settle(claimed, "released")
    return [Message.objects.get(pk=claimed.id).visible_at]


def cancel(worker):
    return [messages.cancel(Message.objects.latest("pk").pk).finished_at]


def redrive(worker):
    claimed = worker.claim_one()
    worker.settle(claimed, "dead", errors="[]", error_class="ValueError")
    return [messages.redrive(claimed.id).visible_at]


def beat(worker):
    process = Process(kind="worker", name="one", host="here", pid=1)
    processes.register(process, "default")
    started_at = process.started_at
    processes.beat(process, busy=0, using="default")
    return [started_at, Process.objects.get(pk=process.pk).heartbeat_at]


def pause(worker):
    queues.pause("default")
    return [Queue.objects.get().paused_at]


def plan(worker):
    job = schedules.add("often", "rate(1 minute)", "job")
    return [job.anchor, job.next_run_at - timedelta(minutes=1)]


def run_now(worker):
    schedules.add("by hand", "@daily", "job")
    return [schedules.run_now("by hand").enqueued_at]


MOMENTS = [enqueue_one, enqueue_a_list, claim, succeed, release, cancel, redrive, beat, pause, plan, run_now]


@pytest.mark.parametrize("act", MOMENTS, ids=lambda act: act.__name__)
def test_a_moment_that_is_written_lies_between_before_and_after(act, worker):
    for _ in range(OFTEN):
        for model in (Message, ArchivedMessage, Process, Queue, ScheduledJob):
            model.objects.all().delete()
        enqueue("job")
        before = now()
        moments = act(worker)
        after = now()

        assert [moment for moment in moments if not before <= moment <= after] == []


def test_what_was_enqueued_is_due_at_once(worker):
    for _ in range(OFTEN):
        enqueue("job")
        worker.settle(worker.claim_one())
        enqueue_many([("job", 1)] * 3)
        assert len(worker.claim(free=3)) == 3


def test_what_was_released_or_redriven_is_due_at_once(worker):
    enqueue("job")
    for _ in range(OFTEN):
        worker.settle(worker.claim_one(), "released")
    worker.settle(worker.claim_one(), "dead", errors="[]", error_class="ValueError")
    messages.redrive(ArchivedMessage.objects.get().pk)
    assert worker.claim_one()


@pytest.mark.parametrize("seconds", [0.25, 1, 120, 3600 * 24 * 400])
def test_a_length_of_time_counts_to_the_microsecond_from_the_clock(worker, seconds):
    length = timedelta(seconds=seconds)
    for _ in range(OFTEN):
        message = enqueue("job", delay=seconds, deadline=length * 2)
        assert message.visible_at - message.enqueued_at == length
        assert message.deadline - message.enqueued_at == length * 2

    for claimed in worker.claim(now=now() + length * 1.5, lease_seconds=seconds, free=OFTEN):
        row = Message.objects.get(pk=claimed.id)
        assert row.visible_at - row.leased_at == length
        worker.settle(claimed, "dead", started_seconds_ago=seconds, errors="[]", error_class="ValueError")
        archived = ArchivedMessage.objects.get(pk=claimed.id)
        assert archived.finished_at - archived.first_started_at == length


class TestAFrozenClock:
    """The code's stands still; delays, leases and deadlines count from the database's, which goes on."""

    @pytest.fixture(params=["2001-01-01 12:00:00", "2090-01-01 12:00:00"])
    def frozen(self, request):
        with pytest.importorskip("freezegun").freeze_time(request.param):
            yield datetime.fromisoformat(request.param).replace(tzinfo=UTC)

    def test_a_delay_counts_from_the_databases_clock(self, frozen, worker):
        clock = engine_for("default").clock()
        message = enqueue("job", delay=60)

        assert abs(clock - frozen) > timedelta(days=365)
        assert message.visible_at - message.enqueued_at == timedelta(minutes=1)
        assert clock <= message.enqueued_at <= engine_for("default").clock()
        assert worker.claim() == []
        assert [claimed.id for claimed in worker.claim(now=message.visible_at)] == [message.pk]

    def test_what_is_not_delayed_is_due_at_once(self, frozen, worker):
        enqueue("job")

        claimed = worker.claim_one(lease_seconds=30)
        assert Message.objects.get().visible_at - claimed.leased_at == timedelta(seconds=30)

    def test_a_deadline_is_past_when_the_databases_clock_says_so(self, frozen, worker):
        clock = engine_for("default").clock()
        with pytest.raises(InvalidMessage, match="The deadline is past"):
            enqueue("job", deadline=clock - timedelta(hours=1))

        assert enqueue("job", deadline=clock + timedelta(hours=1)).deadline > clock
