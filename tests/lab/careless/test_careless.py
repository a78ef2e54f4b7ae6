# SPDX-License-Identifier: GPL-3.0-or-later
"""The harness can turn red: the careless walk loses rows in it, the careful one, over the same stores, none."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LAB = Path(__file__).resolve().parents[1]


def play(scenario: str, kwbase: Path) -> subprocess.CompletedProcess[str]:
    """Runs the script as a person would."""
    command = [sys.executable, str(LAB / "careless"), scenario, "--kwbase", str(kwbase)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_careless_scale_in_turns_the_row_check_red(kwbase: Path) -> None:
    """Two stores wiped without decommission: exit code 1, and the lost rows are counted."""
    done = play("careless", kwbase)
    assert done.returncode == 1, done.stdout + done.stderr
    rows = done.stdout.split("rows acknowledged ")[1].split()
    assert int(rows[0]) >= 300
    assert int(done.stdout.split("lost ")[1].split()[0]) > 0


def test_careful_scale_in_stays_green(kwbase: Path) -> None:
    """The same stores, decommissioned one at a time: exit code 0, nothing lost, also of what was written meanwhile."""
    done = play("careful", kwbase)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " lost 0 " in done.stdout
