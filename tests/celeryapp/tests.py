"""Tests of the tasks in ordinary Celery style: calls, apply(), always_eager."""

from datetime import UTC, datetime
from decimal import Decimal
from unittest import mock

from celery import chain, states
from celery.exceptions import MaxRetriesExceededError, Retry
from celery.result import AsyncResult
from celery.schedules import crontab
from celery.signals import task_failure, task_postrun, task_prerun, task_success
from django.test import SimpleTestCase, TestCase, override_settings

from . import tasks
from .celery import app
from .tasks import Unreachable, add, after, call, divide, fetch, give_up, tidy, times, whoami


class Forgetful:
    def setUp(self):
        tasks.DONE.clear()


class Calls(Forgetful, SimpleTestCase):
    def test_a_task_is_called_as_a_function(self):
        self.assertEqual(add(2, 3), 5)
        self.assertEqual(add.run(2, 3), 5)

    def test_a_task_has_a_name(self):
        self.assertEqual(add.name, "celeryapp.tasks.add")
        self.assertEqual(add.__name__, "add")
        self.assertIn("celeryapp.tasks.add", app.tasks)

    def test_a_bound_task_called_as_a_function_has_an_empty_request(self):
        me = whoami(1, two=2)
        self.assertIsNone(me["id"])
        self.assertEqual((me["retries"], me["args"], me["kwargs"]), (0, [1], {"two": 2}))

    def test_a_retry_outside_a_worker_raises_the_reason(self):
        with self.assertRaises(Unreachable):
            fetch(5)
        with self.assertRaises(Retry):
            give_up()

    def test_an_exception_of_a_direct_call_is_raised(self):
        with self.assertRaises(Unreachable):
            call("unreachable")
        with self.assertRaises(ZeroDivisionError):
            divide(1, 0)


class Apply(Forgetful, SimpleTestCase):
    def test_a_result(self):
        result = add.apply((2, 3))
        self.assertTrue(result.ready())
        self.assertTrue(result.successful())
        self.assertEqual(
            (result.state, result.status, result.result, result.get()), ("SUCCESS", "SUCCESS", 5, 5)
        )

    def test_a_failure(self):
        result = divide.apply((1, 0))
        self.assertEqual(result.state, states.FAILURE)
        self.assertTrue(result.failed())
        self.assertIn("ZeroDivisionError", result.traceback)
        self.assertIsInstance(result.get(propagate=False), ZeroDivisionError)
        with self.assertRaises(ZeroDivisionError):
            result.get()

    def test_a_failure_may_be_thrown(self):
        with self.assertRaises(ZeroDivisionError):
            divide.apply((1, 0), throw=True)

    def test_hooks(self):
        divide.apply((6, 3))
        divide.apply((1, 0))
        self.assertEqual(tasks.DONE, [("success", 2.0), ("failure", "division by zero")])

    def test_retries_by_hand_run_at_once(self):
        self.assertEqual(fetch.apply((2,)).get(), 2)
        self.assertEqual(tasks.DONE, [("fetch", 0), ("fetch", 1), ("fetch", 2)])

    def test_after_the_last_retry_the_reason_is_raised(self):
        result = fetch.apply((5,))
        self.assertIsInstance(result.result, Unreachable)
        self.assertEqual(len(tasks.DONE), 3)

    def test_after_the_last_retry_a_task_may_catch_that_there_is_none(self):
        self.assertEqual(give_up.apply().get(), "gave up")

    def test_exceptions_that_are_retried(self):
        self.assertIsInstance(call.apply(("unreachable",)).result, Unreachable)
        self.assertEqual(len(tasks.DONE), 3)

    def test_exceptions_that_are_not_retried(self):
        for error in ("not found", "value"):
            tasks.DONE.clear()
            self.assertEqual(call.apply((error,)).state, "FAILURE")
            self.assertEqual(len(tasks.DONE), 1)

    def test_the_request(self):
        me = whoami.apply((1,), {"two": 2}).get()
        self.assertTrue(me["id"])
        self.assertTrue(me["eager"])
        self.assertEqual((me["name"], me["args"], me["kwargs"]), ("celeryapp.tasks.whoami", [1], {"two": 2}))

    def test_a_chain(self):
        self.assertEqual(chain(add.s(1, 2), times.s(), times.si(7, factor=3)).apply().get(), 21)
        self.assertEqual((add.s(1, 2) | times.s(factor=10) | add.s(1)).apply().get(), 31)

    def test_a_chain_has_the_results_before(self):
        result = (add.s(1, 2) | times.s()).apply()
        self.assertEqual((result.get(), result.parent.get()), (6, 3))


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
class Eager(Forgetful, TestCase):
    def test_delay_runs_at_once(self):
        self.assertEqual(add.delay(2, 3).get(), 5)
        self.assertEqual(add.apply_async((2,), {"y": 3}, countdown=60).get(timeout=1), 5)
        self.assertEqual(add.s(2).delay(3).get(), 5)

    def test_arguments_are_checked(self):
        with self.assertRaises(TypeError):
            add.delay(1)

    def test_arguments_go_through_json(self):
        me = whoami.delay((1, 2)).get()
        self.assertEqual(me["args"], [[1, 2]])

    def test_what_json_does_not_have(self):
        moment = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.assertEqual(after.delay(moment, price=Decimal("1.20")).get(), ["datetime", "Decimal", moment])

    def test_failures_are_results(self):
        self.assertTrue(divide.delay(1, 0).failed())

    @override_settings(CELERY_TASK_EAGER_PROPAGATES=True)
    def test_failures_are_raised_if_asked_for(self):
        with self.assertRaises(ZeroDivisionError):
            divide.delay(1, 0)

    def test_chains_run_at_once(self):
        self.assertEqual(chain(add.s(1, 2), times.s()).delay().get(), 6)
        self.assertEqual(chain(add.s(1), times.s())(2).get(), 6)

    def test_on_commit(self):
        with self.captureOnCommitCallbacks(execute=True):
            tidy.delay_on_commit(3)
            self.assertEqual(tasks.DONE, [])
        self.assertEqual(tasks.DONE, [("tidy", 3)])


