# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A node that is lost: what is lost of it, what the plan makes of that, what refuses it, and whole runs that are killed at any write."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import (
    fingerprint,
    gates,
    manifests,
    replacing,
    rights,
    rules,
    short_lived_pods,
)
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.context import Context
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError, InputError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.fingerprint import Fingerprint, parse
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.names import CLUSTER_ID, FINGERPRINT
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.node_run import NodeRun
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.observe import Deep, Observed
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.operations import lost as operation
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Plan
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.present import present
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.replace_run import ReplaceRun, pod_of
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.run import Run
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.verdict import DONE
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    ID,
    JOURNAL,
    RETIRED,
    WORKERS,
    claim,
    deep,
    during,
    gone,
    ids,
    kube_node,
    live,
    mid_upgrade,
    plan,
    pod,
    ranges,
    row,
    silent,
    spec,
    spec_over,
    volume,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.fakes import Client, Clock
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.world import (
    Killed,
    World,
    stop_clocks,
)

ALL = ["leave/kw-2", "detach/kw-2", "volume/kw-2", "rejoin/kw-2", "empty/kw-2"]
DEAD = {"is_live": False, "is_available": False}
WITHOUT_W3 = [node for node in WORKERS if node["metadata"]["name"] != "w3"]


def having(obj: Any, uid: str, **more: Any) -> Any:
    return {**obj, "metadata": {**obj["metadata"], "uid": uid, **more}}


def seen_with(
    *, rows: Sequence[Any] = (), pods: Sequence[Any] | None = None, journal: Journal = JOURNAL, **more: Any
) -> Observed:
    """Three nodes; the third is dead unless rows say otherwise. Its claim and volume have the uids c1 and v1."""
    extra = [having(claim(2), "c1"), having(volume(2, uid="c1"), "v1")]
    return live(
        nodes=[row(1, 0), row(2, 1), *(rows or [row(3, 2, **DEAD)])],
        pods=pods if pods is not None else [pod(0), pod(1), pod(2, ready=False)],
        journal=journal,
        extra=[*extra, *more.pop("extra", ())],
        **more,
    )


def made(
    seen: Observed,
    nodes: Any = WITHOUT_W3,
    known: Deep | None = None,
    *,
    given_up: bool = False,
    target: str = "",
    **asked: Any,
) -> Plan:
    loss = replacing.diagnose(seen, 2, nodes, given_up=given_up)
    return replacing.replacement(spec_over(seen, **asked), seen, known or deep(), 2, nodes, loss=loss, target=target)


def under_way(**lost: Any) -> Journal:
    kept = {**replacing.Lost("kw-2", (3,), (3,), "c1", "v1", ("w3",)).kept(), **lost}
    begun = during("replace_node", f"detach/{kept['pod']}", pod=kept["pod"])
    return begun.replaces(kept, "ann", "2026-11-23T10:00:00Z")


# ---- what is lost


def w3(**how: Any) -> list[Any]:
    return [*WITHOUT_W3, kube_node("w3", **how)]


OUT = [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]
PENDING = pod(2, phase="Pending", unschedulable="0/4 nodes are available")
del PENDING["spec"]["nodeName"]


@pytest.mark.parametrize(
    ("kind", "nodes", "third", "ended", "force"),
    [
        ("node_gone", WITHOUT_W3, pod(2), True, True),
        ("node_gone", WITHOUT_W3, PENDING, True, True),
        ("out_of_service", w3(ready=False, taints=OUT), pod(2, ready=False), True, True),
        ("node_silent", w3(ready=False), pod(2, ready=False), False, False),
        ("unknown", None, pod(2, ready=False), False, False),
        ("cordoned", w3(cordoned=True), PENDING, False, False),
        ("unschedulable", w3(), PENDING, True, False),
        ("unstarted", w3(), pod(2, ready=False, waiting=("ImagePullBackOff", "no such image")), False, False),
        ("unstarted", w3(), pod(2, ready=False, waiting=("CreateContainerConfigError", "no secret")), False, False),
        ("store", w3(), pod(2, ready=False, waiting=("CrashLoopBackOff", "back-off")), True, False),
        ("store", w3(), pod(2, ready=False), True, False),
        ("store", w3(), pod(2), True, False),
    ],
)
def test_what_has_become_of_it(kind: str, nodes: Any, third: Any, ended: bool, force: bool) -> None:
    found = replacing.diagnose(seen_with(pods=[pod(0), pod(1), third]), 2, nodes)
    assert (found.kind, found.on, found.ended, found.by_force) == (kind, "w3", ended, force)
    said = replacing.diagnose(seen_with(pods=[pod(0), pod(1), third]), 2, nodes, given_up=True)
    assert said.ended and said.by_force == (kind in ("node_gone", "out_of_service", "node_silent", "unknown"))


def test_one_that_serves_is_not_lost() -> None:
    healthy = live()
    assert replacing.diagnose(healthy, 2, WORKERS).kind == "none"
    assert (
        replacing.diagnose(live(nodes=[row(1, 0), row(2, 1), row(3, 2, is_decommissioning=True)]), 2, WORKERS).kind
        == "left"
    )
    two = live(nodes=[row(1, 0), row(2, 1), row(3, 2, **DEAD), row(4, 2)])
    found = replacing.diagnose(two, 2, WORKERS)
    assert found.kind == "emptied" and found.text == "it serves as node 4; node 3 is what its store was before"
    history = live(nodes=[row(1, 0), row(2, 1), gone(3, 2), row(4, 2)])
    assert replacing.diagnose(history, 2, WORKERS).kind == "none"


def test_without_pod_and_volume_nothing_says_where_it_was() -> None:
    seen = seen_with(pods=[pod(0), pod(1)], without=["PersistentVolume/db.kw-2"])
    assert replacing.diagnose(seen, 2, WORKERS).kind == "unplaced"
    chosen = {"volume.kubernetes.io/selected-node": "w3"}
    dynamic = seen_with(
        pods=[pod(0), pod(1)], without=["PersistentVolume/db.kw-2"], extra=[having(claim(2, **chosen), "c1")]
    )
    assert replacing.diagnose(dynamic, 2, WITHOUT_W3).kind == "node_gone"


# ---- the plan


def test_a_lost_kubernetes_node() -> None:
    found = made(seen_with())
    assert ids(found) == ALL and found.headline == "kw: replace kw-2: Kubernetes node w3 does not exist any more"
    leave, detach, placed = found.steps[:3]
    assert leave.facts["ids"] == [3] and leave.disruptive and detach.disruptive and not placed.disruptive
    why = "Kubernetes node w3 does not exist any more"
    lost = replacing.Lost("kw-2", (3,), (3,), "c1", "v1", ("w3",), "node_gone", why, "w3")
    assert detach.facts["lost"] == lost and detach.facts["remember"]["pod"] == "kw-2"
    assert (placed.facts["node"], placed.facts["ordinal"]) == ("w4", 2)
    assert found.changes == {
        "PersistentVolume/db.kw-2": ("on w3", "10Gi on w4"),
        "node/3": ("kw-2", "decommissioned"),
    }
    assert {step.operation for step in found.steps} == {"replace_node"}


