# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The highest pod does not come back from an upgrade for a reason of its own. Its controller would wait for it for ever; the others go on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from kindlab import IMAGE, UPGRADE_IMAGE, Place, kubectl, node_of, on_node, until

NAME = "kd"
PODS = [f"{NAME}-{ordinal}" for ordinal in range(4)]
DOWN = PODS[3]
UPGRADE = {"image": UPGRADE_IMAGE, "replicas": "4", "operations": ["upgrade"]}

pytestmark = pytest.mark.skipif(
    not shutil.which("docker"), reason="takes a directory away on a kind node through Docker"
)


@pytest.fixture(scope="module")
def lost(place: Place) -> Iterator[str]:
    """A cluster of four whose highest node has lost its disk. The id of that node."""
    place.good(NAME, replicas="4")
    place.when_allowed(NAME, replicas="4", cache="128MiB")  # every range has its replicas
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
    place.good(NAME, module="kaiwudb.kubernetes.kaiwudb_node_decommission", node=f"id={lost}")
    before = place.uids(NAME)
    result = place.refused(NAME, "pod_down", **UPGRADE)
    assert result.data["node"] == DOWN and "every other pod has what was asked" in result.msg
    assert images(place) == [UPGRADE_IMAGE] * 4 and place.ready(NAME, 3)
    after = place.uids(NAME)
    assert [pod for pod in PODS if after[pod] != before[pod]] == PODS[:3], "the one that is down has had its turn"
    again = place.run(NAME, replicas="4", image=UPGRADE_IMAGE)
    assert again.failed and again.data["node"] == DOWN
    assert {**place.uids(NAME), DOWN: ""} == {**after, DOWN: ""}


def test_replaced_it_ends_the_upgrade(lost: str, place: Place) -> None:
    """Its worker has another disk: there is none but that one."""
    volume = place.volume(NAME, 3)
    assert volume is not None
    place.good(NAME, module="kaiwudb.kubernetes.kaiwudb_node_replace", node="3", kubernetes_node=node_of(volume))
    place.good(NAME, **UPGRADE)
    row = place.row_of(NAME, 3)
    assert row is not None and int(row["id"]) > int(lost) and row["is_live"] == "true"
    assert images(place) == [UPGRADE_IMAGE] * 4 and place.ready(NAME, 4)
    assert place.good(NAME, replicas="4", image=UPGRADE_IMAGE).writes == []
