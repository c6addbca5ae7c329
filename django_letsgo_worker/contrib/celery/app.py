"""Celery apps: settings, the decorators that make tasks, and the schedules of beat.

There is no broker and no connection: an app is a few names, and its tasks are handlers like all others.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from typing import Any, ClassVar

from django.apps import apps
from django.core.checks import CheckMessage, Error, register

from ... import registry
from . import canvas, requests, values
from .canvas import Signature
from .conf import Conf
from .exceptions import UnsupportedCelery
from .result import AsyncResult as Result
from .signals import CelerySignal
from .task import Task as AnyTask

logger = logging.getLogger("django_letsgo_worker.contrib.celery")

NAME = "django_letsgo_worker.contrib.celery"
# Every app of this process, in the order in which they were made.
_apps: list[Celery] = []


class Celery:
    """What a project knows as `app`: `main` is the name of the project's package.

    `options` are settings to begin with, in lower case; `broker` and `backend` are ignored.
    """

    Task: ClassVar[Any] = AnyTask
    AsyncResult: ClassVar[Any] = Result

    def __init__(self, main: str | None = None, **options: Any) -> None:
        self.main = main
        self.conf = Conf()
        # In Celery these two are arguments of their own; nothing is needed of either.
        self.conf.update({name: options[name] for name in options if name not in ("broker", "backend")})
        self.on_after_configure, self.on_after_finalize = CelerySignal(), CelerySignal()
        self._modules: list[tuple[Callable[[], Iterable[str]], str | None]] = []
        self._periodic: dict[str, dict[str, Any]] = {}
        _apps.append(self)

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Take settings from `obj`, an object or its path; in capitals behind a `namespace`.

        They are read when they are needed; `silent` and `force` change nothing.
        """
        self.conf.read_from(obj, namespace)

    def autodiscover_tasks(
        self, packages: Any = None, related_name: str | None = "tasks", force: bool = False
    ) -> None:
        """Import a module of each of `packages`, or of all installed apps, once Django is ready.

        `packages` is a list of names, or a function that returns one; `related_name` that of the module. With
        `force`, or when Django is ready already, they are imported at once.
        """
        given = packages if callable(packages) else (lambda: packages or ())
        if packages is None:
            given = _installed
        self._modules.append((given, related_name))
        if force or apps.ready:
            self._import()

    def task(self, *given: Any, **options: Any) -> Any:
        """Make a task of the function below; `given` is the function, `options` are Celery's.

        Raises UnsupportedCelery, in a sentence, for options that cannot be kept.
        """
        return _decorator(lambda: self, given, options)

    def send_task(
        self, name: str, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Result:
        """Enqueue a task by its `name`, with `args`, `kwargs` and `options`; it is imported here."""
        return canvas.task_named(name).apply_async(args, kwargs, **options)

    def signature(self, task: Any, *args: Any, **options: Any) -> Signature:
        """Return a call of a `task` for later, with `args` and `options` as signature() takes them."""
        return canvas.signature(task, *args, **options)

    def add_periodic_task(
        self,
        schedule: Any,
        sig: Signature,
        args: Iterable[Any] = (),
        kwargs: Any = None,
        *,
        name: str | None = None,
        **options: Any,
    ) -> str:
        """Declare a `schedule` of a signature, `sig`, with `args` and `kwargs`; return its `name`.

        `options` (expires, priority, queue) go over those of the signature. Without a `name` it is that of
        the task, with a digest of the arguments if there are any. It belongs into a receiver of
        `on_after_configure` or `on_after_finalize`, which are sent once, when Django is ready.
        """
        call = sig.clone(args, kwargs)
        key = name or _name_of_call(call)
        if key in self._periodic:
            raise UnsupportedCelery(f"Two periodic tasks are named {key!r}: give one of them a name=.")
        self._periodic[key] = {
            "task": call.task,
            "schedule": schedule,
            "args": call.args,
            "kwargs": call.kwargs,
            "options": {**call.options, **options},
        }
        return key

    @property
    def tasks(self) -> dict[str, AnyTask]:
        """The tasks of this process by their names, those of other apps too."""
        found = (getattr(handler.function, "task", None) for handler in registry.handlers())
        return {task.name: task for task in found if isinstance(task, AnyTask)}

    @property
    def current_task(self) -> AnyTask | None:
        """The task that runs in this context."""
        return self.tasks.get(requests.current().task)

    def beat_entries(self) -> dict[str, Mapping[str, Any]]:
        """Return the entries of `beat_schedule` and of add_periodic_task(), by their names."""
        return {**(self.conf.beat_schedule or {}), **self._periodic}

    def get_ready(self) -> None:
        """Import the modules of tasks, and let receivers declare their schedules; Django is ready."""
        for module in (*self.conf.imports, *self.conf.include):
            importlib.import_module(module)
        self._import()
        # Unlike other signals: what is wrong in these receivers is wrong in the project's configuration.
        self.on_after_configure.send(sender=self)
        self.on_after_finalize.send(sender=self)

    def _import(self) -> None:
        wanted, self._modules = self._modules, []
        for packages, related_name in wanted:
            for package in packages():
                _import_related(package, related_name)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"A Celery app has no {name!r} here: docs/coming-from/celery.md says what there is instead."
        )