def test_each_step_is_gone_when_its_work_is_there() -> None:
    leaving = [row(3, 2, **DEAD, is_decommissioning=True)]
    known = deep(ranges((1, 2, 3)))
    assert ids(made(seen_with(rows=leaving, journal=under_way()), known=known)) == ALL[1:]
    half = seen_with(rows=leaving, journal=under_way(), without=["PersistentVolumeClaim/datadir-kw-2"])
    assert ids(made(half, known=known)) == ALL[1:], "the old volume is still there"
    fresh = [having(claim(2), "c2")]
    free = seen_with(
        rows=leaving,
        journal=under_way(),
        extra=fresh,
        pods=[pod(0), pod(1), PENDING],
        without=["PersistentVolume/db.kw-2"],
    )
    assert ids(made(free, known=known)) == ALL[2:]
    volumed = [*fresh, having(volume(2, "w4"), "v2")]
    waits = seen_with(rows=leaving, journal=under_way(), extra=volumed, pods=[pod(0), pod(1), PENDING])
    assert ids(made(waits, known=known)) == ALL[3:]
    back = seen_with(rows=[*leaving, row(4, 2)], journal=under_way(), extra=volumed, pods=[pod(0), pod(1), pod(2)])
    assert ids(made(back, WORKERS, known)) == ALL[4:]
    assert ids(made(back, WORKERS, deep(ranges((1, 2, 4))))) == ALL[4:], "whose store lies there now is not noted yet"
    noted = [*fresh, having(volume(2, "w4", **{FINGERPRINT: Fingerprint(ID, 4).text()}), "v2")]
    back = seen_with(rows=[*leaving, row(4, 2)], journal=under_way(), extra=noted, pods=[pod(0), pod(1), pod(2)])
    over = made(back, WORKERS, deep(ranges((1, 2, 4))))
    assert ids(over) == ["empty/kw-2"]
    closed = replace(back, journal=JOURNAL)
    assert ids(made(closed, WORKERS, deep(ranges((1, 2, 4))))) == []


def test_a_store_that_came_back_with_its_old_id_is_not_the_new_node() -> None:
    seen = seen_with(rows=[row(3, 2)], journal=under_way(), pods=[pod(0), pod(1), pod(2)])
    assert ids(made(seen, WORKERS)) == ALL


def test_an_emptied_store_under_an_old_name_only_lets_the_old_one_leave() -> None:
    two = live(nodes=[row(1, 0), row(2, 1), row(3, 2, **DEAD), row(4, 2)])
    found = made(two, WORKERS)
    assert ids(found) == ["leave/kw-2", "empty/kw-2"]
    lost = found.steps[0].facts["lost"]
    assert replace(lost, why="") == replacing.Lost("kw-2", (3,), (3,), "", "", kind="emptied", on="w3"), (
        "claim and volume of the one that serves stay"
    )
    marked = replace(two, nodes=(row(1, 0), row(2, 1), row(3, 2, **DEAD, is_decommissioning=True), row(4, 2)))
    assert ids(made(marked, WORKERS)) == ["empty/kw-2"], "it still holds something"
    assert ids(made(marked, WORKERS, deep(ranges((1, 2, 4))))) == []


def test_rows_of_earlier_lives_are_known_and_not_told_again() -> None:
    seen = seen_with(rows=[gone(3, 2), row(5, 2, **DEAD)])
    found = made(seen, known=deep(ranges((1, 2, 5))))
    assert found.steps[0].facts["ids"] == [5]
    assert found.steps[0].facts["lost"].before == (3, 5)


def test_after_a_full_restart_the_volume_tells_who_it_was() -> None:
    for notes in (
        {FINGERPRINT: Fingerprint(ID, 3).text()},
        {CLUSTER_ID: ID, "kaiwudb.kubernetes/store": "node 3"},  # as earlier versions wrote it
    ):
        noted = having(volume(2, uid="c1", **notes), "v1")
        found = made(seen_with(rows=[row(3, None, **DEAD)], extra=[noted]))
        assert found.steps[0].facts["ids"] == [3]
    foreign = having(volume(2, uid="c1", **{FINGERPRINT: Fingerprint("another", 3).text()}), "v1")
    assert ids(made(seen_with(rows=[row(3, None, **DEAD)], extra=[foreign]))) == ALL[1:], "another cluster's node 3"
    nobody = made(seen_with(rows=[row(9, None, **DEAD)]))
    assert ids(nobody) == ALL[1:], "an id that nothing ties to it is left alone"


def test_where_it_goes() -> None:
    seen = seen_with()
    assert made(seen, w3()).steps[2].facts["node"] == "w4", "never where it was by itself"
    assert made(seen, w3(), target="w3").steps[2].facts["node"] == "w3"
    with pytest.raises(ClusterError, match="w2 already holds one") as error:
        made(seen, w3(), target="w2")
    assert error.value.reason == "no_node"
    three = [node for node in w3() if node["metadata"]["name"] < "w4"]
    with pytest.raises(ClusterError, match="Or name w3 itself as kubernetes_node, once it has another disk"):
        made(seen, three)
    with pytest.raises(ClusterError, match="no Kubernetes node is left"):
        made(seen, w3(), local_nodes=["w3"])
    assert made(seen, None, given_up=True, local_nodes=["w3", "w5"]).steps[2].facts["node"] == "w5"
    for named in ([], ["w3"]):
        with pytest.raises(ClusterError, match=r"may not be listed.* Name it as kubernetes_node") as error:
            made(seen, None, given_up=True, local_nodes=named)
        assert error.value.reason == "no_node"
    assert made(seen, None, given_up=True, target="w5").steps[2].facts["node"] == "w5"


def zoned(*, of: str = "zone", told: str = "zone=c") -> Any:
    """Each of the three in a zone of its own, which the engine was told."""
    where = spec(locality=of)
    return seen_with(of=where, extra=[manifests.topology(where, {"kw-0": "zone=a", "kw-1": "zone=b", "kw-2": told})])


def test_the_engine_is_told_its_new_place_before_the_pod_starts() -> None:
    zones = [kube_node(name, zone=zone) for name, zone in (("w1", "a"), ("w2", "b"), ("w4", "d"))]
    found = made(zoned(), zones)
    assert ids(found) == [*ALL[:2], "repair/ConfigMap/kw-topology", *ALL[2:]]
    told = found.steps[2]
    assert told.facts["patch"] == {"data": {"kw-2": "zone=d\n"}} and told.title == "kw-2 zone=d"
    assert {step.operation for step in found.steps} == {"replace_node"}, "the journal stays with the replacement"
    assert told.facts["remember"] == found.steps[1].facts["remember"]
    assert found.changes["ConfigMap/kw-topology kw-2"] == ("zone=c", "zone=d")
    unknown = made(zoned(), [*zones[:2], kube_node("w4")])
    assert unknown.steps[2].facts["patch"] == {"data": {"kw-2": None}}, "a node without a zone is not in the old one"
    assert ids(made(zoned(told="zone=d"), zones)) == ALL and ids(made(zoned(of=""), zones)) == ALL


