# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Where statements end, what they are, and values between SQL and JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._sql import errors, values
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._sql.text import (
    SplitError,
    Statement,
    changed_by,
    split,
)


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("select 1", ["select 1"]),
        ("select 1;", ["select 1"]),
        (" ; ;\n", []),
        ("select 1; select 2 ;", ["select 1", "select 2"]),
        ("select ';', 'it''s;'; select 2", ["select ';', 'it''s;'", "select 2"]),
        (r"select e'\';', E'\\'; select 2", [r"select e'\';', E'\\'", "select 2"]),
        (r"select b'\x00;'; select 2", [r"select b'\x00;'", "select 2"]),
        (r"select 'a\'; select 'b'", [r"select 'a\'", "select 'b'"]),  # no escapes in plain strings
        ('select 1 as "a;""b"; select 2', ['select 1 as "a;""b"', "select 2"]),
        ("select 1 -- one; two\n; select 2", ["select 1 -- one; two", "select 2"]),
        ("-- only a comment;\n/* and ; /* another */ ; */", []),
        ("/* a; /* b; */ c; */ select 1; select 2", ["/* a; /* b; */ c; */ select 1", "select 2"]),
        ("select $$a;b$$; select $x$c;$$;d$x$", ["select $$a;b$$", "select $x$c;$$;d$x$"]),
        ("select $1; select 2", ["select $1", "select 2"]),
        ("select name'x;y'; select 2", ["select name'x;y'", "select 2"]),
        ("select 'a' -- it's\n; select 2", ["select 'a' -- it's", "select 2"]),
    ],
)
def test_split(text: str, statements: list[str]) -> None:
    assert [statement.text for statement in split(text)] == statements


def test_numbers_and_lines() -> None:
    found = split("\n-- first\nselect 1;\n\nselect\n2; select 3", first=4)
    assert [(item.number, item.line) for item in found] == [(4, 2), (5, 5), (6, 6)]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [("select 1;\nselect 'abc", 2, "string"), ('select "a', 1, "name"), ("\n\n/* a /* b */", 3, "comment")],
)
def test_what_never_ends(text: str, line: int, what: str) -> None:
    with pytest.raises(SplitError, match=what) as caught:
        split(text)
    assert caught.value.line == line


def sort(text: str) -> Statement:
    return split(text)[0]


def test_sorts_of_statements() -> None:
    assert sort("-- c\n(select 1)").keyword == "SELECT"
    assert sort("begin").transaction_control and sort("Rollback to x").transaction_control
    assert sort("set cluster setting a = 1").cluster_setting and sort("reset cluster setting a").cluster_setting
    assert not sort("set statement_timeout = 1").cluster_setting
    assert sort("cancel job 1").acts_outside and not sort("insert into t values (1)").acts_outside
    assert sort("select 1").repeatable and not sort("with x as (insert into t values (1)) select 1").repeatable
    assert not sort("insert into t values (1) returning a").repeatable
    assert sort("insert into t values (1) Returning a").returns_rows
    assert not sort("insert into t values (1)").returns_rows


@pytest.mark.parametrize(
    ("tag", "changed"),
    [
        ("SELECT 3", False),
        ("SHOW", False),
        ("EXPLAIN", False),
        ("SET", False),
        ("BEGIN", False),
        ("COMMIT", False),
        ("INSERT 0 3", True),
        ("INSERT 3", True),
        ("INSERT 0 0", False),
        ("UPDATE 0", False),
        ("DELETE 1", True),
        ("UPSERT 1", True),
        ("CREATE TABLE", True),
        ("SET CLUSTER SETTING", True),
        ("CONFIGURE ZONE 1", True),
        ("GRANT", True),
        (None, False),
    ],
)
def test_changed_by_tag(tag: str | None, changed: bool) -> None:
    assert changed_by(tag) is changed


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("NULL", "NULL"),
        (2**70, 2**70),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (b"\x00\xff", "AP8="),
        ([1, None, [b"a"]], [1, None, ["YQ=="]]),
        ({"k": (1, 2)}, {"k": [1, 2]}),
    ],
)
def test_jsonable(value: Any, expected: Any) -> None:
    assert values.jsonable(value) == expected
    json.dumps(values.jsonable(value), allow_nan=False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("it's", "it's"),
        (True, "true"),
        (5, "5"),
        (1.25, "1.25"),
        ([1, None, 'a,"b\\'], '{"1",NULL,"a,\\"b\\\\"}'),
        ([[1, 2], [3, 4]], '{{"1","2"},{"3","4"}}'),
        ({"a": [1]}, '{"a": [1]}'),
        (b"\x00\xff", "\\x00ff"),
    ],
)
def test_arguments(value: Any, expected: str | None) -> None:
    assert values.argument(value) == expected


def test_times() -> None:
    assert values.iso_time("2026-01-01 19:04:05.678+00:00") == "2026-01-01T19:04:05.678+00:00"
    assert values.iso_time("2026-01-01 19:04:05+08") == "2026-01-01T19:04:05+08:00"
    assert values.iso_time("2026-01-01") == "2026-01-01" and values.iso_time("infinity") == "infinity"


def test_column_names_are_unique() -> None:
    assert values.column_names(["a", "b", "a", "a_2", "a"]) == ["a", "b", "a_2", "a_2_", "a_3"]


@pytest.mark.parametrize(
    ("sqlstate", "message", "reason"),
    [
        ("42601", "", "syntax"),
        ("42P01", "", "not_found"),
        ("23505", "", "constraint"),
        ("25006", "", "read_only"),
        ("57P01", "", "draining"),
        ("99999", "", "sql"),
        (None, "SET CLUSTER SETTING cannot be used inside a transaction", "not_in_transaction"),
        (None, "server is not accepting clients", "draining"),
        (None, "x", "sql"),
    ],
)
def test_reasons(sqlstate: str | None, message: str, reason: str) -> None:
    assert errors.reason_of(sqlstate, message) == reason


def test_error_text() -> None:
    error = errors.SqlError("syntax", "at or near", sqlstate="42601", statement=2, line=7, may_have_run=True)
    assert str(error).startswith("statement 2 (line 7): at or near (SQLSTATE 42601). The answer was lost")
