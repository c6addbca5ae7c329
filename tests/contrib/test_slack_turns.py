"""contrib.slack: one message at a time, among the threads and the processes of all workers."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from django_letsgo_worker.contrib.slack import send_slack_message, turns
from django_letsgo_worker.contrib.slack.models import SlackTurn
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.slackserver import impatient_fixture, slack_fixture, work_off
from tests.support import ROOT

pytestmark = pytest.mark.django_db(transaction=True)

__all__ = ["impatient_fixture", "slack_fixture"]


TOGETHER = 0.3


def seconds_until_visible(message):
    return (Message.objects.get(pk=message.pk).visible_at - timezone.now()).total_seconds()


def taken_elsewhere(ahead):
    values = {"holder": "6f2f6a1e-0000-4000-8000-000000000001", "free_at": timezone.now() + ahead}
    SlackTurn.objects.update_or_create(id=SlackTurn.ONLY, defaults=values)


class TestOneAtATime:
    """Requests meet at a barrier: two at once pass it together, one alone waits there in vain."""

    @pytest.fixture
    def meet(self, slack):
        meetings = []
        barrier = threading.Barrier(2)

        def wait():
            with contextlib.suppress(threading.BrokenBarrierError):
                barrier.wait(TOGETHER)
                meetings.append(True)

        for _ in range(20):
            slack.answer(wait=wait)
        return meetings

    def test_the_threads_of_a_worker_send_one_after_the_other_and_leave_none_behind(self, slack, meet):
        for number in range(6):
            send_slack_message(f"number {number}")

        work_off(concurrency=6)

        assert sorted(slack.texts) == [f"number {number}" for number in range(6)]
        assert (slack.most_at_once, meet) == (1, [])

    def test_without_the_turn_they_would_meet(self, slack, meet, monkeypatch):
        monkeypatch.setattr(turns, "my_turn", lambda: contextlib.nullcontext(turns.Turn(None)))
        for number in range(2):
            send_slack_message(f"number {number}")

        work_off(concurrency=2)

        assert (slack.most_at_once, meet) == (2, [True, True])

    def test_the_workers_of_many_processes_send_one_after_the_other(self, slack, meet, manage):
        environment = {"LETSGO_SLACK_URL": slack.url, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        for number in range(4):
            send_slack_message(f"number {number}")

        workers = [
            manage(
                "runworker", "--until-empty", "--concurrency", "1",
                env=environment, settings_module=os.environ["DJANGO_SETTINGS_MODULE"],
            )
            for _ in range(3)
        ]  # fmt: skip

        assert [worker.wait() for worker in workers] == [0, 0, 0], workers[0].output
        assert sorted(slack.texts) == [f"number {number}" for number in range(4)]
        assert slack.most_at_once == 1

    def test_a_turn_that_another_process_keeps_is_not_waited_for_for_ever(self, slack, monkeypatch):
        monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.1)
        taken_elsewhere(timedelta(seconds=60))
        message = send_slack_message("Hello")

        work_off()

        assert slack.received == []
        assert Message.objects.get(pk=message.pk).attempts == 0
        assert 3 < seconds_until_visible(message) <= 15

    def test_a_turn_whose_process_was_killed_lapses(self, slack):
        taken_elsewhere(timedelta(seconds=-1))
        send_slack_message("Hello")

        work_off()

        assert slack.texts == ["Hello"]

    def test_whoever_lost_the_turn_does_not_give_back_that_of_another(self, slack):
        with turns.my_turn():
            taken_elsewhere(timedelta(seconds=60))
            other = SlackTurn.objects.get()

        assert SlackTurn.objects.get().holder == other.holder

    def test_a_process_waits_no_more_once_it_has_waited_a_lot(self, monkeypatch):
        budget = turns.Budget()
        budget.spend(turns.MOST_WAITING)

        assert budget.patience() < 0.1
        assert turns.Budget().patience() == turns.PATIENCE_SECONDS

    def test_a_failure_gives_the_turn_back(self, slack, impatient):
        slack.hang()
        send_slack_message("Hello")

        work_off()

        assert SlackTurn.objects.get().holder is None
        assert SlackTurn.objects.get().free_at <= timezone.now() + timedelta(seconds=1)

    def test_a_turn_that_cannot_be_given_back_does_not_send_again(self, slack, monkeypatch):
        taken = threading.Event()

        def clock():
            if taken.is_set():
                raise OperationalError("gone")
            taken.set()
            return timezone.now()

        SlackTurn.objects.create(id=SlackTurn.ONLY, free_at=timezone.now())
        monkeypatch.setattr(turns, "_clock", clock)
        message = send_slack_message("Hello")

        work_off()

        assert slack.texts == ["Hello"]
        assert ArchivedMessage.objects.get(pk=message.pk).outcome == "succeeded"
