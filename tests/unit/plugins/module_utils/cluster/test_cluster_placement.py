# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Which Kubernetes node holds which volume, and why another does not."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.manifests import volume as manifest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.placement import (
    HOSTNAME,
    choose,
    hostname_of,
    node_of,
    ordinals_of,
    unfit,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    WORKERS,
    kube_node,
    named,
    spec,
    volume,
)

MASTER = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


def place(*asked: Any) -> dict[int, str]:
    """The nodes alone."""
    return {ordinal: choice.node for ordinal, choice in choose(*asked).items()}


def test_the_node_of_a_volume() -> None:
    assert node_of(volume(0, "w7")) == "w7"
    for other in ({}, {"nodeAffinity": {}}, {"nodeAffinity": {"required": {"nodeSelectorTerms": None}}}):
        assert node_of({"spec": other}) is None
    zoned = {"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"]}]}
    assert (
        node_of({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [zoned, {"matchFields": []}]}}}}) is None
    )
    assert ordinals_of({"db.kw-0": {}, "db.kw-12": {}, "odd": {}}) == {0, 12}


@pytest.mark.parametrize(
    ("node", "tolerations", "why"),
    [
        (kube_node("w"), [], None),
        (kube_node("w", cordoned=True), [{"operator": "Exists"}], "is cordoned"),
        (kube_node("w", ready=False), [], "is not ready"),
        (kube_node("w", taints=[MASTER]), [], "has the taint node-role.kubernetes.io/control-plane:NoSchedule"),
        (kube_node("w", taints=[{"key": "k", "effect": "NoExecute"}]), [], "has the taint k:NoExecute"),
        (kube_node("w", taints=[{"key": "k", "effect": "PreferNoSchedule"}]), [], None),
        (kube_node("w", taints=[MASTER]), [{"operator": "Exists"}], None),
        (kube_node("w", taints=[MASTER]), [{"key": MASTER["key"], "operator": "Exists"}], None),
        (kube_node("w", taints=[MASTER]), [{"key": MASTER["key"], "operator": "Exists", "effect": "NoSchedule"}], None),
        (kube_node("w", taints=[MASTER]), [{"key": MASTER["key"], "operator": "Exists", "effect": "NoExecute"}], "has the taint"),
        (kube_node("w", taints=[MASTER]), [{"key": MASTER["key"]}], None),
        (kube_node("w", taints=[MASTER]), [{"key": "other", "operator": "Exists"}], "has the taint"),
        (kube_node("w", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]), [{"key": "k", "value": "v"}], None),
        (kube_node("w", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]), [{"key": "k", "operator": "Equal", "value": "x"}], "has the taint"),
        (kube_node("w", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]), [{"key": "k"}], "has the taint"),
        (kube_node("w", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]), [{"operator": "Equal", "value": "v"}], "has the taint"),
        (kube_node("w", taints=[MASTER, {"key": "k", "effect": "NoSchedule"}]), [{"key": MASTER["key"]}], "has the taint k:NoSchedule"),
    ],
)  # fmt: skip
def test_fit(node: dict[str, Any], tolerations: list[dict[str, str]], why: str | None) -> None:
    found = unfit(node, spec(tolerations=tolerations))
    assert found == why if why is None else found is not None and found.startswith(why)


def test_node_selector() -> None:
    wanted = spec(node_selector={"disk": "ssd", "rack": 7})
    assert unfit(kube_node("w", disk="ssd", rack="7"), wanted) is None
    assert unfit(kube_node("w", disk="hdd", rack="7"), wanted) == "lacks the label disk=ssd"
    assert unfit(kube_node("w", disk="ssd"), wanted) == "lacks the label rack=7"


def test_a_node_without_conditions_or_labels_is_not_ready() -> None:
    assert unfit({"metadata": {"name": "w"}, "spec": {}}, spec()) == "is not ready"


def test_by_name_when_nothing_else_tells_them_apart() -> None:
    assert place(spec(), range(3), {}, list(reversed(WORKERS))) == {0: "w1", 1: "w2", 2: "w3"}


