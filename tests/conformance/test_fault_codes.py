"""What each error of a database is taken for: real errors, from the server that the tests run on."""

from __future__ import annotations

import sqlite3
import threading

import pytest
from django.db import DEFAULT_DB_ALIAS, Error, InterfaceError, OperationalError, connection, connections

from django_letsgo_worker import enqueue
from django_letsgo_worker.engines import TABLE, Fault, Refused, adopt_own_connection, engine_for, in_short

pytestmark = pytest.mark.django_db(transaction=True)

ON_POSTGRESQL = {
    "40001": Fault.TRANSIENT, "40P01": Fault.TRANSIENT, "55P03": Fault.TRANSIENT,
    # The disk is full, too many connections, read only, shut down, no rights to come in, files in trouble.
    "53100": Fault.OUTAGE, "53300": Fault.OUTAGE, "25006": Fault.OUTAGE, "57P01": Fault.OUTAGE,
    "57P02": Fault.OUTAGE, "57P03": Fault.OUTAGE, "08006": Fault.OUTAGE, "28P01": Fault.OUTAGE,
    "3D000": Fault.OUTAGE, "58030": Fault.OUTAGE,
    # It may be this statement that is too much.
    "57014": Fault.DOUBTFUL, "53200": Fault.DOUBTFUL, "53400": Fault.DOUBTFUL, "XX000": Fault.DOUBTFUL,
    "XX001": Fault.DOUBTFUL, "26000": Fault.DOUBTFUL, "0A000": Fault.DOUBTFUL, "08P01": Fault.DOUBTFUL,
    "25P03": Fault.DOUBTFUL,
    # And here it is.
    "22021": Fault.REFUSAL, "22P02": Fault.REFUSAL, "23502": Fault.REFUSAL, "23505": Fault.REFUSAL,
    "42501": Fault.REFUSAL, "42P01": Fault.REFUSAL, "54000": Fault.REFUSAL, "P0001": Fault.REFUSAL,
}  # fmt: skip
ON_MARIADB = {
    1205: Fault.TRANSIENT, 1213: Fault.TRANSIENT, 1020: Fault.TRANSIENT,
    1040: Fault.OUTAGE, 1203: Fault.OUTAGE, 1045: Fault.OUTAGE, 1053: Fault.OUTAGE, 1021: Fault.OUTAGE,
    1114: Fault.OUTAGE, 1026: Fault.OUTAGE, 1290: Fault.OUTAGE, 1836: Fault.OUTAGE,
    1153: Fault.DOUBTFUL, 1317: Fault.DOUBTFUL, 1969: Fault.DOUBTFUL, 1030: Fault.DOUBTFUL,
    1927: Fault.DOUBTFUL,
    1062: Fault.REFUSAL, 1364: Fault.REFUSAL, 1406: Fault.REFUSAL, 1644: Fault.REFUSAL, 4025: Fault.REFUSAL,
    1054: Fault.REFUSAL, 1146: Fault.REFUSAL, 1142: Fault.REFUSAL,
}  # fmt: skip


def error_of(act):
    with pytest.raises(Error) as caught:
        act()
    return caught.value


