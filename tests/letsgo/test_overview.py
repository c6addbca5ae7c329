"""letsgo status, info, handlers, queue, worker, prune: how it fares, what is wrong, what can be stopped."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.db import connection, connections, transaction

from django_letsgo_worker import __version__, enqueue, enqueue_many, messages, queues, registry, schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.errors import InvalidMessage
from django_letsgo_worker.inspection import work
from django_letsgo_worker.models import ArchivedMessage, Message, Process, Queue, ScheduledJob

from .test_messages import refuse_an_unlimited_count
from .test_output import dead_letter, everything, letsgo, refusal

pytestmark = pytest.mark.django_db

QUEUE_KEYS = [
    "name", "state", "ready", "running", "scheduled", "retrying", "dead", "capped", "failed_share",
    "ended_per_minute", "oldest_ready_seconds", "paused_at", "paused_by", "pause_reason", "resume_at",
    "workers",
]  # fmt: skip


@pytest.fixture
def process():
    """Return a function that writes the row of a process whose heartbeat is so many seconds old."""

    def write(name: str = "web", *, age: float = 0, kind: str = "worker", **fields: object) -> Process:
        at = datetime.now(UTC) - timedelta(seconds=age)
        facts = {"host": "host", "pid": 7, "started_at": at, "heartbeat_at": at, "types": ["t:x"], **fields}
        return Process.objects.create(kind=kind, name=name, **facts)

    return write


def problems() -> set[tuple[str, str]]:
    return {(one["code"], one["about"]) for one in letsgo("status", "--json").json["problems"]}


class TestStatus:
    def test_of_nothing_is_nothing(self):
        status = letsgo("status", "--json").json
        nobody = {"living": 0, "silent": 0, "stopped": 0}
        assert list(status) == ["at", "queues", "workers", "schedulers", "schedules", "problems"]
        assert (status["queues"], status["problems"]) == ([], [])
        assert status["workers"] == status["schedulers"] == nobody
        assert status["schedules"] == {
            "on": 0, "off": 0, "broken": 0, "completed": 0, "next_run_at": None, "next_schedule": None,
            "pause": None,
        }  # fmt: skip
        assert "No queue has messages." in letsgo("status").out

    def test_counts_messages_by_queue_and_state(self, process):
        process()
        later = datetime.now(UTC) + timedelta(hours=1)
        enqueue_many([("t:x", n) for n in range(5)], queue="mails")
        ids = list(Message.objects.order_by("pk").values_list("pk", flat=True))
        Message.objects.filter(pk=ids[0]).update(visible_at=later, leased_by=uuid4(), attempts=1)
        Message.objects.filter(pk=ids[1]).update(visible_at=later, attempts=2)
        enqueue("t:x", queue="mails", priority=3, delay=60)
        dead_letter(9001, queue="mails")
        dead_letter(9002, queue="old")

        mails, old = letsgo("status", "--json").json["queues"]

        assert (list(mails), list(old)) == (QUEUE_KEYS, QUEUE_KEYS)
        counts = [mails[name] for name in ("ready", "running", "scheduled", "retrying", "dead", "workers")]
        assert counts == [3, 1, 1, 1, 1, 1]
        assert 0 <= mails["oldest_ready_seconds"] < 60
        assert (old["name"], old["dead"], old["oldest_ready_seconds"]) == ("old", 1, None)

    def test_the_list_of_queues_has_those_too_that_only_a_handler_a_worker_or_a_setting_names(
        self, process, handle, settings
    ):
        handle("t:x", queue="search")(print)
        process(queues=["videos"])
        settings.LETSGO_WORKER = {"QUEUES": ["reports"]}
        enqueue("t:x", queue="mails")

        listed = letsgo("queue", "list", "--json").json

        assert {one["name"] for one in listed} >= {"default", "mails", "reports", "search", "videos"}
        assert [one["name"] for one in letsgo("status", "--json").json["queues"]] == ["mails"]

    def test_counts_no_further_than_the_cap_and_says_so(self, monkeypatch):
        monkeypatch.setattr(work, "MOST_COUNTED", 3)
        enqueue_many([("t:x", n) for n in range(5)])
        for id in range(5):
            dead_letter(id + 1_000)
        with connection.execute_wrapper(refuse_an_unlimited_count):
            [queue] = letsgo("status", "--json").json["queues"]
        assert (queue["ready"], queue["dead"], queue["capped"]) == (3, 3, True)

    def test_counts_schedules_and_names_the_next(self):
        schedules.add("soon", "@every 1h", "t")
        schedules.add("later", "@every 2h", "t")
        schedules.add("off", "@hourly", "t", enabled=False)
        schedules.add("over", "at(2099-01-01T00:00:00)", "t", ends_at=datetime(2098, 1, 1, tzinfo=UTC))
        ScheduledJob.objects.filter(name="later").update(problem="It is broken.")
        found = letsgo("status", "--json").json["schedules"]
        assert {name: found[name] for name in ("on", "off", "broken", "completed")} == {
            "on": 1, "off": 1, "broken": 1, "completed": 1,
        }  # fmt: skip
        assert found["next_schedule"] == "soon"
        assert "soon in 59m" in letsgo("status").out

    def test_a_queue_with_ready_messages_that_nobody_serves_is_a_problem(self, process):
        enqueue("t:x", queue="mails")
        enqueue("t:x", queue="later", delay=3600)
        process("other", queues=["default"])
        process("gone", age=3600)
        process("ended", state="stopped")
        assert problems() == {("queue_unserved", "mails")}
        process("one", queues=["mails"])
        assert problems() == set()

    def test_a_type_that_nobody_knows_is_a_problem(self, process):
        process()
        enqueue("t:x")
        enqueue("t:strange")
        enqueue("t:later", delay=60)
        assert problems() == {("type_unknown", "t:strange")}

    def test_a_paused_queue_is_a_problem_that_says_why(self):
        queues.pause("mails", by="ada", reason="the move")
        assert problems() == {("queue_paused", "mails")}
        [said] = [line for line in letsgo("status").lines if line.startswith("! ")]
        assert said.startswith("! Queue 'mails' is paused by ada: the move. ")

    def test_a_broken_schedule_and_a_missing_scheduler_are_problems(self, process):
        process("other", types=["t"])
        schedules.add("a", "@hourly", "t")
        schedules.add("b", "@hourly", "t")
        ScheduledJob.objects.filter(name="b").update(problem="It cannot be read.")
        assert problems() == {("schedule_broken", "b"), ("no_scheduler", "")}
        process(kind="scheduler")
        assert problems() == {("schedule_broken", "b")}


class TestInfo:
    def test_says_who_lives_which_queues_there_are_and_what_it_runs_on(self, process, engine):
        process()
        process("asleep", age=3600)
        process("clock", kind="scheduler")
        enqueue("t:x", queue="mails")
        info = letsgo("info", "--json").json
        assert (info["version"], info["database"], info["queues"]) == (__version__, "default", ["mails"])
        assert info["engine"] == engine_for("default").display_name
        assert info["workers"] == {"living": 1, "silent": 1, "stopped": 0}
        assert info["schedulers"]["living"] == 1
        assert {"django", "python", "engine_version", "clock", "handlers"} <= set(info)
        assert "1 living, 1 silent, 0 stopped" in letsgo("info").out


class TestHandlers:
    def test_lists_each_handler_with_its_place_and_options(self, monkeypatch):
        monkeypatch.setattr(registry, "_handlers", {})

        def wait(attempt, error):
            return 1

        @registry.handler("t:x", queue="mails", max_attempts=3, backoff=wait, timeout=2.5, where={"a": 1})
        def work(delivery):
            pass

        [listed] = letsgo("handlers", "--json").json
        assert listed["place"].startswith(f"{__name__}.TestHandlers.")
        del listed["place"]
        assert listed == {
            "type": "t:x", "function": f"{__name__}.{work.__qualname__}", "queue": "mails", "priority": None,
            "max_attempts": 3, "backoff": f"{__name__}.{wait.__qualname__}", "timeout": 2.5, "atomic": False,
            "is_async": False, "where": {"a": 1},
        }  # fmt: skip
        assert letsgo("handlers").lines[1].startswith("t:x")


class TestQueue:
    def test_pauses_with_who_why_and_until_when_and_resumes(self):
        said = letsgo("queue", "pause", "mails", "--reason", "the move", "--for", "90s", "--json").json
        queue = Queue.objects.get(name="mails")
        assert list(said) == ["name", "paused_at", "paused_by", "pause_reason", "resume_at"]
        assert (queue.pause_reason, queue.resume_at - queue.paused_at) == ("the move", timedelta(seconds=90))
        assert queue.paused_by != ""
        [line] = [line for line in letsgo("queue", "list").lines if line.startswith("mails")]
        assert "paused" in line

        assert letsgo("queue", "resume", "mails").err == "Queue 'mails' resumed.\n"
        assert queues.paused() == set()
        assert letsgo("queue", "resume", "mails").err == "Queue 'mails' was not paused.\n"
        assert letsgo("queue", "resume", "mails", "--json").json == {"name": "mails", "was_paused": False}

    def test_a_reason_that_is_no_text_is_made_storable(self):
        letsgo("queue", "pause", "mails", "--reason", "a\udcffb\0")
        assert queues.paused() == {"mails"}

    @pytest.mark.parametrize(
        "words",
        [
            ("pause", "a b"),
            ("pause", ""),
            ("pause", "mails", "--for", "0s"),
            ("resume", "a b"),
            ("purge", "a b", "--noinput"),
        ],
    )
    def test_bad_input_is_one_sentence_and_changes_nothing(self, words):
        before = everything()
        refused = refusal("queue", *words)
        assert "\n" not in refused
        assert everything() == before

    def test_purge_needs_noinput_where_nobody_can_answer(self):
        enqueue("t:x")
        assert "needs --noinput" in refusal("queue", "purge", "default")
        assert Message.objects.count() == 1

    def test_purge_deletes_what_lives_in_one_queue_and_archives_nothing(self):
        enqueue("t:x", queue="other")
        for priority in (0, 5):
            enqueue_many([("t:x", n) for n in range(3)], priority=priority)
        Message.objects.filter(queue="default", priority=5).update(leased_by=uuid4())
        said = letsgo("queue", "purge", "default", "--noinput")
        assert said.out == "deleted 6\n"
        assert list(Message.objects.values_list("queue", flat=True)) == ["other"]
        assert not ArchivedMessage.objects.exists()
        assert letsgo("queue", "purge", "default", "--noinput", "--json").json == {
            "name": "default", "deleted": 0,
        }  # fmt: skip


class TestTheVerbPurge:
    def test_goes_through_more_than_a_batch(self):
        enqueue_many([("t:x", n) for n in range(2_100)])
        assert queues.purge("default") == 2_100
        assert not Message.objects.exists()

    def test_leaves_what_is_enqueued_meanwhile(self):
        enqueue("t:x")
        until = engine_for("default").clock()
        kept = enqueue("t:x")
        Message.objects.filter(pk=kept.pk).update(enqueued_at=until + timedelta(microseconds=1))
        assert messages.purge_batch("default", until=until) == 1
        assert messages.purge_batch("default", until=until) == 0
        assert Message.objects.get().pk == kept.pk

    @pytest.mark.django_db(transaction=True)
    def test_leaves_what_a_transaction_holds(self):
        if not engine_for("default").skip_locked:
            pytest.skip("rows have no locks here")
        held, free = enqueue("t:x"), enqueue("t:x")
        deleted: list[int] = []

        def purge() -> None:
            deleted.append(queues.purge("default"))
            connections.close_all()

        with transaction.atomic():
            Message.objects.select_for_update().get(pk=held.pk)
            thread = threading.Thread(target=purge)
            thread.start()
            thread.join(30)
        assert deleted == [1]
        assert list(Message.objects.values_list("pk", flat=True)) == [held.pk]
        assert free.pk != held.pk

    def test_refuses_what_is_no_name(self):
        with pytest.raises(InvalidMessage):
            queues.purge("")


class TestWorker:
    def test_lists_the_living_the_silent_and_the_stopped(self, process):
        process("web", queues=["a", "b"], seats=8, busy=3)
        process("asleep", age=3600)
        process("ended", age=60, state="stopped")
        process("clock", kind="scheduler")
        listed = letsgo("worker", "list", "--json").json
        assert {one["name"]: one["liveness"] for one in listed} == {
            "web": "living", "asleep": "silent", "ended": "stopped",
        }  # fmt: skip
        assert list(listed[0]) == [
            "id", "kind", "name", "host", "pid", "queues", "excluded_queues", "types", "seats", "busy",
            "version", "started_at", "heartbeat_at", "state", "stop_requested", "liveness",
        ]  # fmt: skip
        table = letsgo("worker", "list").out
        assert "a, b" in table and "all" in table

    def test_the_queues_that_one_leaves_out_are_said(self, process):
        process("most", excluded_queues=["a", "b"])
        process("few", queues=["a", "c"], excluded_queues=["a", "b"])
        table = letsgo("worker", "list").out
        most, few = (next(line for line in table.splitlines() if name in line) for name in ("most", "few"))
        assert "all but a, b" in most and "all but" not in few and " c " in few and " a" not in few

    def test_asks_one_to_stop_by_name_or_id(self, process):
        by_name, by_id = process("web"), process("mail")
        said = letsgo("worker", "stop", "web")
        letsgo("worker", "stop", by_id.pk)
        assert set(Process.objects.filter(stop_requested=True)) == {by_name, by_id}
        assert (said.out, "was asked to stop" in said.err) == ("", True)

    def test_a_worker_comes_before_its_scheduler_and_the_living_before_the_silent(self, process):
        process("web", kind="scheduler")
        process("web", age=3600)
        living = process("web")
        process("web", state="stopped")
        assert letsgo("worker", "stop", "web", "--json").json["id"] == str(living.pk)
        assert list(Process.objects.filter(stop_requested=True)) == [living]

    def test_a_scheduler_can_be_stopped_too(self, process):
        process("clock", kind="scheduler")
        letsgo("worker", "stop", "clock")
        assert Process.objects.get().stop_requested

    def test_says_of_a_silent_one_that_it_may_be_gone(self, process):
        process("web", age=3600)
        assert "No recent heartbeat" in letsgo("worker", "stop", "web").err

    def test_two_of_a_name_are_not_guessed_between(self, process):
        ids = {str(process("web").pk), str(process("web").pk)}
        refused = refusal("worker", "stop", "web")
        assert "2 processes are named 'web'" in refused
        assert all(id in refused for id in ids)
        assert not Process.objects.filter(stop_requested=True).exists()

    @pytest.mark.parametrize("name", ["nobody", "ended", "", str(UUID(int=5))])
    def test_one_that_does_not_run_is_one_sentence(self, process, name):
        process("ended", state="stopped")
        assert refusal("worker", "stop", name) == f"There is no running worker or scheduler named {name!r}."


class TestPrune:
    def test_deletes_what_is_old_and_says_how_much(self):
        old = datetime.now(UTC) - timedelta(days=365)
        dead_letter(1, finished_at=old)
        dead_letter(2)
        assert letsgo("prune").out == "deleted 1\n"
        assert letsgo("prune", "--json").json == {"deleted": 0}
        assert list(ArchivedMessage.objects.values_list("pk", flat=True)) == [2]

    def test_goes_on_until_nothing_is_old(self, monkeypatch):
        monkeypatch.setattr(messages.Pruning, "batches", lambda self: iter([1000, 0, 1000, 7]))
        assert letsgo("prune").out == "deleted 2007\n"


class TestHowItIsSaid:
    def test_a_count_that_was_ended_by_the_cap_says_so_everywhere(self, monkeypatch):
        monkeypatch.setattr(work, "MOST_COUNTED", 3)
        enqueue_many([("t:x", n) for n in range(5)], queue="mails")
        [queue] = [one for one in letsgo("queue", "list", "--json").json if one["name"] == "mails"]

        assert (queue["ready"], queue["capped"]) == (3, True)
        for words in (("status",), ("queue", "list"), ("top",)):
            assert " 3+ " in letsgo(*words).out, words
        assert "run `manage.py runworker`. 3+ messages are due." in letsgo("status").out

    @pytest.mark.parametrize(
        ("zone", "said"), [("UTC", "2099-07-01 10:00:00Z"), ("Europe/Berlin", "2099-07-01 12:00:00 CEST")]
    )
    def test_moments_are_those_of_the_site_with_their_zone(self, settings, zone, said):
        settings.TIME_ZONE = zone
        at = datetime(2099, 7, 1, 10, tzinfo=UTC)
        id = enqueue("t:x", visible_at=at).pk
        Message.objects.update(errors=[{"attempt": 1, "at": at.isoformat(), "class": "E", "message": ""}])

        lines = letsgo("message", "show", id).lines
        assert [line for line in lines if said in line and "Visible at" in line]
        assert f"#1 {said} E: " in lines
        assert letsgo("message", "show", id, "--json").json["visible_at"] == at.isoformat()