class Signals(Forgetful, SimpleTestCase):
    def test_signals(self):
        heard = []

        @task_prerun.connect(sender=divide)
        def before(sender, task_id, args, **kwargs):
            heard.append(("prerun", sender.name, args))

        @task_success.connect
        def succeeded(sender, result, **kwargs):
            heard.append(("success", result))

        @task_failure.connect(sender=divide)
        def failed(sender, exception, **kwargs):
            heard.append(("failure", type(exception).__name__))

        @task_postrun.connect(sender=divide)
        def behind(state, **kwargs):
            heard.append(("postrun", state))

        try:
            divide.apply((4, 2))
            divide.apply((1, 0))
        finally:
            task_prerun.disconnect(before, sender=divide)
            task_success.disconnect(succeeded)
            task_failure.disconnect(failed, sender=divide)
            task_postrun.disconnect(behind, sender=divide)
        self.assertEqual([each[:2] for each in heard], [
            ("prerun", "celeryapp.tasks.divide"), ("success", 2.0), ("postrun", "SUCCESS"),
            ("prerun", "celeryapp.tasks.divide"), ("failure", "ZeroDivisionError"), ("postrun", "FAILURE"),
        ])  # fmt: skip


class Mocks(Forgetful, SimpleTestCase):
    def test_delay_can_be_mocked(self):
        with mock.patch.object(tidy, "delay") as delay:
            tidy.delay(1)
        delay.assert_called_once_with(1)

    def test_retry_can_be_mocked(self):
        with mock.patch.object(fetch, "retry", side_effect=Retry()) as retry, self.assertRaises(Retry):
            fetch(1)
        self.assertIsInstance(retry.call_args.kwargs["exc"], Unreachable)


class Settings(SimpleTestCase):
    def test_the_schedule(self):
        entry = app.conf.beat_schedule["tidy-every-morning"]
        self.assertEqual(entry["schedule"], crontab(minute=30, hour=6, day_of_week="mon-fri"))

    def test_settings_are_read_from_django(self):
        self.assertFalse(app.conf.task_always_eager)
        with override_settings(CELERY_TASK_ALWAYS_EAGER=True):
            self.assertTrue(app.conf.task_always_eager)

    def test_results_and_errors_have_their_names(self):
        self.assertEqual(AsyncResult("an-id").id, "an-id")
        self.assertEqual(add.AsyncResult("an-id").id, "an-id")
        self.assertIs(add.MaxRetriesExceededError, MaxRetriesExceededError)
