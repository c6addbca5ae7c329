"""The registry: which function handles which type, what is refused, and which `where` wins."""

from __future__ import annotations

import logging
import re
from functools import partial
from types import SimpleNamespace
from unittest.mock import AsyncMock, Mock

import pytest
from django.apps import AppConfig, apps

from django_letsgo_worker import functions, registry
from django_letsgo_worker.errors import DuplicateHandler, InvalidMessage, LetsGoError, UnknownType
from django_letsgo_worker.registry import handler


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch):
    """An empty registry for each test; the real one comes back after it."""
    monkeypatch.setattr(registry, "_handlers", {})


def a_function(name="handle", module="shop.handlers"):
    """A handler as if it stood in another module."""

    def function(delivery):
        return name

    function.__module__, function.__qualname__ = module, name
    return function


def shipped(name="handle"):
    return a_function(name, "django_letsgo_worker.contrib.something.handlers")


def generator(delivery):
    yield delivery


async def async_generator(delivery):
    yield delivery


class GeneratorCallable:
    def __call__(self, delivery):
        yield delivery


class AsyncCallable:
    async def __call__(self, delivery):
        pass


GENERATORS = {
    "a generator": generator,
    "an async generator": async_generator,
    "an object whose call is one": GeneratorCallable(),
    "a method": GeneratorCallable().__call__,
    "a partial": partial(partial(generator)),
    "a static method": staticmethod(generator),
}


class TestOneType:
    def test_a_handler_is_found_by_its_type_and_returned_unchanged(self):
        function = a_function()

        assert handler("order:new", queue="orders")(function) is function
        found = registry.get("order:new")
        assert (found.type, found.function, found.queue) == ("order:new", function, "orders")
        assert registry.find("order:new") is found
        assert registry.choose("order:new", {"any": 1}) is found

    def test_types_are_compared_byte_for_byte(self):
        handler("order")(a_function())

        for other in ("Order", "order:", "orde", ""):
            assert registry.find(other) is None
            with pytest.raises(UnknownType):
                registry.get(other)
            with pytest.raises(UnknownType):
                registry.choose(other, None)

    def test_what_is_not_said_is_left_to_the_settings(self):
        handler("job")(a_function())
        found = registry.get("job")

        assert (found.queue, found.priority, found.max_attempts, found.backoff) == (None,) * 4
        assert (found.timeout, found.atomic, found.where) == (None, False, {})

    def test_one_function_may_handle_many_types(self):
        function = a_function()
        for type in ("b", "a", "c"):
            handler(type)(function)

        assert registry.types() == ["a", "b", "c"]
        assert {one.function for one in registry.handlers()} == {function}

    def test_async_functions_are_told_apart(self):
        @handler("async")
        async def later(delivery):
            pass

        handler("sync")(a_function())
        assert [registry.get(type).is_async for type in ("async", "sync")] == [True, False]


