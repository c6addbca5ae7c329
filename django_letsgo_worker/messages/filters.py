"""The filter of a verb on many messages: what it may say, and the rows that it finds.

Live messages and dead letters have the same filters; which of them a verb is about is the verb's.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet

from .. import validation
from ..errors import InvalidMessage
from ..hints import suggestion
from ..models import DeadLetter, Failure, Message, in_state


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What is given narrows; nothing given means all.

    `error_class` is with or without its module; `older_than`, in seconds, is the time since a message was
    enqueued, or since a dead letter ended.
    """

    type: str | None = None
    queue: str | None = None
    fingerprint: str | None = None
    error_class: str | None = None
    state: str | None = None
    older_than: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what is given, as it is stored."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def dead(self, clock: datetime, using: str) -> QuerySet[Any]:
        """Return the dead letters that it finds."""
        rows: QuerySet[Any] = DeadLetter.objects.using(using).filter(self._common())
        if self.error_class is not None:
            rows = rows.filter(self._of_class())
        if self.fingerprint is not None:
            rows = rows.filter(error_fingerprint=self.fingerprint)
        if self.older_than is not None:
            rows = rows.filter(finished_at__lte=clock - timedelta(seconds=self.older_than))
        return rows

    def live(self, clock: datetime, using: str) -> QuerySet[Any]:
        """Return the live messages that it finds; an error's class is known by its failures."""
        rows: QuerySet[Any] = Message.objects.using(using).filter(self._common())
        if self.error_class is not None:
            failures = Failure.objects.using(using).filter(self._of_class())
            rows = rows.filter(error_fingerprint__in=list(failures.values_list("fingerprint", flat=True)))
        if self.fingerprint is not None:
            rows = rows.filter(error_fingerprint=self.fingerprint)
        if self.older_than is not None:
            rows = rows.filter(enqueued_at__lte=clock - timedelta(seconds=self.older_than))
        return rows if self.state is None else rows.filter(in_state(self.state, clock))

    def _common(self) -> Q:
        given = {"type": self.type, "queue": self.queue}
        return Q(**{name: value for name, value in given.items() if value is not None})

    def _of_class(self) -> Q:
        return Q(error_class=self.error_class) | Q(error_class__endswith=f".{self.error_class}")


def filter_of(given: dict[str, Any], states: tuple[str, ...]) -> Filter:
    """Check what a caller gave, and return it as a filter; InvalidMessage says what is wrong.

    `states` are those that its verb is about.
    """
    known = [field.name for field in fields(Filter)]
    for name in given:
        if name not in known:
            raise InvalidMessage(f"There is no filter {name!r}.{suggestion(name, known)}")
    values = {name: value for name, value in given.items() if value is not None}
    for name in ("type", "queue"):
        if name in values:
            validation.check_name(name, values[name])
    for name in ("fingerprint", "error_class"):
        if name in values and not isinstance(values[name], str):
            raise InvalidMessage(f"{name} is text, not {validation.show(values[name])}.")
    if values.get("state", states[0]) not in states:
        *others, last = states
        may_be = f"is {', '.join(others)} or {last}," if others else f"can only be {last} here,"
        raise InvalidMessage(f"state {may_be} not {validation.show(values['state'])}.")
    if "older_than" in values:
        values["older_than"] = validation.check_delay("older_than", values["older_than"])
    return Filter(**values)
