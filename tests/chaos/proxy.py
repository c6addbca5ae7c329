"""A TCP proxy on the loopback that forwards to a database, and cuts connections where it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Callable

# How many bytes one connection may carry; None for as many as it likes.
Budget = Callable[[], int | None]


# Where a chunk from the client is cut: "before" it is forwarded, "after", or None.
Spoil = Callable[[bytes], str | None]


def spoil_commits(seed: int, share: float) -> Spoil:
    """Cut this share of all commits, half of them before and half after they have reached the server."""
    random_ = random.Random(seed)

    def spoil(chunk: bytes) -> str | None:
        if b"COMMIT" not in chunk or random_.random() > share:
            return None
        return random_.choice(["before", "after"])

    return spoil


def cut_after(seed: int, least: int, most: int) -> Budget:
    """Return a budget that is drawn anew for each connection."""
    random_ = random.Random(seed)
    return lambda: random_.randint(least, most)


class Proxy:
    """Has its port from the beginning, and answers there between start() and stop()."""

    def __init__(
        self,
        host: str,
        port: int,
        budget: Budget = lambda: None,
        spoil: Spoil = lambda chunk: None,
    ) -> None:
        self.host = host
        self.target_port = port
        self.budget = budget
        self.spoil = spoil
        self.cuts = 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None

    def start(self) -> Proxy:
        started = asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._server = asyncio.run_coroutine_threadsafe(started, self._loop).result(10)
        return self

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = [self.budget()]
        writers = [writer]
        try:
            to_reader, to_writer = await asyncio.open_connection(self.host, self.target_port)
            writers.append(to_writer)
            ways = {
                asyncio.ensure_future(self._forward(reader, to_writer, left, self._where_to_cut)),
                asyncio.ensure_future(self._forward(to_reader, writer, left, lambda chunk: None)),
            }
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
        except OSError:
            pass
        finally:
            for each in writers:
                each.transport.abort()

    def _where_to_cut(self, chunk: bytes) -> str | None:
        return self.spoil(chunk)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        left: list[int | None],
        spoil: Spoil,
    ) -> None:
        """Carry bytes one way; what the budget still covers arrives, the rest does not."""
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                where = spoil(chunk)
                if where is not None:
                    await self._end_with(writer, chunk if where == "after" else b"")
                    return
                budget = left[0]
                if budget is not None:
                    left[0] = budget - len(chunk)
                    if len(chunk) >= budget:
                        await self._end_with(writer, chunk[:budget])
                        return
                writer.write(chunk)
                await writer.drain()

    async def _end_with(self, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        """Let this arrive, and end: an abort would throw away what is not on its way yet."""
        self.cuts += 1
        writer.write(chunk)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
