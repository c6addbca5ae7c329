"""The kinds of database errors: about the moment, the server or the statement. By code, never by text.

One table for all engines. The sender of a statement decides what is done about each kind.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from django.db import DataError, Error, IntegrityError, NotSupportedError, ProgrammingError


class Fault(Enum):
    """The kinds of errors."""

    # Others were in the way: the same statement may succeed at once.
    TRANSIENT = "transient"
    # The server is away, full, closed to writers or closed to us. No other statement would fare better.
    OUTAGE = "outage"
    # This statement is refused, and will be each time.
    REFUSAL = "refusal"
    # The connection broke, or the statement was stopped. Either the server is in trouble, or this very
    # statement is too much for it: only a new connection can tell.
    DOUBTFUL = "doubtful"


class Refused(Exception):
    """What a good connection does not take; `__cause__` is the database's own error."""


# Errors that are about the statement wherever their code says nothing else.
ABOUT_STATEMENTS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)

# By SQLSTATE, else by its class, which is its first two letters.
POSTGRESQL = {
    "40001": Fault.TRANSIENT,  # serialization_failure
    "40P01": Fault.TRANSIENT,  # deadlock_detected
    "55P03": Fault.TRANSIENT,  # lock_not_available
    "08": Fault.OUTAGE,  # connection_exception
    "08P01": Fault.DOUBTFUL,  # protocol_violation: poolers use it for all sorts of things
    "25006": Fault.OUTAGE,  # read_only_sql_transaction: a standby, or a primary that became one
    "28": Fault.OUTAGE,  # invalid_authorization_specification
    "3D": Fault.OUTAGE,  # invalid_catalog_name: no such database
    "53": Fault.OUTAGE,  # insufficient_resources: disk_full (53100), too_many_connections (53300)
    "53200": Fault.DOUBTFUL,  # out_of_memory
    "53400": Fault.DOUBTFUL,  # configuration_limit_exceeded, such as temp_file_limit
    "57": Fault.OUTAGE,  # operator_intervention: admin_shutdown, crash_shutdown, cannot_connect_now
    "57014": Fault.DOUBTFUL,  # query_canceled: statement_timeout
    "58": Fault.OUTAGE,  # system_error, such as io_error
    # A transaction that went on after an error, or was ended while it rested.
    "25": Fault.DOUBTFUL,
    # What a connection has prepared may be out of date, or gone behind a pooler; another one has nothing.
    "0A000": Fault.DOUBTFUL,
    "26000": Fault.DOUBTFUL,
    # internal_error, data_corrupted, index_corrupted: it may be one row's page.
    "XX": Fault.DOUBTFUL,
    # All others speak of the statement: data (22), constraints (23), triggers (P0), rights (42), limits (54).
}

MYSQL = {
    1205: Fault.TRANSIENT,  # lock wait timeout
    1213: Fault.TRANSIENT,  # deadlock
    1020: Fault.TRANSIENT,  # record has changed since last read (MariaDB)
    **dict.fromkeys((2001, 2002, 2003, 2004, 2005, 2009), Fault.OUTAGE),  # it cannot be reached
    **dict.fromkeys((1040, 1203, 1226), Fault.OUTAGE),  # too many connections; a user's limits
    **dict.fromkeys((1044, 1045, 1049, 1129, 1130, 1698), Fault.OUTAGE),  # who we are, and where to
    **dict.fromkeys((1047, 1053), Fault.OUTAGE),  # no node of a cluster yet; shutdown
    **dict.fromkeys((3, 1021, 1026, 1114), Fault.OUTAGE),  # a disk, a tablespace or a table is full
    **dict.fromkeys((1290, 1792, 1836), Fault.OUTAGE),  # read only
    # Data that do not fit, constraints (4025, 3819) and triggers (1644), which the driver calls operational.
    **dict.fromkeys((1118, 1364, 1366, 1406, 1644, 3140, 3819, 4025, 4037, 4038), Fault.REFUSAL),
    **dict.fromkeys((1054, 1142, 1143), Fault.REFUSAL),  # no such column; no right to a table
    # Doubtful are all others: "gone away" (2006) and "lost" (2013), as which it also ends when a statement is
    # larger than max_allowed_packet (1153, 2020); what was killed or timed out (1317, 1927, 1969, 3024,
    # 4031); out of memory (1037, 1038, 1041); a storage engine in trouble (1030, 1180).
}

# By the primary code, the low byte of the extended one. Numbers: not every Python has the module sqlite3.
SQLITE = {
    5: Fault.TRANSIENT,  # SQLITE_BUSY
    6: Fault.TRANSIENT,  # SQLITE_LOCKED
    17: Fault.TRANSIENT,  # SQLITE_SCHEMA
    3: Fault.OUTAGE,  # SQLITE_PERM
    8: Fault.OUTAGE,  # SQLITE_READONLY
    10: Fault.OUTAGE,  # SQLITE_IOERR
    # SQLITE_CORRUPT and SQLITE_NOTADB: not worked on, since each write may make it worse.
    11: Fault.OUTAGE,
    26: Fault.OUTAGE,
    13: Fault.OUTAGE,  # SQLITE_FULL
    14: Fault.OUTAGE,  # SQLITE_CANTOPEN
    22: Fault.OUTAGE,  # SQLITE_NOLFS
    23: Fault.OUTAGE,  # SQLITE_AUTH
    1: Fault.REFUSAL,  # SQLITE_ERROR: no such table or column, too many variables
    18: Fault.REFUSAL,  # SQLITE_TOOBIG
    19: Fault.REFUSAL,  # SQLITE_CONSTRAINT, which is also what a trigger raises
    20: Fault.REFUSAL,  # SQLITE_MISMATCH
    25: Fault.REFUSAL,  # SQLITE_RANGE
    # Doubtful are SQLITE_NOMEM, _INTERRUPT, _PROTOCOL, _MISUSE and what has no code, such as a closed
    # connection.
}


def code_of(error: BaseException | None, read: Callable[[BaseException], Any]) -> Any:
    """The code that can be read of an error, or else of what caused it."""
    while error is not None:
        code = read(error)
        if code is not None:
            return code
        error = error.__cause__
    return None


def of_postgresql(error: BaseException, sqlstate: str | None) -> Fault:
    """Without a code it is the driver that speaks: the connection broke, or a value cannot be sent."""
    if sqlstate is None:
        return _by_class(error)
    return POSTGRESQL.get(sqlstate) or POSTGRESQL.get(sqlstate[:2], Fault.REFUSAL)


def of_mysql(error: BaseException, code: int | None) -> Fault:
    return MYSQL.get(code or 0) or _by_class(error)


def of_sqlite(error: BaseException, code: int | None) -> Fault:
    if code is None:
        # "Cannot operate on a closed database" is a ProgrammingError.
        return Fault.REFUSAL if isinstance(error, (DataError, IntegrityError)) else Fault.DOUBTFUL
    return SQLITE.get(code & 0xFF, Fault.DOUBTFUL)


def _by_class(error: BaseException) -> Fault:
    return Fault.REFUSAL if isinstance(error, ABOUT_STATEMENTS) else Fault.DOUBTFUL


def in_short(error: BaseException) -> str:
    """Say an error in one line. The further lines of a database's error may show a row, payload and all."""
    if isinstance(error, Refused) and error.__cause__ is not None:
        error = error.__cause__
    first_line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}" if isinstance(error, Error) else type(error).__name__