class TestTwoForOneType:
    def test_it_is_an_error_that_names_both_places(self):
        handler("job")(a_function("first", "shop.handlers"))
        with pytest.raises(DuplicateHandler) as caught:
            handler("job")(a_function("second", "billing.handlers"))

        sentence = str(caught.value)
        assert isinstance(caught.value, LetsGoError)
        assert "'job'" in sentence
        assert re.search(
            r"shop\.handlers\.first \(line \d+\) and billing\.handlers\.second \(line \d+\)", sentence
        )
        assert registry.get("job").function(None) == "first"

    def test_two_functions_of_one_name_are_an_error_that_names_both_lines(self):
        handler("job")(a_function())
        with pytest.raises(DuplicateHandler) as caught:
            handler("job")(a_function())

        here = r"shop\.handlers\.handle \(line \d+\) in tests\.unit\.test_registry, line (\d+)"
        first, second = re.search(f"{here} and {here}", str(caught.value)).groups()
        assert int(second) == int(first) + 2

    def test_a_line_that_runs_again_replaces_its_own(self):
        for queue in ("old", "new"):
            handler("job", queue=queue)(a_function())

        assert [one.queue for one in registry.handlers()] == ["new"]

    @pytest.mark.parametrize("order", [[shipped, a_function], [a_function, shipped]], ids=["after", "before"])
    def test_a_projects_takes_the_place_of_a_shipped_one_in_either_order(self, order):
        for make in order:
            handler("letsgo:scheduled")(make(make.__name__))

        assert registry.get("letsgo:scheduled").function(None) == "a_function"
        assert len(registry.handlers()) == 1

    def test_two_of_a_projects_are_an_error_even_where_one_replaced_ours(self):
        for make in (shipped, a_function):
            handler("letsgo:scheduled")(make())

        with pytest.raises(DuplicateHandler):
            handler("letsgo:scheduled")(a_function("another"))

    def test_two_that_we_ship_are_an_error_of_ours(self):
        handler("letsgo:scheduled")(shipped("one"))

        with pytest.raises(DuplicateHandler):
            handler("letsgo:scheduled")(shipped("two"))

    def test_a_project_whose_name_only_begins_like_ours_is_a_project(self):
        handler("job")(a_function("one", "django_letsgo_worker_extras.handlers"))

        with pytest.raises(DuplicateHandler):
            handler("job")(a_function("two"))


class TestReservedTypes:
    def test_a_type_of_this_app_is_open_to_a_projects_handler(self):
        handler("letsgo:scheduled")(a_function())

        assert registry.types() == ["letsgo:scheduled"]

    @pytest.mark.parametrize("type", ["letsgo:", "letsgo:mine", "letsgo:scheduled:more", "letsgo:Scheduled"])
    def test_others_that_begin_so_are_refused_in_one_sentence(self, type):
        with pytest.raises(InvalidMessage, match="reserved for django_letsgo_worker") as caught:
            handler(type)

        assert repr(type) in str(caught.value)
        assert registry.types() == []

    def test_what_only_looks_like_it_is_not_reserved(self):
        for type in ("letsgo", "Letsgo:a", "letsgo.a", "my:letsgo:a"):
            handler(type)(a_function())

        assert len(registry.types()) == 4

    def test_an_installed_app_opens_the_types_that_it_names(self, monkeypatch):
        config = SimpleNamespace(letsgo_types=("letsgo:parrot",))
        monkeypatch.setattr(apps, "get_app_configs", lambda: [AppConfig("shop", registry), config])

        registry.check_reserved("letsgo:parrot")
        with pytest.raises(InvalidMessage):
            registry.check_reserved("letsgo:cat")


