"""The django.tasks backend: a task is one more message, of the type letsgo:task: and its module path.

It is found in discovery.py, run in handlers.py and read back in results.py. Nothing here imports models:
tasks are decorated while Django loads its apps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.apps import apps
from django.core import checks

from .. import policies, registry
from ..errors import InvalidMessage, MessageNotFound
from ..hints import suggestion
from ..validation import check_name, show
from . import discovery, handlers, tasks
from .compat import (
    BaseTaskBackend,
    InvalidTaskBackend,
    Task,
    TaskResult,
    TaskResultDoesNotExist,
    task_backends,
    task_enqueued,
)
from .decorator import task
from .tasks import LetsGoTask, LetsGoTaskContext

__all__ = [
    "LetsGoBackend",
    "LetsGoTask",
    "LetsGoTaskContext",
    "connect",
    "message_id_of",
    "result_id_of",
    "task",
]

OPTIONS = [*(name.upper() for name in tasks.POLICY), "TASKS"]


class LetsGoBackend(BaseTaskBackend):
    """Tasks in the database of the project, run by `manage.py runworker`.

    `alias` is its key in TASKS, `params` what stands there: QUEUES, a list of names, and OPTIONS. Those are
    the options of a handler in capitals (MAX_ATTEMPTS, BACKOFF, RETRY_ON and so on), and TASKS: patterns of
    module paths, each with options for the tasks that match it. Raises InvalidTaskBackend for others.
    """

    task_class = LetsGoTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        if isinstance(params.get("QUEUES"), str):
            raise InvalidTaskBackend(f"QUEUES of TASKS[{alias!r}] is a list of names, not text.")
        self.rules = self._rules()
        discovery.connect()

    def _rules(self) -> tasks.Rules:
        where = f"OPTIONS of TASKS[{self.alias!r}]"
        for key in self.options:
            if key not in OPTIONS:
                hint = suggestion(str(key).upper(), OPTIONS)
                raise InvalidTaskBackend(f"{where} has no {key!r}.{hint}")
        try:
            patterns = policies.read(self.options.get("TASKS", {}))
        except ValueError as error:
            raise InvalidTaskBackend(f"TASKS in {where} {error}.") from None
        rules = tasks.Rules(self.options, patterns)
        try:
            rules.policy_of(None)
        except InvalidMessage as error:
            raise InvalidTaskBackend(f"{where}: {error}") from None
        return rules

    def validate_task(self, task: Task[..., Any]) -> None:
        """Refuse a `task` that cannot be enqueued (InvalidTask); register the type of one that can.

        Django calls this when a task is decorated, and when using() changes it.
        """
        super().validate_task(tasks.dated(task))
        tasks.check(task, self.rules)
        handlers.register(task, self.rules)

    def enqueue(  # type: ignore[override]
        self, task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> TaskResult[..., Any]:
        """Add a message for `task` in the caller's transaction; it will be called with `args` and `kwargs`.

        TypeError or ValueError, before any SQL, for arguments that JSON or a database cannot hold. When
        its unique_key lives already, the result is that of the task which has it.
        """
        from .. import messages
        from . import results

        self.validate_task(task)
        message = messages.enqueue(payload=handlers.payload_of(args, kwargs), **self._options_of(task))
        result = results.result_of(message, task)
        if message.created:
            task_enqueued.send_robust(sender=type(self), task_result=result)
        return result

    def enqueue_many(
        self, task: Task[..., Any], calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]
    ) -> list[str]:
        """Add a message for `task` and each of `calls`; return the ids of the results, in order.

        Each call is its arguments and its named arguments. No signal is sent. TypeError for arguments that
        the function does not take.
        """
        from .. import messages

        self.validate_task(task)
        options = self._options_of(task)
        rows = ({"payload": _payload_of(task, args, kwargs)} for args, kwargs in calls)
        return [result_id_of(id) for id in messages.enqueue_many(rows, **options)]

    def _options_of(self, task: Task[..., Any]) -> dict[str, Any]:
        """Return the arguments of enqueue() that a task decides; what its handler decides is left to that."""
        from . import results

        is_elsewhere = handlers.changed("backend", task) is not None
        priority = handlers.changed("priority", task)
        return {
            "type": tasks.type_of(task),
            # What using() changed; the rest is the handler's, by the settings as they are now.
            "queue": handlers.changed("queue_name", task),
            "priority": None if priority is None else int(priority),
            "max_attempts": self.rules.policy_of(task).get("max_attempts") if is_elsewhere else None,
            "unique_key": getattr(task, "unique_key", None),
            "headers": results.headers_of(task, self.alias),
            **tasks.visibility_of(task),
        }

    def get_result(self, result_id: str) -> TaskResult[..., Any]:
        """Return the result of the id `result_id`; TaskResultDoesNotExist, or ImportError without the task.

        An id that we never signed does not exist, without a query.
        """
        from . import results

        try:
            message = results.find(results.number_in(result_id))
        except MessageNotFound:
            raise TaskResultDoesNotExist(result_id) from None
        return results.result_of(message, discovery.task_of(message.type), id=result_id)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """Return what is wrong with the settings of this backend; `kwargs` are Django's, and not used."""
        found: list[checks.CheckMessage] = []
        if not apps.is_installed("django_letsgo_worker"):
            sentence = f"TASKS[{self.alias!r}] needs django_letsgo_worker in INSTALLED_APPS."
            found.append(checks.Error(sentence, id="letsgo_tasks.E001"))
        for queue in sorted(self.queues, key=show):
            try:
                check_name("queue", queue)
            except InvalidMessage as error:
                found.append(
                    checks.Error(f"QUEUES of TASKS[{self.alias!r}]: {error}", id="letsgo_tasks.E002")
                )
        return found + self._check_patterns()

    def _check_patterns(self) -> list[checks.CheckMessage]:
        types = [type for type in registry.types() if type.startswith(tasks.PREFIX)]
        paths = [type.removeprefix(tasks.PREFIX) for type in types]
        return [
            checks.Warning(
                f"TASKS in OPTIONS of TASKS[{self.alias!r}] has {pattern!r}, which fits no known task."
                f"{suggestion(pattern, paths)}",
                hint="Patterns are of the paths of functions, such as 'shop.tasks.*'; a module that nothing "
                "imports at start can be named in LETSGO_WORKER['IMPORTS'].",
                id="letsgo_tasks.W001",
            )
            for pattern in self.rules.patterns.idle(paths)
        ]


def _payload_of(task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    if (why := handlers.why_not_called(task, args, kwargs)) is not None:
        raise TypeError(why)
    return handlers.payload_of(args, kwargs)


def result_id_of(message_id: int) -> str:
    """Return the id of a task's result, by `message_id`, the id of its message; nothing is looked up."""
    from . import results

    return results.id_of(message_id)


def message_id_of(result_id: str) -> int:
    """Return the id of a task's message, by `result_id`, the id of its result (TaskResultDoesNotExist).

    Nothing is looked up: the message may be deleted by now.
    """
    from . import results

    try:
        return results.number_in(result_id)
    except MessageNotFound:
        raise TaskResultDoesNotExist(result_id) from None


def connect() -> None:
    """Find the project's tasks, if one of its backends is this one."""
    aliases = discovery.ours()
    for alias in aliases:
        # Making it checks its OPTIONS, and connects it to the worker's signals.
        task_backends[alias]
    if aliases:
        discovery.discover()
