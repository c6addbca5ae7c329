"""Which statements may set something that outlasts them, by their words; one that is missed is a leak."""

from __future__ import annotations

import pytest

from django_letsgo_worker.engines.sessions import may_set

ABOUT_ROWS = [
    'SELECT "a"."b" FROM "a" WHERE "a"."c" = %s LIMIT 21',
    'select\n"a"\nfrom\n"b"',
    '(SELECT "a" FROM "b") UNION (SELECT "a" FROM "c")',
    'SELECT DISTINCT ON ("a") "a" FROM "b" FOR UPDATE OF "b" SKIP LOCKED',
    'INSERT INTO "a" ("template", "setting") VALUES (%s, %s) RETURNING "a"."id"',
    'INSERT INTO temperatures SELECT * FROM "template"',
    'UPDATE "a" SET "b" = %s WHERE "c" IN (SELECT "d" FROM "e")',
    'DELETE FROM "a" WHERE "id" IN (%s)',
    "WITH new AS (INSERT INTO a (b) VALUES (1) RETURNING id) SELECT id FROM new",
    "/* route='/orders' */ SELECT a FROM b",
    "-- a remark\n  SELECT a FROM b /*traceparent='00-1-2-01'*/",
    'SAVEPOINT "s1"',
    'RELEASE SAVEPOINT "s1"',
    'ROLLBACK TO SAVEPOINT "s1"',
    "BEGIN IMMEDIATE",
    "SELECT 1",
    "SELECT STATEMENT_TIMESTAMP()",
    "SELECT nextval('shop_order_id_seq')",
]
MAY_SET = [
    "SET search_path = a",
    "  set local x = 1",
    "RESET ALL",
    "SELECT set_config('a', 'b', false)",
    "SELECT PG_CATALOG.SET_CONFIG('a', 'b', false), a FROM b",
    "WITH a AS (SELECT set_config('a', 'b', false)) SELECT * FROM a",
    "INSERT INTO a (b) SELECT set_config('a', 'b', false)",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_lock(a) FROM b",
    "SELECT a INTO TEMP b FROM c",
    "SELECT a\nINTO\tLOCAL TEMPORARY TABLE b FROM c",
    "CREATE TEMP TABLE a (b int)",
    "SELECT of_a_tenant('t1')",
    "SELECT 1, of_a_tenant('t1')",
    "SELECT now(), of_a_tenant('t1')",
    "SELECT nextval(of_a_tenant('t1'))",
    "SELECT from_header('t1')",
    "SELECT a FROM b; SET search_path = a",
    "/* SELECT a FROM b */ SET search_path = a",
    "-- SELECT a FROM b\nSET search_path = a",
    "DO $$ BEGIN END $$",
    "CALL of_a_tenant('t1')",
    "PRAGMA foreign_keys = OFF",
    "ATTACH 'a' AS b",
    "USE other",
    "LOCK TABLES a READ",
    "LISTEN a",
    "SELECTED",
    "",
    b"SELECT a FROM b",
    None,
]


@pytest.mark.parametrize("vendor", ["postgresql", "mysql", "sqlite"])
@pytest.mark.parametrize("sql", ABOUT_ROWS)
def test_what_reads_and_writes_rows_sets_nothing(vendor, sql):
    assert not may_set(sql, vendor)


@pytest.mark.parametrize("vendor", ["postgresql", "sqlite"])
@pytest.mark.parametrize("sql", MAY_SET)
def test_anything_else_may(vendor, sql):
    assert may_set(sql, vendor)


@pytest.mark.parametrize(
    "sql", ["SELECT @a := 1 FROM b", "SELECT a INTO @b FROM c", "UPDATE a SET b = (@c := 1)", "SELECT @a"]
)
def test_on_mysql_an_at_sign_names_a_variable(sql):
    assert may_set(sql, "mysql")


def test_elsewhere_it_is_an_operator_and_two_of_them_read_a_setting():
    assert not may_set("SELECT a FROM b WHERE c @> %s AND d @@ to_tsquery(%s)", "postgresql")
    assert not may_set("SELECT @@auto_increment_increment", "mysql")
