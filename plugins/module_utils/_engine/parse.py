# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The engine's output as data. Pure: imports neither kubernetes nor Ansible.

Always ``--format=csv`` and always by column name: versions and products differ in order and number of columns. The CSV
prints NULL bare and does not quote the text 'NULL', so the two cannot be told apart here; the wire protocol can.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Row: TypeAlias = "dict[str, str | None]"

INITIALIZED = "Cluster successfully initialized"
# A node that bootstrapped or restarted says the first, one that joined and has not restarted says the second.
ALREADY = ("cluster has already been initialized", "already connected to cluster")
DONE = "No more data reported on target nodes."


class OutputError(ValueError):
    """The engine's output cannot be read."""


def csv_rows(text: str) -> list[Row]:
    """Rows of one result by column name; [] for a header alone. Raises OutputError for ragged rows."""
    lines = list(csv.reader(io.StringIO(text), strict=False))
    if not lines:
        return []
    return _rows(lines[0], [line for line in lines[1:] if line])


def csv_header(text: str) -> list[str]:
    """The column names of a result, also of one without rows."""
    return next(csv.reader(io.StringIO(text)), [])


def _rows(header: list[str], lines: Iterable[list[str]]) -> list[Row]:
    rows = []
    for line in lines:
        if len(line) != len(header):
            raise OutputError(f"{len(line)} values for the {len(header)} columns {','.join(header)}")
        rows.append({key: None if value == "NULL" else value for key, value in zip(header, line, strict=True)})
    return rows


@dataclass(frozen=True)
class NodeRow:
    """A row of ``node status``. None where the engine says NULL or has no such column (bini, or a flag not given).

    id: node id. address: advertised host:port, the key to a pod; NULL for ids that left before a full restart. build:
    ``V3.2.1``. started_at, updated_at: UTC as the engine prints them. is_available: liveness not expired and not
    upgrading. is_live: known to gossip. Both lag up to ``Profile.liveness_seconds`` behind a death. ranges_unavailable
    and ranges_underreplicated are the engine's metric, refreshed every 10 s and wrong when it matters.
    """

    id: int
    address: str | None = None
    sql_address: str | None = None
    build: str | None = None
    started_at: str | None = None
    updated_at: str | None = None
    locality: str | None = None
    start_mode: str | None = None
    is_available: bool | None = None
    is_live: bool | None = None
    replicas_leaders: int | None = None
    replicas_leaseholders: int | None = None
    ranges: int | None = None
    ranges_unavailable: int | None = None
    ranges_underreplicated: int | None = None
    gossiped_replicas: int | None = None
    is_decommissioning: bool | None = None
    is_draining: bool | None = None


def _int(row: Mapping[str, str | None], column: str) -> int | None:
    value = row.get(column)
    try:
        return None if value is None or value == "" else int(value)
    except ValueError:
        raise OutputError(f"column {column}: {value!r} is no number") from None


def _bool(row: Mapping[str, str | None], column: str) -> bool | None:
    value = row.get(column)
    if value in (None, ""):
        return None
    if value not in ("true", "false"):
        raise OutputError(f"column {column}: {value!r} is neither true nor false")
    return value == "true"


def node_status(rows: Iterable[Mapping[str, str | None]]) -> list[NodeRow]:
    """Raises OutputError when there is no id column or a value does not fit."""
    found = []
    for row in rows:
        number = _int(row, "id")
        if number is None:
            raise OutputError(f"no column id in {','.join(row)}")
        found.append(
            NodeRow(
                id=number,
                address=row.get("address") or None,
                sql_address=row.get("sql_address") or None,
                build=row.get("build") or None,
                started_at=row.get("started_at") or None,
                updated_at=row.get("updated_at") or None,
                locality=row.get("locality") or None,
                start_mode=row.get("start_mode") or None,
                is_available=_bool(row, "is_available"),
                is_live=_bool(row, "is_live"),
                replicas_leaders=_int(row, "replicas_leaders"),
                replicas_leaseholders=_int(row, "replicas_leaseholders"),
                ranges=_int(row, "ranges"),
                ranges_unavailable=_int(row, "ranges_unavailable"),
                ranges_underreplicated=_int(row, "ranges_underreplicated"),
                gossiped_replicas=_int(row, "gossiped_replicas"),
                is_decommissioning=_bool(row, "is_decommissioning"),
                is_draining=_bool(row, "is_draining"),
            )
        )
    return found


