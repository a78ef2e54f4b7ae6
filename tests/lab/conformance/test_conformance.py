# SPDX-License-Identifier: GPL-3.0-or-later
"""One test a recorded block: the local binary answers as the product did."""

from __future__ import annotations

import pytest

from conformance import report, runner
from conformance.conftest import BLOCKS

EXCLUSIONS = runner.load_exclusions()


@pytest.mark.parametrize("block", BLOCKS, ids=[block.id for block in BLOCKS])
def test_block(block: runner.Block, walks: dict[str, runner.Walk]) -> None:
    """Exit code, stdout and stderr equal the recording's after normalisation; excluded blocks are asked too."""
    outcome = walks[block.section].outcome(block.id)
    report.COLLECTED[block.id] = outcome
    if block.id in EXCLUSIONS and not outcome.passed:
        pytest.skip(f"excluded: {EXCLUSIONS[block.id].reason}")
    if not outcome.passed:
        pytest.fail(f"{block.command or block.prose or block.stdout.splitlines()[0]}\n{outcome.detail}", pytrace=False)
