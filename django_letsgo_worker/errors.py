"""Every error of this app: a root, then one class per fact, each writing its own sentence.

Retry, Snooze and Reject, which a handler raises on purpose, are not errors and live in outcomes.py.
"""

from __future__ import annotations


class LetsGoError(Exception):
    """Root of this app's errors."""


class InvalidMessage(LetsGoError, ValueError):
    """A type, payload, queue, time or option that cannot become a message; nothing was written."""


class InvalidSchedule(LetsGoError, ValueError):
    """An expression, time zone or option that cannot become a schedule; `field` names the culprit."""

    def __init__(self, sentence: str, *, field: str = "schedule") -> None:
        super().__init__(sentence)
        self.field = field


class DuplicateMessage(LetsGoError):
    """A live message with this type and unique key stands in the way."""

    def __init__(self, type: str, unique_key: str, *, message_id: int | None = None, why: str = "") -> None:
        sentence = f"A live message of type {type!r} with the unique key {unique_key!r} exists already"
        super().__init__(f"{sentence}{f', and {why}' if why else ''}.")
        self.type = type
        self.unique_key = unique_key
        self.message_id = message_id


class DuplicateHandler(LetsGoError):
    """Two handlers claim the same type."""

    def __init__(self, type: str, first: str, second: str) -> None:
        super().__init__(
            f"Two handlers are registered for the type {type!r}: {first} and {second}. "
            "Give one of them another type, or another where=."
        )
        self.type = type
        self.first = first
        self.second = second


class DuplicateMessageType(LetsGoError):
    """Two classes are registered for the same type."""

    def __init__(self, type: str, first: str, second: str) -> None:
        super().__init__(
            f"Two classes are registered for the type {type!r}: {first} and {second}. "
            "Give one of them another type."
        )
        self.type = type
        self.first = first
        self.second = second


class DuplicateCalendar(LetsGoError):
    """Two functions are registered as calendars of one name."""

    def __init__(self, name: str, first: str, second: str) -> None:
        super().__init__(
            f"Two calendars are registered as {name!r}: {first} and {second}. Give one of them another name."
        )
        self.name = name
        self.first = first
        self.second = second


class UnknownType(LetsGoError):
    """No handler is registered for this type."""

    def __init__(self, type: str) -> None:
        super().__init__(f"No handler is registered for the type {type!r}.")
        self.type = type


class LeaseLost(LetsGoError):
    """Another worker may hold this message now; what this one did with it was not recorded."""

    def __init__(self, message_id: int, attempt: int) -> None:
        super().__init__(f"Lost the lease on message {message_id} (attempt {attempt}).")
        self.message_id = message_id
        self.attempt = attempt


class OutcomeRefused(LetsGoError):
    """The database refused the outcome of an atomic handler's attempt, and nothing of it was written."""

    def __init__(self, message_id: int, why: str) -> None:
        super().__init__(
            f"The database refused the outcome of message {message_id}, and with it everything that its "
            f"handler wrote: {why}"
        )
        self.message_id = message_id


class WorkerDied(LetsGoError):
    """A message whose worker process ended each time while handling it."""

    def __init__(self, times: int) -> None:
        super().__init__(f"the worker died {times} {'time' if times == 1 else 'times'} while handling it")
        self.times = times


class MessageNotFound(LetsGoError):
    """No live or archived message has this id, or none in the state that was asked for."""

    def __init__(self, message_id: object, wanted: str = "message") -> None:
        super().__init__(f"There is no {wanted} with the id {message_id}.")
        self.message_id = message_id


class FailureNotFound(LetsGoError):
    """No failure has this fingerprint, or one that begins so."""

    def __init__(self, fingerprint: str) -> None:
        super().__init__(f"There is no failure whose fingerprint is or begins with {fingerprint!r}.")
        self.fingerprint = fingerprint


