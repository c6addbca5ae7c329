"""Let other programs add messages by a function of PostgreSQL, and read by a view how many seats are wanted.

Both are contracts: docs/howto/enqueue-from-other-programs.md and docs/howto/scale-with-keda.md say what they keep.
"""

from django.db import migrations

APP = "django_letsgo_worker"
MESSAGE, QUEUE, IDLE = f"{APP}_message", f"{APP}_queue", f"{APP}_idlequeue"
# How far the rows of a lane are counted, on either side of the clock.
MOST = 10_000

SIGNATURE = "text, json, text, integer, interval, timestamptz, integer, timestamptz, text, json"
FUNCTION = f"""
CREATE OR REPLACE FUNCTION {{schema}}.letsgo_enqueue(
    type text,
    payload json DEFAULT NULL,
    queue text DEFAULT 'default',
    priority integer DEFAULT 0,
    delay interval DEFAULT NULL,
    visible_at timestamptz DEFAULT NULL,
    max_attempts integer DEFAULT 10,
    deadline timestamptz DEFAULT NULL,
    unique_key text DEFAULT NULL,
    headers json DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, {{schema}}, pg_temp
AS $letsgo$
#variable_conflict use_column
DECLARE
    clock timestamptz := statement_timestamp();
    lane text := COALESCE(letsgo_enqueue.queue, 'default');
    rank integer := COALESCE(letsgo_enqueue.priority, 0);
    attempts integer := COALESCE(letsgo_enqueue.max_attempts, 10);
    visible timestamptz := COALESCE(letsgo_enqueue.visible_at, clock + letsgo_enqueue.delay, clock);
    refusal text;
    message_id bigint;
BEGIN
    refusal := CASE
        WHEN letsgo_enqueue.type IS NULL THEN 'A type is text, not NULL.'
        WHEN letsgo_enqueue.type !~ '^[A-Za-z0-9_.:-]+$' THEN format(
            'The type %L is refused: use letters, digits and the signs _ . : - only.',
            left(letsgo_enqueue.type, 80))
        WHEN length(letsgo_enqueue.type) > 255 THEN 'The type is longer than 255 characters.'
        WHEN lane !~ '^[A-Za-z0-9_.:-]+$' THEN format(
            'The queue %L is refused: use letters, digits and the signs _ . : - only.', left(lane, 80))
        WHEN length(lane) > 64 THEN 'The queue is longer than 64 characters.'
        WHEN rank NOT BETWEEN -100 AND 100 THEN
            format('A priority is a whole number from -100 to 100, not %s.', rank)
        WHEN attempts NOT BETWEEN 1 AND 32000 THEN
            format('max_attempts is a whole number from 1 to 32000, not %s.', attempts)
        WHEN length(letsgo_enqueue.unique_key) NOT BETWEEN 1 AND 200 THEN
            'unique_key is text of 1 to 200 characters.'
        WHEN letsgo_enqueue.delay IS NOT NULL AND letsgo_enqueue.visible_at IS NOT NULL THEN
            'Give delay or visible_at, not both.'
        WHEN letsgo_enqueue.delay IS NOT NULL AND visible < clock THEN
            format('delay must not be negative, not %s.', letsgo_enqueue.delay)
        WHEN visible NOT BETWEEN '0001-01-02 UTC' AND '9999-12-31 UTC' THEN
            'The message would become visible beyond the year 9999, or before the year 1.'
        WHEN letsgo_enqueue.deadline >= '9999-12-31 UTC' THEN 'The deadline reaches beyond the year 9999.'
        WHEN letsgo_enqueue.deadline <= clock THEN
            format('The deadline is past: %s.', letsgo_enqueue.deadline)
        WHEN letsgo_enqueue.deadline < visible THEN
            'The deadline is before the time at which the message becomes visible.'
        WHEN json_typeof(letsgo_enqueue.headers) <> 'object' THEN 'headers is a JSON object.'
    END;
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION USING MESSAGE = refusal, ERRCODE = 'invalid_parameter_value';
    END IF;
    -- A live twin may end between the two statements; then there is room for this message.
    FOR tried IN 1..100 LOOP
        INSERT INTO {MESSAGE} AS m
            (type, payload, headers, queue, priority, max_attempts, enqueued_at, visible_at, deadline, unique_key)
        VALUES (
            letsgo_enqueue.type, COALESCE(letsgo_enqueue.payload, 'null'), COALESCE(letsgo_enqueue.headers, '{{{{}}}}'),
            lane, rank, attempts, clock, visible, letsgo_enqueue.deadline, letsgo_enqueue.unique_key)
        ON CONFLICT (type, unique_key) WHERE unique_key IS NOT NULL DO NOTHING
        RETURNING m.id INTO message_id;
        IF message_id IS NOT NULL THEN
            -- Only a worker that waits is told: an unconditional NOTIFY serialises all commits.
            IF COALESCE((SELECT i.waiting FROM {IDLE} i WHERE i.name = lane), TRUE) THEN
                PERFORM pg_notify('letsgo_worker', lane || ':' || rank);
            END IF;
            RETURN message_id;
        END IF;
        SELECT m.id INTO message_id FROM {MESSAGE} m
        WHERE m.type = letsgo_enqueue.type AND m.unique_key = letsgo_enqueue.unique_key;
        IF message_id IS NOT NULL THEN
            RETURN message_id;
        END IF;
    END LOOP;
    RAISE EXCEPTION USING ERRCODE = 'serialization_failure',
        MESSAGE = 'The live message of this type and unique_key kept changing; try again.';
END
$letsgo$
"""

