# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The same with the whole of Ansible: its workers and modules die with it, and the next play reaches what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from kindlab import IMAGE, UPGRADE_IMAGE

from faults.kill.chain import Chain
from faults.kill.state import Wanted
from faults.kill.test_kill import NOTHING, REMOVE
from faults.runner import AnsibleRun, Kill


@pytest.mark.quick
def test_a_play_that_is_killed_is_continued_by_the_next_one(kind_cluster: None, tmp_path: Path) -> None:
    """One point of each operation, at about a half of its requests, and the takeover of the lock once."""
    chain = Chain("whole ansible", "before", 1, tmp_path)
    with chain.living():
        for operation, number, mode, wanted, options in (
            ("deploy", 24, "after", Wanted(3, IMAGE), {}),
            ("scale_out", 9, "before", Wanted(4, IMAGE), {"replicas": "4"}),
            ("scale_in", 20, "after", Wanted(3, IMAGE), {"replicas": "3", "volumes": "wipe"}),
            ("upgrade", 40, "before", Wanted(3, UPGRADE_IMAGE), {"image": UPGRADE_IMAGE}),
            ("remove", 12, "after", NOTHING, REMOVE),
        ):  # fmt: skip
            kill = Kill(number, mode)
            row = f"{operation}: killed {mode} answer {number}"
            chain.strike(row, kill, wanted, takeover=operation == "upgrade", start=AnsibleRun, **options)
            assert kill.victim, f"{operation} ended before its request {number}"
    assert not chain.failures, "\n".join(chain.failures)