def test_the_plan_shows_where_it_goes_and_which_directory_it_needs() -> None:
    found = made(seen_with()).result()
    (row_of_it,) = [item for item in found["placement"] if item["ordinal"] == 2]
    assert (row_of_it["kubernetes_node"], row_of_it["why"]) == ("w4", "fewest volumes so far: 0 on w4")
    assert [item["why"] for item in found["placement"]] == ["kept", "kept", row_of_it["why"]]
    assert found["new_volumes"] == [{"node": "w4", "directory": "/var/lib/kaiwudb/db.kw-2"}]
    same = {"target": "w3", "local_pv_prepare": "ssh"}
    assert made(seen_with(), w3(), volumes="wipe", **same).new_volumes() == [], "it is there, and empty by then"
    assert made(seen_with(), w3(), **same).new_volumes() == [{"node": "w3", "directory": "/var/lib/kaiwudb/db.kw-2"}]


def test_old_directories_are_cleared_only_when_told() -> None:
    assert "clear/kw-2" not in ids(made(seen_with(), volumes="delete"))
    assert ids(made(seen_with(), volumes="wipe")) == [*ALL[:2], "clear/kw-2", *ALL[2:]]


def test_with_a_storage_class_only_the_claim_goes() -> None:
    dynamic = spec(storage="dynamic", storage_class="fast")
    found = made(seen_with(of=dynamic, without=["PersistentVolume/db.kw-2"]))
    assert ids(found) == [step for step in ALL if not step.startswith("volume/")]
    assert found.steps[1].facts["local"] is False


def test_a_second_loss_begins_anew_and_forgets_nobody() -> None:
    extra = [having(claim(2), "c2"), having(volume(2, "w4", uid="c2"), "v2")]
    pending = {**PENDING, "spec": {**PENDING["spec"]}}
    seen = seen_with(
        rows=[row(3, 2, **DEAD, is_decommissioning=True)],
        journal=under_way(),
        extra=extra,
        pods=[pod(0), pod(1), pending],
    )
    nodes = [node for node in WORKERS if node["metadata"]["name"] not in ("w3", "w4")]
    found = made(seen, nodes)
    lost = replacing.Lost(
        "kw-2", (3,), (3,), "c2", "v2", ("w3", "w4"), "node_gone", "Kubernetes node w4 does not exist any more", "w4"
    )
    assert ids(found) == ALL[1:] and found.steps[0].facts["lost"] == lost
    assert found.steps[1].facts["node"] == "w5"
    assert ids(made(seen)) == ALL[3:], "where the new place is there, it is waited for"
    assert ids(made(seen, target="w5")) == ALL[1:], "unless another one is named"


@pytest.mark.parametrize(
    ("seen", "carry", "target", "counts"),
    [
        ("at first", {}, "", True), ("at first", {"lost_on": "w3"}, "", True),
        ("moved", {"lost_on": "w3"}, "", False),  # the run itself has brought it there
        ("moved", {}, "", False),  # a run before has: its job template says lost again with every launch
        ("moved", {}, "w5", True),  # unless another place is named
    ],
)  # fmt: skip
def test_that_a_kubernetes_node_is_lost_is_not_said_of_the_next_one(
    seen: str, carry: dict[str, Any], target: str, counts: bool
) -> None:
    """Its kubelet may only be away for a minute, and the store there is the new one."""
    silent_one = [{**node, **kube_node(node["metadata"]["name"], ready=False)} for node in WORKERS]
    found = joined_and_lost() if seen == "moved" else seen_with()
    loss = replacing.diagnose(found, 2, silent_one)
    assert loss.kind == "node_silent"
    run = ReplaceRun(None, {"name": "kw", "namespace": "db"}, node="2", lost=True, kubernetes_node=target)  # type: ignore[arg-type]
    ctx = SimpleNamespace(seen=found, carry=dict(carry))
    assert run._is_said_of(ctx, loss) is counts  # type: ignore[arg-type]
    run.lost = False
    assert run._is_said_of(ctx, loss) is False  # type: ignore[arg-type]


def joined_and_lost(*, is_live: bool = False, leaves: bool = False, uid: str = "c2") -> Observed:
    """It had come back on w4 as node 4, before its replacement was complete."""
    return seen_with(
        rows=[
            row(3, 2, **DEAD, is_decommissioning=True),
            row(4, 2, is_live=is_live, is_available=is_live, is_decommissioning=leaves),
        ],
        journal=under_way(),
        extra=[having(claim(2), uid), having(volume(2, "w4", uid=uid), "v2")],
        pods=[pod(0), pod(1), {**pod(2, ready=leaves), "spec": {**pod(2)["spec"], "nodeName": "w4"}}],
    )


def test_a_new_disk_may_die_too_before_all_is_complete() -> None:
    """Its Kubernetes node answers; what has joined and is dead is lost again."""
    found = made(joined_and_lost(), WORKERS, deep(ranges((1, 2, 3))))
    assert ids(found) == ALL
    lost = found.steps[0].facts["lost"]
    assert (lost.ids, lost.before, lost.claim, lost.volume) == ((3, 4), (3, 4), "c2", "v2")
    assert found.steps[0].facts["ids"] == [4] and found.steps[2].facts["node"] not in ("w3", "w4")
    same = made(joined_and_lost(), WORKERS, target="w4")
    assert ids(same) == ALL and same.steps[2].facts["node"] == "w4", "the disk was exchanged"
    silent_one = [node for node in WORKERS if node["metadata"]["name"] != "w4"] + [kube_node("w4", ready=False)]
    assert ids(made(joined_and_lost(), silent_one)) == ALL[3:], "that one may come back"
    assert ids(made(joined_and_lost(), silent_one, target="w5")) == ALL, "which the gate judges"
    assert ids(made(joined_and_lost(is_live=True), WORKERS)) == ALL[3:], "the engine has not missed it yet"
    assert ids(made(joined_and_lost(uid="c1"), WORKERS)) == ALL[1:], "the claim given up is there still"


def test_one_replacement_at_a_time() -> None:
    down = seen_with(pods=[pod(0), pod(1, ready=False), pod(2, ready=False)], journal=under_way(pod="kw-1"))
    with pytest.raises(ClusterError, match="the replacement of kw-1 is not complete") as error:
        made(down)
    assert error.value.reason == "replace_interrupted"
    back = made(seen_with(journal=under_way(pod="kw-1", ids=[2], before=[2])))
    assert ids(back) == ALL, "it came back with its old store, and was put back"
    serves = made(seen_with(journal=under_way(pod="kw-1", ids=[9], before=[9])))
    assert ids(serves) == ALL and serves.steps[0].facts["lost"].ids == (3,), "the other one's ids are not this one's"