def execute(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.mark.parametrize("code", ON_POSTGRESQL if connection.vendor == "postgresql" else ())
def test_each_code_of_postgresql_is_taken_for_what_it_is(code):
    error = error_of(lambda: execute(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$"))
    assert engine_for("default").fault_of(error) is ON_POSTGRESQL[code]


@pytest.mark.parametrize("code", ON_MARIADB if connection.vendor == "mysql" else ())
def test_each_code_of_mariadb_is_taken_for_what_it_is(code):
    error = error_of(lambda: execute(f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {code}"))
    assert engine_for("default").fault_of(error) is ON_MARIADB[code]


# -- SQLite: each error as its library makes it -------------------------------------------------------------


def a_full_file(path):
    file = sqlite3.connect(path)
    file.execute("CREATE TABLE t (x)")
    file.execute("PRAGMA max_page_count = 3")
    file.execute("INSERT INTO t VALUES (zeroblob(100000))")


def a_file_for_readers(path):
    sqlite3.connect(path).execute("CREATE TABLE t (x)")
    sqlite3.connect(f"file:{path}?mode=ro", uri=True).execute("INSERT INTO t VALUES (1)")


def no_database(path):
    path.write_bytes(b"no database at all" * 100)
    sqlite3.connect(path).execute("SELECT * FROM t")


def a_broken_page(path):
    file = sqlite3.connect(path)
    file.execute("CREATE TABLE t (x)")
    file.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,) for _ in range(100)])
    file.commit()
    file.close()
    data = bytearray(path.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    path.write_bytes(data)
    sqlite3.connect(path).execute("SELECT * FROM t").fetchall()


def no_directory(path):
    sqlite3.connect(path / "missing" / "file")


def a_busy_file(path):
    first, second = sqlite3.connect(path), sqlite3.connect(path, timeout=0)
    first.execute("BEGIN IMMEDIATE")
    second.execute("BEGIN IMMEDIATE")


def too_long_a_text(path):
    file = sqlite3.connect(path)
    file.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)
    file.execute("SELECT zeroblob(2000)")


def a_constraint(path):
    file = sqlite3.connect(path)
    file.execute("CREATE TABLE t (x NOT NULL)")
    file.execute("INSERT INTO t VALUES (NULL)")


def a_missing_table(path):
    sqlite3.connect(path).execute("SELECT * FROM t")


def an_interruption(path):
    file = sqlite3.connect(path)
    file.set_progress_handler(lambda: 1, 1)
    file.execute("SELECT 1")


def a_closed_connection(path):
    file = sqlite3.connect(path)
    file.close()
    file.execute("SELECT 1")


ON_SQLITE = {
    a_busy_file: Fault.TRANSIENT,
    a_full_file: Fault.OUTAGE,
    a_file_for_readers: Fault.OUTAGE,
    no_database: Fault.OUTAGE,
    a_broken_page: Fault.OUTAGE,
    no_directory: Fault.OUTAGE,
    an_interruption: Fault.DOUBTFUL,
    a_closed_connection: Fault.DOUBTFUL,
    too_long_a_text: Fault.REFUSAL,
    a_constraint: Fault.REFUSAL,
    a_missing_table: Fault.REFUSAL,
}


@pytest.mark.parametrize("act", ON_SQLITE if connection.vendor == "sqlite" else ())
def test_each_error_of_sqlite_is_taken_for_what_it_is(act, tmp_path):
    def through_django():
        with connection.wrap_database_errors:
            act(tmp_path / "file")

    assert engine_for("default").fault_of(error_of(through_django)) is ON_SQLITE[act]


# -- all engines --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OperationalError("the line is dead"), InterfaceError("closed")])
def test_an_error_without_a_code_is_doubtful(error):
    assert engine_for("default").fault_of(error) is Fault.DOUBTFUL


def test_a_value_that_breaks_a_rule_of_the_table_is_refused():
    enqueue("t:it")
    error = error_of(lambda: execute(f"UPDATE {TABLE} SET payload = NULL"))
    assert engine_for("default").fault_of(error) is Fault.REFUSAL


@pytest.fixture
def on_its_own():
    """Run something on a thread with a connection such as a worker's."""

    def run(act):
        caught = []

        def on_thread():
            try:
                caught.append(act(adopt_own_connection(DEFAULT_DB_ALIAS)))
            except BaseException as error:
                caught.append(error)
            finally:
                connections.close_all()

        thread = threading.Thread(target=on_thread)
        thread.start()
        thread.join(30)
        if isinstance(caught[0], BaseException):
            raise caught[0]
        return caught[0]

    return run


def test_a_statement_that_breaks_its_connection_once_is_sent_again(on_its_own):
    tries, doubts = [], []

    def act(engine):
        def statement():
            tries.append(1)
            if len(tries) == 1:
                raise OperationalError("the line is dead")
            return engine.execute("SELECT 7", {})

        return engine.insist(statement, lambda: doubts.append(1))

    assert list(on_its_own(act)) == [(7,)]
    assert (len(tries), len(doubts)) == (2, 1)


def test_a_statement_that_breaks_one_good_connection_after_the_other_is_refused(on_its_own):
    tries = []

    def act(engine):
        def statement():
            tries.append(1)
            engine.execute("SELECT 1", {})
            engine.abort_connection()
            engine.execute("SELECT 1", {})

        with pytest.raises(Refused):
            engine.insist(statement)
        # The next one finds a good connection.
        return engine.execute("SELECT 7", {})

    assert list(on_its_own(act)) == [(7,)]
    assert len(tries) == 2


def test_where_no_connection_answers_it_is_an_outage(on_its_own):
    def act(engine):
        def statement():
            # From now on nothing can be reached.
            settings = {**engine.connection.settings_dict, "HOST": "127.0.0.1", "PORT": "1"}
            if engine.connection.vendor == "sqlite":
                settings["NAME"] = "/nowhere/at/all.sqlite3"
            engine.connection.settings_dict = settings
            raise OperationalError("the line is dead")

        return engine.insist(statement)

    with pytest.raises(OperationalError) as caught:
        on_its_own(act)
    assert "the line is dead" not in str(caught.value)


def test_an_error_is_said_without_the_lines_that_show_a_row():
    error = OperationalError("null value in column\nDETAIL:  Failing row contains (1, secret).")
    assert in_short(error) == "OperationalError: null value in column"
    refused = Refused()
    refused.__cause__ = error
    assert in_short(refused) == "OperationalError: null value in column"
