"""The request of a running task, `self.request`: which message it is, which attempt, and with what."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from ...delivery import Delivery
from . import ids
from .exceptions import Retry

# The header of a message that says what no column does about its task.
HEADER = "celery"


@dataclass(kw_only=True)
class Request:
    """What a task can know of this run; the names are Celery's.

    `id` is that of the result, None where the task is called as a function; `retries` counts from 0 and does
    not tell retries from attempts whose worker died. `delivery` is our own Delivery, None outside a worker.
    """

    id: str | None = None
    task: str = ""
    args: list[Any] | tuple[Any, ...] = field(default=(), repr=False)
    kwargs: dict[str, Any] = field(default_factory=dict, repr=False)
    retries: int = 0
    is_eager: bool = False
    called_directly: bool = True
    ignore_result: bool = False
    root_id: str | None = None
    parent_id: str | None = None
    expires: str | None = None
    delivery: Delivery | None = None
    hostname: str = field(default_factory=socket.gethostname)
    # What retry(throw=False) asked for.
    retry_later: Retry | None = field(default=None, repr=False)

    @property
    def delivery_info(self) -> dict[str, Any]:
        """The queue and the priority of the message, as Celery has them."""
        if self.delivery is None:
            return {"is_eager": self.is_eager}
        facts = self.delivery
        return {
            "routing_key": facts.queue,
            "priority": facts.priority,
            "redelivered": facts.attempt > 1,
            "is_eager": False,
        }

    @property
    def correlation_id(self) -> str | None:
        """The id of the result, as in Celery."""
        return self.id

    def get(self, name: str, default: Any = None) -> Any:
        """Return a fact by its name, or `default`."""
        return getattr(self, name, default)


def of_delivery(
    delivery: Delivery, name: str, args: list[Any], kwargs: dict[str, Any], *, ignore_result: bool
) -> Request:
    """Return the request of a task that a worker runs."""
    chained = delivery.payload.get("chain") or {} if isinstance(delivery.payload, dict) else {}
    own = ids.id_of(delivery.message_id)
    root, parent = chained.get("root"), chained.get("parent")
    return Request(
        id=own,
        task=name,
        args=args,
        kwargs=kwargs,
        retries=delivery.attempt - 1,
        called_directly=False,
        ignore_result=_asked(delivery, ignore_result),
        root_id=own if root is None else ids.id_of(root),
        parent_id=None if parent is None else ids.id_of(parent),
        expires=delivery.deadline.isoformat() if delivery.deadline is not None else None,
        delivery=delivery,
    )


def eager(name: str, args: Any, kwargs: Any, *, retries: int = 0, ignore_result: bool = False) -> Request:
    """Return the request of a task that apply() runs, here and now."""
    id = f"eager-{uuid4()}"
    return Request(
        id=id,
        task=name,
        args=args,
        kwargs=kwargs,
        retries=retries,
        is_eager=True,
        called_directly=False,
        ignore_result=ignore_result,
        root_id=id,
    )


def _asked(delivery: Delivery, default: bool) -> bool:
    facts = delivery.headers.get(HEADER)
    return bool(facts.get("ignore_result", default)) if isinstance(facts, dict) else default


_current: ContextVar[Request | None] = ContextVar("letsgo_celery_request", default=None)
# Outside any run, as Celery has it.
NONE = Request()


def current() -> Request:
    """Return the request of the task that runs in this context; an empty one if none does."""
    return _current.get() or NONE


@contextlib.contextmanager
def running(request: Request) -> Iterator[None]:
    """Make a request the current one within a block."""
    token = _current.set(request)
    try:
        yield
    finally:
        _current.reset(token)