class TestOptions:
    @pytest.mark.parametrize(
        "options",
        [
            {"queue": ""}, {"queue": "a b"}, {"queue": 1}, {"queue": "q" * 65}, {"queue": "ü"},
            {"priority": 101}, {"priority": -101}, {"priority": 1.0}, {"priority": True}, {"priority": "1"},
            {"max_attempts": 0}, {"max_attempts": 32_001}, {"max_attempts": 1.5},
            {"max_attempts": True},
            {"backoff": "10min"}, {"backoff": -1}, {"backoff": []}, {"backoff": {}},
            {"timeout": 0}, {"timeout": -1}, {"timeout": "5"}, {"timeout": float("nan")}, {"timeout": True},
            {"where": {}}, {"where": []}, {"where": {1: 2}}, {"where": {"a": {1, 2}}},
            {"where": {"a": float("inf")}}, {"where": "type"},
            {"retry_on": ValueError()}, {"retry_on": [ValueError, "KeyError"]}, {"retry_on": int},
            {"give_up_on": "ValueError"}, {"give_up_on": [len]},
            {"on_dead": ""}, {"on_dead": 7}, {"on_dead": "a b"},
        ],
        ids=repr,
    )  # fmt: skip
    def test_what_is_none_is_refused_before_the_function_is_seen(self, options):
        with pytest.raises(InvalidMessage) as caught:
            handler("job", **options)

        assert next(iter(options)) in str(caught.value)
        assert registry.types() == []

    @pytest.mark.parametrize("type", ["", " ", "a b", "ü", "a\n", None, 1, "t" * 256], ids=repr)
    def test_a_type_that_cannot_be_one_is_refused(self, type):
        with pytest.raises(InvalidMessage):
            handler(type)

    def test_a_bare_decorator_is_refused(self):
        with pytest.raises(InvalidMessage, match=r"^A type is text such as 'order:new', not the function "):
            handler(a_function())

    def test_async_and_atomic_do_not_go_together(self):
        with pytest.raises(TypeError, match="'job' is async: atomic=True needs a plain def"):

            @handler("job", atomic=True)
            async def later(delivery):
                pass

        assert registry.types() == []

    def test_an_object_whose_call_is_async_is_async(self):
        with pytest.raises(TypeError, match="'job' is async: atomic=True needs a plain def"):
            handler("job", atomic=True)(AsyncCallable())

        handler("job")(AsyncCallable())
        assert registry.get("job").is_async

    @pytest.mark.parametrize("name", GENERATORS)
    def test_what_has_a_yield_is_refused_in_one_sentence(self, name):
        with pytest.raises(TypeError) as caught:
            handler("job")(GENERATORS[name])

        assert str(caught.value) == (
            "The handler of 'job' has a yield, so a call would run nothing of it: make it a function that "
            "returns."
        )
        assert registry.types() == []

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            (None, None), ((), ()), ([], ()), (ValueError, (ValueError,)),
            ([ValueError, KeyError], (ValueError, KeyError)), ({OSError}, (OSError,)),
        ],
    )  # fmt: skip
    def test_exceptions_are_a_class_or_a_list_of_them(self, given, kept):
        handler("job", retry_on=given)(a_function())

        assert registry.get("job").retry_on == kept

    @pytest.mark.parametrize(
        ("function", "why"),
        [
            (lambda delivery, more: 1, "missing a required argument: 'more'"),
            (lambda *, delivery: 1, "too many positional arguments"),
            (lambda delivery, *, more: 1, "missing a required"),
            (GeneratorCallable, "too many positional arguments"),
            (AsyncCallable.__call__, "missing a required argument: 'delivery'"),
            (partial(lambda delivery: 1, 2), "too many positional arguments"),
            (7, "it is not a function but int"),
            (None, "it is not a function but NoneType"),
        ],
    )
    def test_what_can_be_called_with_neither_a_delivery_nor_nothing_is_refused(self, function, why):
        with pytest.raises(TypeError) as caught:
            handler("job")(function)

        sentence = str(caught.value)
        assert sentence.startswith("The handler of 'job' is called with a delivery and nothing else: ")
        assert why in sentence
        assert registry.types() == []

    @pytest.mark.parametrize(
        "function",
        [
            print, [].append, int, max, lambda *all: 1, lambda delivery=None: 1, lambda delivery, more=1: 1,
            partial(lambda more, delivery: 1, 2), AsyncCallable(), Mock(), AsyncMock(),
        ],
    )  # fmt: skip
    def test_what_can_or_does_not_say_is_registered(self, function):
        handler("job")(function)

        assert registry.types() == ["job"]

    def test_changing_the_callers_where_afterwards_changes_nothing(self):
        where = {"type": "paid"}
        handler("job", where=where)(a_function())
        where["type"] = "open"

        assert registry.get("job").where == {"type": "paid"}


