"""The lifespan protocol of ASGI: a block is entered when the server starts, and left when it shuts down.

What the block does is no matter of this file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractContextManager
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ..errors import LetsGoError

logger = logging.getLogger("django_letsgo_worker.startup")

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
# As servers and frameworks differ in what they call these three.
Application = Callable[[Any, Any, Any], Awaitable[None]]
Block = Callable[[], AbstractContextManager[None]]


def with_lifespan(application: Application, block: Block) -> Application:
    """Return the application with the block as its lifespan."""

    async def application_with_lifespan(scope: Event, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(block(), receive, send)
        else:
            await application(scope, receive, send)

    return application_with_lifespan


async def _live(block: AbstractContextManager[None], receive: Receive, send: Send) -> None:
    await receive()
    if (refusal := await _enter(block)) is not None:
        await send({"type": "lifespan.startup.failed", "message": refusal})
        return
    try:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    finally:
        await asyncio.to_thread(block.__exit__, None, None, None)
    await send({"type": "lifespan.shutdown.complete"})


async def _enter(block: AbstractContextManager[None]) -> str | None:
    """Enter the block, on a thread since it may wait a little; return what refuses that."""
    try:
        await asyncio.to_thread(block.__enter__)
    except Exception as error:
        # A server that sees an exception takes it that the protocol is unknown here, and goes on.
        if not isinstance(error, (LetsGoError, ImproperlyConfigured)):
            logger.exception("The worker inside this server could not start.")
        return str(error)
    return None