@dataclass(frozen=True)
class DecommissionRow:
    """A row of ``node decommission`` or ``recommission``. replicas: counted exactly, from the meta ranges."""

    id: int
    is_live: bool | None
    replicas: int
    is_decommissioning: bool
    is_draining: bool | None


@dataclass(frozen=True)
class DecommissionReport:
    """rows: the newest state. done: the engine holds no data on these nodes any more, by its closing sentence.

    warnings: the engine's, such as ``node 4 is already decommissioning or decommissioned`` (no failure).
    """

    rows: tuple[DecommissionRow, ...]
    done: bool
    warnings: tuple[str, ...] = ()

    @property
    def replicas(self) -> int:
        return sum(row.replicas for row in self.rows)


def decommission(stdout: str, stderr: str = "") -> DecommissionReport:
    """With ``--wait=all`` header and rows come again at every change: the last block holds.

    Raises OutputError when no table is found.
    """
    table, _final, _rest = stdout.partition(DONE)
    lines = [line for line in csv.reader(io.StringIO(table)) if line]
    headers = [index for index, line in enumerate(lines) if line[0] == "id"]
    if not headers:
        raise OutputError(f"no table in {stdout[:200]!r}")
    rows = []
    for row in _rows(lines[headers[-1]], lines[headers[-1] + 1 :]):
        number, replicas = _int(row, "id"), _int(row, "replicas")
        if number is None or replicas is None:
            raise OutputError(f"id or replicas missing in {row}")
        rows.append(
            DecommissionRow(
                number,
                _bool(row, "is_live"),
                replicas,
                bool(_bool(row, "is_decommissioning")),
                _bool(row, "is_draining"),
            )
        )
    return DecommissionReport(tuple(rows), DONE in stdout, tuple(warnings(stderr)))


def warnings(stderr: str) -> list[str]:
    return [match.strip() for match in re.findall(r"^warning: (.*)$", stderr, re.MULTILINE)]


Init = Literal["initialized", "already", "not_ready", "refused"]


def init_outcome(rc: int, stdout: str, stderr: str) -> Init:
    """What ``init`` came to. It loops for ever while the node does not answer, so an ended call is ``not_ready``."""
    text = f"{stdout}\n{stderr}"
    if any(sentence in text for sentence in ALREADY):
        return "already"
    if rc == 0 and INITIALIZED in text:
        return "initialized"
    waiting = (
        "node not ready to perform cluster initialization",
        "cannot dial server",
        "heartbeat failed",
        "stop called while waiting to bootstrap",
        "operation timed out",
    )
    if rc in (124, 137) or any(sentence in text for sentence in waiting):
        return "not_ready"
    return "refused"


def version(stdout: str) -> str | None:
    """The build in ``version``'s first line, ``KaiwuDB Version:  V3.2.1`` (Build Tag in the relatives), or None."""
    match = re.search(r"^\s*(?:\w+ Version|Build Tag|KWDB Version):\s*(\S+)", stdout, re.MULTILINE)
    return match[1] if match else None


def seconds(text: str) -> float | None:
    """A duration as the engine prints it, C(30m0s) in its views and C(00:30:00) in SHOW CLUSTER SETTING; None for another text."""
    clock = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", text.strip())
    if clock:
        return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3])
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1, "ms": 0.001}[unit] for number, unit in parts)


def tag(stdout: str) -> str | None:
    """The command tag when the whole output is one (``CREATE TABLE``, ``INSERT 3``, ``OK``); None for a result."""
    text = stdout.strip()
    return text if re.fullmatch(r"[A-Z]+(?: [A-Z]+)*(?: \d+)?", text) else None
