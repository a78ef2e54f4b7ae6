# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Tables of all rows and their figures, from the records (`figures.py`).

    python tests/lab/faults/report.py PAGE.md RECORD... [--retries]     # prints the figures; the tables go to the page

Where several records hold a row, the last one counts. Exit code 1 when there is no row, an acknowledged row was lost or a run needed a
human; with --retries also when a retry failed that no fault explains, which only says something where the machine has nothing else to do.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.figures import MATRICES, Row, figures, read

POINT = re.compile(r"(.+): killed (before|after) answer (\d+)$")


def newest(rows: Iterable[Row]) -> list[Row]:
    """The last record of each row, in the order in which they were first played."""
    return list({(row.matrix, row.row): row for row in rows}.values())


def _line(*cells: object) -> str:
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def _head(*names: str) -> list[str]:
    return [_line(*names), "|" + "---|" * len(names)]


def points(rows: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """The points of the kill matrix as a table, one line an operation and a moment; and the rows that are not in it: no points, or not held."""
    walks: dict[tuple[str, str], list[tuple[int, Row]]] = {}
    rest = []
    for row in rows:
        found = POINT.match(row.row)
        if found:
            walks.setdefault((found[1], found[2]), []).append((int(found[3]), row))
        if not found or not row.held:
            rest.append(row)
    lines = _head("operation", "killed", "at its requests", "none skipped", "as expected", "acknowledged", "lost")
    for (operation, moment), walk in sorted(walks.items()):
        numbers = {number for number, _row in walk}
        skipped = sorted(set(range(1, max(numbers) + 1)) - numbers)
        lines.append(_line(
            operation, f"right {moment} the answer", f"1 to {max(numbers)}", "yes" if not skipped else f"**not played: {', '.join(map(str, skipped))}**",
            f"{sum(row.held for _number, row in walk)} of {len(walk)}", sum(row.acknowledged for _number, row in walk),
            sum(row.lost for _number, row in walk),
        ))  # fmt: skip
    return (lines if walks else []), rest


def table(rows: Sequence[Row]) -> list[str]:
    """A line a row."""
    told = any(row.does for row in rows)
    lines = _head("row", *(["what happens"] if told else []), "expected", "outcome", "held")
    return lines + [
        _line(row.row, *([row.does] if told else []), row.expected, row.outcome, "yes" if row.held else "**no**")
        for row in rows
    ]


def report(rows: Sequence[Row]) -> str:
    """Every matrix and the figures, as Markdown."""
    lines = []
    for matrix in MATRICES:
        mine = [row for row in rows if row.matrix == matrix]
        if not mine:
            continue
        lines += [f"## {matrix} ({len(mine)} rows)", ""]
        walks: list[str] = []
        if matrix == "kill":
            walks, mine = points(mine)
        for part in (walks, table(mine) if mine else []):
            lines += [*part, ""] if part else []
    sums = [_line(name, count) for name, count in figures(rows).items()]
    return "\n".join([*lines, "## Figures", "", *_head("what", "count"), *sums, ""])


def main(arguments: Sequence[str]) -> int:
    """See above."""
    parser = argparse.ArgumentParser(description="Tables and figures of the fault tests.")
    parser.add_argument("page", type=Path, help="Markdown file for the tables")
    parser.add_argument("records", type=Path, nargs="+", help="files of rows, the oldest first")
    parser.add_argument("--retries", action="store_true", help="a failed retry that no fault explains fails too")
    asked = parser.parse_args(arguments)
    rows = newest(row for record in asked.records for row in read(record))
    asked.page.write_text(report(rows), encoding="utf-8")
    for name, count in (sums := figures(rows)).items():
        print(f"{count:>8}  {name}")
    control = [row for row in rows if row.matrix == "control"]
    if control:
        bad = sum(row.held for row in control)
        print(f"{bad:>8}  rows of the control, of {len(control)}, that lose data or wedge without the guards")
    wrong = sums["acknowledged rows lost"] + sums["runs that needed a human"]
    wrong += sums["retries that failed, database nodes undisturbed"] if asked.retries else 0
    return 1 if not rows or wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
