"""What follows a death: messages that are enqueued in the transaction that records it.

Here they are made; the engines write them, and which types follow which is in registry.py.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from .. import registry
from ..engines import Claimed, NewRow
from ..models import Message
from ..validation import storable
from .arguments import Given, row_of

logger = logging.getLogger("django_letsgo_worker.worker")

# Of an error's words, in bytes: all of them stand in the dead letter.
MOST_WORDS = 2_000


def followers_of(
    dead: Claimed | Message, on_dead: str | None, entry: Mapping[str, Any]
) -> tuple[NewRow, ...]:
    """Return the messages that follow the death of a message; `on_dead` is what its handler says.

    `entry` is the last one of its errors. They have the headers of the dead one, and so go on with its
    context. One that cannot be made is logged: whatever is wrong with it, the death is recorded.
    """
    headers = _headers_of(dead)
    types = registry.following(dead.type, headers.get("schedule"), on_dead)
    payload = {
        "message": dead.id,
        "type": dead.type,
        "queue": dead.queue,
        "error_class": entry["class"],
        "error": storable(entry["message"], MOST_WORDS),
    }
    rows = []
    for type in types:
        try:
            rows.append(row_of(Given(type=type, payload=payload, headers=headers)))
        except Exception:
            logger.exception("Message %s died, and no message of type %s can follow it.", dead.id, type)
    return tuple(rows)


def _headers_of(dead: Claimed | Message) -> Mapping[str, Any]:
    headers: Any = dead.headers
    try:
        headers = json.loads(headers) if isinstance(headers, str) else headers
    except ValueError:
        headers = None
    if not isinstance(headers, dict):
        return {}
    # A header of this name on any other message is not a schedule's.
    return headers if dead.planned_at else {k: v for k, v in headers.items() if k != "schedule"}
