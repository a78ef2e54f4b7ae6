# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""What the tests of lost nodes share: a cluster of three that holds rows, and what becomes of one of its nodes."""

from __future__ import annotations

from typing import Any

from kindlab import Place, Result

NAME = "kw"
REPLACE = "kaiwudb.kubernetes.kaiwudb_node_replace"
ROWS = 200


def fill(place: Place) -> None:
    """A cluster of three nodes that holds rows."""
    place.good(NAME, replicas="3")
    place.await_whole(NAME)
    place.sql(NAME, "CREATE DATABASE bank; CREATE TABLE bank.accounts (id INT PRIMARY KEY, balance INT)")
    values = ", ".join(f"({number}, {number * 7})" for number in range(ROWS))
    place.sql(NAME, f"INSERT INTO bank.accounts VALUES {values}")


def replace(place: Place, ordinal: int, **how: Any) -> Result:
    return place.good(NAME, module=REPLACE, node=str(ordinal), **how)


def refused(place: Place, reason: str, ordinal: int, **how: Any) -> Result:
    return place.refused(NAME, reason, module=REPLACE, node=str(ordinal), **how)


def rows_are_there(place: Place) -> None:
    counted = place.sql(NAME, "SELECT count(*), sum(balance) FROM bank.accounts").splitlines()[1]
    assert counted == f"{ROWS},{sum(number * 7 for number in range(ROWS))}"


def directory(place: Place, ordinal: int) -> str:
    return f"{place.local_path}/{place.namespace}.{NAME}-{ordinal}"


def is_live(place: Place, ordinal: int) -> str:
    row = place.row_of(NAME, ordinal)
    return row["is_live"] if row else ""


def is_new(place: Place, ordinal: int, before: int) -> None:
    """It serves under an id it never had, the old one has left, and neither run finds anything to do."""
    row = place.row_of(NAME, ordinal)
    assert row is not None and int(row["id"]) > before and row["is_decommissioning"] == "false"
    old = next(item for item in place.node_rows(NAME) if int(item["id"]) == before)
    assert old["is_decommissioning"] == "true"
    assert place.run(NAME, module=REPLACE, node=str(ordinal)).writes == []
    assert place.good(NAME).writes == []
    rows_are_there(place)


def node_id(place: Place, ordinal: int) -> int:
    row = place.row_of(NAME, ordinal)
    assert row is not None
    return int(row["id"])
