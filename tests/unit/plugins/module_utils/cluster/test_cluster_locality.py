# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Where volumes go is told in a table; where they are is told to the engine, without a restart when nodes come and go."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import manifests, status
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError, InputError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.placement import (
    Choice,
    choose,
    decided,
    localities,
)
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import placement_lines
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.present import present
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.run import Run
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import KubeError
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    REQUIRED,
    RETIRED,
    WORKERS,
    ids,
    kube_node,
    live,
    named,
    observed,
    plan,
    plan_of,
    spec,
    spec_over,
    stamped,
    statefulset,
    volume,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.fakes import Client, Clock

ZONED = [kube_node("a1", zone="a"), kube_node("a2", zone="a"), kube_node("b1", zone="b"), kube_node("c1", zone="c")]
REGION = {"topology.kubernetes.io/region": "eu-1"}


# ---- the table


def test_each_choice_says_why() -> None:
    assert choose(spec(), range(4), {}, ZONED) == {
        0: Choice("a1", "a", "fewest volumes so far: 0 in zone a, 0 on a1"),
        1: Choice("b1", "b", "fewest volumes so far: 0 in zone b, 0 on b1"),
        2: Choice("c1", "c", "fewest volumes so far: 0 in zone c, 0 on c1"),
        3: Choice("a2", "a", "the only node left"),
    }
    crowded = choose(spec(anti_affinity="preferred"), range(3), {}, WORKERS[:2])
    assert crowded[2] == Choice("w1", "", "fewest volumes so far: 1 on w1")


def test_a_plan_that_makes_volumes_shows_where() -> None:
    there = observed(volume(1, "b1"))
    found = plan_of(spec(local_path="/data"), there, ZONED)
    assert found.result()["placement"] == [
        {"ordinal": 0, "kubernetes_node": "a1", "zone": "a", "directory": "/data/db.kw-0", "size": "10Gi",
         "why": "fewest volumes so far: 0 in zone a, 0 on a1"},
        {"ordinal": 1, "kubernetes_node": "b1", "zone": "b", "directory": "/var/lib/kaiwudb/db.kw-1", "size": "10Gi", "why": "kept"},
        {"ordinal": 2, "kubernetes_node": "c1", "zone": "c", "directory": "/data/db.kw-2", "size": "10Gi",
         "why": "fewest volumes so far: 0 in zone c, 0 on c1"},
    ]  # fmt: skip
    lines = found.lines()
    at = next(index for index, line in enumerate(lines) if "ordinal" in line)
    assert lines[at : at + 3] == [
        "  ordinal  kubernetes node  zone  directory                 size  why",
        "  0        a1               a     /data/db.kw-0             10Gi  fewest volumes so far: 0 in zone a, 0 on a1",
        "  1        b1               b     /var/lib/kaiwudb/db.kw-1  10Gi  kept",
    ]


def test_where_nothing_is_made_no_table_is_shown() -> None:
    found = plan(live())
    assert found.placement == () and found.result()["placement"] == [] and placement_lines(()) == []


def test_scaling_out_shows_what_stays_too() -> None:
    found = plan(live(extra=[volume(4, "w5", **RETIRED)]), replicas=4)
    rows = {row["ordinal"]: (row["kubernetes_node"], row["why"]) for row in found.placement}
    assert rows == {
        0: ("w1", "kept"), 1: ("w2", "kept"), 2: ("w3", "kept"), 3: ("w4", "fewest volumes so far: 0 on w4"),
        4: ("w5", "kept, its node left"),
    }  # fmt: skip
    assert all(row["zone"] is None for row in found.placement)


def test_without_a_node_left_the_plan_says_what_is_missing() -> None:
    with pytest.raises(
        ClusterError, match=r"no Kubernetes node is left for volume kw-3: .*w1 already holds one.* Add a node"
    ) as error:
        plan(live(), nodes=WORKERS[:3], replicas=4)
    assert error.value.reason == "no_node"


# ---- what the engine is told


def test_localities() -> None:
    nodes = [
        kube_node("w1", zone="a", **REGION),
        kube_node("w2", zone="b"),
        kube_node("w3", **REGION),
        {"metadata": {"name": "w4"}},
    ]
    assert localities(nodes) == {"w1": "region=eu-1,zone=a", "w2": "zone=b"}
    assert localities(None) == {}


@pytest.mark.parametrize(
    ("asked", "nodes", "value"),
    [
        ({}, ZONED, "zone"), ({}, WORKERS, None), ({}, None, None), ({"locality": "none"}, ZONED, "none"), ({"storage": "dynamic"}, ZONED, None),
        ({"single_node": True}, ZONED, None), ({"locality": "zone"}, WORKERS, "zone"),
    ],
)  # fmt: skip
def test_it_is_settled_when_the_cluster_is_made(asked: dict[str, Any], nodes: Any, value: str | None) -> None:
    assert decided(spec(**asked), nodes).locality == value


