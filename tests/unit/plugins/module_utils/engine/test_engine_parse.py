# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The engine's output and errors as data, on texts recorded from the product (tests/unit/fixtures)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine import errors, parse

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"


def recorded(name: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a recorded call."""
    text = (FIXTURES / f"{name}.txt").read_text()
    match = re.fullmatch(r"\$ .*?\n# exit code (\d+)\n# stdout\n(.*?)# stderr\n?(.*)", text, re.DOTALL)
    assert match, name
    return int(match[1]), match[2], match[3]


def test_node_status_by_column_name() -> None:
    rows = parse.node_status(parse.csv_rows(recorded("node_status")[1]))
    assert [row.id for row in rows] == [1, 2, 3]
    assert rows[1].address == "127.0.0.1:26302"
    assert rows[1].build == "V3.2.1-28-ga5c90efc1"
    assert rows[1].start_mode == "start" and rows[1].locality == "region=NODE2"
    assert rows[1].is_available is True and rows[1].is_live is True
    assert rows[1].is_decommissioning is None and rows[1].ranges_underreplicated is None


def test_node_status_all_columns() -> None:
    first = parse.node_status(parse.csv_rows(recorded("node_status_all")[1]))[0]
    assert (first.ranges, first.ranges_unavailable, first.ranges_underreplicated) == (57, 0, 9)
    assert (first.gossiped_replicas, first.is_decommissioning, first.is_draining) == (58, False, False)


def test_node_status_decommissioning() -> None:
    last = parse.node_status(parse.csv_rows(recorded("node_status_decommission")[1]))[-1]
    assert (last.id, last.gossiped_replicas, last.is_decommissioning) == (4, 0, True)


def test_node_status_null_and_fewer_columns() -> None:
    left = parse.node_status(parse.csv_rows("id,address,is_available,is_live\n4,NULL,false,NULL\n"))[0]
    assert left == parse.NodeRow(id=4, is_available=False)


@pytest.mark.parametrize(
    "text", ["id,is_live\n1\n", "id,is_live\nx,true\n", "id,is_live\n1,perhaps\n", "address\nkw-0:26257\n"]
)
def test_output_that_does_not_fit_is_an_error(text: str) -> None:
    with pytest.raises(parse.OutputError):
        parse.node_status(parse.csv_rows(text))


def test_csv_values() -> None:
    row = parse.csv_rows(recorded("sql_types")[1])[0]
    assert row["a"] is None and row["b"] is None  # the text 'NULL' cannot be told from NULL here
    assert row["c"] == "x,y" and row["d"] == "line1\nline2" and row["l"] == 'a"b' and row["f"] == "1.50"


def test_csv_without_rows_keeps_the_header() -> None:
    assert parse.csv_rows("a,b\n") == [] and parse.csv_header("a,b\n") == ["a", "b"]
    assert parse.csv_rows("") == [] and parse.csv_header("") == []


def test_decommission_last_block_holds() -> None:
    report = parse.decommission(*recorded("decommission_wait")[1:])
    assert report.done and report.replicas == 0
    assert report.rows == (parse.DecommissionRow(4, True, 0, True, False),)


def test_decommission_under_way() -> None:
    report = parse.decommission(*recorded("decommission_none")[1:])
    assert not report.done and report.replicas == 58


def test_decommission_again_only_warns() -> None:
    report = parse.decommission(*recorded("decommission_again")[1:])
    assert report.done and report.warnings == ("node 4 is already decommissioning or decommissioned",)


def test_recommission() -> None:
    report = parse.decommission(*recorded("recommission")[1:])
    assert not report.rows[0].is_decommissioning


def test_decommission_without_a_table() -> None:
    with pytest.raises(parse.OutputError):
        parse.decommission("", "")


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("init_done", "initialized"),
        ("init_already", "already"),
        ("init_joined", "already"),
        ("init_not_ready", "not_ready"),
        ("dial_grpc", "not_ready"),
        ("sql_certs", "refused"),
    ],
)
def test_init_outcome(name: str, outcome: str) -> None:
    assert parse.init_outcome(*recorded(name)) == outcome


def test_init_killed_without_a_word() -> None:
    assert parse.init_outcome(137, "", "") == "not_ready"


def test_version_and_tag() -> None:
    assert parse.version(recorded("version")[1]) == "V3.2.1-28-ga5c90efc1"
    assert parse.version("Build Tag:    v19.1.2\n") == "v19.1.2"
    assert parse.version("") is None
    assert parse.tag("INSERT 3\n") == "INSERT 3" and parse.tag("CREATE TABLE\n") == "CREATE TABLE"
    assert parse.tag("a\n1\n") is None


@pytest.mark.parametrize(
    ("name", "reason", "text"),
    [
        ("node_status_hung", "timeout", "no answer in time"),
        ("init_not_ready", "timeout", "node not ready"),
        ("node_status_unknown", "unknown_node", "node 9 doesn't exist"),
        ("dial_sql", "unreachable", "connection refused"),
        ("dial_grpc", "unreachable", "Failed to connect to the node"),
        ("decommission_unknown", "unknown_node", "node not in the liveness table"),
        ("decommission_before_init", "waiting_for_init", "node waiting for init"),
        ("drain_before_init", "waiting_for_init", "before it has been initialized"),
        ("drain_timeout", "drain_timeout", "drain timeout"),
        ("sql_syntax", "sql", 'at or near "selec"'),
        ("sql_read_only", "sql", "cannot execute INSERT in a read-only transaction"),
        ("sql_in_transaction", "sql", "cannot be used inside a transaction"),
        ("sql_certs", "certificates", "cannot load certificates"),
        ("sql_login", "login", "password authentication failed for user root"),
        ("init_already", "refused", "cluster has already been initialized"),
    ],
)
def test_errors(name: str, reason: str, text: str) -> None:
    fault = errors.classify(*recorded(name))
    assert fault is not None and fault.reason == reason and text in fault.text


def test_error_fields() -> None:
    fault = errors.classify(*recorded("sql_syntax"))
    assert fault is not None and (fault.sqlstate, fault.detail) == ("42601", "source SQL:")
    hint = errors.classify(*recorded("init_already"))
    assert hint is not None and hint.hint == "Please ensure all your start commands are using --join."


def test_success_is_no_error() -> None:
    assert errors.classify(*recorded("node_status")) is None
    assert errors.classify(*recorded("decommission_again")) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30m0s", 1800), ("1h30m0s", 5400), ("10s", 10), ("1.5s", 1.5), ("250ms", 0.25), ("1m0.5s", 60.5), ("240h0m0s", 864000), ("0s", 0), (" 5m0s ", 300),
        ("00:30:00", 1800), ("01:00:01.5", 3601.5), ("00:00:00", 0), ("240:00:00", 864000),
        ("", None), ("soon", None), ("30", None), ("30 m", None), ("5m and 3s", None), ("-5m0s", None), ("1d", None), ("00:30", None), ("NULL", None),
    ],
)  # fmt: skip
def test_a_duration_in_both_of_the_engines_forms(text: str, seconds: float | None) -> None:
    """Its views print one, SHOW CLUSTER SETTING the other."""
    assert parse.seconds(text) == (None if seconds is None else pytest.approx(seconds))