def current_app() -> Celery:
    """Return the app whose settings count for shared tasks: the last that was made, or one of defaults."""
    return all_apps()[-1]


class CurrentTask:
    """Stands for the task that runs in this context, as Celery's `current_task` does; false if none does."""

    def __getattr__(self, name: str) -> Any:
        return getattr(current_app().current_task, name)

    def __bool__(self) -> bool:
        return current_app().current_task is not None


current_task = CurrentTask()


def all_apps() -> list[Celery]:
    """Return every app of this process; where none was made, one of defaults."""
    return list(_apps) or [_default_app()]


@cache
def _default_app() -> Celery:
    app = Celery()
    _apps.remove(app)
    return app


def shared_task(*given: Any, **options: Any) -> Any:
    """Make a task of the function below, under whichever app there is; `given` is the function.

    `options` are Celery's. Raises UnsupportedCelery, in a sentence, for those that cannot be kept.
    """
    return _decorator(current_app, given, options)


def _decorator(app: Callable[[], Celery], given: tuple[Any, ...], options: dict[str, Any]) -> Any:
    base = options.pop("base", None)

    def make(function: Callable[..., Any]) -> AnyTask:
        chosen = dict(options)
        name = chosen.pop("name", None) or _name_of(function, app)
        task: AnyTask = (base or app().Task)(function, name, app, **chosen)
        return task

    if given and not (len(given) == 1 and callable(given[0])):
        raise TypeError("A task is made by @shared_task, or by @shared_task(name=...) with options by name.")
    return make(given[0]) if given else make


def _name_of(function: Callable[..., Any], app: Callable[[], Celery]) -> str:
    module = function.__module__
    return f"{(app().main or module) if module == '__main__' else module}.{function.__name__}"


def _name_of_call(call: Signature) -> str:
    """Return a name that stays, whatever is declared before it; a digest, since names are logged."""
    if not (call.args or call.kwargs):
        return call.task
    arguments = values.plain(f"A periodic task of {call.task}", [list(call.args), call.kwargs])
    digest = sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()
    return f"{call.task} [{digest[:6]}]"


def _installed() -> list[str]:
    return [config.name for config in apps.get_app_configs()]


def _import_related(package: str, related_name: str | None) -> None:
    if related_name is None:
        importlib.import_module(package)
        return
    module = f"{package}.{related_name}"
    try:
        if find_spec(module) is not None:
            importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == package.partition(".")[0]:
            raise
        # A reusable app may bring tasks for Celery itself, or for another queue, which the project has not.
        logger.warning("%s is left out: it needs %s, which is not installed.", module, missing)


def check_installed(**kwargs: Any) -> list[CheckMessage]:
    """Report tasks of this module in a project that does not install it: workers may not find them."""
    if apps.is_installed(NAME) or not current_app().tasks:
        return []
    return [
        Error(
            f"There are tasks of {NAME}, which is not installed: workers and schedulers would not find all.",
            hint=f"Add {NAME!r} to INSTALLED_APPS.",
            id="letsgo_celery.E001",
        )
    ]


# Here, since what is not installed has no AppConfig that could.
register(check_installed, "letsgo_celery")