def test_a_journal_of_nonsense_is_no_guide() -> None:
    for lost in ({"pod": "kw-2"}, {"pod": "kw-2", "ids": ["x"], "before": [], "claim": "", "volume": ""}):
        assert ids(made(seen_with(journal=replace(JOURNAL, replacing={"kw-2": lost})))) == ALL
    for nonsense in ('{"replacing": 7}', '{"replacing": {"kw-2": 7}}'):
        assert Journal.read({"data": {"journal": nonsense}}).replacing == {}


def test_only_what_a_run_of_its_own_noted_counts_as_begun() -> None:
    """Anybody can delete a claim, and what was only marked may have come back."""
    lost = replacing.Lost("kw-2", (3,), (3,), "c1", "v1", ("w3",))
    going = having(claim(2), "c1", deletionTimestamp="2026-11-23T10:00:00Z")
    marked = having(volume(2, uid="c1"), "v1", annotations=RETIRED)
    for extra in ([], [going], [marked], [going, marked]):
        assert not replacing.detaching(seen_with(extra=extra), lost)
        assert not replacing.detaching(seen_with(extra=extra, journal=under_way()), lost)
    noted = under_way(detaching=True)
    assert replacing.detaching(seen_with(extra=[going], journal=noted), lost)
    without = ["PersistentVolumeClaim/datadir-kw-2"]
    assert replacing.detaching(seen_with(extra=[having(claim(2), "c2")], journal=noted), lost)
    assert replacing.detaching(seen_with(without=without, journal=noted), lost)
    assert not replacing.detaching(seen_with(extra=[marked], journal=noted), lost), "its claim is as it was"
    assert not replacing.detaching(seen_with(without=without, journal=noted), replace(lost, claim="c9")), "another loss"


# ---- gates


def judged(
    seen: Observed, known: Deep | None = None, *, kind: str = "node_gone", given_up: bool = False
) -> dict[str, Any]:
    loss = replacing.Loss(kind, "Kubernetes node w3 does not answer", "w3", given_up)
    lost = replacing.Lost("kw-2", (3,), (3,), "c1", "v1", ("w3",))
    return {gate.name: gate for gate in gates.replaced(seen, known or deep(kept_for=15.0, apart=15.0), lost, loss)}


def test_a_dead_node_may_be_replaced() -> None:
    found = judged(seen_with())
    assert list(found) == ["engine_answers", "ranges_unavailable", "node_dead", "process_ended", "majority_steady"]
    assert all(gate.holds for gate in found.values())


def test_a_range_short_of_its_majority_refuses_by_name() -> None:
    known = deep((*ranges((1, 2, 3), 2), *ranges((2, 3, 9), 1, name="bank.log")), kept_for=0.0, apart=15.0)
    found = judged(seen_with(), known)
    assert not found["ranges_unavailable"].holds and "1 (bank.log)" in found["ranges_unavailable"].sentence
    assert not found["ranges_unavailable"].waits, "it does not mend itself"


def test_another_dead_node_is_no_reason_while_every_range_keeps_its_majority() -> None:
    seen = live(5, nodes=[row(1, 0), row(2, 1), row(3, 2, **DEAD), row(4, 3), row(5, 4, **DEAD)])
    assert all(gate.holds for gate in judged(seen, deep(ranges((1, 2, 3)), kept_for=15.0, apart=15.0)).values())
    assert not judged(seen, deep(ranges((1, 3, 5)), apart=15.0))["ranges_unavailable"].holds


def test_one_reading_is_not_enough() -> None:
    found = judged(seen_with(), deep(kept_for=3.0, apart=15.0))
    assert not found["majority_steady"].holds and found["majority_steady"].waits


def test_a_node_that_lives_is_not_replaced() -> None:
    found = judged(seen_with(rows=[row(3, 2)]), kind="none")["node_dead"]
    assert not found.holds and not found.waits and "decommission it first" in found.sentence
    just_now = judged(seen_with(rows=[row(3, 2)]), kind="store")["node_dead"]
    assert just_now.waits, "the engine notices some seconds later"
    leaving = judged(seen_with(rows=[row(3, 2, is_decommissioning=True)]), kind="left")["node_dead"]
    assert not leaving.holds and "node id=3, state active" in leaving.sentence
    left = seen_with(rows=[row(3, 2, is_decommissioning=True)])
    assert judged(left, deep(ranges((1, 2, 4)), apart=15.0), kind="left")["node_dead"].holds


@pytest.mark.parametrize("kind", ["node_silent", "unknown", "cordoned"])
def test_what_may_come_back_needs_a_word(kind: str) -> None:
    found = judged(seen_with(), kind=kind)["process_ended"]
    assert not found.holds and not found.waits and found.sentence.startswith("Kubernetes node w3 does not answer.")
    assert judged(seen_with(), kind=kind, given_up=True)["process_ended"].holds
    assert "process_ended" not in rules.WAIVABLE and "node_dead" not in rules.WAIVABLE


def test_a_silent_engine_proves_nothing() -> None:
    assert list(judged(silent(seen_with()))) == ["engine_answers"]
    assert not judged(silent(seen_with()))["engine_answers"].holds


# ---- what other runs see


def test_the_directory_that_a_new_place_lacks_is_told_to_whoever_makes_it() -> None:
    """Its volume is there, so no step names it any more; and making directories waits for no pod."""
    half = seen_with(
        rows=[row(3, 2, **DEAD, is_decommissioning=True)],
        journal=under_way(ids=[3]),
        extra=[volume(2, "w4", uid="claim-2")],
    )
    wanted = ({"node": "w4", "directory": "/var/lib/kaiwudb/db.kw-2"},)
    found = present(spec_over(half, local_pv_prepare="ssh"), half, PROFILES["kwdb"], kube_nodes=None, volumes_only=True)
    assert found.waiting == wanted and found.new_volumes() == []
    assert made(half).waiting == wanted
    assert made(seen_with()).waiting == (), "what it is about to give up held a store"


def test_a_plain_run_says_who_must_go_on() -> None:
    with pytest.raises(ClusterError, match=r"the replacement of kw-2 by ann, begun .*, is not complete") as error:
        plan(seen_with(journal=under_way()))
    assert error.value.reason == "replace_interrupted"
    assert ids(plan(live(journal=under_way()))) == [], "it serves: the rest is that module's"


def test_a_volume_that_is_given_up_is_not_reclaimed() -> None:
    marked = having(volume(2, uid="c1"), "v1", annotations=RETIRED)
    seen = seen_with(journal=under_way(), extra=[marked], without=["PersistentVolumeClaim/datadir-kw-2"])
    with pytest.raises(ClusterError, match="the replacement of kw-2"):
        plan(seen)


def test_its_pod_that_waits_gets_no_volume_from_a_plain_run() -> None:
    """Where nobody replaces it, a pod whose claim waits gets one."""
    pending = having(claim(2), "c2")
    pending["status"] = {"phase": "Pending"}
    without = {"pods": [pod(0), pod(1), PENDING], "without": ["PersistentVolume/db.kw-2"]}
    with pytest.raises(ClusterError, match="the replacement of kw-2"):
        plan(seen_with(journal=under_way(), extra=[pending], **without))
    assert "volume/kw-2" in ids(plan(seen_with(extra=[pending], **without)))


