"""Results: what has become of a task, read from its message, or from a run here and now.

Rows are only read here; a result is changed by the worker that runs its task.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

from django.db import connections

from ...conf import settings
from ...errors import LetsGoError, MessageNotFound
from ...outcomes import attempts_of
from . import ids, requests, states, values
from .exceptions import (
    MaxRetriesExceededError,
    Retry,
    TaskError,
    TaskRevokedError,
    TimeoutError,
    UnsupportedCelery,
)

ENDS = {"succeeded": states.SUCCESS, "dead": states.FAILURE}
# The first and the longest pause of get() between two looks, in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
# Of what a worker keeps of a text about a running message, in bytes; JSON is ASCII here.
LONGEST_TEXT = 200


class AsyncResult:
    """The result of a task by its `id`; an unknown id is that of a task that waits, as in Celery.

    `options` are Celery's `app`, `backend`, `task_name` and `parent`, of which nothing is needed here.
    """

    TimeoutError = TimeoutError
    # Whether get() may have to wait.
    may_wait = True

    def __init__(self, id: str, **options: Any) -> None:
        self.id = str(id)

    @property
    def task_id(self) -> str:
        """The id, by its other name."""
        return self.id

    @property
    def message_id(self) -> int | None:
        """The number of the message, for our own verbs and for the admin; None while there is none."""
        message = _message(self.id)
        return None if message is None else int(message.pk)

    @property
    def parent(self) -> AsyncResult | None:
        """The result of the task before in a chain."""
        number, step = ids.read(self.id) or (0, 0)
        return AsyncResult(ids.id_of(number, step - 1)) if step else None

    @property
    def state(self) -> str:
        """PENDING, STARTED, RETRY, SUCCESS, FAILURE, REVOKED, or what update_state() said."""
        return self._look()[0]

    status = state

    @property
    def result(self) -> Any:
        """What the task returned, what ended it, or the `meta` of update_state() while it runs."""
        return self._look()[1]

    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback of the last failed attempt, as text; None if it succeeded, or none has failed."""
        message = _message(self.id)
        if message is None or getattr(message, "outcome", "") == "succeeded":
            return None
        entries = attempts_of(message.errors)
        return str(entries[-1]["traceback"]) if entries else None

    @property
    def date_done(self) -> Any:
        """When it ended, an aware datetime; None before."""
        return getattr(_message(self.id), "finished_at", None)

    def ready(self) -> bool:
        """Return whether it has ended, one way or the other."""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """Return whether it has succeeded."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Return whether it has failed for good."""
        return self.state == states.FAILURE

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = LONGEST_PAUSE,
        *,
        disable_sync_subtasks: bool = True,
    ) -> Any:
        """Wait until it has ended; return what the task returned, or raise what ended it.

        `timeout` is in seconds, None for ever: after it, TimeoutError. Without `propagate` the exception is
        returned. `interval` is the longest pause between two looks at the message, in seconds. A chain that
        ends before its last task raises what ended it. UnsupportedCelery inside a task, where it would hold
        up a seat of the worker, unless `disable_sync_subtasks` is false; and inside a transaction.
        """
        if self.may_wait and disable_sync_subtasks and requests.current().delivery is not None:
            raise UnsupportedCelery(
                "get() inside a task holds up a seat of the worker, for ever if there is no other: write a "
                "chain instead."
            )
        end = self._wait(timeout, interval)
        state, value = end._look()
        if state == states.SUCCESS or not propagate:
            return value
        raise value

    wait = get

    def revoke(self, terminate: bool = False, **options: Any) -> None:
        """Cancel the task unless it has ended; one that runs goes on, and nothing of it is recorded.

        Of a chain, the task that waits or runs is cancelled, and so all after it. UnsupportedCelery for
        `terminate` and other `options`: no handler can be killed.
        """
        if terminate or options:
            raise UnsupportedCelery(
                "revoke() takes no options: nothing kills a running task, which may look at "
                "self.request.delivery.should_stop to end by itself."
            )
        from ... import messages

        number, step = ids.read(self.id) or (0, 0)
        for one in range(step, -1, -1):
            message = _message(ids.id_of(number, one)) if number else None
            if message is not None:
                with suppress(MessageNotFound):
                    messages.cancel(message.pk)
                return

    def forget(self) -> None:
        """Do nothing: results are deleted after the days of KEEP_SUCCEEDED_FOR and KEEP_DEAD_FOR."""

    def _wait(self, timeout: float | None, interval: float) -> AsyncResult:
        """Wait for its end; return itself, or the task of its chain that failed."""
        until = None if timeout is None else time.monotonic() + timeout
        pause = FIRST_PAUSE
        while (end := self._ended()) is None:
            if connections[settings().database].in_atomic_block:
                raise UnsupportedCelery(
                    "get() inside a transaction would wait for ever, since no worker sees the task before "
                    "the commit: wait behind it; in a test call django_letsgo_worker.testing.drain() first."
                )
            left = pause if until is None else until - time.monotonic()
            if left <= 0:
                raise TimeoutError("The operation timed out.")
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, interval)
        return end

    def _ended(self) -> AsyncResult | None:
        if self.ready():
            return self
        before = self.parent
        ended = None if before is None else before._ended()
        return None if ended is None or ended.successful() else ended

    def _look(self) -> tuple[str, Any]:
        """Return its state and its value, which are of one moment."""
        message = _message(self.id)
        if message is None:
            return states.PENDING, None
        outcome = getattr(message, "outcome", None)
        if outcome == "succeeded":
            return states.SUCCESS, values.native(message.result)
        entries = attempts_of(message.errors)
        if outcome == "dead":
            return states.FAILURE, _exception_of(entries)
        if outcome is not None:
            return states.REVOKED, TaskRevokedError("expired" if outcome == "expired" else "revoked")
        return _live_state(message, entries)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncResult) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