class TestWhere:
    def choose(self, payload):
        return registry.choose("event", payload).function(None)

    def test_the_most_keys_win_whatever_the_order(self):
        handler("event", where={"type": "paid"})(a_function("one key"))
        handler("event")(a_function("no key"))
        handler("event", where={"type": "paid", "live": True})(a_function("two keys"))

        assert self.choose({"type": "paid", "live": True, "more": 1}) == "two keys"
        assert self.choose({"type": "paid", "live": False}) == "one key"
        assert self.choose({"type": "open", "live": True}) == "no key"

    @pytest.mark.parametrize(
        "payload", [None, [], "paid", 1, ["type"], {}, {"types": "paid"}, {"type": None}]
    )
    def test_what_has_no_such_key_goes_to_the_plain_handler(self, payload):
        handler("event", where={"type": "paid"})(a_function("narrow"))
        handler("event")(a_function("plain"))

        assert self.choose(payload) == "plain"

    def test_none_is_a_value_and_a_missing_key_is_not(self):
        handler("event", where={"a": None})(a_function("narrow"))
        handler("event")(a_function("plain"))

        assert self.choose({"a": None}) == "narrow"
        assert self.choose({"b": None}) == "plain"

    @pytest.mark.parametrize(
        ("first", "second"),
        [({"a": 1}, {"a": 1}), ({"a": 1}, {"b": 1}), ({"a": 1, "b": 2}, {"a": 1, "c": 3})],
    )
    def test_two_that_one_payload_could_match_are_an_error_at_registration(self, first, second):
        handler("event", where=first)(a_function("first"))

        with pytest.raises(DuplicateHandler, match=r"handlers\.first .* and .*handlers\.second"):
            handler("event", where=second)(a_function("second"))

    @pytest.mark.parametrize(
        ("first", "second"),
        [({"a": 1}, {"a": 2}), ({"a": 1}, {"a": 1, "b": 2}), ({"a": 1, "b": 2}, {"a": 2, "b": 2})],
    )
    def test_two_that_no_payload_could_confuse_live_together(self, first, second):
        handler("event", where=first)(a_function("first"))
        handler("event", where=second)(a_function("second"))

        assert (self.choose(first), self.choose(second)) == ("first", "second")

    def test_a_projects_takes_the_place_of_a_shipped_one_with_the_same_where(self):
        handler("letsgo:scheduled", where={"a": 1})(a_function("theirs"))
        handler("letsgo:scheduled", where={"a": 1})(shipped("ours"))
        handler("letsgo:scheduled")(shipped("plain"))

        assert [one.function(None) for one in registry.handlers()] == ["theirs", "plain"]

    def test_a_shipped_one_steps_back_behind_a_projects_for_all_payloads(self):
        handler("letsgo:scheduled", where={"a": 1})(shipped("ours"))
        assert registry.choose("letsgo:scheduled", {"a": 1}).function(None) == "ours"
        handler("letsgo:scheduled")(a_function("theirs"))
        assert registry.choose("letsgo:scheduled", {"a": 1}).function(None) == "theirs"

    def test_a_message_that_nobody_wants_is_done_with_a_line_in_the_log(self, caplog):
        handler("event", where={"type": "paid"})(a_function())
        unmatched = registry.choose("event", {"type": "open", "secret": "x"})
        with caplog.at_level(logging.INFO, "django_letsgo_worker"):
            assert unmatched.function(SimpleNamespace(type="event", message_id=7)) is None

        assert "event" in caplog.text and "7" in caplog.text
        assert "secret" not in caplog.text

    def test_only_a_type_with_a_where_depends_on_the_payload(self):
        handler("plain")(a_function())
        handler("event")(a_function())
        handler("event", where={"a": 1})(a_function("narrow"))

        assert [registry.is_narrowed(type) for type in ("plain", "event", "unknown")] == [False, True, False]
        assert registry.find("event").where == {}

    def test_a_tuple_is_a_list_here_as_in_a_payload(self):
        handler("event", where={"place": (1, 2)})(a_function("narrow"))
        handler("event")(a_function("plain"))

        assert self.choose({"place": [1, 2]}) == "narrow"


def test_a_call_is_tried_with_arguments_of_any_name():
    assert functions.misfit(lambda function: None, function=1) is None
    assert functions.misfit(lambda function: None, args=1) == "missing a required argument: 'function'"
