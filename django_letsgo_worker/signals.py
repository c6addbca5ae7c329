"""Django signals for what happens to messages and schedules; logs and metrics hang on them.

All are sent with send_robust: a broken receiver breaks nothing. Each says in its docstring when it is sent,
and with which arguments, so that help() shows it.
"""

from collections.abc import Callable
from typing import Any

from django.dispatch import Signal


class DocumentedSignal(Signal):
    """A signal with its own docstring."""

    def __init__(self, doc: str) -> None:
        super().__init__(use_caching=True)
        self.__doc__ = doc


class WantedSignal(DocumentedSignal):
    """One that is costly to send: a receiver may say beforehand whether it wants it at present."""

    def __init__(self, doc: str) -> None:
        super().__init__(doc)
        self._wishes: dict[Any, Callable[[], bool]] = {}

    def connect(
        self, receiver: Any, *args: Any, wants: Callable[[], bool] | None = None, **kwargs: Any
    ) -> None:
        super().connect(receiver, *args, **kwargs)
        if wants is not None:
            self._wishes[receiver] = wants

    def disconnect(self, receiver: Any = None, *args: Any, **kwargs: Any) -> bool:
        self._wishes.pop(receiver, None)
        return bool(super().disconnect(receiver, *args, **kwargs))

    @property
    def is_wanted(self) -> bool:
        """Whether anybody wants it; who does not say wants it."""
        return len(self.receivers) > len(self._wishes) or any(wants() for wants in self._wishes.values())


message_enqueued = DocumentedSignal(
    """Sent in the caller's transaction, which may still roll back, when a message was added by enqueue().

    `sender`: the class Message. `message`: the new Message. `using`: the alias of its database.
    enqueue_many() sends none.
    """
)

delivery_started = DocumentedSignal(
    """Sent on the handler's thread, before its first line.

    `sender`: the class Delivery. `delivery`: the Delivery that the handler is given.
    """
)

delivery_failed = DocumentedSignal(
    """Sent where a handler raised, inside its context and on its thread, before anything is written.

    It is for logs and error trackers. `sender`: the class Delivery. `delivery`: the Delivery. `outcome`: what
    was decided, "retry" or "dead"; the database may still say otherwise. `seconds`: how long the attempt ran.
    `exception`: what the handler raised. `delay`: the seconds until the next attempt, None if there is none.
    """
)

delivery_finished = WantedSignal(
    """Sent after the outcome of an attempt is in the database; a success, if a receiver wants to hear of it.

    `sender`: the class Delivery. `delivery`: the Delivery. `outcome`: "succeeded", "retry", "snoozed",
    "dead", "expired" or "released". `seconds`: how long the attempt ran. `exception`: what the handler
    raised, or None. `result`: what the handler returned. `delay`: after a retry or a snooze, the seconds
    until the next attempt, else None.
    """
)

lease_lost = DocumentedSignal(
    """Sent when the outcome of an attempt could not be recorded: another process may hold the message.

    `sender`: the class Delivery. `delivery`: the Delivery whose lease is lost.
    """
)

occurrence_fired = DocumentedSignal(
    """Sent after the commit that records a planned time of a schedule, whether it fired or was skipped.

    `sender`: the class ScheduledJob. `occurrence`: the Occurrence. `message`: its Message, None if it was
    skipped. `schedule`: the ScheduledJob.
    """
)

unknown_type = DocumentedSignal(
    """Sent when messages of a type that a worker does not know wait, once a minute for each queue and type.

    `sender`: the class Message. `queue` and `type`: those of the messages, as text.
    """
)

schedule_failed = DocumentedSignal(
    """Sent after the commit that writes a schedule's problem, if it has changed.

    `sender`: the class ScheduledJob. `schedule`: the ScheduledJob. `problem`: a sentence.
    """
)

problems_found = WantedSignal(
    """Sent once a minute by the process that does the housekeeping, with all that is wrong; see inspection.

    Nothing is searched for unless a receiver wants it: one that was connected with `wants=`, a function that
    returns a bool, is asked, any other always does. `sender`: the class Problem. `problems`: a list of them,
    the worst first, empty if all is well.
    """
)

message_died = DocumentedSignal(
    """Sent after the commit that makes a message a dead letter.

    It is lost if the process is killed between the two: what must follow a death belongs in `on_dead`.
    `sender`: the class Message. `message_id`: its id. `type` and `queue`: those of the message, as text.
    `errors`: the records of its attempts, a list of dictionaries. `delivery`: the Delivery of its last
    attempt, None if its workers died each time.
    """
)
