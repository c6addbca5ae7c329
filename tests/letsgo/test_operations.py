"""letsgo message retry, dead redrive over time or one first, operation: many messages by hand."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_letsgo_worker import enqueue, messages
from django_letsgo_worker.models import BulkOperation, DeadLetter, Message

from .test_output import dead_letter, letsgo, refusal

pytestmark = pytest.mark.django_db


class TestRetry:
    def test_one(self):
        message = enqueue("t:x", delay=3600)
        said = letsgo("message", "retry", message.pk, "--reason", "now, please")
        assert said.err.strip() == f"Message {message.pk} (t:x) is due now."
        assert Message.objects.get().visible_at < message.visible_at
        assert Message.objects.get().errors[-1]["reason"] == "now, please"

    def test_all_that_the_options_find(self):
        enqueue("t:x", delay=3600)
        enqueue("t:y", delay=3600)
        said = letsgo("message", "retry", "--type", "t:x", "--noinput", "--json")
        assert said.json == {"retried": 1, "skipped": 0}
        assert letsgo("message", "retry", "--queue", "default", "--noinput").out == "retried 1, skipped 0\n"

    def test_over_a_time_it_is_a_bulk_operation(self):
        enqueue("t:x", delay=3600)
        said = letsgo("message", "retry", "--type", "t:x", "--over", "10m", "--noinput")
        operation = BulkOperation.objects.get()
        assert said.lines == [str(operation.pk)]
        assert (operation.kind, operation.over, operation.filter) == (
            "retry", timedelta(minutes=10), {"type": "t:x"},
        )  # fmt: skip
        assert "It waits for a worker, and none is running: run `manage.py runworker`." in said.err

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            ((), "Say which to retry: an id, or --type, --queue, --error, --fingerprint or --over."),
            ((1, "--type", "t:x"), "Give either an id or options, not both."),
            ((999,), "There is no message with the id 999."),
            (("--type", "t:x"), "Retrying all messages that these options find needs --noinput"),
            (("--type", "no type", "--noinput"), "The type 'no type' is refused"),
        ],
        ids=str,
    )
    def test_what_cannot_be_is_refused_in_one_sentence(self, words, sentence):
        assert sentence in refusal("message", "retry", *words)


class TestRedrive:
    def test_over_a_time(self):
        dead_letter(5)
        said = letsgo("dead", "redrive", "--fingerprint", "f" * 32, "--over", "10m", "--noinput", "--json")
        assert (said.json["kind"], said.json["over"], said.json["state"]) == ("redrive", 600.0, "waiting")
        assert said.json["filter"] == {"fingerprint": "f" * 32}

    def test_by_fingerprint_and_age(self):
        dead_letter(5)
        DeadLetter.objects.update(error_fingerprint="f" * 32)
        assert letsgo("dead", "redrive", "--fingerprint", "0" * 32, "--noinput").out.startswith("redriven 0")
        assert letsgo("dead", "redrive", "--older-than", "3650d", "--noinput").out.startswith("redriven 0")
        assert letsgo("dead", "redrive", "--fingerprint", "f" * 32, "--noinput").out.startswith("redriven 1")

    @pytest.mark.parametrize(
        "words", [(5, "--one-first"), ("--one-first", "--over", "1m"), (5, "--over", "1m")]
    )
    def test_what_contradicts_itself_is_refused(self, words):
        dead_letter(5)
        assert "without ids" in refusal("dead", "redrive", *words, "--noinput")
        assert DeadLetter.objects.exists()

    def test_one_first_without_any(self):
        assert refusal("dead", "redrive", "--one-first") == "No dead letter matches."


@pytest.mark.django_db(transaction=True)
class TestOneFirst:
    @pytest.fixture
    def dead(self, worker_of):
        ids = [enqueue("work:reject").pk, enqueue("work:reject").pk]
        worker_of("--until-empty").wait()
        assert DeadLetter.objects.count() == 2
        return ids

    @pytest.fixture
    def worker_of(self, manage):
        return lambda *arguments: manage("runworker", *arguments, settings_module="tests.testapp.settings")

    def test_it_says_what_became_of_it(self, dead, worker_of):
        worker_of()
        said = refusal("dead", "redrive", "--one-first", "--type", "work:reject")
        assert said == "It did not succeed."
        assert DeadLetter.objects.filter(pk__in=dead).count() == 2
        first = messages.find(dead[0])
        assert [entry.get("redrive", False) for entry in first.errors] == [False, True, False]

    def test_one_that_succeeds(self, dead, worker_of):
        DeadLetter.objects.update(type="work:note", payload={"n": 1})
        worker_of()
        said = letsgo("dead", "redrive", "--one-first", "--json")
        assert (said.json["id"], said.json["state"], said.json["error"]) == (dead[0], "succeeded", "")
        assert DeadLetter.objects.count() == 1


class TestOperation:
    @pytest.fixture
    def operation(self):
        enqueue("t:x", delay=3600)
        return messages.operate("retry", type="t:x", over="1h", by="ada", reason="it is back")

    def test_list_and_show(self, operation):
        (listed,) = letsgo("operation", "list", "--json").json
        assert listed == letsgo("operation", "show", operation.pk, "--json").json
        assert (listed["kind"], listed["by"], listed["reason"], listed["filter"]) == (
            "retry", "ada", "it is back", {"type": "t:x"},
        )  # fmt: skip
        assert "it is back" in letsgo("operation", "show", operation.pk).out
        assert "retry" in letsgo("operation", "list").out

    def test_stop(self, operation):
        said = letsgo("operation", "stop", operation.pk)
        assert f"Operation {operation.pk} (retry) is stopped: nothing done yet." in said.err
        assert "cannot be stopped: it is stopped already" in refusal("operation", "stop", operation.pk)

    def test_undo(self, operation):
        while messages.work_off_operations():
            pass
        assert letsgo("operation", "undo", operation.pk, "--json").json["state"] == "undone"
        while messages.work_off_operations():
            pass
        assert letsgo("operation", "show", operation.pk, "--json").json["given_back"] == 1

    @pytest.mark.parametrize("verb", ["show", "stop", "undo"])
    def test_one_that_is_not_there(self, verb):
        assert refusal("operation", verb, 7) == "There is no bulk operation with the id 7."
