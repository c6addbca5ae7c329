"""All contestants, in the order of the tables."""

from __future__ import annotations

from .base import POSTGRES, SQLITE, Contestant
from .dj_queue import DjQueue
from .django_ox import DjangoOx
from .django_tasks_db import DjangoTasksDB
from .huey import Huey
from .oban import Oban
from .ours import Ours, OursKeepingNothing, OursSynchronously, OursWithOneSeat
from .pgqueuer import PgQueuer
from .procrastinate import Procrastinate
from .raw_postgres import RawPostgres
from .raw_sqlite import RawSQLite, RawSQLiteSynchronously

ENGINES = (POSTGRES, SQLITE)

AT_HOME: list[Contestant] = [
    RawPostgres(),
    Ours(POSTGRES),
    OursKeepingNothing(POSTGRES, "ours, keeping nothing"),
    OursWithOneSeat(POSTGRES, "ours, one seat"),
    RawSQLite(),
    RawSQLiteSynchronously(),
    Ours(SQLITE),
    OursSynchronously(SQLITE, "ours, FULL"),
    OursWithOneSeat(SQLITE, "ours, one seat"),
]
PEERS: list[Contestant] = [
    PgQueuer(),
    Oban(),
    Procrastinate(),
    DjangoTasksDB(POSTGRES),
    DjangoOx(POSTGRES),
    DjQueue(POSTGRES),
    Huey(),
    DjangoTasksDB(SQLITE),
    DjangoOx(SQLITE),
    DjQueue(SQLITE),
]


def contestant(engine: str, name: str) -> Contestant:
    return next(one for one in AT_HOME + PEERS if (one.engine, one.name) == (engine, name))
