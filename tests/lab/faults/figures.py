# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""One line a row of every matrix, in one file; the tables and the figures (`report.py`) are made from it and from nothing else.

``KAIWUDB_FAULTS_RECORD`` names the file (default: .lab/results/faults.jsonl). Workers of one test run append to it side by side.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]
MATRICES = ("kill", "misoperation", "fault", "control")


@dataclass(frozen=True)
class Row:
    """One row of a matrix and what came of it.

    matrix: one of MATRICES. row: its name, unique there. expected, outcome: for a person. held: outcome is as expected.
    operations: runs of the collection; faults: what was injected (kills, refusals, cuts); acknowledged, lost: rows of the
    workload; retries_failed: statements whose one repetition failed too; humans: runs that only a person could mend.
    disturbs_nodes: whether the fault itself takes database nodes away (their failed retries are counted apart).
    does: what happens in it, where its name does not say that.
    """

    matrix: str
    row: str
    expected: str
    outcome: str
    held: bool
    operations: int = 0
    faults: int = 0
    acknowledged: int = 0
    lost: int = 0
    retries_failed: int = 0
    humans: int = 0
    disturbs_nodes: bool = False
    does: str = ""


def record_file() -> Path:
    """Where rows are kept."""
    return Path(os.environ.get("KAIWUDB_FAULTS_RECORD") or REPO / ".lab" / "results" / "faults.jsonl")


def record(row: Row) -> None:
    """Append one row; a line is written at once, so that workers do not mix."""
    assert row.matrix in MATRICES, row.matrix
    file = record_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(row)) + "\n")


def read(file: Path | None = None) -> list[Row]:
    """All rows of the file, in order."""
    file = file or record_file()
    return [Row(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def figures(rows: Iterable[Row]) -> dict[str, int]:
    """The sums; those of the control, which is meant to fail, are left out."""
    counted = [row for row in rows if row.matrix != "control"]
    return {
        "rows of the matrices": len(counted),
        "rows not as expected": sum(not row.held for row in counted),
        "operations tried": sum(row.operations for row in counted),
        "faults injected": sum(row.faults for row in counted),
        "acknowledged rows": sum(row.acknowledged for row in counted),
        "acknowledged rows lost": sum(row.lost for row in counted),
        "retries that failed, database nodes undisturbed": sum(
            row.retries_failed for row in counted if not row.disturbs_nodes
        ),
        "retries that failed where the fault took database nodes": sum(
            row.retries_failed for row in counted if row.disturbs_nodes
        ),
        "runs that needed a human": sum(row.humans for row in counted),
    }
