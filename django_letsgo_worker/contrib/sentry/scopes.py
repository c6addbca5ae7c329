"""The carrier: each delivery has a scope that knows its message, and that ends with it.

Nothing travels with a message; what is sent to Sentry is the SDK's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ...delivery import Delivery

NAME = "sentry"


class ScopeOfDelivery:
    """What CONTEXT names "sentry"."""

    def capture(self) -> dict[str, Any]:
        return {}

    def restore(self, delivery: Delivery) -> AbstractContextManager[None]:
        return _scope_of(delivery)


@contextmanager
def _scope_of(delivery: Delivery) -> Iterator[None]:
    import sentry_sdk

    with sentry_sdk.isolation_scope() as scope:
        scope.set_tag("message_type", delivery.type)
        scope.set_tag("queue", delivery.queue)
        scope.set_tag("attempt", str(delivery.attempt))
        scope.set_tag("message_id", str(delivery.message_id))
        yield
