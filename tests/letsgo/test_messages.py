"""letsgo enqueue, message, dead: messages by hand, live and archived, one by one and many."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connection

from django_letsgo_worker import enqueue, messages
from django_letsgo_worker.models import ArchivedMessage, DeadLetter, Message

from .test_output import dead_letter, everything, letsgo, refusal

pytestmark = pytest.mark.django_db

KEYS = [
    "state", "id", "type", "queue", "priority", "visible_at", "enqueued_at", "deadline", "attempts",
    "max_attempts", "receipt", "deaths", "leased_by", "leased_at", "first_started_at", "unique_key",
    "scheduled_job_id", "planned_at", "outcome", "finished_at", "seconds", "error_class", "error_fingerprint",
]  # fmt: skip


class TestEnqueue:
    def test_prints_the_id_and_tells_the_rest_to_people(self):
        said = letsgo("enqueue", "t:x", '{"a": 1}')
        message = Message.objects.get()
        assert (message.type, message.payload, message.queue) == ("t:x", {"a": 1}, "default")
        assert said.lines == [str(message.pk)]
        assert f"Message {message.pk} (t:x) was enqueued in queue 'default'" in said.err
        assert "No handler for the type 't:x' is known here." in said.err

    def test_takes_all_options(self):
        said = letsgo(
            *("enqueue", "t:x", "null", "--queue", "slow", "--delay", "1h30m", "--priority", "7"),
            *("--max-attempts", "2", "--deadline", "2d", "--unique-key", "k", "--json"),
        )
        message = Message.objects.get()
        assert (message.queue, message.priority, message.max_attempts, message.unique_key) == (
            "slow",
            7,
            2,
            "k",
        )
        assert message.visible_at - message.enqueued_at == timedelta(minutes=90)
        assert message.deadline - message.enqueued_at == timedelta(days=2)
        assert list(said.json) == [*KEYS, "created"]
        assert (said.json["id"], said.json["state"], said.json["created"]) == (message.pk, "scheduled", True)
        assert said.json["visible_at"] == message.visible_at.isoformat()

    def test_takes_times_with_a_zone(self):
        letsgo("enqueue", "t:x", "--at", "2099-01-01T09:00:00+01:00", "--deadline", "2099-01-02T00:00:00Z")
        message = Message.objects.get()
        assert message.visible_at == datetime(2099, 1, 1, 8, tzinfo=UTC)
        assert message.deadline == datetime(2099, 1, 2, tzinfo=UTC)
        assert message.payload is None

    def test_reads_the_payload_from_a_file_or_standard_input(self, tmp_path, monkeypatch):
        (tmp_path / "p").write_text("[1]")
        letsgo("enqueue", "t:file", f"@{tmp_path / 'p'}")
        monkeypatch.setattr("sys.stdin", io.StringIO('"typed"'))
        letsgo("enqueue", "t:stdin", "-")
        assert dict(Message.objects.values_list("type", "payload")) == {"t:file": [1], "t:stdin": "typed"}

    def test_a_live_twin_is_returned_and_said(self):
        twin = enqueue("t:x", unique_key="k")
        said = letsgo("enqueue", "t:x", "--unique-key", "k")
        assert said.lines == [str(twin.pk)]
        assert "is already live" in said.err

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (("a b",), "The type 'a b' is refused"),
            (("letsgo:mine",), "reserved"),
            (("t", "{"), "The payload is not JSON"),
            (("t", ""), "The payload is not JSON"),
            (("t", "[NaN]"), "NaN"),
            (("t", '"\\u0000"'), "NUL"),
            (("t", "@/nowhere"), "Cannot read '/nowhere'"),
            (("t", "@/"), "Cannot read '/'"),
            (("t", f'"{"x" * 300_000}"'), "262144"),
            (("t", "--queue", "a b"), "The queue 'a b' is refused"),
            (("t", "--priority", "1000"), "A priority is a whole number"),
            (("t", "--max-attempts", "0"), "max_attempts"),
            (("t", "--delay", "9999999d"), "year 9999"),
            (("t", "--at", "2099-01-01T00:00:00"), "needs a time zone"),
            (("t", "--delay", "2h", "--deadline", "1h"), "deadline"),
            (("t", "--deadline", "2001-01-01T00:00:00Z"), "deadline"),
            (("t", "--unique-key", ""), "unique_key"),
        ],
    )
    def test_bad_input_is_one_sentence_and_enqueues_nothing(self, words, sentence):
        refused = refusal("enqueue", *words)
        assert sentence in refused
        assert "\n" not in refused and len(refused) < 500
        assert not Message.objects.exists()

    def test_a_file_that_is_no_text_is_refused(self, tmp_path):
        (tmp_path / "p").write_bytes(b"\xff\xfe\x00")
        assert "not UTF-8 text" in refusal("enqueue", "t", f"@{tmp_path / 'p'}")


@pytest.fixture
def of_each_state():
    """A live message of each state, by state, and an archived one."""
    now = datetime.now(UTC)
    later = now + timedelta(hours=1)
    found = {state: enqueue(f"t:{state}", {"seen": state}).pk for state in ("ready", "running", "retrying")}
    found["scheduled"] = enqueue("t:scheduled", delay=3600, queue="other", priority=5).pk
    Message.objects.filter(pk=found["running"]).update(visible_at=later, leased_by=uuid4(), attempts=1)
    Message.objects.filter(pk=found["retrying"]).update(visible_at=later, attempts=1)
    found["dead"] = dead_letter(1001).pk
    found["cancelled"] = messages.cancel(enqueue("t:cancelled").pk).pk
    return found


class TestList:
    def test_lists_live_messages_the_highest_priority_first(self, of_each_state):
        listed = letsgo("message", "list", "--json").json
        assert [list(one) for one in listed] == [KEYS] * 4
        assert listed[0]["state"] == "scheduled"
        assert {one["id"]: one["state"] for one in listed} == {
            of_each_state[state]: state for state in ("ready", "running", "retrying", "scheduled")
        }

    @pytest.mark.parametrize("state", ["ready", "running", "retrying", "scheduled", "dead", "cancelled"])
    def test_lists_one_state_or_one_outcome(self, of_each_state, state):
        [one] = letsgo("message", "list", "--state", state, "--json").json
        assert (one["id"], one["state"], list(one)) == (of_each_state[state], state, KEYS)
        assert letsgo("message", "list", "--state", state).lines[1].split()[:2] == [str(one["id"]), state]

    def test_narrows_by_queue_and_type(self, of_each_state):
        def ids(*words):
            return [one["id"] for one in letsgo("message", "list", *words, "--json").json]

        assert ids("--queue", "other") == [of_each_state["scheduled"]]
        assert ids("--type", "t:ready") == [of_each_state["ready"]]
        assert ids("--type", "t:ready", "--queue", "other") == []
        assert ids("--state", "dead", "--type", "t:nobody") == []

    def test_shows_no_more_than_the_limit_and_says_that_there_are_more(self):
        for n in range(4):
            enqueue("t:x", n, priority=n)
        said = letsgo("message", "list", "--limit", "3")
        assert len(said.lines) == 1 + 3
        assert said.err == "These are the first 3; --limit shows more.\n"
        assert letsgo("message", "list", "--limit", "4").err == ""

    def test_shows_payloads_only_when_they_are_asked_for(self, of_each_state):
        [one] = letsgo("message", "list", "--state", "ready", "--payload", "--json").json
        assert (one["payload"], one["headers"], one["result"]) == ({"seen": "ready"}, {}, None)
        assert '{"seen": "ready"}' in letsgo("message", "list", "--payload").out

    def test_a_name_that_can_be_none_is_refused(self):
        assert "is refused" in refusal("message", "list", "--queue", "a b")

    def test_reads_each_lane_through_its_index(self, of_each_state, django_assert_max_num_queries):
        # The clock, the lanes, and one query for each of the two lanes.
        with django_assert_max_num_queries(12):
            letsgo("message", "list", "--json")


class TestShow:
    def test_shows_a_live_message(self, of_each_state):
        shown = letsgo("message", "show", of_each_state["ready"], "--json").json
        assert list(shown) == [*KEYS, "errors"]
        assert (shown["state"], shown["outcome"]) == ("ready", None)

    def test_shows_an_archived_message_with_its_errors(self):
        error = {
            "attempt": 1,
            "at": "2026-01-01",
            "class": "shop.Bad",
            "message": "no\x1b[2J",
            "traceback": "a\nb",
        }
        dead_letter(7, errors=[error, "not an entry"])
        for noun in ("message", "dead"):
            shown = letsgo(noun, "show", 7)
            assert "Outcome:" in shown.out
            assert r"#1 2026-01-01 shop.Bad: no\x1b[2J" in shown.lines
            assert shown.lines[shown.lines.index("    a") + 1] == "    b"
            assert "\x1b" not in shown.out
            assert "The payload is hidden" in shown.err
            assert letsgo(noun, "show", 7, "--json").json["errors"] == [error, "not an entry"]

    def test_shows_the_payload_when_it_is_asked_for_with_secrets_masked(self):
        pk = enqueue("t:x", {"n": 1, "api_key": "x"}, headers={"h": 1}).pk
        shown = letsgo("message", "show", pk, "--payload", "--json").json
        assert (shown["payload"], shown["headers"]) == ({"n": 1, "api_key": "•••"}, {"h": 1})

    def test_a_result_is_as_private_as_a_payload(self):
        dead_letter(7, outcome="succeeded", result={"name": "Ada", "token": "x"})
        assert "result" not in letsgo("message", "show", 7, "--json").json
        assert "Ada" not in letsgo("message", "show", 7).out
        shown = letsgo("message", "show", 7, "--payload", "--json").json
        assert shown["result"] == {"name": "Ada", "token": "•••"}

    @pytest.mark.parametrize("id", [0, 1, 2**63, 10**30])
    def test_an_id_that_is_nowhere_is_one_sentence(self, id):
        assert refusal("message", "show", id) == f"There is no message with the id {id}."
        assert refusal("dead", "show", id) == f"There is no message with the id {id}."
        assert refusal("message", "cancel", id) == f"There is no live message with the id {id}."
        assert refusal("dead", "redrive", id) == f"There is no dead letter with the id {id}."
        assert refusal("dead", "discard", id, "--noinput") == f"There is no dead letter with the id {id}."

    def test_a_message_that_is_no_dead_letter_is_not_shown_as_one(self, of_each_state):
        assert "There is no dead letter" in refusal("dead", "show", of_each_state["cancelled"])
        assert "There is no dead letter" in refusal("dead", "show", of_each_state["ready"])


class TestWhy:
    def test_says_why_a_message_waits_what_to_do_and_what_happened(self, settings):
        settings.TIME_ZONE = "Asia/Kathmandu"
        id = enqueue("t:x", {"card": "4111"}, delay=600).pk
        said = letsgo("message", "why", id)

        assert said.lines[0].startswith("Waits until ") and "it was enqueued for then" in said.lines[0]
        assert said.lines[1:6] == [
            "", "What to do:",
            f"  retry    manage.py letsgo message retry {id}",
            f"  cancel   manage.py letsgo message cancel {id}",
            "  run      manage.py runworker --queues default",
        ]  # fmt: skip
        assert said.lines[6:8] == ["", "What happened:"]
        assert re.fullmatch(r"  \S+ \S+ \+0545  enqueued   Enqueued into default, .*", said.lines[8])
        assert "4111" not in said.out

    def test_shows_the_newest_traceback_without_what_a_terminal_may_obey(self):
        error = {
            "attempt": 1, "at": "2026-01-01T00:00:00+00:00", "seconds": 0.25, "process": "web-1",
            "class": "shop.Bad", "message": "no\x1b[2J",
        }  # fmt: skip
        dead_letter(7, errors=[{**error, "traceback": "old"}, {**error, "attempt": 2, "traceback": "a\nb"}])
        said = letsgo("message", "why", 7)

        assert any(r"Try 2 failed after 250 ms: Bad: no\x1b[2J" in line for line in said.lines)
        assert said.lines[said.lines.index("      a") + 1] == "      b"
        assert "\x1b" not in said.out and "old" not in said.out
        assert "manage.py letsgo dead redrive 7" in said.out

    def test_programs_get_all_of_it_in_utc(self):
        id = enqueue("t:x", {"card": "4111"}, delay=600).pk
        said = letsgo("message", "why", id, "--json")

        assert list(said.json) == ["id", "code", "sentence", "state", "actions", "timeline"]
        assert (said.json["id"], said.json["code"], said.json["state"]) == (id, "scheduled", "scheduled")
        assert [set(one) for one in said.json["actions"]] == [{"verb", "command", "url"}] * 3
        [enqueued] = said.json["timeline"]
        assert enqueued["event"] == "enqueued" and enqueued["at"].endswith("+00:00")
        assert "4111" not in said.out

    def test_a_message_that_is_not_there_is_a_sentence_and_an_error(self):
        assert refusal("message", "why", 17).startswith("There is no message 17: ")
        assert refusal("message", "why", 17, "--json").startswith("There is no message 17: ")


class TestCancel:
    def test_archives_a_waiting_message(self, of_each_state):
        said = letsgo("message", "cancel", of_each_state["ready"])
        assert ArchivedMessage.objects.get(pk=of_each_state["ready"]).outcome == "cancelled"
        assert (said.out, "was cancelled: it will not run" in said.err) == ("", True)

    def test_says_of_a_running_one_that_its_code_goes_on(self, of_each_state):
        assert "its code may keep running" in letsgo("message", "cancel", of_each_state["running"]).err

    def test_prints_the_archived_row_as_json(self, of_each_state):
        assert letsgo("message", "cancel", of_each_state["ready"], "--json").json["outcome"] == "cancelled"


@pytest.fixture
def dead():
    """Dead letters 1 to 6: of two types, in two queues, of three errors."""
    now = datetime.now(UTC)
    kinds = [
        ("t:a", "default", "shop.Declined"),
        ("t:b", "mails", "Declined"),
        ("t:b", "mails", "shop.NotDeclined"),
    ]
    for id in range(1, 7):
        type, queue, error = kinds[id % 3]
        dead_letter(id, type=type, queue=queue, error=error, finished_at=now - timedelta(minutes=10 - id))


def alive() -> list[int]:
    return sorted(Message.objects.values_list("pk", flat=True))


def left() -> list[int]:
    return sorted(DeadLetter.objects.values_list("pk", flat=True))


class TestDead:
    def test_lists_the_newest_first(self, dead):
        listed = letsgo("dead", "list", "--json").json
        assert [one["id"] for one in listed] == [6, 5, 4, 3, 2, 1]
        assert [list(one) for one in listed] == [KEYS] * 6
        said = letsgo("dead", "list", "--limit", "2")
        assert [line.split()[0] for line in said.lines] == ["id", "6", "5"]
        assert "--limit shows more" in said.err

    @pytest.mark.parametrize(
        ("words", "ids"),
        [
            (("--type", "t:a"), [3, 6]),
            (("--queue", "mails"), [1, 2, 4, 5]),
            (("--error", "Declined"), [1, 3, 4, 6]),
            (("--error", "shop.Declined"), [3, 6]),
            (("--error", "Declined", "--queue", "mails"), [1, 4]),
            (("--limit", "2"), [1, 2]),
            (("--all", "--limit", "3"), [1, 2, 3]),
            (("--all",), [1, 2, 3, 4, 5, 6]),
            (("4", "2", "4"), [2, 4]),
            (("4", "99"), [4]),
        ],
    )
    def test_redrives_those_that_are_chosen(self, dead, words, ids):
        if "--limit" not in words and words[0].startswith("--") and words != ("--all",):
            assert sorted(one["id"] for one in letsgo("dead", "list", *words, "--json").json) == ids
        skipped = 1 if "99" in words else 0
        redriven = letsgo("dead", "redrive", *words, "--noinput", "--json").json
        assert redriven == {"redriven": len(ids), "skipped": skipped}
        assert (alive(), left()) == (ids, [id for id in range(1, 7) if id not in ids])

    def test_discards_those_that_are_chosen(self, dead):
        said = letsgo("dead", "discard", "--error", "Declined", "--noinput")
        assert said.out == "discarded 4, skipped 0\n"
        assert (alive(), left()) == ([], [2, 5])

    def test_one_is_redriven_without_asking(self, dead):
        assert letsgo("dead", "redrive", 5).out == "redriven 1, skipped 0\n"
        assert alive() == [5]

    def test_so_is_the_only_one_that_matches(self, dead):
        DeadLetter.objects.exclude(pk=4).delete()
        assert letsgo("dead", "redrive", "--all").out == "redriven 1, skipped 0\n"

    def test_none_that_match_is_no_error(self):
        assert letsgo("dead", "redrive", "--all").out == "redriven 0, skipped 0\n"
        assert letsgo("dead", "discard", "--all").out == "discarded 0, skipped 0\n"

    @pytest.mark.parametrize(
        "words",
        [("redrive", "1", "2"), ("redrive", "--all"), ("discard", "1"), ("discard", "--queue", "mails")],
    )
    def test_what_destroys_needs_noinput_where_nobody_can_answer(self, dead, words):
        before = everything()
        refused = refusal("dead", *words)
        assert "needs --noinput" in refused and "dead letter" in refused
        assert everything() == before

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (
                (),
                "Say which to redrive: ids, --type, --queue, --error, --fingerprint, --older-than, --limit",
            ),
            (("1", "--all"), "Give either ids or options, not both."),
            (("1", "--queue", "mails"), "Give either ids or options, not both."),
            (("--type", "a b"), "is refused"),
        ],
    )
    def test_bad_input_is_one_sentence_and_changes_nothing(self, dead, words, sentence):
        before = everything()
        assert sentence in refusal("dead", "redrive", *words, "--noinput")
        assert everything() == before

    def test_one_whose_key_lives_again_is_refused_and_in_bulk_skipped(self):
        for id in (8001, 8002):
            dead_letter(id, type="t:x", unique_key=f"k{id}")
        enqueue("t:x", unique_key="k8001")
        assert "'k8001' exists already" in refusal("dead", "redrive", 8001)
        assert letsgo("dead", "redrive", 8001, 8002, "--noinput").out == "redriven 1, skipped 1\n"

    def test_more_than_a_batch_is_taken_oldest_first(self):
        now = datetime.now(UTC)
        facts = {"type": "t:x", "payload": 1, "enqueued_at": now, "visible_at": now, "outcome": "dead"}
        # All ended at the same moment: the ids tell them apart.
        ArchivedMessage.objects.bulk_create(
            ArchivedMessage(id=id, finished_at=now, **facts) for id in range(1, 1202)
        )
        assert letsgo("dead", "redrive", "--limit", "1101", "--noinput").out == "redriven 1101, skipped 0\n"
        assert left() == list(range(1102, 1202))
        assert letsgo("dead", "discard", "--all", "--noinput").out == "discarded 100, skipped 0\n"

    def test_the_archive_is_not_counted_whole(self, dead):
        with connection.execute_wrapper(refuse_an_unlimited_count):
            letsgo("dead", "discard", "--all", "--noinput")


def refuse_an_unlimited_count(execute, sql, params, many, context):
    assert "COUNT(" not in sql.upper() or "LIMIT" in sql.upper(), sql
    return execute(sql, params, many, context)