def test_zones_are_only_known_of_pinned_volumes() -> None:
    with pytest.raises(InputError, match="'zone' is only known where volumes are pinned"):
        spec(storage="dynamic", locality="zone")


def test_a_new_cluster_gets_its_topology_before_its_pods() -> None:
    wanted = decided(spec(), ZONED)
    found = plan_of(wanted, observed(), ZONED)
    at = ids(found).index("create/ConfigMap/kw-topology")
    assert at < ids(found).index("create/StatefulSet/kw") and at > ids(found).index("volume/kw-2")
    step = found.steps[at]
    assert step.operation == "create" and step.facts["object"]["data"] == {
        "kw-0": "zone=a\n",
        "kw-1": "zone=b\n",
        "kw-2": "zone=c\n",
    }
    assert found.changes["ConfigMap/kw-topology kw-1"] == (None, "zone=b")
    assert "create/ConfigMap/kw-topology" not in ids(plan_of(spec(), observed(), ZONED)), "not unless it was settled so"


def zoned(replicas: int = 3, **more: Any) -> Any:
    made = decided(spec(replicas=replicas), ZONED)
    places = ["a1", "b1", "c1", "a2"]
    told = {f"kw-{number}": f"zone={places[number][0]}" for number in range(replicas)}
    volumes = [volume(number, places[number], uid=f"claim-{number}", **stamped(number)) for number in range(replicas)]
    return live(replicas, of=made, extra=[manifests.topology(made, told), *volumes], **more)


def test_a_settled_cluster_stays_so() -> None:
    assert ids(plan(zoned())) == []


def test_a_node_more_changes_the_map_and_restarts_nobody() -> None:
    found = plan(zoned(), nodes=ZONED, replicas=4)
    assert ids(found) == ["volume/kw-3", "repair/ConfigMap/kw-topology", "scale_out/kw-3"]
    step = found.steps[1]
    assert step.operation == "scale_out" and step.facts["patch"] == {"data": {"kw-3": "zone=a\n"}}
    assert step.title == "kw-3 zone=a" and not step.disruptive
    three, four = (statefulset(decided(spec(replicas=count), ZONED)) for count in (3, 4))
    assert three["spec"]["template"] == four["spec"]["template"]


def test_of_a_node_that_is_away_what_was_known_stays() -> None:
    others = [node for node in ZONED if node["metadata"]["name"] != "b1"]
    found = plan(zoned(), nodes=[*others, kube_node("d1", zone="d")], replicas=4)
    assert found.steps[1].facts["object"]["data"]["kw-1"] == "zone=b\n"


def test_pods_that_are_no_more_are_forgotten_with_the_next_one_that_comes() -> None:
    made = decided(spec(), ZONED)
    old = manifests.topology(made, {f"kw-{number}": "zone=z" for number in (0, 1, 2, 7)})
    volumes = [volume(number, node) for number, node in enumerate(("a1", "b1", "c1"))]
    found = plan(live(of=made, extra=[old, *volumes]), nodes=ZONED, replicas=4)
    data = next(step for step in found.steps if step.id == "repair/ConfigMap/kw-topology").facts["object"]["data"]
    assert data == {"kw-0": "zone=a\n", "kw-1": "zone=b\n", "kw-2": "zone=c\n", "kw-3": "zone=a\n"}


def test_a_cluster_of_an_earlier_version_is_left_as_it_is() -> None:
    seen = live()
    wanted = spec_over(seen, replicas=4)
    assert wanted.locality is None
    assert [name for name in ids(plan_of(wanted, seen, [*WORKERS, *ZONED])) if "topology" in name] == []


def test_turned_on_later_it_is_a_change_of_options_behind_the_gates() -> None:
    seen = live(extra=[volume(number, node, **stamped(number)) for number, node in enumerate(("a1", "b1", "c1"))])
    found = present(spec_over(seen, locality="zone"), seen, PROFILES["kwdb"], kube_nodes=ZONED)
    assert ids(found) == ["create/ConfigMap/kw-topology", "reconfigure/kw-2", "reconfigure/kw-1", "reconfigure/kw-0"]
    assert found.steps[0].operation == "reconfigure" and found.steps[1].disruptive


# ---- as the pod starts


