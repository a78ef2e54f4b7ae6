# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Volumes are spread over zones, the plan says why, and the engine is told; a node more restarts nobody.

The workers are labelled for the time of this file, and a cluster that another test makes meanwhile would be told its zones too: run it alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from kindlab import Place, kubectl, node_of, worker_nodes

NAME = "kw"
ZONE = "topology.kubernetes.io/zone"

pytestmark = pytest.mark.skipif(
    "PYTEST_XDIST_WORKER" in os.environ, reason="labels the workers of the tests beside it: run it alone"
)


@pytest.fixture(scope="module")
def zones(place: Place) -> Iterator[dict[str, str]]:
    """Zone by worker: two in one zone, the others in one each; afterwards what they had."""
    workers = sorted(worker_nodes())[:4]
    found = dict(zip(workers, ["a", "a", "b", "c"], strict=True))
    before = {
        node: json.loads(kubectl("get", "node", node, "--output=json"))["metadata"]["labels"].get(ZONE)
        for node in workers
    }
    try:
        for node, zone in found.items():
            kubectl("label", "--overwrite", "node", node, f"{ZONE}={zone}")
        yield found
    finally:
        for node, zone in before.items():
            kubectl("label", "--overwrite", "node", node, f"{ZONE}={zone}" if zone else f"{ZONE}-", check=False)


def told(place: Place) -> dict[str, str]:
    """Locality by pod, in the engine's own view."""
    return {row["address"].split(".")[0]: row["locality"] for row in place.node_rows(NAME)}


def test_one_volume_a_zone_and_the_engine_knows(zones: dict[str, str], place: Place) -> None:
    foreseen = place.good(NAME, check=True, replicas="3")
    rows = foreseen.data["plan"]["placement"]
    assert [row["ordinal"] for row in rows] == [0, 1, 2] and sorted(row["zone"] for row in rows) == ["a", "b", "c"]
    assert all(row["why"].startswith("fewest volumes so far") for row in rows) and foreseen.writes == []
    assert any("ordinal" in line and "zone" in line for line in foreseen.data["plan_lines"])
    place.good(NAME, replicas="3")
    for row in rows:
        volume = place.volume(NAME, row["ordinal"])
        assert volume is not None and (node_of(volume), volume["spec"]["local"]["path"]) == (
            row["kubernetes_node"],
            row["directory"],
        )
    assert told(place) == {f"{NAME}-{row['ordinal']}": f"zone={row['zone']}" for row in rows}
    assert place.good(NAME, replicas="3").writes == []


def test_a_node_more_restarts_nobody(zones: dict[str, str], place: Place) -> None:
    before = place.uids(NAME)
    done = place.good(NAME, replicas="4", operations=["scale_out"])
    assert done.steps == [f"volume/{NAME}-3", f"repair/ConfigMap/{NAME}-topology", f"scale_out/{NAME}-3"]
    assert {pod: uid for pod, uid in place.uids(NAME).items() if pod in before} == before
    assert told(place)[f"{NAME}-3"] == "zone=a", "the only zone with a node left"
    rows = place.good(NAME, module="kaiwudb.kubernetes.kaiwudb_cluster_info").data["placement"]
    assert [(row["ordinal"], row["why"]) for row in rows] == [(number, "kept") for number in range(4)]
    assert [row["zone"] for row in rows].count("a") == 2


def test_a_restarted_pod_says_so_again(zones: dict[str, str], place: Place) -> None:
    before = told(place)
    kubectl("--namespace", place.namespace, "delete", "pod", f"{NAME}-1", "--grace-period=5")
    place.good(NAME, replicas="4")  # waits until it serves
    assert told(place) == before


def test_the_map_of_zones_is_made_again(zones: dict[str, str], place: Place) -> None:
    """Without it a pod would start all the same, and say nothing."""
    before = place.get("configmap", f"{NAME}-topology")["data"]
    kubectl("--namespace", place.namespace, "delete", "configmap", f"{NAME}-topology")
    done = place.good(NAME, replicas="4")
    assert (
        done.steps == [f"create/ConfigMap/{NAME}-topology"]
        and place.get("configmap", f"{NAME}-topology")["data"] == before
    )
    assert place.good(NAME, replicas="4").writes == []
