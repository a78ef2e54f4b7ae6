# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Misoperations that the guards refuse or carry out soundly, asked again of a copy without those guards."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from kindlab import CRASH_IMAGE, UPGRADE_IMAGE, Result, kubectl, until

from faults.misoperations.destroying import THREE, loses_its_disk, phase
from faults.misoperations.stage import NAME, Shape, Stage
from workload.run import verify_ledger


def _nothing(stage: Stage) -> None:
    """The cluster as it is."""


@dataclass(frozen=True)
class Control:
    """One row. guards: names of patches. expected: outcomes with the guards on. asked: the state asked for, as `Stage.state` says it.

    prepare: what happened before; asks: the misoperation, once with and once without the guards. again: the first of the
    two succeeds, so the cluster is put back as it was in between. silent: what happened before leaves no majority, so that no row can be
    read in between; that none is lost with the guards on is the same row's matter in the matrix of misoperations.
    """

    row: str
    does: str
    guards: tuple[str, ...]
    expected: tuple[str, ...]
    asked: str
    asks: Callable[[Stage], Result]
    prepare: Callable[[Stage], None] = _nothing
    shape: Shape = THREE
    again: bool = False
    silent: bool = False


def _asks(cluster: str = NAME, **options: str | list[str] | None) -> Callable[[Stage], Result]:
    return lambda stage: stage.asks(cluster, wait_timeout="60", stall_timeout="20", **options)


def _one_dead(stage: Stage) -> None:
    stage.breaks(1)


def _volume_kept(stage: Stage) -> None:
    stage.place.good(NAME, replicas=str(stage.shape.nodes - 1), volumes="retain")


def _pod_0_alone_and_empty(stage: Stage) -> None:
    loses_its_disk(stage, 0, others=(2, 1))
    until("pod 0 runs on its empty store", lambda: phase(stage, 0) == "Running", 60)


def _initialise(stage: Stage) -> Result:
    return stage.asks(operations=["create", "initialize"], wait_timeout="25")


def _two_at_once(stage: Stage) -> Result:
    first = stage.begins(replicas=str(stage.shape.nodes - 2))
    second = stage.begins(image=UPGRADE_IMAGE, wait_timeout="60")
    stage.ends(first)
    return stage.ends(second)


def _foreign_service(stage: Stage) -> None:
    kubectl("--namespace", stage.place.namespace, "create", "service", "clusterip", "foreign-public", "--tcp=80")


ROWS = (
    Control("scale-in-with-a-dead-node", "Two nodes fewer while one is dead.", ("gates", "decommission"), ("refused: nodes_live",),
            "3 nodes of 3.2.1", _asks(replicas="3"), _one_dead, Shape(5)),
    Control("scale-in-with-a-dead-node-gates-only", "The same; decommission itself is left in.", ("gates",), ("refused: nodes_live",),
            "3 nodes of 3.2.1", _asks(replicas="3"), _one_dead, Shape(5)),
    Control("scale-in-without-decommission", "Two nodes fewer, their volumes wiped.", ("gates", "decommission"), ("done",),
            "3 nodes of 3.2.1", _asks(replicas="3"), shape=Shape(5), again=True),
    Control("below-the-replication-factor", "Three nodes to one.", ("gates", "count", "decommission"), ("refused: invalid_option",),
            "1 nodes of 3.2.1", _asks(replicas="1")),
    Control("below-the-replication-factor-decommissioned", "Three nodes to two, decommission left in.", ("gates", "count"),
            ("refused: invalid_option",), "2 nodes of 3.2.1", _asks(replicas="2")),
    Control("upgrade-with-a-dead-node", "A release that does not start, while one of three is dead.", ("gates",), ("refused: nodes_live",),
            "3 nodes of 3.2.3-crash", _asks(image=CRASH_IMAGE), _one_dead),
    Control("a-retired-store-comes-back", "Grow onto the volume of the node that left.", ("retired",), ("refused: store_retired",),
            "4 nodes of 3.2.1", _asks(replicas="4", volumes="retain"), _volume_kept, Shape(4)),
    Control("initialise-on-an-emptied-pod-0", "Pod 0's store is empty and the others are dead: initialise.", ("memory",),
            ("stopped: timeout", "refused: timeout", "refused: never_initialised"), "3 nodes of 3.2.1", _initialise, _pod_0_alone_and_empty,
            silent=True),
    Control("remove-unconfirmed", "Remove a cluster with tables, its name not typed again.", ("confirm",), ("refused: invalid_option",),
            "none", _asks(state="absent")),
    Control("two-runs-at-once", "A scale-in by two and an upgrade at once.", ("lock", "gates"),
            ("done; stopped: locked", "stopped: locked; done"), "3 nodes of 3.2.2", _two_at_once, shape=Shape(5), again=True),
    Control("upgrade-without-waiting", "An upgrade.", ("gates", "whole"), ("done",), "3 nodes of 3.2.2", _asks(image=UPGRADE_IMAGE), again=True),
    Control("a-name-that-is-taken", "A cluster whose Service's name is somebody else's.", ("foreign",), ("refused: foreign_object",),
            "3 nodes of 3.2.1", _asks("foreign", sql_node_port=None), _foreign_service),
)  # fmt: skip


def verdict(stage: Stage, row: Control, result: str) -> tuple[str, int]:
    """What became of the rows, and of what was asked for, without the guards; and the number of rows lost."""
    options = stage.workload_options(verify_seconds=45.0)
    found = verify_ledger(stage.ledger, options)
    if found.missing or found.wrong:
        return f"{len(found.missing) + len(found.wrong)} of {found.acknowledged} acknowledged rows lost", found.lost
    if found.unreadable:
        return f"{len(found.unreadable)} tables unreadable, {found.unreadable_rows} rows in them", found.lost
    with suppress(AssertionError, subprocess.TimeoutExpired):
        until("the state asked for", lambda: stage.state() == row.asked and stage.whole(), 30, 1)
        return "harmless", 0
    words = result.split("; ")
    if words[-1].startswith(("refused", "stopped")):
        return "harmless: stopped by another guard", 0
    return f"wedged: {stage.state()}", 0
