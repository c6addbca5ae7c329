"""Each line that is logged while a message is handled names that message, and no other one.

By any logger and at any depth: of sync, async and atomic handlers, side by side and one after the other.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import logging.handlers
import queue as stdlib_queue
import time

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from django_letsgo_worker import Retry, aenqueue, context, enqueue, logs
from django_letsgo_worker.context import correlation_id
from django_letsgo_worker.testing import drain
from django_letsgo_worker.worker import isolation
from tests.docs.test_snippets import snippets_of
from tests.support import ROOT
from tests.testapp.models import Effect

from .conftest import SETTINGS

pytestmark = pytest.mark.django_db(transaction=True)

library = logging.getLogger("some.library")


@pytest.fixture
def lines():
    """What all loggers write as JSON, by their texts: lines("text") are the objects of those lines."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JSONFormatter())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)

    def found(text=""):
        objects = [json.loads(line) for line in stream.getvalue().splitlines()]
        return [one for one in objects if text in one["message"]]

    yield found
    root.removeHandler(handler)
    root.setLevel(before)


def about(message, attempt=1):
    return {
        "message_id": message.pk, "message_type": message.type, "queue": message.queue, "attempt": attempt,
        "correlation_id": str(message.headers.get("correlation_id") or message.pk),
    }  # fmt: skip


def facts(line):
    return {name: line[name] for name in context.FACTS if name in line}


@pytest.mark.parametrize("kind", ["sync", "atomic", "async", "behind a decorator"])
def test_a_line_of_any_logger_names_the_message(handle, work, lines, kind):
    def deep():
        library.info("from the depths", extra={"shop": 7})

    def say(delivery):
        deep()
        delivery.log.info("by its own log")

    async def say_later(delivery):
        await asyncio.sleep(0)
        deep()
        await sync_to_async(deep)()
        await asyncio.to_thread(deep)
        delivery.log.info("by its own log")

    function = {"async": say_later, "behind a decorator": lambda delivery: say_later(delivery)}.get(kind, say)
    handle("t:say", atomic=kind == "atomic")(function)
    message = enqueue("t:say", {"secret": "hush"}, queue="orders")

    work()

    deep_lines = lines("from the depths")
    assert len(deep_lines) == (1 if function is say else 3)
    for line in (*deep_lines, *lines("by its own log")):
        assert facts(line) == about(message)
    assert deep_lines[0]["shop"] == 7 and deep_lines[0]["logger"] == "some.library"
    # The line about the attempt, too; and what the message carries is in none of them.
    assert [facts(line) for line in lines("succeeded: ")] == [about(message)]
    assert "hush" not in json.dumps(lines())


@pytest.mark.parametrize("kind", ["sync", "atomic", "async"])
def test_the_line_of_a_failure_names_the_attempt_and_the_next_one_its_own(handle, work_off, lines, kind):
    def fail(delivery):
        library.info("here")
        raise Retry(delay=0) if delivery.attempt == 1 else ValueError("no hope")

    async def fail_later(delivery):
        fail(delivery)

    handle("t:fail", atomic=kind == "atomic", max_attempts=2)(fail_later if kind == "async" else fail)
    message = enqueue("t:fail")

    work_off()

    assert [facts(line) for line in lines("here")] == [about(message, 1), about(message, 2)]
    (dead,) = lines("dead: ")
    assert facts(dead) == about(message, 2)
    assert dead["level"] == "ERROR" and "ValueError: no hope" in dead["exception"]


def test_what_an_atomic_handler_left_for_its_commit_names_it(handle, work_off, lines):
    @handle("t:commit", atomic=True)
    def commit(delivery):
        Effect.objects.create(n=1, receipt=0)
        transaction.on_commit(lambda: library.info("committed"))

    message = enqueue("t:commit")

    work_off()

    assert [facts(line) for line in lines("committed")] == [about(message)]


def test_the_correlation_id_of_a_request_is_on_every_line_of_what_follows_from_it(
    handle, work_off, lines, settings
):
    settings.LETSGO_WORKER = {"CONTEXT": ["correlation_id"], "SCHEDULE": ""}

    @handle("t:first")
    async def first(delivery):
        library.info("first")
        await aenqueue("t:second")

    @handle("t:second")
    def second(delivery):
        library.info("second")

    with correlation_id("request-4711"):
        enqueue("t:first")
        library.info("the request")

    work_off()

    about_it = [line for line in lines() if line.get("correlation_id") == "request-4711"]
    assert [line["message"].split(":")[0] for line in about_it] == [
        "the request", "first", "succeeded", "second", "succeeded",
    ]  # fmt: skip


