"""Other people's tasks: what TASKS in OPTIONS says of them, and what the setting TYPES says of any type."""

from __future__ import annotations

import pytest
from django.core.exceptions import ObjectDoesNotExist
from django.test import override_settings

from django_letsgo_worker import enqueue, enqueue_many, messages, registry, schedules
from django_letsgo_worker.backend.compat import InvalidTaskBackend, TaskResultStatus, task_backends
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.registry import handler
from django_letsgo_worker.testing import drain
from tests.taskapp import BACKEND, TASKS

with override_settings(TASKS=TASKS):
    from tests.taskapp import others

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("our_tasks")]

GONE = "django.core.exceptions.ObjectDoesNotExist"


def tasks_setting(**patterns):
    return {"default": {"BACKEND": BACKEND, "QUEUES": [], "OPTIONS": {"BACKOFF": 0, "TASKS": patterns}}}


def ended():
    return ArchivedMessage.objects.get()


class TestPatterns:
    def test_a_task_whose_object_is_gone_counts_as_done(self, settings):
        settings.TASKS = tasks_setting(**{"tests.taskapp.*": {"SUCCEED_ON": [GONE]}})
        result = others.index.enqueue(404)

        assert drain() == 1
        result.refresh()
        assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, None)
        assert (ended().outcome, ended().errors) == ("succeeded", [])

    def test_without_a_policy_it_is_tried_again_and_dies(self, settings):
        settings.TASKS = tasks_setting(**{"tests.taskapp.*": {"MAX_ATTEMPTS": 2}})
        others.index.enqueue(404)

        assert drain() == 2
        assert (ended().outcome, ended().max_attempts) == ("dead", 2)

    def test_giving_up_is_by_path_too(self, settings):
        settings.TASKS = tasks_setting(**{"tests.taskapp.others.index": {"GIVE_UP_ON": [GONE]}})
        others.index.enqueue(404)

        assert drain() == 1
        assert ended().outcome == "dead"

    def test_nothing_is_retried_that_is_not_asked_for(self, settings):
        settings.TASKS = tasks_setting(**{"tests.taskapp.others.*": {"RETRY_ON": []}})
        others.index.enqueue(404)

        assert drain() == 1
        assert ended().outcome == "dead"

    def test_the_settings_take_precedence_over_the_decorator_and_a_call_over_both(self, settings):
        settings.TASKS = tasks_setting(**{"tests.taskapp.*": {"QUEUE": "pages", "PRIORITY": 7}})
        others.index.enqueue(1)
        others.index.using(queue_name="now", priority=9).enqueue(2)

        assert list(Message.objects.order_by("pk").values_list("queue", "priority")) == [
            ("pages", 7),
            ("now", 9),
        ]

    def test_equal_arguments_are_one_task(self, settings):
        settings.TASKS = tasks_setting(**{"tests.taskapp.*": {"UNIQUE": "arguments"}})
        first, twin, other = (others.index.enqueue(n) for n in (1, 1, 2))

        assert (first.id == twin.id, first.id == other.id) == (True, False)
        assert Message.objects.count() == 2

    def test_nothing_is_kept_of_a_task_that_says_so_unless_it_dies(self, settings):
        settings.TASKS = tasks_setting(**{"tests.taskapp.*": {"KEEP_FOR": 0, "MAX_ATTEMPTS": 1}})
        others.mail.enqueue("the way to a new password")
        others.index.enqueue(404)

        assert drain() == 2
        assert [row.outcome for row in ArchivedMessage.objects.all()] == ["dead"]

    def test_the_rule_of_a_type_wins_over_that_of_tasks(self, settings):
        settings.TASKS = tasks_setting(**{"tests.taskapp.*": {"MAX_ATTEMPTS": 4}})
        settings.LETSGO_WORKER = {"TYPES": {"letsgo:task:tests.*": {"MAX_ATTEMPTS": 3}}}
        others.index.enqueue(1)

        assert Message.objects.get().max_attempts == 3

    @pytest.mark.parametrize(
        ("patterns", "why"),
        [
            ({"a.*": {"RETRIES": 3}}, "TASKS in OPTIONS of TASKS['default'] has 'RETRIES' for 'a.*'"),
            ({"a.*": 3}, "TASKS in OPTIONS of TASKS['default'] must have a dictionary of options for 'a.*'"),
        ],
    )
    def test_nonsense_is_refused(self, settings, patterns, why):
        settings.TASKS = tasks_setting(**patterns)
        with pytest.raises(InvalidTaskBackend) as refused:
            task_backends["default"]
        assert why in str(refused.value)