# By queue: what runs, what is due, what will be within a minute. A paused queue wants seats for what runs, only.
COLUMNS = "SUM(running) AS running, SUM(due) AS due, SUM(due_soon) AS due_soon, SUM(running + due + due_soon) AS wanted"
GOES_ON = f"NOT EXISTS (SELECT 1 FROM {QUEUE} q WHERE q.name = lanes.queue AND q.paused_at IS NOT NULL)"
OF_LANE = f"FROM {MESSAGE} m WHERE m.queue = lanes.queue AND m.priority = lanes.priority"
IN_ORDER = f"ORDER BY m.visible_at LIMIT {MOST}"

POSTGRESQL_VIEW = f"""
CREATE OR REPLACE VIEW {{schema}}.letsgo_seats_wanted AS
WITH RECURSIVE lanes AS (
    -- Skips through the index from lane to lane, whatever their length.
    (SELECT queue, priority FROM {{schema}}.{MESSAGE} ORDER BY queue, priority LIMIT 1)
    UNION ALL
    SELECT following.* FROM lanes, LATERAL (
        SELECT m.queue, m.priority FROM {{schema}}.{MESSAGE} m
        WHERE (m.queue, m.priority) > (lanes.queue, lanes.priority)
        ORDER BY m.queue, m.priority LIMIT 1) following
)
SELECT lanes.queue, {COLUMNS.replace(") AS", ")::bigint AS")}
FROM lanes, LATERAL (SELECT {GOES_ON} AS goes_on) queues, LATERAL (
    SELECT COUNT(*) AS due FROM (
        SELECT 1 {OF_LANE} AND m.visible_at <= statement_timestamp() AND goes_on {IN_ORDER}) first
) now, LATERAL (
    SELECT COUNT(leased_by) AS running,
           COUNT(*) FILTER (WHERE leased_by IS NULL AND goes_on
                            AND visible_at <= statement_timestamp() + INTERVAL '1 minute') AS due_soon
    FROM (SELECT m.leased_by, m.visible_at {OF_LANE} AND m.visible_at > statement_timestamp() {IN_ORDER}) first
) later
GROUP BY lanes.queue
"""

# What SQLite tells of the clock ends with the milliseconds; what became visible within this one is due.
SQLITE_NOW = "strftime('%Y-%m-%d %H:%M:%f000', 'now', '+0.001 seconds')"
SQLITE_SOON = "strftime('%Y-%m-%d %H:%M:%f000', 'now', '+1 minute')"
SQLITE_NEXT = f"""(
        SELECT m.{{column}} FROM {MESSAGE} m WHERE (m.queue, m.priority) > (lanes.queue, lanes.priority)
        ORDER BY m.queue, m.priority LIMIT 1)"""
# The second LIMIT keeps SQLite from counting once more for the sum.
SQLITE_VIEW = f"""
CREATE VIEW letsgo_seats_wanted AS
WITH RECURSIVE lanes (queue, priority) AS (
    SELECT * FROM (SELECT queue, priority FROM {MESSAGE} ORDER BY queue, priority LIMIT 1)
    UNION ALL
    SELECT {SQLITE_NEXT.format(column="queue")}, {SQLITE_NEXT.format(column="priority")} FROM lanes
    WHERE lanes.queue IS NOT NULL
)
SELECT queue, {COLUMNS} FROM (
    SELECT lanes.queue AS queue,
           (SELECT COUNT(*) FROM (SELECT 1 {OF_LANE} AND m.visible_at <= {SQLITE_NOW} {IN_ORDER})
            WHERE {GOES_ON}) AS due,
           (SELECT COUNT(leased_by) FROM (
                SELECT m.leased_by {OF_LANE} AND m.visible_at > {SQLITE_NOW} {IN_ORDER})) AS running,
           (SELECT COUNT(*) FROM (
                SELECT m.leased_by, m.visible_at {OF_LANE} AND m.visible_at > {SQLITE_NOW} {IN_ORDER})
            WHERE leased_by IS NULL AND visible_at <= {SQLITE_SOON} AND {GOES_ON}) AS due_soon
    FROM lanes WHERE lanes.queue IS NOT NULL LIMIT -1)
GROUP BY queue
"""

