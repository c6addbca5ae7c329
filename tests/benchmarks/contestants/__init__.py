"""All contestants, in the order of the tables."""

from __future__ import annotations

from .base import POSTGRES, SQLITE, Contestant
from .celery_beat import CeleryBeat
from .dj_queue import DjQueue
from .django_ox import DjangoOx
from .django_q2 import DjangoQ2
from .django_tasks_db import DjangoTasksDB
from .huey import Huey
from .oban import Oban
from .ours import Ours, OursKeepingNothing, OursPollingRarely, OursSynchronously, OursWithOneSeat
from .pgqueuer import PgQueuer
from .procrastinate import Procrastinate
from .raw_postgres import RawPostgres
from .raw_schedules import RawSchedules
from .raw_sqlite import RawSQLite, RawSQLiteSynchronously

ENGINES = (POSTGRES, SQLITE)

AT_HOME: list[Contestant] = [
    RawPostgres(),
    RawSchedules(POSTGRES),
    Ours(POSTGRES),
    OursKeepingNothing(POSTGRES, "ours, keeping nothing"),
    OursWithOneSeat(POSTGRES, "ours, one seat"),
    OursPollingRarely(POSTGRES, "ours, polling rarely"),
    RawSQLite(),
    RawSQLiteSynchronously(),
    RawSchedules(SQLITE),
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
    DjangoQ2(),
    CeleryBeat(),
    Huey(),
    DjangoTasksDB(SQLITE),
    DjangoOx(SQLITE),
    DjQueue(SQLITE),
]


def contestant(engine: str, name: str) -> Contestant:
    return next(one for one in AT_HOME + PEERS if (one.engine, one.name) == (engine, name))
