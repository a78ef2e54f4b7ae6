# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""What becomes of the highest of four pods: it is down before an upgrade, its volume is deleted under it, its node is decommissioned by hand.

The tests are one walk.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from kindlab import IMAGE, UPGRADE_IMAGE, Place, kubectl, node_of, on_node, until

NAME = "kd"
PODS = [f"{NAME}-{ordinal}" for ordinal in range(4)]
DOWN = PODS[3]
UPGRADE = {"image": UPGRADE_IMAGE, "replicas": "4", "operations": ["upgrade"]}
UPGRADED = {"image": UPGRADE_IMAGE, "replicas": "4"}
DECOMMISSION = "kaiwudb.kubernetes.kaiwudb_node_decommission"
REPLACE = "kaiwudb.kubernetes.kaiwudb_node_replace"

pytestmark = pytest.mark.skipif(
    not shutil.which("docker"), reason="takes a directory away on a kind node through Docker"
)


@pytest.fixture(scope="module")
def lost(place: Place) -> Iterator[str]:
    """A cluster of four whose highest node has lost its disk. The id of that node."""
    place.good(NAME, replicas="4")
    place.await_whole(NAME)
    row = place.row_of(NAME, 3)
    volume = place.volume(NAME, 3)
    assert row is not None and volume is not None
    path = f"{place.local_path}/{place.namespace}.{NAME}-3"
    on_node(node_of(volume), "mv", path, f"{path}.lost")
    kubectl("--namespace", place.namespace, "delete", "pod", DOWN, "--grace-period=1", "--wait=false")

    def dead() -> bool:
        now = place.row_of(NAME, 3)
        return now is not None and now["is_live"] == "false"

    until(f"the engine sees that {DOWN} is dead", dead, 60)
    yield row["id"]


def images(place: Place) -> list[str]:
    return [place.pods(NAME)[pod]["spec"]["containers"][0]["image"] for pod in PODS]


def test_a_dead_member_holds_the_others_up(lost: str, place: Place) -> None:
    """Its own pod may have what is new, for that takes nothing away; but its replicas may be the ones that the next restart takes away."""
    before = place.uids(NAME)
    refused = place.refused(NAME, "nodes_live", **UPGRADE)
    assert (
        refused.data["step"] == f"upgrade/{NAME}-2"
        and refused.data["changed"]
        and "Nothing was changed" not in refused.msg
    )
    assert images(place) == [IMAGE] * 3 + [UPGRADE_IMAGE]
    assert {**place.uids(NAME), DOWN: ""} == {**before, DOWN: ""}


def test_the_others_are_upgraded_past_it(lost: str, place: Place) -> None:
    """Its node has left, so nothing is taken from anybody; that its pod is still down is said at the end, and again by the next run."""
    place.good(NAME, module=DECOMMISSION, node=f"id={lost}")
    before = place.uids(NAME)
    result = place.refused(NAME, "pod_down", **UPGRADE)
    assert result.data["node"] == DOWN and "every other pod has what was asked" in result.msg
    assert images(place) == [UPGRADE_IMAGE] * 4 and place.ready(NAME, 3)
    after = place.uids(NAME)
    assert [pod for pod in PODS if after[pod] != before[pod]] == PODS[:3], "the one that is down has had its turn"
    again = place.run(NAME, **UPGRADED)
    assert again.failed and again.data["node"] == DOWN
    assert {**place.uids(NAME), DOWN: ""} == {**after, DOWN: ""}


def test_replaced_it_ends_the_upgrade(lost: str, place: Place) -> None:
    """Its worker has another disk: there is none but that one."""
    volume = place.volume(NAME, 3)
    assert volume is not None
    place.good(NAME, module=REPLACE, node="3", kubernetes_node=node_of(volume))
    place.good(NAME, **UPGRADE)
    assert is_new(place) > int(lost) and images(place) == [UPGRADE_IMAGE] * 4


def is_new(place: Place) -> int:
    """Id of the highest node, which serves; nothing is left to do."""
    row = place.row_of(NAME, 3)
    assert row is not None and (row["is_live"], row["is_decommissioning"]) == ("true", "false") and place.ready(NAME, 4)
    assert place.good(NAME, **UPGRADED).writes == []
    return int(row["id"])


@pytest.mark.thorough
def test_no_run_ends_a_pod_whose_volume_would_go_with_it(lost: str, place: Place) -> None:
    """Deleted with its claim, both stay as long as the pod; no word can call that back, so its data has to move."""
    before, uids, volume = is_new(place), place.uids(NAME), place.volume(NAME, 3)
    assert volume is not None
    kubectl("delete", "persistentvolume", volume["metadata"]["name"], "--wait=false")
    kubectl("--namespace", place.namespace, "delete", "pvc", f"datadir-{DOWN}", "--wait=false")
    refused = place.refused(NAME, "volume_going", **UPGRADED)
    assert refused.writes == [] and place.uids(NAME) == uids and volume["spec"]["local"]["path"] in refused.msg
    place.good(NAME, module=DECOMMISSION, node="3")
    place.good(NAME, module=REPLACE, node="3", kubernetes_node=node_of(volume), volumes="archive")
    assert is_new(place) > before


@pytest.mark.thorough
def test_a_store_whose_node_was_decommissioned_by_hand_does_not_come_back(lost: str, place: Place) -> None:
    """Nobody has marked it; the engine's own word is enough."""
    before = is_new(place)
    place.good(NAME, module=DECOMMISSION, node="3")
    kubectl("--namespace", place.namespace, "scale", "statefulset", NAME, "--replicas=3")
    until(f"{DOWN} is gone", lambda: DOWN not in place.pods(NAME), 90)
    refused = place.refused(NAME, "store_retired", **UPGRADED)
    assert refused.writes == [] and f"node {before}" in refused.msg
    place.good(NAME, **UPGRADED, volumes="archive")
    assert is_new(place) > before