def started(tmp_path: Path, text: str | None) -> list[str]:
    """The arguments with which the engine would start."""
    command = manifests.template(decided(spec(), ZONED), PROFILES["kwdb"], sleep_action=True)["spec"]["containers"][0][
        "command"
    ]
    assert command[0] == "/bin/sh" and command[4] == "/kaiwudb/bin/kwbase"
    if text is not None:
        (tmp_path / "kw-1").write_text(text)
    script = command[2].replace("/etc/kaiwudb.kubernetes/topology", str(tmp_path))
    words = ["/bin/sh", "-c", script, "sh", "/usr/bin/printf", "%s\\n", *command[5:]]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env={"POD_NAME": "kw-1"})
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_pod_tells_the_engine_where_it_is(tmp_path: Path) -> None:
    plain = manifests.template(spec(), PROFILES["kwdb"], sleep_action=True)["spec"]["containers"][0]["command"]
    assert started(tmp_path, "region=eu-1,zone=a\n") == [*plain[1:], "--locality=region=eu-1,zone=a"]
    assert started(tmp_path, "zone=a") == [*plain[1:], "--locality=zone=a"], "also without its end of line"


@pytest.mark.parametrize("text", [None, ""])
def test_and_nothing_where_nobody_knows(tmp_path: Path, text: str | None) -> None:
    assert not [word for word in started(tmp_path, text) if word.startswith("--locality")]


def test_what_the_user_says_himself_counts() -> None:
    own = spec(locality="zone", extra_args=["--locality=rack=7"])
    command = manifests.template(own, PROFILES["kwdb"], sleep_action=True)["spec"]["containers"][0]["command"]
    assert command[0] == "/kaiwudb/bin/kwbase" and command[-1] == "--locality=rack=7"


# ---- the run and the look


def run(client: Client, **asked: Any) -> Run:
    return Run(client, {**REQUIRED, **asked}, who="ann", run_id="1", check=True)  # type: ignore[arg-type]


def nodes_of(*nodes: Any) -> list[dict[str, Any]]:
    return [{"kind": "Node", **node} for node in nodes]


def test_check_mode_shows_the_table_and_settles_the_locality() -> None:
    client = Client(Clock(), {"kind": "Namespace", "metadata": {"name": "db"}}, *nodes_of(*ZONED))
    found = run(client).slice()
    assert [row["kubernetes_node"] for row in found["plan"]["placement"]] == ["a1", "b1", "c1"]
    assert "create/ConfigMap/kw-topology" in found["steps"] and any(
        "zone  directory" in line for line in found["plan_lines"]
    )
    assert not [verb for verb, _kind, _name in client.sent if verb in ("create", "apply", "patch", "delete")]


@pytest.mark.parametrize("lost", ["nothing", "deleted", "emptied"])
def test_a_map_that_is_lost_is_made_again_by_a_run_that_asks_for_nothing(lost: str) -> None:
    """Else the pods would start without their zone, for it is optional to them; the nodes are listed only then."""
    client = Client(Clock(), {"kind": "Namespace", "metadata": {"name": "db"}}, *nodes_of(*ZONED))
    for item in zoned().objects.values():
        for made in item.values():
            client.put(made)
    if lost == "deleted":
        del client.objects["ConfigMap", "kw-topology"]
    if lost == "emptied":
        client.objects["ConfigMap", "kw-topology"]["data"] = {}
    asked = {"name": "kw", "namespace": "db"}
    found = Run(client, asked, who="ann", run_id="1", check=True).slice()["steps"]  # type: ignore[arg-type]
    wanted = {"deleted": ["create/ConfigMap/kw-topology"], "emptied": ["repair/ConfigMap/kw-topology"], "nothing": []}
    assert [step for step in found if "topology" in step] == wanted[lost]
    assert (("list", "Node", "") in client.sent) is (lost != "nothing")
    client.fail["list", "Node"] = KubeError(403, "Forbidden", "no")
    found = Run(client, asked, who="ann", run_id="1", check=True).slice()["steps"]  # type: ignore[arg-type]
    assert not [step for step in found if "topology" in step], "where nobody may look, it stays as it is"


def test_an_upgrade_makes_it_before_its_pods_restart() -> None:
    found = plan(zoned(without=["ConfigMap/kw-topology"]), nodes=ZONED, image="kwdb/kwdb:3.2.2", operations=["upgrade"])
    names = ids(found)
    assert names.index("create/ConfigMap/kw-topology") < names.index("upgrade/kw-2"), names


def test_info_knows_zones_where_nodes_may_be_listed() -> None:
    client = Client(Clock(), *nodes_of(*ZONED))
    assert len(status._kube_nodes(client)) == 4  # type: ignore[arg-type]
    client.fail["list", "Node"] = KubeError(403, "Forbidden", "no")
    assert status._kube_nodes(client) == []  # type: ignore[arg-type]
    client.fail["list", "Node"] = KubeError(500, "InternalError", "no")
    with pytest.raises(KubeError):
        status._kube_nodes(client)  # type: ignore[arg-type]


def test_the_topology_is_plain_text() -> None:
    made = manifests.topology(spec(), {"kw-0": "zone=a"})
    assert json.loads(json.dumps(made))["data"] == {"kw-0": "zone=a\n"} and made["metadata"]["labels"]
    assert named(made)["kw-topology"] is made