def test_what_somebody_changed_waits_too_for_nothing_but_that_module_ends_it() -> None:
    with pytest.raises(ClusterError, match=r"replacement of kw-2.* Nothing was changed"):
        plan(seen_with(journal=under_way(), without=["Service/kw-public"]))


def test_growing_waits_for_the_pod_that_is_replaced_so_it_is_refused_at_once() -> None:
    with pytest.raises(ClusterError, match=r"the replacement of kw-2.* Nothing was changed") as error:
        plan(seen_with(journal=under_way()), replicas=4)
    assert error.value.reason == "replace_interrupted"
    assert ids(plan(live(journal=under_way()), replicas=4)) == ["volume/kw-3", "scale_out/kw-3"], "it serves"


# ---- names


def test_which_pod_is_meant() -> None:
    assert pod_of("kw", "2") == pod_of("kw", "kw-2") == "kw-2"
    for wrong in ("kw-9-3", "id=3", "", "kx-2"):
        with pytest.raises(InputError, match="names no pod"):
            pod_of("kw", wrong)


# ---- whole runs

run_ids = itertools.count()


def go(world: World, kind: type[Run] = ReplaceRun, **how: Any) -> dict[str, Any]:
    asked = {"name": "kw", "namespace": "db", **how.pop("asked", {})}
    if kind is ReplaceRun:
        how.setdefault("node", "2")
    return kind(world, asked, who="ann", run_id=f"r{next(run_ids)}", **how).go()  # type: ignore[arg-type]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(stop_clocks(monkeypatch))


def replaced(world: World, new: int = 4) -> None:
    """The third pod serves as a new node, everything is whole, and a second run of either kind writes nothing."""
    assert world.lives(2) == new and world.whole() and world.journal.operation == {}
    world.writes.clear()
    assert go(world)["steps"] == [] and go(world, Run)["steps"] == [] and world.writes == []


def test_a_lost_node_comes_back_elsewhere(world: World) -> None:
    world.node_dies("w3", gone=True)
    result = go(world)
    assert result["steps"] == ALL and result["loss"]["kind"] == "node_gone" and result["pod"] == "kw-2"
    order = [write for write in world.writes if ("kw-2" in write and "Volume" in write) or "force" in write]
    assert order[:4] == [
        "patch PersistentVolume/db.kw-2",
        "delete PersistentVolumeClaim/datadir-kw-2",
        "delete Pod/kw-2 by force",
        "delete PersistentVolume/db.kw-2",
    ]
    assert world["PersistentVolume/db.kw-2"]["metadata"].get("annotations", {}).get(next(iter(RETIRED))) is None
    replaced(world)


def test_check_mode_writes_nothing(world: World) -> None:
    world.node_dies("w3", gone=True)
    result = go(world, check=True)
    assert result["steps"] == ALL and world.writes == []


def test_a_silent_node_needs_a_word(world: World) -> None:
    world.node_dies("w3")
    with pytest.raises(ClusterError, match="may still run it") as error:
        go(world)
    assert error.value.reason == "process_ended" and world.writes == []
    assert go(world, lost=True)["steps"] == ALL
    replaced(world)


def test_a_range_short_of_its_majority_refuses_with_nothing_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(stop_clocks(monkeypatch), replicas=5, workers=7)
    world.ranges[3] = {1, 3, 5}
    world.node_dies("w5")
    world.node_dies("w3", gone=True)
    with pytest.raises(ClusterError, match=r"range 3 \(bank.accounts\)") as error:
        go(world)
    assert error.value.reason == "ranges_unavailable" and world.writes == []
    world["Node/w5"]["status"]["conditions"][0]["status"] = "True"
    world.settle()
    assert go(world)["steps"] == ALL
    replaced(world, 6)


