# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows, their checksums, and the statements about them. Pure."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

DATABASE = "workload"
PAYLOAD = "abcdefghijklmnopqrstuvwxyz0123456789 ,'\"\\%äß漢"


@dataclass(frozen=True)
class Row:
    """One row: its table (0…), key, payload, and the checksum over key and payload."""

    table: int
    key: str
    payload: str

    @property
    def checksum(self) -> str:
        return checksum(self.key, self.payload)


def checksum(key: str, payload: str) -> str:
    """SHA-256 (hex) over key and payload: a row moved to another key is as wrong as a changed one."""
    return hashlib.sha256(f"{key}\0{payload}".encode()).hexdigest()


def make_row(run: str, worker: int, number: int, tables: int, source: random.Random) -> Row:
    """The `number`-th row of a worker; consecutive rows go to consecutive tables."""
    payload = "".join(source.choices(PAYLOAD, k=source.randint(20, 80)))
    return Row((worker + number) % tables, f"{run}-{worker}-{number}", payload)


def table_name(table: int) -> str:
    """Qualified name; every table is a range of its own in KWDB."""
    return f"{DATABASE}.t{table:02}"


def schema(tables: int) -> list[str]:
    """Statements that make database and tables where they do not exist."""
    columns = "id varchar(64) primary key, payload varchar(255), checksum varchar(64)"
    made = [f"create table if not exists {table_name(table)} ({columns})" for table in range(tables)]
    return [f"create database if not exists {DATABASE}", *made]


def upsert(row: Row) -> tuple[str, tuple[str, ...]]:
    """An upsert, because a retry may meet the row that its first attempt wrote without hearing of it."""
    statement = f"upsert into {table_name(row.table)} (id, payload, checksum) values (%s, %s, %s)"
    return statement, (row.key, row.payload, row.checksum)


def select_one(row: Row) -> tuple[str, tuple[str, ...]]:
    """Reads one row back."""
    return f"select id, payload, checksum from {table_name(row.table)} where id = %s", (row.key,)


def select_all(table: int) -> str:
    """Reads a whole table."""
    return f"select id, payload, checksum from {table_name(table)}"


def sound(found: tuple[str, str, str], expected: str) -> bool:
    """True when a row as read carries the expected checksum and its payload gives it."""
    key, payload, stored = found
    return stored == expected == checksum(key, payload)
