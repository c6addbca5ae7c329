"""contrib.celery: settings, routes and options; what cannot be carried over is refused in a sentence."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest
from django.core.checks import run_checks

from django_letsgo_worker import registry
from django_letsgo_worker.contrib import celery
from django_letsgo_worker.contrib.celery import (
    Celery,
    Task,
    UnsupportedCelery,
    app,
    apps,
    chord,
    group,
    shared_task,
)
from django_letsgo_worker.contrib.celery.conf import Conf
from django_letsgo_worker.errors import DuplicateHandler, InvalidMessage, LetsGoError
from django_letsgo_worker.models import Message
from tests.support import ROOT

pytestmark = pytest.mark.usefixtures("celery_app")


def task(**options):
    return shared_task(name="shop.add", **options)(lambda *args: None)


class TestOptionsOfATask:
    @pytest.mark.parametrize(
        ("option", "value", "instead"),
        [
            ("rate_limit", "10/m", "--concurrency"), ("time_limit", 60, "@handler with timeout="),
            ("soft_time_limit", 60, "@handler with timeout="), ("serializer", "pickle", "its primary key"),
            ("acks_late", False, "max_retries=0"), ("reject_on_worker_lost", False, "max_retries=0"),
            ("acks_on_failure_or_timeout", False, "leave it out"), ("throws", (KeyError,), "leave it out"),
            ("compression", "zlib", "send its key"), ("pydantic", True, "@message_type"),
            ("store_errors_even_if_ignored", False, "leave it out"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_refused_with_what_to_do_instead(self, option, value, instead):
        with pytest.raises(UnsupportedCelery) as caught:
            task(**{option: value})
        sentence = str(caught.value)
        assert sentence.startswith(f"The task shop.add cannot have {option}=")
        assert instead in sentence and sentence.endswith(".") and ". " not in sentence
        assert isinstance(caught.value, LetsGoError) and isinstance(caught.value, NotImplementedError)
        assert registry.find("celery:shop.add") is None

    def test_what_is_so_anyway_is_accepted(self):
        task(
            acks_late=True, reject_on_worker_lost=True, serializer="json", track_started=True,
            send_events=False, trail=True, store_errors_even_if_ignored=True, typing=False,
        )  # fmt: skip

    def test_an_unknown_option_is_refused_with_the_nearest(self):
        with pytest.raises(
            TypeError, match=r"The task shop\.add has no option 'max_retry'; did you mean 'max_retries'"
        ):
            task(max_retry=3)

    def test_a_base_class_is_refused_the_same(self):
        class Limited(Task):
            rate_limit = "10/m"

        with pytest.raises(UnsupportedCelery, match="cannot have rate_limit='10/m'"):
            task(base=Limited)

    @pytest.mark.parametrize("name", ["shop add", "shop/add", "ä", "x" * 250])
    def test_a_name_that_is_no_type_is_refused(self, name):
        with pytest.raises(InvalidMessage, match="The type 'celery:"):
            shared_task(name=name)(lambda: None)

    @pytest.mark.parametrize(
        "options", [{"queue": "a b"}, {"priority": 101}, {"max_retries": -2}, {"on_dead": "a b"}]
    )
    def test_a_value_that_no_message_can_have_is_refused(self, options):
        with pytest.raises(InvalidMessage):
            task(**options)

    def test_a_function_that_no_worker_could_run_is_refused(self):
        async def later(): ...

        def each():
            yield

        with pytest.raises(UnsupportedCelery, match="is async"):
            shared_task(later)
        with pytest.raises(TypeError, match="has a yield"):
            shared_task(each)

    def test_two_tasks_of_one_name_are_refused(self):
        task()
        with pytest.raises(DuplicateHandler):
            shared_task(name="shop.add")(lambda: None)

    def test_options_are_given_by_name(self):
        with pytest.raises(TypeError, match="with options by name"):
            shared_task("shop.add")


class TestOptionsOfACall:
    @pytest.mark.parametrize(
        "option",
        ["task_id", "link", "link_error", "shadow", "headers", "exchange", "routing_key", "time_limit"],
    )
    def test_what_cannot_be_is_refused_with_what_to_do_instead(self, option):
        for call in (task().apply_async, task().apply, task().s().apply_async):
            with pytest.raises(UnsupportedCelery, match=f"A call of shop.add cannot have {option}='x': "):
                call(**{option: "x"})

    def test_an_unknown_option_is_refused(self):
        with pytest.raises(
            TypeError, match="A call of shop.add has no option 'count_down'; did you mean 'countdown'"
        ):
            task().apply_async(count_down=1)

    @pytest.mark.django_db
    def test_what_says_nothing_is_accepted(self):
        task().apply_async(link=None, retry=True, serializer="json", add_to_parent=False)
        assert Message.objects.count() == 1

    @pytest.mark.parametrize(
        "options", [{"countdown": "soon"}, {"eta": "2027-01-01"}, {"expires": 0}, {"priority": 101}]
    )
    def test_a_value_that_no_message_can_have_is_refused(self, options):
        with pytest.raises((InvalidMessage, TypeError)):
            task().apply_async(**options)


class TestTheCanvas:
    @pytest.mark.parametrize(
        "use",
        [
            lambda add: group(add.s(1)),
            lambda add: chord([add.s(1)], add.s(2)),
            lambda add: add.chunks([], 1),
            lambda add: add.map([]),
            lambda add: add.starmap([]),
            lambda add: add.replace(add.s()),
            lambda add: add.s().link(add.s()),
            lambda add: add.s().link_error(add.s()),
            lambda add: add.s().on_error(1),
        ],
    )
    def test_what_is_not_here_is_refused_with_what_to_do_instead(self, use):
        with pytest.raises(UnsupportedCelery, match=r"^\w+ is not supported here: [^.]+\S"):
            use(task())


class TestSettings:
    def test_they_are_assigned_or_read_or_defaults(self, celery_app, settings):
        assert celery_app.conf.task_always_eager is False
        settings.CELERY_TASK_ALWAYS_EAGER = True
        assert celery_app.conf.task_always_eager is celery_app.conf["task_always_eager"] is True
        celery_app.conf.task_always_eager = False
        assert celery_app.conf.get("task_always_eager") is False
        celery_app.conf.update({"a": 1}, task_default_queue="slow")
        assert (celery_app.conf.a, celery_app.conf["task_default_queue"]) == (1, "slow")
        assert celery_app.conf.as_written("task_always_eager") == "CELERY_TASK_ALWAYS_EAGER"

    def test_they_are_read_from_modules_and_mappings(self, monkeypatch):
        module = types.ModuleType("shop_celeryconfig")
        module.task_default_queue, module.os, module.Other = "slow", types, 1
        monkeypatch.setitem(sys.modules, "shop_celeryconfig", module)
        for source in ("shop_celeryconfig", module, {"task_default_queue": "slow"}):
            conf = Conf()
            conf.read_from(source, None)
            assert conf.task_default_queue == "slow"
        monkeypatch.setattr(module, "nested", {"task_default_queue": "nested"}, raising=False)
        for path in ("shop_celeryconfig:nested", "shop_celeryconfig.nested"):
            conf.read_from(path, None)
            assert (conf.task_default_queue, conf.names()) == ("nested", ["task_default_queue"])

    def test_a_setting_that_nobody_sets_is_said(self, celery_app):
        with pytest.raises(AttributeError, match="'task_rout' is not set. Did you mean 'task_routes'"):
            _ = celery_app.conf.task_rout
        with pytest.raises(KeyError):
            _ = celery_app.conf["nothing"]

    def test_djangos_settings_without_a_namespace_are_refused(self, celery_app):
        with pytest.raises(UnsupportedCelery, match="namespace='CELERY'"):
            celery_app.config_from_object("django.conf:settings")

    def test_what_an_app_does_not_have_is_said(self, celery_app):
        with pytest.raises(
            AttributeError, match="A Celery app has no 'control' here: docs/coming-from/celery.md"
        ):
            _ = celery_app.control

    def test_an_app_takes_settings_as_arguments(self):
        made = Celery("shop", broker="redis://", backend="rpc://", task_default_queue="slow")
        assert made.conf.names() == ["task_default_queue"]


@pytest.mark.django_db
class TestRoutes:
    @pytest.mark.parametrize(
        ("routes", "queue", "priority"),
        [
            ({"shop.add": "slow"}, "slow", 0),
            ({"shop.*": {"queue": "shop", "priority": 4}, "shop.add": {"queue": "add"}}, "add", 0),
            ({"other.*": "other", "shop.*": {"queue": "shop", "priority": 4}}, "shop", 4),
            ([("shop.*", {"queue": "pairs"})], "pairs", 0),
            ([{"other.*": "other"}, {"shop.*": "second"}], "second", 0),
            (lambda name, args, kwargs, options, task=None: {"queue": f"by-{args[0]}"}, "by-7", 0),
            (lambda name, *args, **more: None, "default", 0),
            (f"{__name__}.to_slow", "slow", 0),
            (None, "default", 0),
        ],
    )  # fmt: skip
    def test_they_say_where_a_call_goes(self, celery_app, routes, queue, priority):
        celery_app.conf.task_routes = routes
        task().delay(7)
        message = Message.objects.get()
        assert (message.queue, message.priority) == (queue, priority)

    def test_the_call_wins_then_the_task_then_the_routes_then_the_defaults(self, celery_app):
        celery_app.conf.update(task_default_queue="defaults", task_default_priority=1)
        add = task()
        add.delay()
        celery_app.conf.task_routes = {"shop.*": "routes"}
        add.delay()
        add.queue = "task"
        add.delay()
        add.apply_async(queue="call")
        assert [row.queue for row in Message.objects.order_by("pk")] == ["defaults", "routes", "task", "call"]
        assert {row.priority for row in Message.objects.all()} == {1}

    def test_what_messages_do_not_have_is_refused(self, celery_app):
        for routes in ({"shop.*": {"exchange": "shop"}}, 7):
            celery_app.conf.task_routes = routes
            with pytest.raises(UnsupportedCelery, match="task_routes"):
                task().delay()

    def test_messages_that_other_code_makes_go_there_too(self, celery_app):
        celery_app.conf.task_routes = {"shop.*": {"queue": "slow", "priority": 3}}
        task()
        handler = registry.get("celery:shop.add")
        assert (handler.queue, handler.priority) == ("slow", 3)


def to_slow(name, args, kwargs, options, task=None):
    return "slow"


class TestTheCurrentApp:
    def test_it_is_the_last_that_was_made(self, celery_app):
        task()
        assert celery.current_app() is celery_app
        later = Celery("later", task_always_eager=True)
        assert celery.current_app() is later
        assert later.tasks["shop.add"].is_eager

    def test_without_any_there_is_one_of_defaults(self, monkeypatch):
        monkeypatch.setattr(app, "_apps", [])
        assert celery.current_app() is celery.current_app() is app.all_apps()[0]
        assert app._apps == []

    def test_it_finds_the_task_that_runs(self, celery_app):
        seen = []
        add = task()
        add.run = lambda: seen.append(celery_app.current_task)
        add.apply()
        assert seen == [add]
        assert celery_app.current_task is None

    @pytest.mark.django_db
    def test_it_sends_tasks_by_their_names(self, celery_app):
        task()
        celery_app.send_task("shop.add", (1,), countdown=5)
        celery_app.signature("shop.add", (2,)).delay()
        assert [row.payload["args"] for row in Message.objects.order_by("pk")] == [[1], [2]]


class TestEagerly:
    def test_a_call_runs_here_and_now(self, settings):
        settings.CELERY_TASK_ALWAYS_EAGER = True
        add = shared_task(name="shop.add")(lambda x, y: x + y)
        assert add.delay(1, 2).get() == 3

    def test_a_retry_is_thrown_where_exceptions_are(self, settings):
        settings.CELERY_TASK_EAGER_PROPAGATES = True

        @shared_task(bind=True)
        def fetch(self):
            self.retry(countdown=60)

        with pytest.raises(celery.Retry, match="Retry in 60s"):
            fetch.apply()


class TestChecks:
    def test_tasks_without_the_app_installed_are_an_error(self, settings):
        task()
        ids = [found.id for found in app.check_installed()]
        assert ids == ["letsgo_celery.E001"]
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, app.NAME]
        assert app.check_installed() == []

    def test_nothing_is_said_where_there_is_no_task(self):
        assert app.check_installed() == []

    def test_it_is_one_of_djangos_checks(self):
        task()
        assert "letsgo_celery.E001" in [found.id for found in run_checks(tags=["letsgo_celery"])]

    def test_settings_without_effect_are_a_warning(self, settings):
        settings.CELERY_BROKER_URL = "redis://"
        settings.CELERY_TASK_TRACK_STARTED = True
        assert apps.check_settings() == []
        settings.CELERY_TASK_TIME_LIMIT = 60
        (found,) = apps.check_settings()
        assert (found.id, found.msg) == ("letsgo_celery.W001", "CELERY_TASK_TIME_LIMIT has no effect here.")

    def test_pickle_is_an_error(self, settings):
        settings.CELERY_ACCEPT_CONTENT = ["json", "application/json"]
        assert apps.check_settings() == []
        settings.CELERY_ACCEPT_CONTENT = ["json", "pickle"]
        assert [found.id for found in apps.check_settings()] == ["letsgo_celery.E002"]


def test_it_is_imported_without_settings_models_or_celery():
    code = (
        "import sys; from django_letsgo_worker.contrib.celery import Celery, shared_task;"
        "app = Celery('shop'); app.config_from_object('django.conf:settings', namespace='CELERY');"
        "app.autodiscover_tasks(); add = app.task(lambda x: x, name='shop.add'); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not {"django_letsgo_worker.models", "celery", "kombu"} & set(done.stdout.split())
