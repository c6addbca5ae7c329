"""Slack messages on their way: each becomes a message of the queue, sent by its handler.

Nothing here talks to Slack, and the URL is not part of a message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.utils import timezone

from ...conf import settings
from ...errors import InvalidMessage
from ...messages import enqueue
from ...models import ArchivedMessage, Message
from . import conf
from .formatting import escape

TYPE = "letsgo:slack"
# Follows each dead letter that is to be announced, in the transaction that makes it one.
DEAD = "letsgo:slack:dead"
# A notice that could not be sent for so long is of no use any more: it is archived as expired.
USEFUL_FOR = timedelta(days=1)

Blocks = Sequence[Mapping[str, Any]]


def send_slack_message(
    text: str | Blocks | None = None, blocks: Blocks | None = None, *, unique_key: str | None = None
) -> Message | None:
    """Send text, or Block Kit blocks, to Slack; None, and nothing happens, when LETSGO_SLACK_URL is unset.

    It is a message of its own on the queue `letsgo-slack`: it exists if the caller's transaction
    commits, and is sent at least once. Text is escaped (&, <, >) unless mrkdwn() made it; blocks are
    sent as they are, and text beside them is what notifications show. With `unique_key` it is sent
    once while a message of this key still waits. InvalidMessage when there is nothing to send.
    """
    if text is not None and not isinstance(text, str):
        text, blocks = None, text
    payload = _payload(text, blocks)
    if not conf.slack_is_on():
        return None
    return enqueue(TYPE, payload, unique_key=unique_key, deadline=USEFUL_FOR)


def _payload(text: str | None, blocks: Blocks | None) -> dict[str, Any]:
    if not (text and text.strip()) and not blocks:
        raise InvalidMessage("A Slack message needs text or blocks.")
    payload: dict[str, Any] = {}
    if text:
        payload["text"] = str(escape(text))
    if blocks:
        if isinstance(blocks, Mapping) or not all(isinstance(block, Mapping) for block in blocks):
            raise InvalidMessage("The blocks of a Slack message are a list of dictionaries.")
        payload["blocks"] = [dict(block) for block in blocks]
    return payload


def announce(about: str, text: str, *, most: int = 1, per: timedelta = USEFUL_FOR) -> Message | None:
    """Send text unless `most` notices about the same were sent, or are waiting, within `per`.

    What repeats itself each minute, and a thousand dead letters of one cause, must not flood a channel.
    """
    if not conf.slack_is_on():
        return None
    mark = hashlib.blake2b(about.encode("utf-8", "replace"), digest_size=16).hexdigest()
    keys = [f"{mark}:{number}" for number in range(most)]
    alias = settings().database
    # What waits first: what is archived between the two questions is seen twice, not never.
    waiting = Message.objects.using(alias).filter(type=TYPE, unique_key__in=keys)
    used = set(waiting.values_list("unique_key", flat=True))
    sent = ArchivedMessage.objects.using(alias).filter(
        type=TYPE, finished_at__gte=timezone.now() - per, unique_key__in=keys
    )
    used |= set(sent.values_list("unique_key", flat=True))
    free = [key for key in keys if key not in used]
    return send_slack_message(text, unique_key=free[0]) if free else None
