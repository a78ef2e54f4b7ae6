# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The matrix and its control as Markdown, from the records of the newest runs: `python -m faults.misoperations` in tests/lab."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from faults import figures
from faults.misoperations import ROWS


def newest(rows: Iterable[figures.Row], matrix: str) -> list[figures.Row]:
    """The last record of each row."""
    return list({row.row: row for row in rows if row.matrix == matrix}.values())


def text(rows: Iterable[figures.Row]) -> str:
    """Both tables and the sums of the first."""
    rows = list(rows)
    order = list(ROWS)
    played = [row for row in newest(rows, "misoperation") if row.row in order]
    played.sort(key=lambda row: order.index(row.row))
    lines = ["| row | what the operator does | expected | outcome | held |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.row} | {ROWS[row.row].does} | {row.expected} | {row.outcome} | {'yes' if row.held else '**no**'} |"
        for row in played
    ]
    control = [
        f"| {row.row} | {row.expected} | {row.outcome} | {'yes' if row.held else 'no'} |"
        for row in newest(rows, "control")
    ]
    sums = [f"| {name} | {count} |" for name, count in figures.figures(played).items()]
    return "\n".join([
        f"## Misoperations ({len(played)} of {len(order)} rows)", "", *lines, "",
        "| what | count |", "|---|---|", *sums, "",
        f"## The same without the guards ({len(control)} rows)", "",
        "| row | asked, and the answer with the guards | guards taken out, answers, and what came of it | harm |", "|---|---|---|---|", *control, "",
    ])  # fmt: skip


if __name__ == "__main__":
    print(text(figures.read()))