def test_zones_first_then_nodes_then_names() -> None:
    nodes = [
        kube_node("a1", zone="a"),
        kube_node("a2", zone="a"),
        kube_node("b1", zone="b"),
        kube_node("b2", zone="b"),
        kube_node("c1", zone="c"),
    ]
    assert place(spec(), range(5), {}, nodes) == {0: "a1", 1: "b1", 2: "c1", 3: "a2", 4: "b2"}
    crowded = spec(anti_affinity="preferred")
    assert place(crowded, range(4), {}, nodes[:3]) == {0: "a1", 1: "b1", 2: "a2", 3: "b1"}


def test_preferred_shares_nodes_evenly() -> None:
    assert place(spec(anti_affinity="preferred"), range(5), {}, WORKERS[:2]) == {
        0: "w1",
        1: "w2",
        2: "w1",
        3: "w2",
        4: "w1",
    }


def test_what_exists_stays_and_is_counted() -> None:
    there = named(volume(0, "w2"), volume(1, "w4"))
    assert place(spec(), [2], there, WORKERS) == {2: "w1"}
    nodes = [kube_node("w1", zone="a"), kube_node("w2", zone="a"), kube_node("w3", zone="b")]
    assert place(spec(), [1], named(volume(0, "w2")), nodes) == {1: "w3"}
    more = [*nodes, kube_node("a0", zone="a")]
    assert place(spec(), [1], named(volume(0, "w2")), more) == {1: "w3"}, "a node more moves nothing"
    assert place(spec(), [], there, WORKERS) == {}


def test_local_nodes_limit_the_choice() -> None:
    assert place(spec(local_nodes="w5,w3,w4"), range(3), {}, WORKERS) == {0: "w3", 1: "w4", 2: "w5"}


def test_nodes_that_may_not_be_listed_are_taken_at_their_word() -> None:
    assert place(spec(local_nodes="x,y,z"), range(3), {}, None) == {0: "x", 1: "y", 2: "z"}
    with pytest.raises(ClusterError, match="no Kubernetes node is left for volume kw-1: x already holds one"):
        place(spec(local_nodes="x"), [0, 1], {}, None)


def test_a_refusal_says_of_each_node_why() -> None:
    nodes = [
        kube_node("cp", taints=[MASTER]),
        kube_node("w1"),
        kube_node("w2", cordoned=True),
        kube_node("w3", ready=False),
        kube_node("w4"),
    ]
    asked = spec(local_nodes="cp,w1,w2,w3,ghost")
    with pytest.raises(ClusterError) as error:
        place(asked, range(2), {}, nodes)
    assert error.value.msg == (
        "no Kubernetes node is left for volume kw-1: cp has the taint node-role.kubernetes.io/control-plane:NoSchedule; "
        "ghost does not exist; w2 is cordoned; w3 is not ready; w1 already holds one. "
        "Nothing was changed. Add a node, widen local_nodes or tolerations, or set anti_affinity to preferred."
    )
    assert (error.value.reason, error.value.facts) == ("no_node", {"node": "kw-1"})


def test_no_nodes_at_all() -> None:
    with pytest.raises(ClusterError, match="volume kw-0: there are no nodes"):
        place(spec(), [0], {}, [])


def test_a_volume_on_a_node_that_is_gone_is_counted_nowhere() -> None:
    assert place(spec(), [1], named(volume(0, "vanished")), WORKERS) == {1: "w1"}


def test_a_hostname_label_that_is_not_the_nodes_name() -> None:
    """The scheduler matches the label; the pods that prepare the directory are bound by name. Both are kept."""
    nodes = [{"metadata": {"name": "n1.cloud", "labels": {HOSTNAME: "ip-10-0-0-1"}}}]
    assert hostname_of("n1.cloud", nodes) == "ip-10-0-0-1"
    assert hostname_of("n1.cloud", None) is None
    made = manifest(spec(), 0, "n1.cloud", hostname="ip-10-0-0-1")
    term = made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]
    assert term["values"] == ["ip-10-0-0-1"]
    assert node_of(made) == "n1.cloud"