# MariaDB has no LATERAL, and reads a whole lane for what equals the columns of another table: so the bounds of
# each lane are worked out first, and its rows are then found between them, by a range for each lane. The LIMIT
# keeps the bounds from being merged into the rest, and `until` from being known as the same.
MYSQL_VIEW = f"""
CREATE OR REPLACE VIEW letsgo_seats_wanted AS
SELECT queue, {COLUMNS.replace("SUM(", "CAST(SUM(").replace(") AS", ") AS SIGNED) AS")} FROM (
    SELECT bounds.queue,
           m.visible_at > UTC_TIMESTAMP(6) AND m.leased_by IS NOT NULL AS running,
           m.visible_at <= UTC_TIMESTAMP(6) AND bounds.goes_on AS due,
           m.visible_at > UTC_TIMESTAMP(6) AND m.visible_at <= UTC_TIMESTAMP(6) + INTERVAL 1 MINUTE
               AND m.leased_by IS NULL AND bounds.goes_on AS due_soon
    FROM (
        SELECT lanes.queue, lanes.queue AS queue_until, lanes.priority, lanes.priority AS priority_until,
               {GOES_ON} AS goes_on,
               LEAST(UTC_TIMESTAMP(6), COALESCE(
                   (SELECT m.visible_at {OF_LANE} ORDER BY m.visible_at LIMIT 1 OFFSET {MOST - 1}),
                   UTC_TIMESTAMP(6))) AS due_until,
               CASE WHEN (SELECT m.visible_at {OF_LANE} ORDER BY m.visible_at DESC LIMIT 1 OFFSET {MOST - 1})
                         > UTC_TIMESTAMP(6)
                    THEN UTC_TIMESTAMP(6) + INTERVAL 1 MINUTE ELSE '9999-12-31' END AS later_until
        FROM (SELECT queue, priority FROM {MESSAGE} GROUP BY queue, priority) lanes
        LIMIT 1000000
    ) bounds STRAIGHT_JOIN {MESSAGE} m
      ON m.queue >= bounds.queue AND m.queue <= bounds.queue_until
         AND m.priority >= bounds.priority AND m.priority <= bounds.priority_until
         AND (m.visible_at <= bounds.due_until
              OR (m.visible_at > UTC_TIMESTAMP(6) AND m.visible_at <= bounds.later_until))
) found
GROUP BY queue
"""


def schema_of_our_tables(schema_editor):
    """Return the schema in which PostgreSQL finds our tables here, quoted; None where there are none."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "SELECT quote_ident(n.nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.oid = to_regclass(%s)",
            [MESSAGE],
        )
        row = cursor.fetchone()
    return row and row[0]


def add(apps, schema_editor):
    vendor = schema_editor.connection.vendor
    if MESSAGE not in schema_editor.connection.introspection.table_names():
        # A router keeps our tables out of this database.
        return
    if vendor == "postgresql":
        schema = schema_of_our_tables(schema_editor)
        schema_editor.execute(FUNCTION.format(schema=schema), params=None)
        schema_editor.execute(POSTGRESQL_VIEW.format(schema=schema), params=None)
    elif vendor == "mysql":
        schema_editor.execute(MYSQL_VIEW, params=None)
    elif vendor == "sqlite":
        schema_editor.execute("DROP VIEW IF EXISTS letsgo_seats_wanted", params=None)
        schema_editor.execute(SQLITE_VIEW, params=None)


def take_away(apps, schema_editor):
    of_schema = ""
    if schema_editor.connection.vendor == "postgresql":
        schema = schema_of_our_tables(schema_editor)
        if schema is None:
            return
        of_schema = f"{schema}."
        schema_editor.execute(f"DROP FUNCTION IF EXISTS {of_schema}letsgo_enqueue({SIGNATURE})", params=None)
    schema_editor.execute(f"DROP VIEW IF EXISTS {of_schema}letsgo_seats_wanted", params=None)


class Migration(migrations.Migration):
    dependencies = [(APP, "0009_progress_and_excluded_queues")]

    # MySQL and MariaDB allow no such statement in a transaction.
    operations = [migrations.RunPython(add, take_away, atomic=False)]
