"""Policies of types: patterns of the settings, which of them wins, and what they may say."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist

from django_letsgo_worker import policies, registry
from django_letsgo_worker.conf import load
from django_letsgo_worker.registry import handler
from tests.testapp.models import Entry


@pytest.fixture(autouse=True)
def empty_registry(own_registry):
    """No handler but those of a test."""


def types(**patterns):
    return {"TYPES": patterns}


def test_the_most_specific_pattern_that_says_a_word_decides_it():
    found = policies.read(
        {
            "*": {"KEEP_FOR": 1, "PRIORITY": -5},
            "shop.*": {"QUEUE": "shop", "PRIORITY": 1},
            "shop.mails.*": {"QUEUE": "mails"},
            "shop.mails.send": {"MAX_ATTEMPTS": 2},
        }
    )

    assert found.of("shop.mails.send") == {
        "keep_for": 1.0, "priority": 1, "queue": "mails", "max_attempts": 2,
    }  # fmt: skip
    assert found.of("shop.orders.new") == {"keep_for": 1.0, "priority": 1, "queue": "shop"}
    assert found.of("other") == {"keep_for": 1.0, "priority": -5}


def test_a_pattern_without_wildcards_is_more_specific_than_one_as_long():
    found = policies.read({"a.b?": {"QUEUE": "wild"}, "a.bc": {"QUEUE": "plain"}, "*bcd": {"QUEUE": "end"}})

    assert found.of("a.bc") == {"queue": "plain"}
    assert found.of("a.bx") == {"queue": "wild"}


def test_patterns_tell_small_from_capital_letters():
    assert policies.read({"Shop.*": {"QUEUE": "a"}}).of("shop.x") == {}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "must be a dictionary of patterns"),
        ({"": {}}, "a pattern such as 'shop.*' must stand"),
        ({3: {}}, "a pattern such as 'shop.*' must stand"),
        ({"a": 3}, "must have a dictionary of options for 'a'"),
        ({"a": {"MAX_ATTEMPT": 3}}, "has 'MAX_ATTEMPT' for 'a', and there is no such option (did you mean"),
        ({"a": {"MAX_ATTEMPTS": 0}}, "is refused for 'a': max_attempts is a whole number from 1"),
        ({"a": {"GIVE_UP_ON": ["no path"]}}, "is refused for 'a': give_up_on is a list of exception classes"),
        ({"a": {"UNIQUE": "payload"}}, "is refused for 'a': unique is 'arguments' or None"),
        ({"a": {"KEEP_FOR": -1}}, "is refused for 'a': keep_for is a number of days from 0"),
        ({"a": {"QUEUE": "no such name"}}, "is refused for 'a': The queue 'no such name' is refused"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(given, why):
    with pytest.raises(ImproperlyConfigured) as refused:
        load({"TYPES": given}, {})

    assert str(refused.value).startswith("LETSGO_WORKER['TYPES'] is ")
    assert why in str(refused.value)
    assert str(refused.value).count(". ") <= 1


def test_the_environment_has_them_as_json():
    found = load({}, {"LETSGO_WORKER_TYPES": '{"a.*": {"MAX_ATTEMPTS": 2}}'})
    assert found.types.of("a.b") == {"max_attempts": 2}
    with pytest.raises(ImproperlyConfigured, match="must be JSON"):
        load({}, {"LETSGO_WORKER_TYPES": "a.*=2"})


def test_a_handler_has_what_the_settings_say_of_its_type_instead_of_its_own(settings):
    @handler("shop:mail", queue="own", max_attempts=7, keep_for=3)
    def send(delivery): ...

    assert registry.get("shop:mail").queue == "own"
    settings.LETSGO_WORKER = types(**{"shop:*": {"QUEUE": "mails", "KEEP_FOR": 0}})
    assert registry.get("shop:mail").queue == "mails"
    assert (registry.get("shop:mail").keep_for, registry.get("shop:mail").max_attempts) == (0, 7)
    settings.LETSGO_WORKER = {}
    assert registry.get("shop:mail").queue == "own"


def test_a_handler_that_is_registered_again_is_under_the_same_rule(settings):
    settings.LETSGO_WORKER = types(**{"shop:*": {"QUEUE": "mails"}})
    for attempts in (3, 4):
        registry.remove("shop:mail")
        handler("shop:mail", max_attempts=attempts)(lambda delivery: None)
        found = registry.get("shop:mail")
        assert (found.queue, found.max_attempts) == ("mails", attempts)


def test_exceptions_are_named_by_path_nested_ones_too():
    paths = [
        "ValueError",
        "django.core.exceptions.ObjectDoesNotExist",
        "tests.testapp.models.Entry.DoesNotExist",
    ]
    assert policies.classes_of(paths) == (ValueError, ObjectDoesNotExist, Entry.DoesNotExist)


def test_a_path_that_leads_nowhere_counts_for_nothing_and_is_logged(caplog):
    assert policies.classes_of(["tests.testapp.models.Nothing", KeyError]) == (KeyError,)
    assert "tests.testapp.models.Nothing, and it cannot be imported" in caplog.text
    assert policies.why_not_named("tests.testapp.models.Entry") == "that is no exception class"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_handler_may_take_no_argument(is_async):
    def plain():
        return "done"

    async def later():
        return "done"

    @handler("job")
    def job():
        return "done"

    handler("other")(later if is_async else plain)

    assert registry.get("job").function(object()) == "done"
    assert registry.get("other").is_async is is_async
    assert job() == "done"


def test_a_handler_that_may_take_a_delivery_is_given_it():
    handler("job")(lambda delivery=None: delivery)

    assert registry.get("job").function("it") == "it"
