"""Fingerprints over real messages of Django, drivers, clients and Python: what is one failure."""

from __future__ import annotations

import pytest

from django_letsgo_worker.likeness import KEPT, words_of

POOL = "HTTPSConnectionPool(host='{}', port=443): Max retries exceeded with url: {} (Caused by {})"
REFUSED = (
    "NewConnectionError('<urllib3.connection.HTTPSConnection object at {}>: Failed to establish a new "
    "connection: [Errno 111] Connection refused')"
)
DUPLICATE = 'duplicate key value violates unique constraint "{}"\nDETAIL:  Key (email)=({}) already exists.'
NO_SERVER = (
    'connection to server at "{}" ({}), port {} failed: {}\n\tIs the server running on that host and '
    "accepting TCP/IP connections?"
)

# Texts of one failure on each line.
SAME = {
    "sqlite unique": ["UNIQUE constraint failed: shop_customer.email"] * 2,
    "psycopg duplicate": [
        DUPLICATE.format("shop_customer_email_key", "anna@shop.example"),
        DUPLICATE.format("shop_customer_email_key", "bo.b+x@mail.co.uk"),
    ],
    "psycopg null": [
        'null value in column "total" of relation "shop_order" violates not-null constraint\n'
        "DETAIL:  Failing row contains (17, null, 2026-11-28 08:55:56.123456+00).",
        'null value in column "total" of relation "shop_order" violates not-null constraint\n'
        "DETAIL:  Failing row contains (18, null, 2026-11-29 08:55:56.5+00).",
    ],
    "psycopg no server": [
        NO_SERVER.format("db-1.internal", "10.0.0.5", 5432, "Connection refused"),
        NO_SERVER.format("db-2.internal", "2001:db8::7", 6432, "Connection refused"),
    ],
    "psycopg deadlock": [
        "deadlock detected\nDETAIL:  Process 71 waits for ShareLock on transaction 8123; blocked by 72.",
        "deadlock detected\nDETAIL:  Process 9 waits for ShareLock on transaction 11; blocked by 10.",
    ],
    "psycopg foreign key": [
        'insert or update on table "a" violates foreign key constraint "a_b_id_8f3e_fk_b_id"\n'
        'DETAIL:  Key (b_id)=(7) is not present in table "b".',
        'insert or update on table "a" violates foreign key constraint "a_b_id_8f3e_fk_b_id"\n'
        'DETAIL:  Key (b_id)=(912) is not present in table "b".',
    ],
    "mysql duplicate": [
        "(1062, \"Duplicate entry 'anna@shop.example' for key 'shop_customer.email'\")",
        "(1062, \"Duplicate entry 'bob@shop.example' for key 'shop_customer.email'\")",
    ],
    "mysql no server": [
        "(2003, \"Can't connect to MySQL server on 'db-1.internal:3306' (111)\")",
        "(2003, \"Can't connect to MySQL server on 'db-2.internal:3307' (110)\")",
    ],
    "mysql data too long": [
        "(1406, \"Data too long for column 'name' at row 1\")",
        "(1406, \"Data too long for column 'name' at row 37\")",
    ],
    "django more than one": [
        "get() returned more than one Order -- it returned 2!",
        "get() returned more than one Order -- it returned 17!",
    ],
    "django field": [
        "Field 'id' expected a number but got 'abc'.",
        "Field 'id' expected a number but got 'x y z'.",
    ],
    "django validation": [
        "['“2026-13-01” value has an invalid date format. It must be in YYYY-MM-DD format.']",
        "['“28.11.2026” value has an invalid date format. It must be in YYYY-MM-DD format.']",
    ],
    "django template": ["mail/order-17/body.html", "mail/order-9/body.html"],
    "requests pool": [
        POOL.format("api.shop.example", "/v1/orders/17?page=2", REFUSED.format("0x7f3c2a1b5d90")),
        POOL.format("api.bank.example", "/v2/charges", REFUSED.format("0x10")),
    ],
    "requests status": [
        "404 Client Error: Not Found for url: https://api.shop.example/orders/17",
        "404 Client Error: Not Found for url: http://10.1.2.3:8080/orders/a-b?x=1#y",
    ],
    "httpx status": [
        "Client error '404 Not Found' for url 'https://api.shop.example/orders/17'\n"
        "For more information check: https://developer.mozilla.org/en-US/docs/Web/HTTP/Status/404",
        "Client error '404 Not Found' for url 'https://api.shop.example/orders/18'\n"
        "For more information check: https://developer.mozilla.org/en-US/docs/Web/HTTP/Status/404",
    ],
    "httpx connect": ["[Errno 111] Connection refused"] * 2,
    "urllib": ["<urlopen error [Errno 111] Connection refused>"] * 2,
    "stripe no such": [
        "Request req_AbC123dEf456: No such customer: 'cus_NffrFeUfNV2Hib'",
        "Request req_9ZyXwVuT8s7: No such customer: 'cus_9s6XKzkNRiz8i3'",
    ],
    "stripe declined": [
        "Request req_AbC123dEf456: Your card was declined.",
        "Request req_3kQ0aZ9yXw1bcd: Your card was declined.",
    ],
    "stripe intent": [
        "This PaymentIntent's amount could not be captured: pi_3MmlLrLkdIwHu7ix0uY2JzXX",
        "This PaymentIntent's amount could not be captured: pi_1Gszs42eZvKYlo2C7t3xQyZZ",
    ],
    "card number": [
        "card 4242 4242 4242 4242 was declined",
        "card 5555-5555-5555-4444 was declined",
        "card 378282246310005 was declined",
    ],
    "redis": [
        "Error 111 connecting to redis-1.internal:6379. Connection refused.",
        "Error 111 connecting to localhost:6380. Connection refused.",
    ],
    "redis moved": ["MOVED 3999 127.0.0.1:6381", "MOVED 12 10.0.0.7:6379"],
    "os file": [
        "[Errno 2] No such file or directory: '/srv/media/invoices/2026/11/17.pdf'",
        "[Errno 2] No such file or directory: '/tmp/tmpab12cd/x.png'",
    ],
    "os bare path": [
        "cannot read /srv/media/a-17/b.csv: it is empty",
        "cannot read /var/lib/x.csv: it is empty",
    ],
    "windows path": [
        r"cannot read C:\Users\anna\a.csv: it is empty",
        r"cannot read D:\data\b.csv: it is empty",
    ],
    "json": [
        "Expecting value: line 1 column 1 (char 0)",
        "Expecting value: line 17 column 203 (char 5120)",
    ],
    "json control": [
        "Invalid control character at: line 1 column 12 (char 11)",
        "Invalid control character at: line 3 column 2 (char 99)",
    ],
    "key": ["'email'", "'e-mail address'"],
    "index": ["list index out of range"] * 2,
    "int": [
        "invalid literal for int() with base 10: '12a'",
        "invalid literal for int() with base 10: 'O\\'Hara'",
    ],
    "unicode": [
        "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        "'utf-8' codec can't decode byte 0xa4 in position 1712: invalid start byte",
    ],
    "memory": [
        "cannot pickle <_io.TextIOWrapper object at 0x7f00deadbeef>",
        "cannot pickle <_io.TextIOWrapper object at 0x55>",
    ],
    "uuid": [
        "order 9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d is gone",
        "order 1B9D6BCD-BBFD-4B2D-9B5D-AB8DFBBD4BED is gone",
        "order 9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d is gone",
        "order 17 is gone",
    ],
    "hash": [
        "no blob d2a84f4b8b650937ec8f73cd8be2c74add5a911ba64df27458ed8229da804a26",
        "no blob e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ],
    "moment": [
        "token expired at 2026-11-28T08:55:56Z",
        "token expired at 2026-11-28 08:55:56.123456+00:00",
        "token expired at 2027-01-01",
    ],
    "day in words": ["window closed on Sat, 28 Nov 2026", "window closed on Mon, 1 Jun 2027"],
    "mail": [
        "{'anna@shop.example': (550, b'5.1.1 User unknown')}",
        "{'bob.smith+x@mail.example': (550, b'5.1.1 User unknown')}",
    ],
    "times": ["the worker died 1 time while handling it", "the worker died 12 times while handling it"],
    "pydantic": [
        "1 validation error for OrderIn\nsku\n  Field required",
        "3 validation errors for OrderIn\na",
    ],
    "subprocess": [
        "Command '['ffmpeg', '-i', 'a.mp4']' returned non-zero exit status 1.",
        "Command '['ffmpeg', '-i', 'b.mp4']' returned non-zero exit status 1.",
    ],
    "timeout": ["timed out after 30s", "timed out after 1.5s"],
    "sizes": ["payload of 1,594,002 bytes is too long", "payload of 7000 bytes is too long"],
    "signed": ["temperature -5 out of range", "temperature 12.5 out of range"],
    "list": ["missing rows: [1, 2, 3]", "missing rows: [17]"],
    "s3": [
        "An error occurred (NoSuchKey) when calling the GetObject operation: key media/a/17.png",
        "An error occurred (NoSuchKey) when calling the GetObject operation: key media/b/x.png",
    ],
}

# Texts that are not one failure, of one class and place.
APART = [
    ("UNIQUE constraint failed: shop_customer.email", "UNIQUE constraint failed: shop_order.number"),
    ("UNIQUE constraint failed: shop_order.number", "NOT NULL constraint failed: shop_order.number"),
    ("Order matching query does not exist.", "Customer matching query does not exist."),
    ("(1205, 'Lock wait timeout exceeded; try restarting transaction')", "(2006, 'Server has gone away')"),
    ("(1205, 'Lock wait timeout exceeded')", "(1213, 'Lock wait timeout exceeded')"),
    ("deadlock detected", "canceling statement due to statement timeout"),
    (
        NO_SERVER.format("db", "10.0.0.5", 5432, "Connection refused"),
        NO_SERVER.format("db", "10.0.0.5", 5432, "FATAL:  password authentication failed"),
    ),
    (
        "404 Client Error: Not Found for url: https://a.example/x",
        "403 Client Error: Forbidden for url: https://a.example/x",
    ),
    (
        "Client error '404 Not Found' for url 'https://a.example/x'",
        "Client error '429 Too Many Requests' for url 'https://a.example/x'",
    ),
    (
        "Server error '502 Bad Gateway' for url 'https://a.example/x'",
        "Server error '503 Service Unavailable' for url 'https://a.example/x'",
    ),
    (
        POOL.format("a", "/x", REFUSED.format("0x1")),
        POOL.format("a", "/x", "ConnectTimeoutError(<object at 0x1>, 'timed out')"),
    ),
    ("[Errno 111] Connection refused", "[Errno -2] Name or service not known"),
    ("Request req_AbC123dEf456: Your card was declined.", "Request req_AbC123dEf456: Your card has expired."),
    (
        "Request req_AbC123dEf456: No such customer: 'cus_1'",
        "Request req_AbC123dEf456: No such price: 'price_1'",
    ),
    ("Error 111 connecting to a:6379. Connection refused.", "Timeout reading from a:6379"),
    ("[Errno 2] No such file or directory: '/a'", "[Errno 13] Permission denied: '/a'"),
    ("Expecting value: line 1 column 1 (char 0)", "Extra data: line 1 column 3 (char 2)"),
    ("list index out of range", "pop from empty list"),
    ("['Enter a valid email address.']", "['This field cannot be blank.']"),
    ("{'email': ['This field cannot be blank.']}", "{'name': ['This field cannot be blank.']}"),
    ("card 4242 was declined", "card 4242 was stolen"),
    ("1 validation error for OrderIn\na", "1 validation error for CustomerIn\na"),
    ("'NoneType' object is not iterable", "'NoneType' object is not callable"),
    ("read and/or write", "read and or write"),
    ("The following failed:\nno stock", "The following failed:\nno price"),
    ("", "0"),
]


@pytest.mark.parametrize("name", SAME)
def test_one_failure_has_the_same_words_whoever_it_meets(name):
    assert len({words_of(text) for text in SAME[name]}) == 1, [words_of(text) for text in SAME[name]]


@pytest.mark.parametrize(("one", "other"), APART)
def test_two_failures_have_different_words(one, other):
    assert words_of(one) != words_of(other)


def test_the_table_is_long_enough_and_its_failures_are_told_apart():
    assert sum(len(texts) for texts in SAME.values()) + 2 * len(APART) >= 40
    words = {name: words_of(texts[0]) for name, texts in SAME.items()}
    alike = [(one, other) for one in words for other in words if one < other and words[one] == words[other]]
    # Their classes tell these apart.
    assert set(alike) <= {("django template", "key"), ("os bare path", "windows path")}, alike


@pytest.mark.parametrize(
    "text",
    ["\ud800", "\0" * 10, "'" * 9_999, "((((" * 5_000, "\\" * 9_999, "/a" * 50_000, "a:" * 50_000,
     "1" * 9_999, "a@" * 50_000, "*," * 50_000, "[{'" * 9_999, "\n" * 9_999, "é" * 9_999, "a.b-c" * 9_999],
)  # fmt: skip
def test_no_text_breaks_it_or_takes_it_long(text):
    assert len(words_of(text)) <= KEPT
