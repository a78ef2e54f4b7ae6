# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The misoperation matrix: what an operator does wrongly is refused with a reason or comes out as stated, and no acknowledged row is lost.

Rows of one stage share a cluster; ``-n 2 --dist loadgroup`` plays two stages at a time, ``-m quick`` a part of some minutes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from _pytest.mark import ParameterSet

from faults.figures import record
from faults.misoperations import ROWS, SHAPES, Misoperation, Stage, cluster_answers


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The cluster of a group of rows."""
    why = cluster_answers()
    if why:
        pytest.skip(why)
    mine = Stage(request.param, SHAPES[request.param], tmp_path_factory.mktemp(request.param))
    try:
        yield mine
    finally:
        mine.close()


def _cases() -> list[ParameterSet]:
    stages, cases = list(SHAPES), []
    for row in sorted(ROWS.values(), key=lambda row: stages.index(row.stage)):
        marks = [pytest.mark.xdist_group(row.stage), *([pytest.mark.quick] if row.quick else [])]
        cases.append(
            pytest.param(row.stage, row, id=row.row if row.stage == row.row else f"{row.stage}/{row.row}", marks=marks)
        )
    return cases


@pytest.mark.parametrize(("stage", "row"), _cases(), indirect=["stage"], scope="module")
def test_misoperation(stage: Stage, row: Misoperation) -> None:
    """One row; its record says what was seen."""
    found = stage.play(row)
    record(found)
    said = "\n".join(stage.sent)
    print(f"\n{row.row}: {found.outcome}\n{said}")
    assert found.held, f"{row.does}\nexpected  {found.expected}\nfound     {found.outcome}\nmessages:\n{said}"


def test_the_matrix_is_as_large_as_it_should_be() -> None:
    assert len(ROWS) >= 45
    assert len([row for row in ROWS.values() if row.quick]) >= 15
