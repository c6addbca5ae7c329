"""LETSGO_WORKER and its environment: defaults, who wins, what is refused and in which words."""

from __future__ import annotations

import dataclasses
import re

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_letsgo_worker import conf
from django_letsgo_worker.conf import load
from django_letsgo_worker.policies import read as read_policies


@pytest.fixture(autouse=True)
def nothing_remembered():
    conf._settings_on.cache_clear()
    yield
    conf._settings_on.cache_clear()


class TestDefaults:
    def test_an_empty_dict_gives_the_documented_defaults(self):
        settings = load({}, {})
        redact = settings.redact
        assert dataclasses.asdict(settings) == {
            "database": "default",
            "queues": None,
            "concurrency": 8,
            "lease_seconds": 30,
            "drain_seconds": 25,
            "poll_seconds": None,
            "max_attempts": 10,
            "backoff": "10m",
            "max_payload_bytes": 262_144,
            "max_result_bytes": 1_048_576,
            "keep_succeeded_for": 7,
            "keep_dead_for": 30,
            "keep_occurrences_for": 30,
            "keep_statistics_for": 2,
            "keep_hourly_statistics_for": 90,
            "redact": redact,
            "schedule": "rate(1 hour)",
            "schedule_timezone": "UTC",
            "autodiscover": ("handlers", "tasks"),
            "imports": (),
            "context": (),
            "close_connections": False,
            "types": {"patterns": ()},
            "encoder": "",
        }
        assert {"password", "secret", "token"} <= set(redact)

    def test_a_project_without_the_setting_gets_the_defaults(self):
        with override_settings():
            del django_settings.LETSGO_WORKER
            conf._settings_on.cache_clear()
            assert conf.settings() == load({}, {})

    def test_every_default_would_be_accepted_as_a_value(self):
        defaults = load({}, {})
        given = {key: getattr(defaults, key.lower()) for key in conf.KEYS}
        assert load(given, {}) == defaults

    def test_the_object_is_frozen(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            load({}, {}).concurrency = 9

    def test_changing_a_list_afterwards_changes_no_setting(self):
        queues = ["a", "b"]
        settings = load({"QUEUES": queues}, {})
        queues.append("c")
        assert settings.queues == ("a", "b")

    def test_the_dict_of_the_project_is_left_alone(self):
        given = {"QUEUES": ["a"], "CONCURRENCY": "4"}
        load(given, {"LETSGO_WORKER_CONCURRENCY": "5"})
        assert given == {"QUEUES": ["a"], "CONCURRENCY": "4"}


EVERY_KEY_BY_ENVIRONMENT = [
    ("DATABASE", "queue", "queue"),
    ("QUEUES", "orders, mail,,", ("orders", "mail")),
    ("QUEUES", "all", None),
    ("CONCURRENCY", "16", 16),
    ("LEASE_SECONDS", "1.5", 1.5),
    ("DRAIN_SECONDS", "0", 0.0),
    ("POLL_SECONDS", "0.05", 0.05),
    ("MAX_ATTEMPTS", "1", 1),
    ("BACKOFF", "1h", "1h"),
    ("MAX_PAYLOAD_BYTES", "1024", 1024),
    ("MAX_PAYLOAD_BYTES", "none", None),
    ("MAX_RESULT_BYTES", "1024", 1024),
    ("KEEP_SUCCEEDED_FOR", "0", 0.0),
    ("KEEP_DEAD_FOR", "0.5", 0.5),
    ("KEEP_OCCURRENCES_FOR", "365", 365.0),
    ("KEEP_STATISTICS_FOR", "7", 7.0),
    ("KEEP_HOURLY_STATISTICS_FOR", "365", 365.0),
    ("REDACT", "iban,pin", ("iban", "pin")),
    ("SCHEDULE", "", ""),
    ("SCHEDULE", "*/5 9-17 * * MON-FRI", "*/5 9-17 * * MON-FRI"),
    ("SCHEDULE_TIMEZONE", "Europe/Berlin", "Europe/Berlin"),
    ("AUTODISCOVER", "handlers, jobs", ("handlers", "jobs")),
    ("IMPORTS", "shop.work,shop.more_work", ("shop.work", "shop.more_work")),
    ("CONTEXT", "language, trace", ("language", "trace")),
    ("CLOSE_CONNECTIONS", "True", True),
    ("CLOSE_CONNECTIONS", " no", False),
    ("TYPES", '{"a.*": {"QUEUE": "a"}}', read_policies({"a.*": {"QUEUE": "a"}})),
    (
        "ENCODER",
        "django.core.serializers.json.DjangoJSONEncoder",
        "django.core.serializers.json.DjangoJSONEncoder",
    ),
]


class TestEnvironment:
    @pytest.mark.parametrize(("key", "text", "value"), EVERY_KEY_BY_ENVIRONMENT)
    def test_each_key_can_be_given_in_the_environment(self, key, text, value):
        assert getattr(load({}, {f"LETSGO_WORKER_{key}": text}), key.lower()) == value

    def test_no_key_is_missing_from_the_test_above(self):
        assert {key for key, _text, _value in EVERY_KEY_BY_ENVIRONMENT} == set(conf.KEYS)

    def test_it_wins_over_the_dict(self):
        assert load({"CONCURRENCY": 2}, {"LETSGO_WORKER_CONCURRENCY": "3"}).concurrency == 3

    def test_it_wins_even_over_a_dict_that_is_wrong_there(self):
        assert load({"CONCURRENCY": "x"}, {"LETSGO_WORKER_CONCURRENCY": "3"}).concurrency == 3

    def test_the_dict_wins_over_the_default_where_it_says_nothing(self):
        assert load({"CONCURRENCY": 2}, {"LETSGO_WORKER_MAX_ATTEMPTS": "3"}).concurrency == 2

    def test_variables_of_others_are_none_of_ours(self):
        assert load(
            {}, {"CONCURRENCY": "3", "letsgo_worker_concurrency": "4", "X_LETSGO_WORKER_QUEUES": "a"}
        ) == load({}, {})

    def test_an_error_names_the_variable_and_not_the_dict(self):
        with pytest.raises(
            ImproperlyConfigured, match=r"^LETSGO_WORKER_CONCURRENCY is 'many': it must be a number\.$"
        ):
            load({"CONCURRENCY": 2}, {"LETSGO_WORKER_CONCURRENCY": "many"})

    def test_the_environment_of_this_process_is_read(self, monkeypatch):
        monkeypatch.setenv("LETSGO_WORKER_CONCURRENCY", "5")
        assert conf.settings().concurrency == 5

    @pytest.mark.parametrize(("text", "value"), [("30", 30.0), ("0.5", 0.5), ("1, 5, 60", (1.0, 5.0, 60.0))])
    def test_a_back_off_in_seconds_can_be_given_in_the_environment(self, text, value):
        assert load({}, {"LETSGO_WORKER_BACKOFF": text}).backoff == value

    def test_an_empty_variable_lifts_no_limit(self):
        try:
            limit = load({}, {"LETSGO_WORKER_MAX_PAYLOAD_BYTES": ""}).max_payload_bytes
        except ImproperlyConfigured:
            return
        assert limit == 262_144

    @pytest.mark.parametrize("key", ["AUTODISCOVER", "IMPORTS", "CONTEXT", "REDACT"])
    def test_an_empty_list_is_an_answer(self, key):
        assert getattr(load({key: ["a"]}, {f"LETSGO_WORKER_{key}": ""}), key.lower()) == ()

    def test_an_unknown_variable_of_ours_is_refused_with_a_suggestion(self):
        with pytest.raises(ImproperlyConfigured, match="LETSGO_WORKER_CONCURRENCY"):
            load({}, {"LETSGO_WORKER_CONCURENCY": "4"})


class TestUnknownKeys:
    @pytest.mark.parametrize(
        ("key", "meant"),
        [
            ("CONCURENCY", "CONCURRENCY"),
            ("queues", "QUEUES"),
            ("LEASE_SECOND", "LEASE_SECONDS"),
            ("MAX_ATTEMPS", "MAX_ATTEMPTS"),
            ("SCHEDULE_TIME_ZONE", "SCHEDULE_TIMEZONE"),
        ],
    )
    def test_are_refused_with_the_nearest_known_one(self, key, meant):
        with pytest.raises(
            ImproperlyConfigured, match=rf"^LETSGO_WORKER has no setting '{key}'\. Did you mean '{meant}'\?$"
        ):
            load({key: 1}, {})

    @pytest.mark.parametrize("key", ["BROKER_URL", "", 1, None, b"QUEUES", ("QUEUES",)], ids=repr)
    def test_are_refused_without_one_when_nothing_is_near(self, key):
        with pytest.raises(ImproperlyConfigured, match=r"^LETSGO_WORKER has no setting "):
            load({key: 1}, {})

    @pytest.mark.parametrize("given", [None, [], "CONCURRENCY=1", 1, [("CONCURRENCY", 1)]], ids=repr)
    def test_something_that_is_no_dictionary_is_refused(self, given):
        with pytest.raises(ImproperlyConfigured, match=r"^LETSGO_WORKER must be a dictionary\.$"):
            load(given, {})


NAN, INF = float("nan"), float("inf")
WHOLE = ("CONCURRENCY", "MAX_ATTEMPTS", "MAX_PAYLOAD_BYTES", "MAX_RESULT_BYTES")
NUMBERS = (*WHOLE, "LEASE_SECONDS", "DRAIN_SECONDS", "POLL_SECONDS", "KEEP_SUCCEEDED_FOR", "KEEP_DEAD_FOR",
           "KEEP_OCCURRENCES_FOR")  # fmt: skip
MAY_BE_NONE = ("MAX_PAYLOAD_BYTES", "MAX_RESULT_BYTES", "POLL_SECONDS")
TEXTS = ("DATABASE", "SCHEDULE", "SCHEDULE_TIMEZONE")
LISTS = ("QUEUES", "REDACT", "AUTODISCOVER", "IMPORTS", "CONTEXT")


def refusal(key, value):
    with pytest.raises(ImproperlyConfigured) as caught:
        load({key: value}, {})
    sentence = str(caught.value)
    assert re.fullmatch(rf"LETSGO_WORKER\['{key}'\] is .*: it must .*\.", sentence, re.DOTALL), sentence
    return sentence


class TestNumbers:
    @pytest.mark.parametrize("key", NUMBERS)
    @pytest.mark.parametrize(
        "value",
        [True, False, NAN, INF, -INF, -1, "many", "nan", "1e999", [], {}, (1,), b"8", 1j],
        ids=repr,
    )
    def test_what_is_no_number_here_is_refused_in_words(self, key, value):
        refusal(key, value)

    @pytest.mark.parametrize("key", WHOLE)
    @pytest.mark.parametrize("value", [1.5, "1.5"])
    def test_a_fraction_is_refused_where_things_are_counted(self, key, value):
        assert "must be a whole number" in refusal(key, value)

    @pytest.mark.parametrize("key", [key for key in NUMBERS if key not in MAY_BE_NONE])
    def test_none_is_no_number(self, key):
        refusal(key, None)

    @pytest.mark.parametrize("key", MAY_BE_NONE)
    def test_none_is_allowed_where_it_means_something(self, key):
        assert getattr(load({key: None}, {}), key.lower()) is None

    @pytest.mark.parametrize(
        ("key", "least", "too_little"),
        [
            ("CONCURRENCY", 1, 0),
            ("LEASE_SECONDS", 1, 0.999),
            ("DRAIN_SECONDS", 0, -0.001),
            ("POLL_SECONDS", 0.05, 0.049),
            ("MAX_ATTEMPTS", 1, 0),
            ("MAX_PAYLOAD_BYTES", 1, 0),
            ("MAX_RESULT_BYTES", 1, 0),
            ("KEEP_SUCCEEDED_FOR", 0, -1),
            ("KEEP_DEAD_FOR", 0, -1),
            ("KEEP_OCCURRENCES_FOR", 0, -1),
        ],
    )
    def test_has_a_least_value_that_the_refusal_names(self, key, least, too_little):
        assert getattr(load({key: least}, {}), key.lower()) == least
        assert f"must be at least {least}." in refusal(key, too_little)

    @pytest.mark.parametrize(
        ("key", "most"), [("CONCURRENCY", 10_000), ("MAX_ATTEMPTS", 32_000), ("LEASE_SECONDS", 86_400)]
    )
    def test_has_a_most_value_that_the_refusal_names(self, key, most):
        assert getattr(load({key: most}, {}), key.lower()) == most
        assert f"must be at most {most}." in refusal(key, most + 1)

    def test_a_whole_float_counts(self):
        settings = load({"CONCURRENCY": 4.0}, {})
        assert settings.concurrency == 4
        assert type(settings.concurrency) is int

    @pytest.mark.parametrize("key", NUMBERS)
    def test_an_enormous_integer_is_refused_in_words(self, key):
        refusal(key, 10**400)

    @pytest.mark.parametrize("key", ["DRAIN_SECONDS", "POLL_SECONDS", "KEEP_SUCCEEDED_FOR", "KEEP_DEAD_FOR"])
    def test_a_time_that_no_clock_can_hold_is_refused(self, key):
        refusal(key, 1e300)


class TestSwitches:
    @pytest.mark.parametrize("value", [True, "yes", "ON", "1"], ids=repr)
    def test_is_on(self, value):
        assert load({"CLOSE_CONNECTIONS": value}, {}).close_connections is True

    @pytest.mark.parametrize("value", [False, "no", "Off", "0"], ids=repr)
    def test_is_off(self, value):
        assert load({"CLOSE_CONNECTIONS": value}, {}).close_connections is False

    @pytest.mark.parametrize("value", [None, "maybe", "", 1, 0, 2.0, [], {}, b"yes"], ids=repr)
    def test_what_is_neither_is_refused_in_words(self, value):
        assert "must be True or False." in refusal("CLOSE_CONNECTIONS", value)


class TestTexts:
    @pytest.mark.parametrize("key", TEXTS)
    @pytest.mark.parametrize("value", [None, 1, [], {}, b"default"], ids=repr)
    def test_what_is_no_text_is_refused_in_words(self, key, value):
        assert "it must be text." in refusal(key, value)

    def test_blanks_around_it_do_not_count(self):
        assert load({"SCHEDULE_TIMEZONE": " Europe/Berlin\n"}, {}).schedule_timezone == "Europe/Berlin"

    @pytest.mark.parametrize("key", ["DATABASE", "SCHEDULE_TIMEZONE"])
    def test_nothing_is_no_database_and_no_zone(self, key):
        refusal(key, "")


class TestLists:
    @pytest.mark.parametrize("key", LISTS)
    @pytest.mark.parametrize("value", [1, {"a": 1}, [1], ["a", None], [["a"]], b"a"], ids=repr)
    def test_what_is_no_list_of_names_is_refused_in_words(self, key, value):
        assert "must be a list of names" in refusal(key, value)

    @pytest.mark.parametrize("key", LISTS)
    @pytest.mark.parametrize("value", [["a", "b"], ("a", "b"), "a,b", " a , b ,"], ids=repr)
    def test_a_list_a_tuple_and_a_text_with_commas_are_the_same(self, key, value):
        assert getattr(load({key: value}, {}), key.lower()) == ("a", "b")

    @pytest.mark.parametrize("value", [None, "", "all", "*", [], (), ","], ids=repr)
    def test_queues_may_be_all_of_them(self, value):
        assert load({"QUEUES": value}, {}).queues is None

    def test_nothing_may_be_masked(self):
        assert load({"REDACT": []}, {}).redact == ()

    @pytest.mark.parametrize("name", ["", " ", "no spaces", "Größe", "a" * 65])
    def test_a_queue_that_cannot_be_is_refused(self, name):
        refusal("QUEUES", ["orders", name])


class TestBackoff:
    @pytest.mark.parametrize("value", ["1m", "1h", 5, 0.5])
    def test_may_be_a_name_or_a_number(self, value):
        assert load({"BACKOFF": value}, {}).backoff == value

    def test_may_be_a_list_or_a_function(self):
        assert load({"BACKOFF": [1, 2]}, {}).backoff == (1.0, 2.0)
        assert load({"BACKOFF": max}, {}).backoff is max

    @pytest.mark.parametrize("value", [None, "1d", -1, [], True, NAN], ids=repr)
    def test_anything_else_is_refused_in_words(self, value):
        refusal("BACKOFF", value)


class TestReading:
    def test_settings_are_read_once(self, monkeypatch):
        first = conf.settings()
        monkeypatch.setenv("LETSGO_WORKER_CONCURRENCY", "99")
        assert conf.settings() is first

    def test_they_are_read_again_when_django_says_that_they_changed(self):
        before = conf.settings().concurrency
        with override_settings(LETSGO_WORKER={"CONCURRENCY": 77}):
            assert conf.settings().concurrency == 77
        assert conf.settings().concurrency == before

    def test_a_change_of_other_settings_is_nothing_to_us(self):
        first = conf.settings()
        with override_settings(LANGUAGE_CODE="de"):
            assert conf.settings() is first

    def test_a_wrong_setting_is_no_reason_to_remember_anything(self):
        with override_settings(LETSGO_WORKER={"CONCURRENCY": 0}), pytest.raises(ImproperlyConfigured):
            conf.settings()
        assert conf.settings().concurrency == 8
