# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Check mode in eight named states: it writes nothing, and names the very steps that the real run then does.

The tests are one walk and build on each other; killed means SIGKILL to ansible and all it started.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from kindlab import STANDIN, UPGRADE_IMAGE, Place, Result, until

VOLUMES = "kaiwudb.kubernetes.kaiwudb_local_volume"
A, B = "ka", "kb"  # two clusters, so that each state is reached by the shortest way
# More database nodes than Kubernetes nodes: a scale out in two steps can be half done.
SPREAD = {"anti_affinity": "preferred"}


def check_then_run(place: Place, name: str, **how: Any) -> Result:
    """Check mode writes nothing, and its steps are those of the real run, compared as JSON."""
    foreseen = place.good(name, check=True, **how)
    assert foreseen.writes == [], "check mode wrote"
    assert foreseen.count("dry_run") == 0
    assert [step["id"] for step in foreseen.data["plan"]["steps"]] == foreseen.steps
    done = place.good(name, **how)
    assert json.dumps(done.steps) == json.dumps(foreseen.steps)
    assert done.data["changed"] == foreseen.data["changed"]
    return done


def kill_when(place: Place, name: str, what: str, reached: Callable[[], Any], **how: Any) -> None:
    """Start a run and kill it as soon as ``reached`` says yes."""
    process = place.start(name, **how)
    try:
        until(what, lambda: reached() or not process.running, 120, 0.1)
        assert process.running, f"the run ended before {what}:\n{process.output[-2000:]}"
    finally:
        process.kill()
    place.free_lock(name)


def replicas(place: Place, name: str) -> int:
    return int(place.get("statefulset", name)["spec"]["replicas"])


def test_1_nothing_there(place: Place) -> None:
    done = check_then_run(place, A, operations=["create"], **SPREAD)
    assert f"create/StatefulSet/{A}" in done.steps and f"volume/{A}-2" in done.steps
    assert done.data["remaining"] == ["initialize"]
    assert len(place.pods(A)) == 3


def test_2_volumes_only(place: Place) -> None:
    made = check_then_run(place, B, module=VOLUMES)
    assert made.steps == [f"volume/{B}-{ordinal}" for ordinal in range(3)]
    done = check_then_run(place, B, operations=["create"])
    assert f"create/StatefulSet/{B}" in done.steps
    assert not [step for step in done.steps if step.startswith("volume/")]


def test_3_created(place: Place) -> None:
    done = check_then_run(place, A, **SPREAD)
    assert done.steps == ["initialize"]
    assert place.ready(A, 3)


@pytest.mark.skipif(not STANDIN, reason="holds the run with a fault of the stand-in")
def test_4_initialised(place: Place) -> None:
    """Killed between `init` and its being written down."""
    # Asking this pod for its cluster id takes so long that the run can be met between the two.
    place.exec(f"{B}-1", "sh", "-c", "mkdir -p /kaiwudb/lab && touch /kaiwudb/lab/cli-hang")
    kill_when(place, B, "a pod is ready", lambda: place.ready_count(B))
    place.exec(f"{B}-1", "rm", "/kaiwudb/lab/cli-hang")
    assert place.journal(B)["initializing"] and not place.journal(B)["initialized"]
    done = check_then_run(place, B)
    assert done.steps == ["initialize"]
    assert place.journal(B)["initialized"] and not place.journal(B)["operation"]


def test_5_settled(place: Place) -> None:
    for name, options in ((A, SPREAD), (B, {})):
        assert check_then_run(place, name, **options).steps == []


def test_6_half_scaled_out(place: Place) -> None:
    """Killed when the first of two new pods was asked for."""
    kill_when(place, A, "the StatefulSet has four replicas", lambda: replicas(place, A) == 4, replicas="5", **SPREAD)
    until("pod 3 runs", lambda: place.ready(A, 4), 60)
    done = check_then_run(place, A, replicas="5", **SPREAD)
    assert done.steps == [f"scale_out/{A}-3", f"scale_out/{A}-4"]
    assert place.ready(A, 5)


@pytest.mark.skipif(not STANDIN, reason="slows the decommission down with a setting of the stand-in")
def test_7_mid_decommission(place: Place) -> None:
    """Killed while the first of two nodes is moving its replicas away."""
    place.when_allowed(A, replicas="3", **SPREAD)
    place.sql(A, "SET CLUSTER SETTING lab.replica_move_interval = '20s'")
    kill_when(place, A, "a node is leaving", lambda: leaving(place, A, 4), replicas="3", **SPREAD)
    assert replicas(place, A) == 5
    foreseen = place.good(A, check=True, replicas="3", **SPREAD)
    assert foreseen.writes == []
    row = place.row_of(A, 4)
    assert row is not None and int(row["gossiped_replicas"]) > 0, "the decommission was over before it was looked at"
    place.sql(A, "SET CLUSTER SETTING lab.replica_move_interval = '100ms'")
    done = check_then_run(place, A, replicas="3", volumes="wipe", **SPREAD)
    assert json.dumps(done.steps) == json.dumps(foreseen.steps) == json.dumps([f"scale_in/{A}-4", f"scale_in/{A}-3"])
    assert replicas(place, A) == 3 and place.volume(A, 3) is None


def leaving(place: Place, name: str, ordinal: int) -> bool:
    row = place.row_of(name, ordinal)
    return row is not None and row["is_decommissioning"] == "true"


def test_8_mid_upgrade(place: Place) -> None:
    """Killed after the first pod."""
    place.when_allowed(A, image=UPGRADE_IMAGE, **SPREAD)
    kill_when(place, A, "the second pod's turn", lambda: partition(place, A) == 1, image=UPGRADE_IMAGE, **SPREAD)
    until("every pod is ready again", lambda: place.ready(A, 3), 90)
    images = {name: pod["spec"]["containers"][0]["image"] for name, pod in place.pods(A).items()}
    assert images[f"{A}-2"] == UPGRADE_IMAGE != images[f"{A}-0"]
    place.when_allowed(A, image=UPGRADE_IMAGE, **SPREAD)
    done = check_then_run(place, A, image=UPGRADE_IMAGE, **SPREAD)
    assert done.steps[-1] == f"upgrade/{A}-0" and f"upgrade/{A}-2" not in done.steps
    assert {pod["spec"]["containers"][0]["image"] for pod in place.pods(A).values()} == {UPGRADE_IMAGE}
    assert place.good(A, image=None, **SPREAD).writes == []


def partition(place: Place, name: str) -> int | None:
    rolling: dict[str, int] = place.get("statefulset", name)["spec"]["updateStrategy"].get("rollingUpdate") or {}
    return rolling.get("partition")


def test_removal_is_foreseen_too(place: Place) -> None:
    for name in (A, B):
        done = check_then_run(place, name, state="absent", confirm=name, volumes="wipe", deletion_protection="false")
        assert "remove/statefulset" in done.steps and "remove/volumes" in done.steps
        assert place.pods(name) == {} and place.volume(name, 0) is None
        assert place.good(name, state="absent", confirm=name).writes == []


def test_the_shipped_rights_were_enough(place: Place) -> None:
    """All of the above ran with examples/rbac alone, and the API server refused nothing of it."""
    asked = list(place.audit.since(place.born, user=place.user))
    assert len([request for request in asked if request.kind == "write"]) > 50
    assert [str(request) for request in asked if request.code == 403] == []
