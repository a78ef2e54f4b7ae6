# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The control: the guards are needed. With them taken out, the same misoperations lose rows, make tables unreadable, or wedge."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faults.control.patches import PATCHES, without
from faults.control.rows import ROWS, Control, verdict
from faults.figures import REPO, Row, record
from faults.misoperations import Stage, cluster_answers

BAD: dict[str, str] = {}  # rows that went wrong without their guards
pytestmark = pytest.mark.xdist_group("control")


def collections() -> Path:
    """Where the collection under test is installed."""
    return Path(os.environ.get("KAIWUDB_COLLECTIONS") or REPO / ".lab" / "collections").resolve()


@pytest.mark.quick
@pytest.mark.parametrize("name", PATCHES)
def test_every_patch_finds_its_text(name: str, tmp_path: Path) -> None:
    without([name], collections(), tmp_path)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.row)
def test_the_same_without_its_guards(row: Control, tmp_path: Path) -> None:
    """First with the guards: as expected, and nothing lost. Then without: whatever comes of it is recorded."""
    why = cluster_answers()
    if why:
        pytest.skip(why)
    bare = without(row.guards, collections(), tmp_path / "bare")
    stage = Stage(row.row, row.shape, tmp_path / "stage", collections())
    try:
        stage.ready()
        row.prepare(stage)
        stage.seen.clear()
        row.asks(stage)
        guarded = "; ".join(stage.seen)
        assert guarded in row.expected, stage.sent
        assert row.silent or stage.search() == (0, []), "rows were lost with the guards on"
        if row.again:
            stage.place.good("kw", **stage.base)
        stage.seen.clear()
        stage.place.collections = bare
        try:
            row.asks(stage)
        except AssertionError as error:
            stage.note(str(error).splitlines()[0])
        bare_outcome = "; ".join(stage.seen)
        if row.silent:
            stage.mends()  # what is unreadable now is what the run did
        found, lost = verdict(stage, row, bare_outcome)
    finally:
        stage.close()
    bad = not found.startswith("harmless")
    if bad:
        BAD[row.row] = found
    guards = ", ".join(PATCHES[name].what for name in row.guards)
    record(Row(
        "control", row.row, f"{row.does} With guards: {guarded}", f"{guards}: {bare_outcome}; {found}", bad,
        operations=stage.operations, faults=stage.faults, lost=lost, disturbs_nodes=True,
    ))  # fmt: skip


def test_at_least_five_rows_go_wrong_without_their_guards() -> None:
    if cluster_answers():
        pytest.skip("no cluster")
    assert len(BAD) >= 5, BAD
