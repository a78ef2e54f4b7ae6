# SPDX-License-Identifier: GPL-3.0-or-later
"""The harness can turn red: the careless walk loses rows in it, the careful one, over the same stores, none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

LAB = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", params=["processes", "pods"])
def cluster(request: pytest.FixtureRequest) -> list[str]:
    """Arguments that choose the cluster; pods only when KAIWUDB_CARELESS_IMAGE names an image that the cluster has."""
    if request.param == "processes":
        return ["--kwbase", str(request.getfixturevalue("kwbase"))]
    image = os.environ.get("KAIWUDB_CARELESS_IMAGE", "")
    if not image:
        pytest.skip("KAIWUDB_CARELESS_IMAGE is not set")
    return ["--image", image]


def play(scenario: str, cluster: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs the script as a person would."""
    command = [sys.executable, str(LAB / "careless"), scenario, *cluster]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def test_careless_scale_in_turns_the_row_check_red(cluster: list[str]) -> None:
    """Two stores wiped without decommission: exit code 1, and the lost rows are counted."""
    done = play("careless", cluster)
    assert done.returncode == 1, done.stdout + done.stderr
    account = re.search(r"(?m)^rows acknowledged (\d+) .* lost (\d+) ", done.stdout)
    assert account, done.stdout
    acknowledged, lost = map(int, account.groups())
    assert acknowledged >= 300
    assert lost > 0


def test_careful_scale_in_stays_green(cluster: list[str]) -> None:
    """The same stores, decommissioned one at a time: exit code 0, nothing lost, also of what was written meanwhile."""
    done = play("careful", cluster)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " lost 0 " in done.stdout
