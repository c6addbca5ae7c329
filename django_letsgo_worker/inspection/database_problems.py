"""Problems of the database itself: missing migrations, clocks apart, old snapshots, tables full of dead rows.

What an engine can tell of its sessions and tables is in engines.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Sequence
from datetime import timedelta
from importlib import import_module

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .actions import action
from .lengths import how_far, length, number
from .problem import Problem, problem
from .snapshot import Snapshot

APP = "django_letsgo_worker"
# How far apart clocks may be, and how old the snapshot of a session.
SKEW = timedelta(seconds=2)
OLD = timedelta(minutes=10)


# -- migrations ----------------------------------------------------------------------------------------------


def migrate_command(using: str) -> str:
    """Return the command that makes our tables on an alias."""
    return "manage.py migrate" + ("" if using == DEFAULT_DB_ALIAS else f" --database {using}")


def not_migrated(using: str) -> Problem | None:
    """Return what is missing on a database, our migrations or else our tables, by two statements."""
    connection = connections[using]
    tables = set(connection.introspection.table_names())
    applied: set[str] = set()
    if MigrationRecorder.Migration._meta.db_table in tables:
        rows = MigrationRecorder(connection).migration_qs.filter(app=APP)
        applied = set(rows.values_list("name", flat=True))
    command = migrate_command(using)
    if missing := [name for name in _migrations() if name not in applied]:
        text = _(
            "Migrations of %(app)s are not applied on the database %(database)r (%(missing)s): "
            "run `%(command)s` first."
        )
    else:
        models = apps.get_app_config(APP).get_models()
        missing = [table for model in models if (table := model._meta.db_table) not in tables]
        if not missing:
            return None
        text = _("The table %(table)s is missing on the database %(database)r: run `%(command)s` first.")
    names = {"app": APP, "database": using, "missing": ", ".join(missing), "table": missing[0]}
    sentence = text % {**names, "command": command}
    return problem("not_migrated", "", sentence, action("migrate", command), count=len(missing))


def _migrations() -> Sequence[str]:
    """Return the names of our migrations, in order; none where a project has its tables made without them."""
    module, _is_explicit = MigrationLoader.migrations_module(APP)
    if module is None:
        return []
    found = pkgutil.iter_modules(import_module(module).__path__)
    return sorted(one.name for one in found if one.name[0] not in "_~")


# -- clocks, sessions and tables -----------------------------------------------------------------------------


def clocks(snapshot: Snapshot) -> Iterator[Problem]:
    """Yield that the clocks of the database and of this host are apart."""
    before, clock, after = snapshot.clocks
    # The time that the query took is not skew.
    ahead, behind = clock - after, before - clock
    if max(ahead, behind) > SKEW:
        off = length(max(ahead, behind).total_seconds())
        sentence = (
            _(
                "The database's clock is %(off)s ahead of that of this host; all times are the database's: "
                "let both follow NTP (`timedatectl`)."
            )
            if ahead > behind
            else _(
                "The database's clock is %(off)s behind that of this host; all times are the database's: "
                "let both follow NTP (`timedatectl`)."
            )
        )
        yield problem("clock_skew", "", sentence % {"off": off}, action("look", "timedatectl"))


def old_snapshots(snapshot: Snapshot) -> Iterator[Problem]:
    """Yield the sessions whose old snapshot keeps dead rows from being removed."""
    for session in snapshot.engine.old_snapshots(snapshot.now - OLD):
        command = f"SELECT pg_terminate_backend({session.pid});"
        sentence = _(
            "Session %(name)r (pid %(pid)s) holds a snapshot of %(when)s: no dead row younger than it "
            "can be removed, and claims become slow. Let it end, or `%(command)s`."
        ) % {
            "name": session.name,
            "pid": session.pid,
            "when": how_far(session.since, snapshot.now),
            "command": command,
        }
        end = action("end", command)
        yield problem("old_snapshot", session.name, sentence, end, since=session.since)


def bloated_tables(snapshot: Snapshot) -> Iterator[Problem]:
    """Yield our tables that are dead rows above all."""
    for table in snapshot.engine.bloated_tables():
        command = f"VACUUM (ANALYZE) {table.name};"
        dead = ngettext("%(count)s dead row", "%(count)s dead rows", table.dead)
        live = ngettext("%(count)s live one", "%(count)s live ones", table.live)
        sentence = _(
            "Table %(table)s has %(dead)s beside %(live)s: `%(command)s`, and see that autovacuum runs "
            "and no session holds an old snapshot."
        ) % {
            "table": table.name,
            "dead": dead % {"count": number(table.dead)},
            "live": live % {"count": number(table.live)},
            "command": command,
        }
        yield problem("table_bloat", table.name, sentence, action("vacuum", command), count=table.dead)