class TestNeighbours:
    """Handlers at once and one after the other on the same seat: no line names another one's message."""

    @pytest.mark.parametrize("kind", ["sync", "async", "both"])
    def test_no_line_names_the_neighbour_s_message(self, handle, start_worker, lines, kind):
        handle("t:async")(self.say_in_turn_later)
        handle("t:sync")(self.say_in_turn)
        types = ["t:sync", "t:async"] if kind == "both" else [f"t:{kind}"]
        made = [enqueue(types[n % len(types)], n) for n in range(24)]

        start_worker(seats=4, until_empty=True).join()

        said = {line["message"]: line for line in lines("payload ")}
        assert len(said) == 3 * len(made)
        for number, message in enumerate(made):
            for place in range(3):
                assert facts(said[f"payload {number} line {place}"]) == about(message)

    @staticmethod
    def say_in_turn(delivery):
        for place in range(3):
            library.info("payload %s line %s", delivery.payload, place)
            # Lets the neighbours speak in between.
            time.sleep(0)

    @staticmethod
    async def say_in_turn_later(delivery):
        for place in range(3):
            library.info("payload %s line %s", delivery.payload, place)
            await asyncio.sleep(0)

    def test_a_seat_between_two_messages_names_none(self, handle, work_off, lines, monkeypatch):
        handle("t:say")(lambda delivery: library.info("inside"))
        tidy = isolation.ConnectionKeeper.after
        monkeypatch.setattr(
            isolation.ConnectionKeeper, "after", lambda self: (library.info("between"), tidy(self))[1]
        )
        for _ in range(3):
            enqueue("t:say")

        work_off()

        assert len(lines("inside")) == 3
        assert [facts(line) for line in lines("between")] == [{}] * 3

    def test_drain_leaves_nothing_behind(self, handle, lines):
        handle("t:say")(lambda delivery: library.info("inside"))

        @handle("t:later")
        async def later(delivery):
            library.info("inside")

        messages = [enqueue("t:say"), enqueue("t:later")]
        drain()
        library.info("outside")

        assert [facts(line) for line in lines("inside")] == [about(message) for message in messages]
        assert [facts(line) for line in lines("outside")] == [{}]


def test_another_thread_writes_what_the_handler_logged(handle, work_off):
    stream, records = io.StringIO(), stdlib_queue.SimpleQueue()
    target = logging.StreamHandler(stream)
    target.setFormatter(logs.JSONFormatter())
    listener = logging.handlers.QueueListener(records, target)
    entrance = logging.handlers.QueueHandler(records)
    entrance.addFilter(context.CorrelationFilter())
    library.addHandler(entrance)
    library.setLevel(logging.INFO)
    handle("t:say")(lambda delivery: library.info("inside"))
    message = enqueue("t:say")
    try:
        listener.start()
        work_off()
        library.info("outside")
    finally:
        listener.stop()
        library.removeHandler(entrance)
        library.setLevel(logging.NOTSET)

    inside, outside = (json.loads(line) for line in stream.getvalue().splitlines())
    assert facts(inside) == about(message)
    assert facts(outside) == {}


class TestStructlog:
    @pytest.fixture
    def events(self):
        """What structlog's loggers, and others through its formatter, write."""
        structlog = pytest.importorskip("structlog")
        stream = io.StringIO()
        chain = [structlog.contextvars.merge_contextvars, logs.merge_message, structlog.stdlib.add_log_level]
        structlog.configure(
            processors=[*chain, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
            logger_factory=structlog.stdlib.LoggerFactory(),
        )
        handler = logging.StreamHandler(stream)
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=chain,
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.JSONRenderer(),
                ],
            )
        )
        root = logging.getLogger()
        before = root.level
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        yield lambda text: [
            line for line in map(json.loads, stream.getvalue().splitlines()) if text in line["event"]
        ]
        root.removeHandler(handler)
        root.setLevel(before)
        structlog.reset_defaults()

    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_its_lines_name_the_message_and_so_do_those_of_others(self, handle, work_off, events, kind):
        import structlog

        def say(delivery):
            structlog.get_logger("shop").info("by structlog", order=7)
            library.info("by a library")

        async def say_later(delivery):
            say(delivery)

        handle("t:say")(say_later if kind == "async" else say)
        message = enqueue("t:say")

        work_off()
        library.info("outside")

        (ours,), (theirs,), (outside,) = events("by structlog"), events("by a library"), events("outside")
        assert (facts(ours), ours["order"]) == (about(message), 7)
        assert facts(theirs) == about(message)
        assert facts(outside) == {}
        # Written by another thread, after the handler.
        assert [facts(line) for line in events("succeeded: ")] == [about(message)]


def test_a_real_worker_writes_json_with_the_settings_of_the_page(manage, tmp_path):
    page = ROOT / "docs" / "howto" / "log-as-json.md"
    as_json = next(one.text for one in snippets_of(page) if one.language == "python settings")
    (tmp_path / "json_settings.py").write_text(f"from {SETTINGS} import *\n{as_json}")
    message = enqueue("letsgo:scheduled")
    worker = manage(
        "runworker",
        "--until-empty",
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        settings_module="json_settings",
    )
    assert worker.wait() == 0

    written = [json.loads(line) for line in worker.stderr if line.startswith("{")]
    named = [line for line in written if "message_id" in line]
    assert [line["message"].split()[0] for line in named] == ["WORKER", "succeeded:"]
    assert [facts(line) for line in named] == [about(message)] * 2
