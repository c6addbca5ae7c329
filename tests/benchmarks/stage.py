"""One measurement's surroundings: a fresh database, a client process, worker processes, their tallies.

Nothing here knows what is measured.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from .contestants import Contestant
from .processes import ClientProcess, Started, cpu_seconds, peak_megabytes, wait_until
from .scale import Scale
from .stores import Database, Store
from .tallies import Tallies


class Stage:
    def __init__(
        self, contestant: Contestant, scale: Scale, store: Store, database: Database, directory: Path
    ) -> None:
        self.contestant = contestant
        self.scale = scale
        self.store = store
        self.database = database
        self.directory = directory
        self.tallies = Tallies(directory)
        self.workers: list[Started] = []
        self.client = client_of(contestant, database.url, directory)

    def start_worker(self, workload: str, *, every: int = 1, **variables: str) -> Started:
        """Start a worker as a user would, with further variables; one mark is made for so many messages."""
        command = self.contestant.worker(self.database.url, workload=workload)
        tallies = {"LETSGO_BENCH_TALLIES": str(self.directory), "LETSGO_BENCH_EVERY": str(every)}
        return self._start(command, {**tallies, **variables})

    def start_scheduler(self, number: int, due: datetime) -> Started:
        """Start a scheduler as a user would; one whose schedules are code is told of them."""
        known = {"LETSGO_BENCH_SCHEDULES": str(number), "LETSGO_BENCH_DUE": due.isoformat()}
        return self._start(self.contestant.scheduler(self.database.url), known)

    def _start(self, command: list[str], variables: dict[str, str]) -> Started:
        environment = {**self.contestant.environment(self.database.url), **variables}
        worker = Started(command, environment, self.directory / f"worker-{len(self.workers)}.log")
        self.workers.append(worker)
        return worker

    def end(self, worker: Started) -> None:
        """End a worker at once, when it is no longer wanted."""
        worker.kill()
        self.workers.remove(worker)

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for something that the workers do, for as long as they live."""

        def came() -> bool:
            for worker in self.workers:
                worker.check()
            return condition()

        wait_until(came, what, timeout=self.scale.patience_seconds)

    def is_settled(self) -> bool:
        return self.database.number(self.contestant.unsettled_sql) == 0

    def workers_cpu_seconds(self) -> float:
        return sum(cpu_seconds(worker.pid) for worker in self.workers)

    def workers_peak_megabytes(self) -> float:
        return max(peak_megabytes(worker.pid) for worker in self.workers)

    def close(self) -> None:
        for process in [*self.workers, self.client]:
            process.kill()


def client_of(contestant: Contestant, url: str, directory: Path) -> ClientProcess:
    return ClientProcess(
        [contestant.engine, contestant.name, url],
        {**contestant.environment(url), "LETSGO_BENCH_TALLIES": str(directory)},
        directory / "client.log",
    )


@contextlib.contextmanager
def opened(
    contestant: Contestant, scale: Scale, store: Store, template: str, *, logged: bool = False
) -> Iterator[Stage]:
    """Lend a stage on a copy of the contestant's template; all that was started on it ends with it."""
    with (
        tempfile.TemporaryDirectory(prefix="letsgo-bench-") as directory,
        store.fresh(template, logged=logged) as database,
    ):
        stage = Stage(contestant, scale, store, database, Path(directory))
        try:
            yield stage
        finally:
            stage.close()


def install(contestant: Contestant, store: Store) -> str:
    """Return the URL of a database that has the contestant's tables."""
    template = store.template()
    with tempfile.TemporaryDirectory(prefix="letsgo-bench-") as directory:
        client = client_of(contestant, template, Path(directory))
        try:
            client.do("install")
        finally:
            client.kill()
    return template
