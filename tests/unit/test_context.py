"""Context carriers: what they take along and bring back, and that none of them costs a message."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
from datetime import UTC, datetime

import pytest
from django.utils import translation

from django_letsgo_worker import Delivery, context
from django_letsgo_worker.context import captured, carrier, correlation_id, get_correlation_id, restored

TRACE = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "shop=1"}


@pytest.fixture(autouse=True)
def own_carriers(monkeypatch):
    monkeypatch.setattr(context, "_carriers", dict(context._carriers))
    monkeypatch.setattr(context, "_logged", set())


@pytest.fixture
def use(settings):
    def use(*names):
        settings.LETSGO_WORKER = {"CONTEXT": names}

    return use


def delivery(**headers):
    return Delivery(
        message_id=7, type="t:x", payload=None, headers=headers, queue="default", priority=0, attempt=1,
        max_attempts=10, receipt=1, enqueued_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


@contextlib.contextmanager
def nothing(value):
    yield


def test_without_a_setting_nothing_is_carried():
    with translation.override("de"), correlation_id("4711"):
        assert captured() == {}
    with restored(delivery(language="de", correlation_id="4711")):
        assert (translation.get_language(), get_correlation_id()) == ("en", None)


class TestLanguage:
    def test_it_goes_along_and_comes_back(self, use):
        use("language")
        with translation.override("de"):
            assert captured() == {"language": "de"}
        with restored(delivery(language="de")):
            assert translation.get_language() == "de"
        assert translation.get_language() == "en"

    @pytest.mark.parametrize("header", ["../../etc", "tlh", 5, ["de"]])
    def test_what_is_no_language_changes_nothing(self, use, header, caplog):
        use("language")
        with restored(delivery(language=header)):
            assert translation.get_language() == "en"
        assert len(caplog.records) == 1


class TestCorrelationId:
    def test_it_goes_along_and_comes_back(self, use):
        use("correlation_id")
        assert captured() == {}
        with correlation_id("4711"):
            assert captured() == {"correlation_id": "4711"}
        with restored(delivery(correlation_id="4711")):
            assert get_correlation_id() == "4711"
        assert get_correlation_id() is None

    def test_a_message_without_one_begins_a_chain(self, use):
        use("correlation_id")
        with restored(delivery()):
            assert captured() == {"correlation_id": "7"}

    def test_log_records_have_it(self):
        record = logging.makeLogRecord({})
        context.CorrelationFilter().filter(record)
        assert record.correlation_id == "-"
        with correlation_id("4711"):
            assert context.CorrelationFilter().filter(record)
        assert record.correlation_id == "4711"

    def test_within_a_delivery_they_have_its_facts_too_and_what_they_say_themselves_wins(self):
        record = logging.makeLogRecord({"attempt": 5})
        found = contextvars.copy_context()
        found.run(context.begin, delivery(correlation_id="4711"))
        assert found.run(context.CorrelationFilter().filter, record)
        assert {name: getattr(record, name) for name in context.FACTS} == {
            "message_id": 7, "message_type": "t:x", "queue": "default", "attempt": 5,
            "correlation_id": "4711",
        }  # fmt: skip
        assert context.facts() == {}


class TestTrace:
    def test_without_opentelemetry_it_is_passed_through(self, use, monkeypatch):
        monkeypatch.setitem(sys.modules, "opentelemetry", None)
        monkeypatch.setitem(sys.modules, "opentelemetry.trace.propagation.tracecontext", None)
        use("trace")
        assert captured() == {}
        with restored(delivery(**TRACE, other="x")):
            assert context.get_trace() == TRACE
            assert captured() == TRACE
        assert context.get_trace() == {}

    def test_with_opentelemetry_the_span_goes_along_and_is_the_parent(self, use):
        trace = pytest.importorskip("opentelemetry.trace")
        use("trace")
        assert captured() == {}
        span = trace.SpanContext(1, 2, True, trace.TraceFlags(1), trace.TraceState([("shop", "1")]))
        with trace.use_span(trace.NonRecordingSpan(span)):
            headers = captured()
        assert headers == {"traceparent": f"00-{1:032x}-{2:016x}-01", "tracestate": "shop=1"}
        with restored(delivery(**headers)):
            assert trace.get_current_span().get_span_context().span_id == 2
        assert not trace.get_current_span().get_span_context().is_valid


class TestOfAProject:
    def test_its_value_goes_along_and_comes_back(self, use):
        entered = []

        @contextlib.contextmanager
        def enter(value):
            entered.append(value)
            yield
            entered.append("left")

        carrier("tenant", capture=lambda: {"id": 5}, restore=enter)
        use("tenant")
        assert captured() == {"tenant": {"id": 5}}
        with restored(delivery(tenant={"id": 5})):
            assert entered == [{"id": 5}]
        with restored(delivery()):
            pass
        assert entered == [{"id": 5}, "left"]

    @pytest.mark.parametrize(
        "value", [object(), float("nan"), "x" * 5000, "\0"], ids=["object", "nan", "long", "nul"]
    )
    def test_what_cannot_be_a_header_is_left_out_and_logged_once(self, use, value, caplog):
        carrier("tenant", capture=lambda: value, restore=nothing)
        use("tenant", "correlation_id")
        with correlation_id("4711"):
            assert captured() == captured() == {"correlation_id": "4711"}
        assert [record.getMessage() for record in caplog.records] == [
            "The carrier 'tenant' failed; what it carries is missing."
        ]

    def test_one_that_does_not_exist_is_named_once(self, use, caplog):
        use("langauge")
        assert captured() == captured() == {}
        with restored(delivery()):
            pass
        assert [record.getMessage() for record in caplog.records] == [
            "CONTEXT names 'langauge', and there is no such carrier. Did you mean 'language'?"
        ]

    def test_one_that_fails_beforehand_or_afterwards_leaves_the_others_and_the_handler_alone(
        self, use, caplog
    ):
        @contextlib.contextmanager
        def late(value):
            yield
            raise OSError("late")

        def early(value):
            raise OSError("early")

        carrier("early", capture=lambda: 1, restore=early)
        carrier("late", capture=lambda: 1, restore=late)
        use("early", "late", "correlation_id")
        ran = []
        with restored(delivery(early=1, late=1, correlation_id="4711")):
            ran.append(get_correlation_id())
        assert ran == ["4711"]
        assert get_correlation_id() is None
        assert len(caplog.records) == 2

    def test_the_error_of_a_handler_passes_whatever_a_carrier_does(self, use, caplog):
        class Swallowing:
            def __enter__(self): ...

            def __exit__(self, *raised):
                return True

        @contextlib.contextmanager
        def turning(value):
            try:
                yield
            except KeyError:
                raise OSError("turned") from None

        carrier("swallowing", capture=lambda: 1, restore=lambda value: Swallowing())
        carrier("turning", capture=lambda: 1, restore=turning)
        use("swallowing", "turning")
        with pytest.raises(KeyError, match="mine"), restored(delivery(swallowing=1, turning=1)):
            raise KeyError("mine")
        assert len(caplog.records) == 1
