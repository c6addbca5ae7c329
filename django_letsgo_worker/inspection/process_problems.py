"""Problems of processes: workers that fell silent, with what they held.

Recovery does not depend on it: leases lapse by themselves, and others take up the messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..models import Process
from .actions import action, manage
from .lengths import how_far, number
from .problem import Problem, problem
from .snapshot import Snapshot

# A silent worker that holds nothing is forgotten after this long.
REMEMBERED = timedelta(minutes=15)


def silent(snapshot: Snapshot) -> Iterator[Problem]:
    """Yield the names of workers that are silent, unless one of the name lives or all is long over."""
    named: dict[str, list[Process]] = {}
    for process in snapshot.silent_workers:
        named.setdefault(process.name, []).append(process)
    for name, alike in sorted(named.items()):
        held = Counter[str]()
        for (holder, queue), count in snapshot.held.items():
            if holder in {process.pk for process in alike}:
                held[queue] += count
        newest = max(process.heartbeat_at for process in alike)
        if held or newest > snapshot.now - REMEMBERED:
            yield _silent(snapshot, name, alike, held)


def _silent(snapshot: Snapshot, name: str, alike: Sequence[Process], held: Counter[str]) -> Problem:
    since = max(process.heartbeat_at for process in alike)
    forget = manage("letsgo", "worker", "forget", name)
    holds = ", ".join(_held(snapshot, queue, count) for queue, count in sorted(held.items()))
    held_it = _("it held %(messages)s") % {"messages": holds} if held else _("nothing that it held is left")
    sentence = _(
        "Worker %(name)s is silent, last heard of %(when)s: killed, frozen or cut off; %(held_it)s. "
        "Start it again with `manage.py runworker`, or `%(forget)s`."
    ) % {"name": name, "when": how_far(since, snapshot.now), "held_it": held_it, "forget": forget}
    return problem(
        "process_silent",
        name,
        sentence,
        action("look", manage("letsgo", "worker", "list"), "process"),
        action("run", manage("runworker")),
        action("forget", forget, "process"),
        since=since,
        count=sum(held.values()),
    )


def _held(snapshot: Snapshot, queue: str, count: int) -> str:
    of_queue = ngettext("%(count)s message of %(queue)s", "%(count)s messages of %(queue)s", count)
    nobody = "" if snapshot.workers_of(queue) else _(", nobody else serves %(queue)s") % {"queue": queue}
    return of_queue % {"count": number(count), "queue": queue} + nobody
