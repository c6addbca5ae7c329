"""Problems of failures: types whose attempts fail, and the dead letters that are kept.

Workers count attempts in Statistic and group errors in Failure; nothing here reads live messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..engines import ARCHIVE, AtLeast
from ..models import Failure, Statistic
from . import work
from .actions import action, action_on_many, manage
from .lengths import number
from .problem import ERROR, WARNING, Problem, problem
from .snapshot import Snapshot

# A type fails from so many failed attempts on, if they are half of all; from nine tenths on it is an error.
LEAST_FAILED = 10
SOME, MOST = 0.5, 0.9
# How far back the beginning is searched for, and how many types and failures are looked at.
SEARCHED_BACK = timedelta(hours=6)
MOST_TYPES, MOST_FAILURES = 50, 1_000
# Dead letters of this age are new, and so many failures are told apart among all.
NEW = timedelta(hours=1)
FAILURES_COUNTED = 100


def failing_types(snapshot: Snapshot) -> list[str]:
    """Return the types of whose attempts of the last quarter of an hour half or more failed."""
    failed, all_tries = _tries(snapshot)
    found = [type for type, n in failed.most_common() if n >= LEAST_FAILED and n >= SOME * all_tries[type]]
    return found[:MOST_TYPES]


def _tries(snapshot: Snapshot) -> tuple[Counter[str], Counter[str]]:
    """Return by type how many attempts failed, and how many there were."""
    failed, all_tries = Counter[str](), Counter[str]()
    for one in snapshot.attempts:
        failed[one.type] += one.failed
        all_tries[one.type] += one.failed + one.succeeded
    return failed, all_tries


def failing(snapshot: Snapshot) -> Iterator[Problem]:
    """Yield the types that fail."""
    found, (failed, all_tries) = failing_types(snapshot), _tries(snapshot)
    newest, begun = _errors(snapshot, found), _begun(snapshot, found)
    for type in found:
        share = failed[type] / all_tries[type]
        error = next((one for one in newest if one.type == type), None)
        retry = manage("letsgo", "message", "retry", "--type", type)
        pause = manage("letsgo", "type", "pause", type)
        sentence = ngettext(
            "%(type)s fails: %(failed)s of %(count)s try in 15 min.%(error)s "
            "Pause it with `%(pause)s`; once it is mended, `%(retry)s`.",
            "%(type)s fails: %(failed)s of %(count)s tries in 15 min.%(error)s "
            "Pause it with `%(pause)s`; once it is mended, `%(retry)s`.",
            all_tries[type],
        ) % {
            "type": type,
            "failed": number(failed[type]),
            "count": number(all_tries[type]),
            "error": _(" The newest error: %(error)s.") % {"error": _short(error)} if error else "",
            "pause": pause,
            "retry": retry,
        }
        yield problem(
            "type_failing",
            type,
            sentence,
            action("look", place="message", type=type, state="retrying"),
            action("pause", pause),
            action_on_many("retry", retry, type=type),
            since=_refined(begun.get(type), type, newest),
            count=failed[type],
            severity=ERROR if share >= MOST else WARNING,
        )


def _short(error: Failure) -> str:
    name = error.error_class.rpartition(".")[2]
    line = " ".join(error.message[:1_000].split())
    line = line if len(line) <= 200 else f"{line[:199]}…"
    return f"{name}: {line}".rstrip(".: ") if line else name


def _errors(snapshot: Snapshot, types: Sequence[str]) -> list[Failure]:
    """Return the failures of these types, those with the newest errors first."""
    if not types:
        return []
    rows = Failure.objects.using(snapshot.using).filter(type__in=types).order_by("-last_at")
    return list(rows.only("type", "error_class", "message", "first_at", "last_at")[:MOST_FAILURES])


def _begun(snapshot: Snapshot, types: Sequence[str]) -> dict[str, datetime]:
    """Return by type the first minute with a failure after the last one with a success."""
    if not types:
        return {}
    engine, table = snapshot.engine, Statistic._meta.db_table
    names = {f"type{place}": type for place, type in enumerate(types)}
    these = f"span = {Statistic.MINUTE} AND type IN ({', '.join(f'%({name})s' for name in names)})"
    succeeded = (
        f"SELECT type, MAX(CASE WHEN succeeded > 0 THEN at END) AS last_at FROM {table} "
        f"WHERE {these} AND at >= %(back)s GROUP BY type"
    )
    rows = engine.execute(
        f"SELECT s.type, MIN(s.at) FROM {table} s JOIN ({succeeded}) l ON l.type = s.type "
        f"WHERE s.span = {Statistic.MINUTE} AND s.at >= %(back)s AND s.failed > 0 "
        "AND (l.last_at IS NULL OR s.at >= l.last_at) GROUP BY s.type",
        {**names, "back": engine.moment(snapshot.now - SEARCHED_BACK)},
    )
    return {type: moment for type, at in rows if (moment := engine.dialect.read_moment(at)) is not None}


def _refined(minute: datetime | None, type: str, errors: Sequence[Failure]) -> datetime | None:
    """Return the very moment of the first failure, if it was the first of its kind within that minute."""
    if minute is None:
        return None
    end = minute + timedelta(seconds=Statistic.MINUTE)
    firsts = [one.first_at for one in errors if one.type == type and minute <= one.first_at < end]
    return min(firsts, default=minute)


# -- dead letters --------------------------------------------------------------------------------------------


def dead_letters(snapshot: Snapshot) -> Iterator[Problem]:
    """Yield one problem for all dead letters: how many failures they are, and how many are new."""
    engine = snapshot.engine
    [(total, new, failures, first)] = engine.execute(_dead_sql(), {"new": engine.moment(snapshot.now - NEW)})
    if not total:
        return
    total = AtLeast(work.MOST_COUNTED) if total > work.MOST_COUNTED else total
    new = AtLeast(work.MOST_COUNTED) if new > work.MOST_COUNTED else new
    failures = AtLeast(FAILURES_COUNTED) if failures > FAILURES_COUNTED else max(failures, 1)
    redrive, discard = manage("letsgo", "dead", "redrive"), manage("letsgo", "dead", "discard")
    letters = ngettext("%(count)s message was given up", "%(count)s messages were given up", total)
    causes = ngettext("for %(count)s failure", "for %(count)s failures", failures)
    lately = ngettext(", %(count)s came within the hour", ", %(count)s came within the hour", new)
    sentence = _(
        "%(letters)s, %(causes)s%(lately)s: look at these dead letters, then `%(redrive)s` or "
        "`%(discard)s` them."
    ) % {
        "letters": letters % {"count": number(total)},
        "causes": causes % {"count": number(failures)},
        "lately": lately % {"count": number(new)} if new else "",
        "redrive": redrive,
        "discard": discard,
    }
    yield problem(
        "dead_letters",
        "",
        sentence,
        action("look", manage("letsgo", "dead", "list"), "deadletter"),
        action_on_many("redrive", redrive),
        since=engine.dialect.read_moment(first),
        count=total,
        severity=WARNING if new else "",
    )


def _dead_sql() -> str:
    """One statement through the indexes of the archive: counts to the caps, and the first one's end.

    The failures are found by skipping from one fingerprint to the next.
    """
    dead = f"FROM {ARCHIVE} WHERE outcome = 'dead'"
    most = work.MOST_COUNTED + 1
    following = f"SELECT MIN(error_fingerprint) {dead} AND error_fingerprint > prints.print"
    return f"""
        WITH RECURSIVE prints (print, number) AS (
            SELECT (SELECT MIN(error_fingerprint) {dead} AND error_fingerprint > ''), 1
            UNION ALL
            SELECT ({following}), number + 1 FROM prints
            WHERE print IS NOT NULL AND number <= {FAILURES_COUNTED}
        )
        SELECT (SELECT COUNT(*) FROM (SELECT finished_at {dead} ORDER BY finished_at LIMIT {most}) some_dead),
               (SELECT COUNT(*) FROM (SELECT finished_at {dead} AND finished_at >= %(new)s
                                      ORDER BY finished_at LIMIT {most}) new_dead),
               (SELECT COUNT(print) FROM prints),
               (SELECT MIN(finished_at) {dead})
    """