class AmbiguousFailure(LetsGoError):
    """Several failures have this fingerprint, or one that begins so: `choices`, with their types."""

    def __init__(self, fingerprint: str, choices: list[tuple[str, str]]) -> None:
        which = ", ".join(f"{each} of type {type}" for each, type in choices)
        super().__init__(
            f"{fingerprint!r} fits several failures: give more of the fingerprint, or the type: {which}."
        )
        self.fingerprint, self.choices = fingerprint, choices


class UnfitTasks(LetsGoError, ImportError):
    """The backport of Django's tasks, which our backend needs on Django 5.2, is missing or unsuitable."""

    def __init__(self, version: str | None, detail: str) -> None:
        found = f"{version} is installed" if version else "it is not installed"
        super().__init__(
            f"LetsGoBackend needs django-tasks 0.12 or newer, and {found} ({detail}): "
            "python -m pip install 'django-tasks>=0.12', or name another backend in TASKS."
        )
        self.version = version


class MessageInTransaction(LetsGoError):
    """A handler holds this message in a transaction; nobody else can change it until that ends."""

    def __init__(self, message_id: int) -> None:
        super().__init__(f"Message {message_id} cannot be changed now: it is running in a transaction.")
        self.message_id = message_id


class MessageRunning(LetsGoError):
    """A handler runs this message: there is nothing to wait for."""

    def __init__(self, message_id: int) -> None:
        super().__init__(f"Message {message_id} cannot be retried: it is running.")
        self.message_id = message_id


class WaitInTransaction(LetsGoError):
    """A message is waited for in a transaction, which hides from all workers what it enqueued."""

    def __init__(self, message_id: int) -> None:
        super().__init__(
            f"Message {message_id} cannot be waited for inside a transaction, which hides from all workers "
            "what it enqueued: wait once it has committed, and in tests use "
            "django_letsgo_worker.testing.drain()."
        )
        self.message_id = message_id


class MessageEnded(LetsGoError):
    """This message has ended: only dead letters can become live messages again."""

    def __init__(self, message_id: int, outcome: str) -> None:
        hint = " Redrive it." if outcome == "dead" else ""
        super().__init__(f"Message {message_id} cannot be retried: it has ended, {outcome}.{hint}")
        self.message_id = message_id
        self.outcome = outcome


class OperationNotFound(LetsGoError):
    """No bulk operation has this id."""

    def __init__(self, operation_id: object) -> None:
        super().__init__(f"There is no bulk operation with the id {operation_id}.")
        self.operation_id = operation_id


class OperationRefused(LetsGoError):
    """A bulk operation cannot be stopped or undone any longer, or never could be."""

    def __init__(self, operation_id: int, why: str) -> None:
        super().__init__(f"Bulk operation {operation_id} {why}.")
        self.operation_id = operation_id


class AppsNotReady(LetsGoError):
    """A call that reads or changes a schedule came while Django was loading the apps."""

    def __init__(self, verb: str) -> None:
        super().__init__(
            f"schedules.{verb}() is called while Django loads the apps, which every command of the project "
            "does. Write @schedule(...) above the @handler instead, or call schedules.ensure() when the apps "
            "are ready: in a command, or in a receiver of post_migrate."
        )
        self.verb = verb


class ScheduleNotFound(LetsGoError):
    """No schedule has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no schedule named {name!r}.")
        self.name = name


class ProcessNotFound(LetsGoError):
    """No silent process has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no silent process named {name!r}.")
        self.name = name


class ProcessAlive(LetsGoError):
    """A process that is to be forgotten lives."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(
            f"The {kind} {name!r} lives, and only a silent process can be forgotten: "
            f"`manage.py letsgo worker stop {name}` asks it to end."
        )
        self.name = name


class AlreadyRunning(LetsGoError):
    """A second worker or scheduler is to run inside one process."""

    def __init__(self) -> None:
        super().__init__(
            "A worker or a scheduler runs inside this process already: end the one block of running(), or "
            "lifespan(), before another begins."
        )


class NotReady(LetsGoError):
    """The app cannot run here as it is: tables are missing, or a setting rules it out."""