class EagerResult(AsyncResult):
    """The result of a task that has run here and now: its `state`, and its `value`, returned or raised.

    `id` is made up, None for a new one; `traceback` is text.
    """

    may_wait = False

    def __init__(self, id: str | None, value: Any, state: str, traceback: str | None = None) -> None:
        super().__init__(id or f"eager-{uuid4()}")
        self._state, self._value, self._traceback = state, value, traceback
        self._parent: AsyncResult | None = None

    @property
    def parent(self) -> AsyncResult | None:
        """The result of the task before in a chain."""
        return self._parent

    @parent.setter
    def parent(self, parent: AsyncResult | None) -> None:
        self._parent = parent

    @property
    def traceback(self) -> str | None:
        """The traceback of what it raised, as text."""
        return self._traceback

    def revoke(self, terminate: bool = False, **options: Any) -> None:
        """Do nothing, whatever `terminate` and `options` say: it has ended."""

    def _look(self) -> tuple[str, Any]:
        return self._state, self._value

    def _ended(self) -> AsyncResult:
        return self


# -- messages of results ------------------------------------------------------------------------------------


def key_of(root: int, step: int) -> str:
    """Return the unique key of a step, counted from 0, of the chain that message `root` began."""
    return f"chain:{root}:{step}"


def step_of(type: str, root: int, step: int, since: Any) -> Any:
    """Return the message, live or archived, of a step of a chain that began at `since`, or None."""
    from ...models import ArchivedMessage, Message

    alias, key = settings().database, key_of(root, step)
    live = Message.objects.using(alias).filter(type=type, unique_key=key).first()
    if live is not None:
        return live
    # The archive has no index of keys, but one of types and times.
    ended = ArchivedMessage.objects.using(alias).filter(type=type, finished_at__gte=since, unique_key=key)
    return ended.order_by("finished_at").last()


def _message(id: str) -> Any:
    """Return the message of a result; None if there is none yet, or no longer."""
    from ... import messages

    number, step = ids.read(id) or (0, 0)
    try:
        first = messages.find(number)
    except MessageNotFound:
        return None
    if not step:
        return first
    chained = first.payload.get("chain")
    name = chained["rest"][step - 1]["task"]
    return step_of(ids.PREFIX + name, first.pk, step, first.enqueued_at)


def _live_state(message: Any, entries: list[dict[str, Any]]) -> tuple[str, Any]:
    from ...engines import engine_for

    state = message.state_at(engine_for(settings().database).clock())
    if state == "running":
        return _said_state(message)
    if state == "retrying" or (message.leased_by is None and message.attempts):
        return states.RETRY, _exception_of(entries)
    return states.PENDING, None


def _said_state(message: Any) -> tuple[str, Any]:
    """Return what a running task said by update_state(), as its worker wrote it with its last heartbeat."""
    from ... import processes

    progress = processes.progress_of(message)
    return (states.STARTED, None) if progress is None else read_progress(progress.text)


def progress_text(state: str, meta: Any) -> str:
    """Return what is shown to people of a state and its `meta`, from which both can be read again."""
    if meta is None:
        return state
    text = f"{state} {json.dumps(meta)}"
    if len(text) <= LONGEST_TEXT or not isinstance(meta, dict):
        return text
    return f"{state} {json.dumps({name: meta[name] for name in ('current', 'total') if name in meta})}"


def read_progress(text: str) -> tuple[str, Any]:
    """Return state and meta of such a text; STARTED for any other."""
    state, _, meta = text.partition(" ")
    # Other code may report progress in its own words.
    if state.isidentifier() and state.isupper():
        with suppress(ValueError):
            return state, values.native(json.loads(meta)) if meta else None
    return states.STARTED, None


def _exception_of(entries: list[dict[str, Any]]) -> Exception:
    """Rebuild the exception of the last failed attempt, as its own class where that is already imported."""
    if not entries:
        return TaskError("It has failed.")
    path, message = entries[-1]["class"], entries[-1]["message"]
    module, _, name = path.rpartition(".")
    if path == "django_letsgo_worker.outcomes.Retry":
        return Retry(message)
    cls: Any = getattr(sys.modules.get(module or "builtins"), name, None)
    # Errors of ours are made of facts, not of their sentences.
    is_exception = isinstance(cls, type) and issubclass(cls, Exception) and not issubclass(cls, LetsGoError)
    if is_exception or cls is MaxRetriesExceededError:
        with suppress(Exception):
            made: Exception = cls(message)
            return made
    return TaskError(f"{path}: {message}")