class TestTypes:
    def test_a_handler_succeeds_on_what_the_settings_say(self, settings):
        settings.LETSGO_WORKER = {"TYPES": {"page:*": {"SUCCEED_ON": [GONE]}}}

        @handler("page:index")
        def index(delivery):
            raise ObjectDoesNotExist

        enqueue("page:index")
        assert drain() == 1
        assert ended().outcome == "succeeded"

    def test_what_an_atomic_handler_wrote_before_is_taken_back(self):
        @handler("page:index", atomic=True, succeed_on=ObjectDoesNotExist)
        def index(delivery):
            others.Entry.objects.create(n=1, receipt=0, attempt=0, process=0)
            raise ObjectDoesNotExist

        enqueue("page:index")
        assert drain() == 1
        assert (ended().outcome, others.Entry.objects.count()) == ("succeeded", 0)

    def test_equal_payloads_are_one_message_in_whatever_order_of_keys(self):
        handler("page:index", unique="arguments")(lambda delivery: None)
        first = enqueue("page:index", {"a": 1, "b": 2})
        assert enqueue("page:index", {"b": 2, "a": 1}).pk == first.pk
        assert enqueue_many([("page:index", {"a": 1, "b": 2}), ("page:index", {"a": 2})])[0] == first.pk
        assert enqueue("page:index", {"a": 1, "b": 2}, unique_key="own").pk != first.pk

    def test_planned_times_are_not_one_message_even_so(self):
        handler("page:index", unique="arguments")(lambda delivery: None)
        schedules.add("pages", "@daily", "page:index", {"a": 1})
        assert schedules.run_now("pages").pk != schedules.run_now("pages").pk

    def test_each_type_keeps_its_messages_for_its_own_time(self, settings, at_days):
        settings.LETSGO_WORKER = {
            "KEEP_SUCCEEDED_FOR": 7,
            "TYPES": {"long": {"KEEP_FOR": 20}, "short": {"KEEP_FOR": 1}},
        }
        for type in ("long", "short", "plain"):
            handler(type)(lambda delivery: None)
            enqueue(type)
        drain()
        left = {days: at_days(days) for days in (0.5, 2, 8, 21)}

        assert left == {0.5: {"long", "short", "plain"}, 2: {"long", "plain"}, 8: {"long"}, 21: set()}

    def test_a_pattern_keeps_what_this_process_has_no_handler_for(self, settings, at_days):
        settings.LETSGO_WORKER = {"TYPES": {"lo*": {"KEEP_FOR": 20}, "sh*": {"KEEP_FOR": 1}}}
        for type in ("long", "loud", "short", "plain"):
            handler(type)(lambda delivery: None)
            enqueue(type)
        drain()
        for type in ("long", "loud", "short", "plain"):
            registry.remove(type)

        assert at_days(2) == {"long", "loud", "plain"}
        assert at_days(8) == {"long", "loud"}

    def test_a_keep_time_of_its_own_keeps_what_the_settings_do_not(self, settings):
        settings.LETSGO_WORKER = {"KEEP_SUCCEEDED_FOR": 0, "TYPES": {"kept": {"KEEP_FOR": 1}}}
        for type in ("kept", "plain"):
            handler(type)(lambda delivery: None)
            enqueue(type)
        drain()

        assert [row.type for row in ArchivedMessage.objects.all()] == ["kept"]

    def test_dead_letters_are_kept_as_long_as_all_others(self, settings, at_days):
        settings.LETSGO_WORKER = {"TYPES": {"short": {"KEEP_FOR": 0, "RETRY_ON": []}}}

        @handler("short")
        def fail(delivery):
            raise ValueError

        enqueue("short")
        drain()
        assert at_days(3) == {"short"}


@pytest.fixture
def at_days():
    """Prune as if so many days had passed; return the types of which something is left."""
    from datetime import timedelta

    from django.utils import timezone

    def prune(days):
        messages.prune(now=timezone.now() + timedelta(days=days))
        return set(ArchivedMessage.objects.values_list("type", flat=True))

    return prune
