"""Fixtures of the conformance suite: workers without threads, moments, rivals on connections of their own."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, connections

from django_letsgo_worker import enqueue, registry
from django_letsgo_worker.engines import Claim, Claimed, ClaimRequest, Engine, Lane, Settlement, engine_for
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.support import PATIENCE, wait_until

KEPT = frozenset({"succeeded", "dead", "cancelled", "expired"})
COLUMNS = [field.attname for field in Message._meta.concrete_fields]
CONTROL = re.compile(r"\s*(SAVEPOINT|RELEASE|ROLLBACK|BEGIN|COMMIT|SET)\b")


class Worker:
    """A worker without threads: it claims, settles and renews as one process."""

    def __init__(self, types: tuple[str, ...] = ("job",)) -> None:
        self.process = uuid4()
        self.types = types

    @property
    def engine(self) -> Engine:
        return engine_for("default")

    def look(
        self,
        queue: str = "default",
        priority: int = 0,
        *,
        lease_seconds: float = 30.0,
        free: int = 10,
        **rest: Any,
    ) -> Claim:
        """Claim from one lane; return all that the claim says."""
        request = self.request(queue, priority, lease_seconds=lease_seconds, free=free, **rest)
        with self.engine.transaction():
            return self.engine.claim(request)

    def request(
        self,
        queue: str = "default",
        priority: int = 0,
        *,
        lease_seconds: float = 30.0,
        free: int = 10,
        **rest: Any,
    ) -> ClaimRequest:
        return ClaimRequest(
            lane=Lane(queue, priority),
            types=rest.pop("types", self.types),
            process=self.process,
            lease_seconds=lease_seconds,
            free=free,
            **rest,
        )

    def claim(self, *args: Any, **kwargs: Any) -> list[Claimed]:
        return self.look(*args, **kwargs).rows

    def claim_one(self, *args: Any, **kwargs: Any) -> Claimed:
        (claimed,) = self.claim(*args, **kwargs)
        return claimed

    def settle(
        self, claimed: Claimed, outcome: str = "succeeded", *, now: datetime | None = None, **facts: Any
    ) -> str | None:
        """Write an outcome; return what was written, None when the message is not ours any more."""
        settlement = Settlement(id=claimed.id, receipt=claimed.receipt, outcome=outcome, **facts)
        return self.settle_all([settlement], now=now).get(claimed.id)

    def settle_all(
        self, settlements: list[Settlement], *, keep: frozenset[str] = KEPT, now: datetime | None = None
    ) -> dict[int, str]:
        with self.engine.transaction():
            return self.engine.settle(self.process, settlements, keep=keep, now=now)

    def settle_and_claim(self, claimed: list[Claimed], *, now: datetime | None = None, **rest: Any) -> Any:
        """Settle as succeeded and claim in one go; return what was written, and what was claimed."""
        done = [Settlement(id=c.id, receipt=c.receipt, outcome="succeeded") for c in claimed]
        request = self.request(now=now, **rest)
        with nullcontext() if self.engine.settles_and_claims_at_once else self.engine.transaction():
            written, claim = self.engine.settle_and_claim(self.process, done, KEPT, request)
        return written, claim.rows

    def renew(self, claimed: Claimed, seconds: float, now: datetime | None = None) -> bool:
        return bool(self.engine.renew(self.process, [(claimed.id, claimed.receipt)], seconds, now))


@pytest.fixture
def worker() -> Worker:
    """A worker that knows the type job."""
    return Worker()


@pytest.fixture
def rival() -> Worker:
    """Another one."""
    return Worker()


@pytest.fixture
def at(db: None) -> Callable[[float], datetime]:
    """Moments as at(seconds), from a whole second a minute after the clock: all is due at at(0)."""
    start = engine_for("default").clock().replace(microsecond=0) + timedelta(minutes=1)
    return lambda seconds: start + timedelta(seconds=seconds)


@pytest.fixture
def row() -> Callable[[int], dict[str, Any]]:
    """The columns of a live message, by id."""
    return lambda id: dict(Message.objects.values(*COLUMNS).get(pk=id))


@pytest.fixture
def archived() -> Callable[[int], ArchivedMessage]:
    """The archived message with an id."""
    return lambda id: ArchivedMessage.objects.get(pk=id)


@pytest.fixture
def dead_letter(worker: Worker) -> Callable[..., int]:
    """Make a dead letter of the type job: dead_letter(payload, unique_key=...) is its id."""

    def make(payload: Any = None, *, errors: str | None = None, **options: Any) -> int:
        id = enqueue("job", payload, **options).pk
        claimed = next(c for c in worker.claim(free=1000) if c.id == id)
        assert worker.settle(claimed, "dead", errors=errors, error_class="ValueError") == "dead"
        return int(id)

    return make


@pytest.fixture
def handled() -> Iterator[Callable[..., Any]]:
    """Register a handler for the time of the test: handled("job", queue="orders")."""
    added: list[str] = []

    def register(type: str, **options: Any) -> None:
        registry.handler(type, **options)(lambda delivery: None)
        added.append(type)

    yield register
    for type in added:
        registry.remove(type)


@pytest.fixture
def statements() -> Callable[[], Any]:
    """Record the statements of a block, without those that only open and close transactions."""

    @contextmanager
    def record() -> Iterator[list[tuple[str, Any]]]:
        seen: list[tuple[str, Any]] = []

        def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if not CONTROL.match(sql):
                seen.append((sql, params))
            return execute(sql, params, many, context)

        with connection.execute_wrapper(note):
            yield seen

    return record


class Rewrite:
    """Takes a guard out of the statements of a thread; `hits` says whether it was there at all."""

    def __init__(self, pattern: str, replacement: str = "") -> None:
        self.pattern, self.replacement, self.hits = re.compile(pattern), replacement, 0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        sql, hits = self.pattern.subn(self.replacement, sql)
        self.hits += hits
        return execute(sql, params, many, context)


class Rival(threading.Thread):
    """A thread with a connection of its own; result() waits for its end and raises what it raised."""

    def __init__(self, act: Callable[[], Any], wrappers: tuple[Any, ...] = ()) -> None:
        super().__init__(daemon=True)
        self.act, self.wrappers = act, wrappers
        self.connected, self.ended = threading.Event(), threading.Event()
        self.session: int | None = None
        self._result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with ExitStack() as stack:
                for wrapper in self.wrappers:
                    stack.enter_context(connection.execute_wrapper(wrapper))
                self.session = session_id()
                self.connected.set()
                self._result = self.act()
        except BaseException as error:
            self.error = error
        finally:
            connections.close_all()
            self.connected.set()
            self.ended.set()

    def result(self) -> Any:
        assert self.ended.wait(PATIENCE), "a rival never came back"
        if self.error is not None:
            raise self.error
        return self._result

    def wait_until_stuck(self) -> None:
        """Wait until it waits for a lock, or has ended; SQLite cannot tell the first."""
        assert self.connected.wait(PATIENCE)
        if connection.vendor != "sqlite":
            # Not more often: MariaDB renews what it shows only after a tenth of a second without a question.
            wait_until(
                lambda: self.ended.is_set() or waits_for_lock(self.session),
                step=0.15,
                what="a rival that waits",
            )


def session_id() -> int | None:
    """Return the server's number of this thread's connection."""
    query = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}.get(
        connection.vendor
    )
    connection.ensure_connection()
    if query is None:
        return None
    with connection.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0])


def waits_for_lock(session: int | None) -> bool:
    query = {
        "postgresql": "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted",
        "mysql": "SELECT count(*) FROM information_schema.innodb_trx "
        "WHERE trx_mysql_thread_id = %s AND trx_state = 'LOCK WAIT'",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(query, [session])
        return bool(cursor.fetchone()[0])


@pytest.fixture
def begin(transactional_db: None) -> Iterator[Callable[..., Rival]]:
    """Start a function on a thread with a connection of its own: begin(f) is a Rival."""
    started: list[Rival] = []

    def start(act: Callable[[], Any], *wrappers: Any) -> Rival:
        rival = Rival(act, wrappers)
        started.append(rival)
        rival.start()
        return rival

    yield start
    for rival in started:
        rival.join(PATIENCE)


@pytest.fixture
def race(begin: Callable[..., Rival]) -> Callable[..., list[Rival]]:
    """Let functions begin at the same moment, each on its thread; return the rivals when all have ended."""

    def run(*acts: Callable[[], Any], wrappers: tuple[Any, ...] = ()) -> list[Rival]:
        line = threading.Barrier(len(acts))

        def starting(act: Callable[[], Any]) -> Callable[[], Any]:
            return lambda: (line.wait(PATIENCE), act())[1]

        rivals = [begin(starting(act), *wrappers) for act in acts]
        for rival in rivals:
            assert rival.ended.wait(PATIENCE)
        return rivals

    return run