def test_two_dead_nodes_are_replaced_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first replacement does not wait for what only the second one mends."""
    world = World(stop_clocks(monkeypatch), replicas=5, workers=8)
    world.ranges = {1: {1, 2, 3}, 2: {1, 2, 5}, 3: {1, 2, 4}}
    world.node_dies("w3", gone=True)
    world.node_dies("w5", gone=True)
    first = go(world, node="2")
    assert first["steps"] == ALL and any(
        "1 ranges are not whole, for node 5 is down" in line for line in first["progress"]
    )
    assert go(world, node="4")["steps"] == [step.replace("kw-2", "kw-4") for step in ALL]
    assert world.whole() and (world.lives(2), world.lives(4)) == (6, 7)
    assert go(world, node="2")["steps"] == go(world, node="4")["steps"] == []


@pytest.mark.parametrize("lost", [False, True])
def test_a_pod_that_its_kubelet_does_not_get_ended(world: World, lost: bool) -> None:
    """As when a disk hangs: the node answers, its pod stays for ever, until somebody says that it is lost."""
    world.disk_dies(2)
    world.stuck.add("kw-2")
    if not lost:
        with pytest.raises(ClusterError, match="does not get it ended, as when a disk hangs") as error:
            go(world)
        assert error.value.reason == "pod_stays" and world.has("PersistentVolumeClaim/datadir-kw-2")
    assert go(world, lost=True)["steps"][-3:] == ALL[-3:]
    assert "delete Pod/kw-2 by force" in world.writes
    replaced(world)


def sliced(world: World, seconds: float = 5.0, asked: Any = None, **how: Any) -> tuple[list[str], int]:
    """A run cut into slices: its steps, and how many slices it took."""
    steps, carry, name = [], {}, f"sliced{next(run_ids)}"
    for turn in range(1, 400):
        more = {"seconds": seconds, "sliced": True, "carry": carry, "node": "2", "who": "ann", "run_id": name, **how}
        result = ReplaceRun(world, {"name": "kw", "namespace": "db", **(asked or {})}, **more).go()  # type: ignore[arg-type]
        steps, carry = [*steps, *result["steps"]], result["carry"]
        if not result["in_progress"]:
            return steps, turn
    raise AssertionError("it never ends")


@pytest.mark.parametrize("claim_too", [False, True])
def test_a_volume_that_is_being_deleted_is_given_up_with_its_data_moved(
    monkeypatch: pytest.MonkeyPatch, claim_too: bool
) -> None:
    """`kubectl delete pv`, with its claim or without: what would end the pod is refused, and this is the way on that the refusal names."""
    world = World(stop_clocks(monkeypatch), replicas=4, workers=5)
    world.delete("PersistentVolume", "db.kw-2")
    world["PersistentVolumeClaim/datadir-kw-2"]["spec"] = {"resources": {"requests": {"storage": "10Gi"}}}
    if claim_too:
        world.delete("PersistentVolumeClaim", "datadir-kw-2")
    world.writes.clear()
    with pytest.raises(ClusterError, match="is being deleted, and nobody can call that back") as error:
        go(world, Run, asked={} if claim_too else {"storage_size": "20Gi"})
    assert error.value.reason == "volume_going" and world.writes == [] and world.lives(2) == 3
    if not claim_too:
        idle = go(world, Run)
        assert idle["steps"] == [] and "Decommission kw-2 and replace it" in idle["progress"][0]
    left = go(world, NodeRun, node="kw-2", state="decommissioned", asked={"waive": ["space"]})  # no store reports here
    assert left["steps"] == ["decommission/3"]
    assert go(world)["steps"] == ["detach/kw-2", "volume/kw-2", "rejoin/kw-2", "empty/kw-2"]
    assert world["Pod/kw-2"]["spec"]["nodeName"] == "w5" and world.stores["w3:/var/lib/kaiwudb/db.kw-2"] == 3
    replaced(world, new=5)


def test_a_volume_deleted_while_its_claim_was_to_be_reclaimed_is_seen_before_its_pod_ends(world: World) -> None:
    world.delete("PersistentVolumeClaim", "datadir-kw-2")
    world.writes.clear()

    def also() -> None:  # right after the step has begun
        if world.journal.operation:
            world["PersistentVolume/db.kw-2"]["metadata"]["deletionTimestamp"] = "2026-11-23T10:00:00Z"

    world.meanwhile = also
    with pytest.raises(ClusterError, match="Pod kw-2 was not touched") as error:
        go(world, Run)
    assert error.value.reason == "volume_going" and world.lives(2) == 3 and "delete Pod/kw-2" not in world.writes


def test_a_pod_that_stays_is_seen_over_slices_too(world: World) -> None:
    """Longer than any slice lasts, with ranges that are not whole meanwhile."""
    world.disk_dies(2)
    world.stuck.add("kw-2")
    with pytest.raises(ClusterError, match="does not get it ended, as when a disk hangs") as error:
        sliced(world)
    assert error.value.reason == "pod_stays"
    assert sliced(world, lost=True)[0][-3:] == ALL[-3:] and "delete Pod/kw-2 by force" in world.writes
    replaced(world)


def test_a_new_disk_in_the_same_node(world: World) -> None:
    world.disk_dies(2)
    with pytest.raises(AssertionError, match="is not empty"):
        go(world, kubernetes_node="w3")  # the old store lies there still
    assert "db.kw-2" not in {name for kind, name in world.objects if kind == "PersistentVolume"}
    with pytest.raises(ClusterError, match="nothing in it says whose store it is") as error:
        go(world, kubernetes_node="w3", asked={"volumes": "wipe"})
    assert error.value.reason == "store_foreign"
    world.beside["w3:/var/lib/kaiwudb/db.kw-2"] = Fingerprint(ID, 3).text()
    result = go(world, kubernetes_node="w3", asked={"volumes": "wipe"})
    assert result["steps"] == ["clear/kw-2", "volume/kw-2", "rejoin/kw-2", "empty/kw-2"]
    assert world["PersistentVolume/db.kw-2"]["spec"]["nodeAffinity"] and world["Pod/kw-2"]["spec"]["nodeName"] == "w3"
    replaced(world)


@pytest.mark.parametrize(("target", "policy"), [("", "retain"), ("w4", "wipe")])
def test_the_new_disk_dies_before_all_is_complete(monkeypatch: pytest.MonkeyPatch, target: str, policy: str) -> None:
    world = World(stop_clocks(monkeypatch), workers=5)
    world.node_dies("w3", gone=True)
    killed_after(world, "patch PersistentVolumeClaim/datadir-kw-2")
    assert world.lives(2) == 4
    world.disk_dies(2)
    result = go(world, kubernetes_node=target, asked={"volumes": policy})
    assert [step for step in result["steps"] if step != "clear/kw-2"] == ALL
    assert world["Pod/kw-2"]["spec"]["nodeName"] == (target or "w5")
    replaced(world, 5)


def test_the_new_store_may_be_emptied_before_all_is_complete(world: World) -> None:
    """Both that it was must leave, in one run."""
    world.node_dies("w3", gone=True)
    killed_after(world, "patch PersistentVolumeClaim/datadir-kw-2")
    world.empty(2)
    assert go(world)["steps"] == ["leave/kw-2", "empty/kw-2"]
    replaced(world, 5)


@pytest.mark.parametrize(("target", "policy"), [("", "retain"), ("w3", "archive")])
def test_the_store_of_an_earlier_life_is_not_the_new_node(
    monkeypatch: pytest.MonkeyPatch, target: str, policy: str
) -> None:
    """Node 3 had left w3, where its directory stayed; its place now is w4, and nobody looks into what ssh prepared."""
    world = World(stop_clocks(monkeypatch), workers=5)
    world.node_dies("w3")
    go(world, lost=True)
    assert world.lives(2) == 4 and world.stores["w3:/var/lib/kaiwudb/db.kw-2"] == 3
    world["Node/w3"]["status"]["conditions"][0]["status"] = "True"
    world.settle()
    world.forgotten = {3}  # a full restart
    world.node_dies("w4", gone=True)
    asked = {"local_pv_prepare": "ssh"}
    with pytest.raises(ClusterError, match="with the store of node 3, which was decommissioned") as error:
        go(world, kubernetes_node="w3", asked=asked)
    assert error.value.reason == "store_returned" and "archive or wipe" in error.value.msg
    go(world, kubernetes_node=target, asked={**asked, "volumes": policy})
    assert world["Pod/kw-2"]["spec"]["nodeName"] == (target or "w5")
    replaced(world, 5)


def test_a_place_that_does_not_take_it_may_be_left_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(stop_clocks(monkeypatch), workers=5)
    world.node_dies("w3", gone=True)
    world.crashing.add(STORE)
    with pytest.raises(ClusterError, match="name another Kubernetes node as kubernetes_node") as error:
        go(world)
    assert error.value.facts["step"] == "rejoin/kw-2"
    go(world, kubernetes_node="w5")
    replaced(world)


STORE = "w4:/var/lib/kaiwudb/db.kw-2"


@pytest.mark.parametrize("policy", ["archive", "wipe"])
def test_what_another_cluster_left_there_is_never_cleared(world: World, policy: str) -> None:
    world.stores[STORE], world.beside[STORE] = 99, Fingerprint("another", 7).text()
    world.node_dies("w3", gone=True)
    with pytest.raises(ClusterError, match="holds the store of node 7 of cluster another, which is not this") as error:
        go(world, asked={"volumes": policy})
    assert error.value.reason == "store_foreign" and world.stores[STORE] == 99
    del world.stores[STORE], world.beside[STORE]
    world.writes.clear()
    go(world, asked={"volumes": policy})
    assert world.writes.count("create Pod/kw-volume-2") == 2, "one looks, one makes the directory; nothing is put aside"
    replaced(world)


@pytest.mark.parametrize(
    ("found", "reason"), [('{"cluster": "o', "store_foreign"), ("a note", "store_foreign"), ("", "look_lost")]
)
def test_what_nothing_says_whose_it_is_is_not_erased(world: World, found: str, reason: str) -> None:
    """The note beside the store may be cut off; or the pod that looked is taken away before it could be read."""
    world.stores[STORE], world.beside[STORE] = 99, found
    world.node_dies("w3", gone=True)
    for policy in ("wipe", "archive"):
        if policy == "archive" and found:
            continue  # it keeps everything
        with pytest.raises(ClusterError) as error:
            go(world, asked={"volumes": policy})
        assert error.value.reason == reason and "Nothing in it was touched" in error.value.msg
        assert world.stores[STORE] == 99 and not world.archived


def test_an_earlier_life_of_it_is_cleared(world: World) -> None:
    world.stores[STORE], world.beside[STORE] = 98, Fingerprint(ID, 98).text()
    world.node_dies("w3", gone=True)
    go(world, asked={"volumes": "wipe"})
    replaced(world)
    assert parse(world.beside[STORE]).node_id == 4


def test_erasing_longer_than_a_slice_is_gone_on_with(world: World) -> None:
    """Neither begun anew by each slice, nor judged by what is left of what it erases."""
    world.stores[STORE], world.beside[STORE] = 98, Fingerprint(ID, 98).text()
    world.node_dies("w3", gone=True)
    world.work = 7.0
    sliced(world, 2.0, {"volumes": "wipe"})
    assert world.writes.count("create Pod/kw-volume-2") == 3, "one looks, one erases, one makes the directory"
    world.work = 0.0
    replaced(world)


@pytest.mark.parametrize("prepare", ["pod", "none"])
@pytest.mark.parametrize("at", range(1, 24))
def test_an_archive_has_one_name_however_often_it_is_begun(world: World, at: int, prepare: str) -> None:
    world.disk_dies(2)
    world.stores[STORE], world.beside[STORE] = 98, Fingerprint(ID, 98).text()
    asked = {"volumes": "archive", "local_pv_prepare": prepare}
    old, names = "w3:/var/lib/kaiwudb/db.kw-2", []
    create = world.create

    def named(obj: Any) -> Any:
        command = obj["spec"]["containers"][0]["command"] if obj["kind"] == "Pod" else []
        if command and command[2] in (short_lived_pods.SCRIPTS["archive"], short_lived_pods.SCRIPTS["archive_content"]):
            names.append((obj["spec"]["nodeName"], command[5]))
        return create(obj)

    world.create = named  # type: ignore[method-assign]
    world.deadly = at
    with pytest.raises(Killed):
        go(world, asked=asked)
    world.dead, world.deadly = False, 0
    world.clock.now += 90.0
    go(world, asked=asked)
    assert len({node for node, _suffix in names}) == len(set(names)) == 2, names
    assert {place for place, _suffix in world.archived} == {old, STORE}
    assert world["Pod/kw-2"]["spec"]["nodeName"] == "w4", "never back to the disk that was lost"
    assert all(len(suffix) == len("20261123-100000") for _node, suffix in names)


def test_the_fingerprint_is_there_whenever_a_run_was_killed(world: World) -> None:
    world.node_dies("w3", gone=True)
    world.deadly_before = True

    def joined() -> None:
        world.deadly = world.calls + 1 if world.lives(2) == 4 and not world.deadly else world.deadly

    world.meanwhile = joined
    with pytest.raises(Killed):
        go(world)
    world.meanwhile, world.dead, world.deadly = lambda: None, False, 0
    assert fingerprint.read(world["PersistentVolume/db.kw-2"]).node_id is None and world.beside.get(STORE) is None
    assert go(world)["steps"] == ["empty/kw-2"]
    assert fingerprint.read(world["PersistentVolume/db.kw-2"]).node_id == 4
    replaced(world)


def test_an_emptied_store_is_tidied_up(world: World) -> None:
    world.empty(2)
    assert go(world)["steps"] == ["leave/kw-2", "empty/kw-2"]
    assert fingerprint.read(world["PersistentVolume/db.kw-2"]).node_id == 4
    replaced(world)


def test_one_that_serves_is_left_alone(world: World) -> None:
    result = go(world)
    assert not result["changed"] and "it serves as node 3 on Kubernetes node w3" in result["msg"] and world.writes == []
    with pytest.raises(ClusterError, match="decommission it first") as error:
        go(world, kubernetes_node="w4")
    assert error.value.reason == "node_dead" and world.writes == []


def test_cut_into_slices_it_is_one_run(world: World) -> None:
    world.node_dies("w3", gone=True)
    steps, turns = sliced(world, 2.0)
    assert steps == ALL and turns > 3
    replaced(world)


def killed_after(world: World, write: str, **how: Any) -> None:
    """A run that dies right after the first write that begins so."""
    world.meanwhile = lambda: setattr(
        world,
        "deadly",
        world.deadly or (world.calls if any(item.startswith(write) for item in world.writes) else 0),
    )
    with pytest.raises(Killed):
        go(world, **how)
    world.meanwhile, world.dead, world.deadly = lambda: None, False, 0


def test_once_its_volume_is_gone_no_gate_stops_it_half_way(world: World) -> None:
    """Another node dies in that moment: its pod comes back all the same, and only the wait for its ranges ends without them."""
    world.node_dies("w3", gone=True)
    killed_after(world, "delete PersistentVolume/db.kw-2")
    assert not world.has("PersistentVolume/db.kw-2")
    world.node_dies("w1")
    with pytest.raises(ClusterError) as error:
        go(world)
    assert error.value.reason in ("stalled", "timeout", "emptied") and world.lives(2) == 4
    world["Node/w1"]["status"]["conditions"][0]["status"] = "True"
    world.settle()
    go(world)
    replaced(world)


@pytest.mark.parametrize("write", ["patch PersistentVolume/db.kw-2", "delete PersistentVolumeClaim/datadir-kw-2"])
def test_until_then_a_range_without_a_majority_does(world: World, write: str) -> None:
    """What lies on the old volume may be the only copy by now."""
    world.disk_dies(2)
    killed_after(world, write, asked={"volumes": "wipe"})
    world.node_dies("w1")
    world.writes.clear()
    with pytest.raises(ClusterError) as error:
        go(world, asked={"volumes": "wipe"})
    assert error.value.reason == "ranges_unavailable" and world.writes == []
    assert world.has("PersistentVolume/db.kw-2") and world.crashing
    world["Node/w1"]["status"]["conditions"][0]["status"] = "True"
    world.settle()
    go(world, asked={"volumes": "wipe"})
    replaced(world)


def test_a_claim_that_somebody_deleted_opens_no_gate(world: World) -> None:
    """The second copy of every range lies on the disk of a database that only crashes."""
    world.node_dies("w2")
    world.crashing.add("w3:/var/lib/kaiwudb/db.kw-2")
    world.settle()
    world.delete("PersistentVolumeClaim", "datadir-kw-2", "db")
    world.writes.clear()
    with pytest.raises(ClusterError) as error:
        go(world, asked={"volumes": "wipe"})
    assert error.value.reason == "ranges_unavailable" and world.writes == []


def test_nor_does_it_stand_for_a_word(world: World) -> None:
    world.node_dies("w3")
    world.delete("PersistentVolumeClaim", "datadir-kw-2", "db")
    world.writes.clear()
    with pytest.raises(ClusterError) as error:
        go(world)
    assert error.value.reason == "process_ended" and world.writes == []
    go(world, lost=True)
    replaced(world)


def test_one_that_came_back_in_the_middle_is_not_taken_away(world: World) -> None:
    """Its volume was marked; then its Kubernetes node is back, and it is active again."""
    world.node_dies("w3")
    killed_after(world, "patch PersistentVolume/db.kw-2", lost=True)
    world["Node/w3"]["status"]["conditions"][0]["status"] = "True"
    world.settle()
    node = {"node": "2", "state": "active", "who": "ann", "run_id": "back"}
    NodeRun(world, {"name": "kw", "namespace": "db"}, **node).go()  # type: ignore[arg-type]
    world.node_dies("w2")
    world.writes.clear()
    with pytest.raises(ClusterError, match=r"Node 3 \(kw-2\) is live") as error:
        go(world, asked={"volumes": "wipe"})
    assert error.value.reason == "node_dead" and world.writes == [] and world.lives(2) == 3


@pytest.mark.parametrize("at", range(1, 28))
def test_a_lost_disk_is_replaced_whenever_the_run_was_killed(world: World, at: int) -> None:
    """The old pod is ended by its kubelet, so what is seen later is another loss than the one that was found."""
    world.disk_dies(2)
    world.deadly = at
    with pytest.raises(Killed):
        go(world, asked={"volumes": "wipe"})
    world.dead, world.deadly = False, 0
    go(world, asked={"volumes": "wipe"})
    replaced(world)


def test_the_engine_may_be_slow_to_say_that_a_node_is_leaving(world: World) -> None:
    world.lag = 6.0
    world.node_dies("w3", gone=True)
    moments: dict[str, float] = {}
    world.meanwhile = lambda: [moments.setdefault(write, world.clock.now) for write in world.writes] and None
    assert go(world)["steps"] == ALL
    assert moments["delete PersistentVolumeClaim/datadir-kw-2"] - moments["node decommission 3"] >= 6.0
    world.meanwhile = lambda: None
    replaced(world)


def test_what_was_given_up_is_known_whatever_ran_between(world: World) -> None:
    """The pod joined, and somebody scales out before its replacement is complete."""
    world.node_dies("w3", gone=True)
    world.meanwhile = lambda: setattr(world, "deadly", world.deadly or (world.lives(2) == 4 and world.calls + 2) or 0)
    with pytest.raises(Killed):
        go(world)
    world.meanwhile, world.dead, world.deadly = lambda: None, False, 0
    kept = world.journal.replacing
    assert list(kept) == ["kw-2"] and kept["kw-2"]["ids"] == [3]
    between = world.journal.end("now", "interrupted").begin("scale_out", "eve", "now").end("now", "done")
    world["ConfigMap/kw-journal"]["data"] = between.data()
    assert world.journal.replacing == kept
    assert go(world)["steps"] == ["empty/kw-2"] and world.journal.replacing == {}
    replaced(world)


def test_another_operation_ends_the_entry_of_a_replacement_but_not_what_it_gives_up() -> None:
    from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Step

    seen = live(journal=under_way())
    ctx = Context(Client(Clock()), spec_over(seen, replicas=4), PROFILES["kwdb"], "eve", run_id="r1")  # type: ignore[arg-type]
    ctx.seen = seen
    wide = plan(seen, replicas=4)
    asked = {"name": "kw", "namespace": "db"}
    step = next(step for step in wide.steps if step.id == "scale_out/kw-3")
    assert isinstance(step, Step)
    Run(ctx.client, asked, who="eve", run_id="r1")._note(ctx, wide, step)
    assert ctx.seen.journal.replacing == under_way().replacing
    assert [(item["name"], item["outcome"]) for item in ctx.seen.journal.history] == [("replace_node", "interrupted")]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", range(1, 28))
def test_killed_at_any_write_the_next_run_ends_it(world: World, at: int, before: bool) -> None:
    world.node_dies("w3", gone=True)
    world.deadly, world.deadly_before = at, before
    with pytest.raises(Killed):
        go(world)
    world.dead, world.deadly = False, 0
    try:  # a plain run between sees it: it refuses, or has nothing to do with it
        assert go(world, Run)["steps"] in ([], ["settle"])
    except ClusterError as error:
        assert error.reason in ("replace_interrupted", "unschedulable", "timeout")
    go(world)
    replaced(world)


def test_an_upgrade_that_a_repair_interrupted_can_still_be_undone() -> None:
    from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import undo

    seen = mid_upgrade(**{"from": {"image": "kwdb/kwdb:3.2.1", "options": {}}})
    journal = seen.journal.end("10:00", "interrupted").begin("replace_node", "ann", "10:00").end("10:05", "done")
    assert undo.origin(replace(seen, journal=journal), "upgrade")["image"] == "kwdb/kwdb:3.2.1"


def test_and_the_run_that_repairs_notes_it_so(world: World) -> None:
    begun = {"image": "kwdb/kwdb:3.2.1", "options": {}}
    half = replace(JOURNAL, pulled={"image": "x"}).begin(
        "upgrade", "ann", "09:00", step="upgrade/kw-1", **{"from": begun}
    )
    world["ConfigMap/kw-journal"]["data"] = half.data()
    world.node_dies("w3", gone=True)
    go(world)
    first, second = world.journal.history
    assert (first["name"], first["outcome"], first["from"]) == ("upgrade", "interrupted", begun)
    assert (second["name"], second["outcome"]) == ("replace_node", "done") and world.journal.pulled == {"image": "x"}


def test_with_a_storage_class_archive_keeps_the_volume_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the claim goes; what it provisioned would go with it."""
    kept: list[str] = []
    monkeypatch.setattr(operation, "_prove", lambda *_all: None)
    monkeypatch.setattr(operation.volumes, "archive_volume", lambda _ctx, ordinal: kept.append(f"archive {ordinal}"))
    monkeypatch.setattr(operation, "_delete", lambda _ctx, kind, *_all, **_how: kept.append(f"delete {kind}"))
    monkeypatch.setattr(operation, "_gone", lambda *_all: DONE)
    for policy, wanted in (("archive", ["archive 2"]), ("retain", []), ("delete", [])):
        kept.clear()
        seen = seen_with(pods=[pod(0), pod(1)], without=["PersistentVolume/db.kw-2"], of=spec(storage="dynamic"))
        found = made(seen, volumes=policy)
        ctx = Context(Client(Clock()), spec_over(seen, volumes=policy), PROFILES["kwdb"], "ann", run_id="r1")  # type: ignore[arg-type]
        ctx.seen = seen
        operation.detach(ctx, next(step for step in found.steps if step.id == "detach/kw-2"))
        assert kept == [*wanted, "delete PersistentVolumeClaim"]
        needed = rights.needed(found)
        assert (("patch", "persistentvolumes", "", False) in needed) is (policy == "archive")
