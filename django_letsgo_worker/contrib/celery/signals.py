"""Celery's signals about one run of a task, sent around it by running.py.

Those of Celery's worker, beat and producer are not here: our own are in `django_letsgo_worker.signals`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.dispatch import Signal


class CelerySignal(Signal):
    """A signal whose connect() is a decorator too, with or without brackets, as Celery's is."""

    def connect(
        self,
        receiver: Callable[..., Any] | None = None,
        sender: Any = None,
        weak: bool = False,
        dispatch_uid: Any = None,
    ) -> Any:
        """Call `receiver` at each send, or only at those of `sender`, and return it.

        `weak` lets go of a receiver that nobody else holds; one of a `dispatch_uid` is connected once.
        """
        if receiver is None:
            return lambda function: self.connect(function, sender, weak, dispatch_uid)
        super().connect(receiver, sender=sender, weak=weak, dispatch_uid=dispatch_uid)
        return receiver


# Each is sent with send_robust() and the task as its sender.
task_prerun = CelerySignal()  # task_id, task, args, kwargs
task_postrun = CelerySignal()  # task_id, task, args, kwargs, retval, state
task_success = CelerySignal()  # result
task_retry = CelerySignal()  # request, reason, einfo
task_failure = CelerySignal()  # task_id, exception, args, kwargs, traceback, einfo
