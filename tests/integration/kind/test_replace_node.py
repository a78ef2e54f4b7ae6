# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A database node that is lost: its disk, or an emptied store under its old name. Every row must still be there.

The tests are one walk over a cluster of three nodes on four workers. A disk is lost by taking away its directory under the pod.
"""

from __future__ import annotations

import shutil

import pytest
from kindlab import Place, kubectl, on_node, until
from lostnodes import NAME, REPLACE, directory, fill, is_live, is_new, node_id, refused, replace

pytestmark = pytest.mark.skipif(
    not shutil.which("docker"), reason="breaks the kind nodes through Docker, which is not here"
)


@pytest.fixture(scope="module")
def three(place: Place) -> None:
    fill(place)


def lose_disk(place: Place, ordinal: int) -> None:
    """The directory is gone, and the pod finds nothing to mount any more."""
    node, pod = place.pinned_to(NAME, ordinal), f"{NAME}-{ordinal}"
    on_node(node, "mv", directory(place, ordinal), f"{directory(place, ordinal)}.lost")
    kubectl("--namespace", place.namespace, "delete", "pod", pod, "--grace-period=1", "--wait=false")
    until(f"the engine sees that {pod} is dead", lambda: is_live(place, ordinal) == "false", 60)


def test_a_node_that_serves_is_left_alone(three: None, place: Place) -> None:
    result = replace(place, 2)
    assert result.steps == [] and result.writes == [] and "it serves as node" in result.msg
    other = refused(place, "node_dead", 2, kubernetes_node=place.pinned_to(NAME, 2) + "-other")
    assert other.writes == [] and "decommission it first" in other.msg


def test_a_lost_disk_moves_its_ordinal_to_another_worker(three: None, place: Place) -> None:
    before, where = node_id(place, 2), place.pinned_to(NAME, 2)
    lose_disk(place, 2)
    planned = place.run(NAME, module=REPLACE, node="2", check=True)
    told = "repair/ConfigMap/kw-topology"  # where the worker that is left is in another zone
    assert planned.writes == [] and [step for step in planned.steps if step != told] == [
        "leave/kw-2",
        "detach/kw-2",
        "volume/kw-2",
        "rejoin/kw-2",
        "empty/kw-2",
    ]
    result = replace(place, 2)
    assert result.steps == planned.steps and result.data["loss"]["kind"] == "store"
    assert place.pinned_to(NAME, 2) != where
    is_new(place, 2, before)


@pytest.mark.thorough
def test_a_new_disk_in_the_same_worker(three: None, place: Place) -> None:
    before, where = node_id(place, 1), place.pinned_to(NAME, 1)
    lose_disk(place, 1)
    replace(place, 1, kubernetes_node=where)
    assert place.pinned_to(NAME, 1) == where
    is_new(place, 1, before)


def test_a_store_emptied_under_its_old_name(three: None, place: Place) -> None:
    """Two rows, one address: only the old one has to leave."""
    before, pod = node_id(place, 1), f"{NAME}-1"
    on_node(place.pinned_to(NAME, 1), "sh", "-c", f"rm -rf {directory(place, 1)}/*")
    kubectl("--namespace", place.namespace, "delete", "pod", pod, "--grace-period=1", "--wait=false")
    until("the empty store has joined", lambda: node_id(place, 1) > before and is_live(place, 1) == "true", 60)
    result = replace(place, 1)
    assert result.steps == ["leave/kw-1", "empty/kw-1"]
    is_new(place, 1, before)


def test_killed_in_the_middle_it_goes_on(three: None, place: Place) -> None:
    before = node_id(place, 2)
    lose_disk(place, 2)
    running = place.start(NAME, module=REPLACE, node="2")
    until("its volume is given up", lambda: claim_uid_goes(place) or not running.running, 90, 0.1)
    assert running.running, running.output
    running.kill()
    plain = place.run(NAME)
    assert not plain.failed or plain.data["reason"] in ("replace_interrupted", "locked"), plain.msg
    replace(place, 2)
    is_new(place, 2, before)


def claim_uid_goes(place: Place) -> bool:
    volume = place.volume(NAME, 2)
    return volume is None or "kaiwudb.kubernetes/retired" in (volume["metadata"].get("annotations") or {})


def test_without_a_majority_nothing_is_touched(three: None, place: Place) -> None:
    """Two of three are down: whatever can still be said, no claim and no volume goes; nor when somebody has begun to delete the claim."""
    lose_disk(place, 2)
    node, path = place.pinned_to(NAME, 1), directory(place, 1)
    on_node(node, "mv", path, f"{path}.away")
    kubectl("--namespace", place.namespace, "delete", "pod", f"{NAME}-1", "--grace-period=1", "--wait=false")
    until("only one pod is ready, or none", lambda: place.ready_count(NAME) <= 1, 60)
    try:
        for deleted in (False, True):
            if deleted:
                kubectl("--namespace", place.namespace, "delete", "pvc", f"datadir-{NAME}-2", "--wait=false")
            result = place.run(NAME, module=REPLACE, node="2", volumes="wipe")
            assert result.failed and result.data["reason"] in ("ranges_unavailable", "engine_answers"), result.msg
            assert result.writes == []
    finally:
        on_node(node, "mv", f"{path}.away", path)
    until("the second one is back", lambda: place.ready_count(NAME) == 2, 240)
    before = node_id(place, 2)
    replace(place, 2)
    is_new(place, 2, before)
