# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The kill matrix: every write and exec request of every operation, killed right before its answer and right after it.

The next plain run must reach what was asked for, a run after that must have nothing to write, and no acknowledged row may be lost.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from kindlab import IMAGE, UPGRADE_IMAGE

from faults.kill.chain import NAME, Broken, Chain
from faults.kill.state import Wanted
from faults.runner import MODES, Mode

CLUSTERS = 8  # that a chain may break before the rest of it is given up
NOTHING = Wanted(0)
REMOVE = {"state": "absent", "confirm": NAME, "deletion_protection": "false", "volumes": "wipe"}


def lifecycle(chain: Chain) -> None:
    """Deploy and remove, and while init has points of its own: create, initialise, remove."""
    apart = False
    while chain.pending("deploy", "init", "remove"):
        if apart:
            chain.leg("deploy", Wanted(3, IMAGE, initialized=False), partial=True, operations=["create"])
            chain.leg("init", Wanted(3, IMAGE), operations=["initialize"])
        else:
            chain.leg("deploy", Wanted(3, IMAGE))
        chain.leg("remove", NOTHING, **REMOVE)
        apart = chain.pending("init")


def membership(chain: Chain) -> None:
    """A fourth node joins and leaves again, its data erased."""
    chain.deploy(IMAGE)
    while chain.pending("scale_out", "scale_in"):
        chain.leg("scale_out", Wanted(4, IMAGE), replicas="4")
        chain.leg("scale_in", Wanted(3, IMAGE), replicas="3", volumes="wipe")


def upgrade(chain: Chain) -> None:
    """From one version to the next and back, pod by pod."""
    chain.deploy(IMAGE)
    for image in itertools.cycle((UPGRADE_IMAGE, IMAGE)):
        if not chain.pending("upgrade"):
            return
        chain.leg("upgrade", Wanted(3, image), image=image)


CHAINS = (lifecycle, membership, upgrade)
QUICK = ((lifecycle, "after"), (membership, "before"), (upgrade, "after"))
POINTS = [
    pytest.param(
        chain, mode, id=f"{chain.__name__}-{mode}", marks=[pytest.mark.quick] if (chain, mode) in QUICK else []
    )
    for chain in CHAINS
    for mode in MODES
]


@pytest.mark.parametrize(("operations", "mode"), POINTS)
def test_the_next_plain_run_reaches_what_was_asked_for(
    operations: Callable[[Chain], None], mode: Mode, every: int, start: int, kind_cluster: None, tmp_path: Path
) -> None:
    """All points of a chain; a broken cluster fails its point, and those that are left go on with another one."""
    # Where a workload runs, clients are sent elsewhere before a pod stops; without that its failures would not be the kills'.
    defaults = {} if operations is lifecycle else {"pre_stop_seconds": "2"}
    chain = Chain(operations.__name__, mode, every, tmp_path, defaults, start)
    for _cluster in range(CLUSTERS):
        with chain.living():
            try:
                operations(chain)
                break
            except Broken:
                continue
            except (AssertionError, subprocess.TimeoutExpired) as error:
                chain.failures.append(f"{chain.label} {mode}: {error}")
    else:
        chain.failures.append(f"{CLUSTERS} clusters were broken; points are left")
    print("\n".join(walk.said(operation) for operation, walk in chain.walks.items()))
    assert not chain.failures, "\n".join(chain.failures)
