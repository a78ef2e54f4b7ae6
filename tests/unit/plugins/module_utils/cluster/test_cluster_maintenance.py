# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A Kubernetes node is emptied and taken back: the plan, the window, what other runs see of it, and runs that are killed at any write."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import maintenance
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError, InputError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.maintain_run import MaintainRun, window_of
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.names import CORDONED
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.observe import Observed
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Plan, Step
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.replace_run import ReplaceRun
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.run import Run
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import KubeError
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    JOURNAL,
    claim,
    during,
    ids,
    kube_node,
    live,
    plan,
    pod,
    row,
    spec,
    spec_over,
    volume,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.world import (
    STORE_DEAD,
    Killed,
    World,
    stop_clocks,
)

OUT = ["extend/w3", "cordon/w3", "evict/kw-2"]
BACK = ["uncordon/w3", "return/w3", "restore/w3", "whole/w3"]
WINDOW = {"node": "w3", "was": "00:30:00", "raised": "10800s", "since": "09:00", "who": "ann", "set": True}
IN_WINDOW = replace(JOURNAL, window=WINDOW)
PENDING = pod(2, phase="Pending", unschedulable="w3 was cordoned")
del PENDING["spec"]["nodeName"]


def away(journal: Journal = IN_WINDOW, **more: Any) -> Observed:
    """The third pod waits for w3."""
    rows = [row(1, 0), row(2, 1), row(3, 2, is_live=False, is_available=False)]
    return live(pods=[pod(0), pod(1), PENDING], nodes=rows, journal=journal, **more)


def drained(seen: Observed, *, cordoned: bool = False, name: str = "w3", **asked: Any) -> Plan:
    return maintenance.drained(spec_over(seen, **asked), seen, name, kube_node(name, cordoned=cordoned), 10800)


def ready(seen: Observed, *, cordoned: bool = True, name: str = "w3", ours: bool = True) -> Plan:
    node = kube_node(name, cordoned=cordoned)
    if cordoned and ours:
        node["metadata"]["annotations"] = {CORDONED: "2026-11-23T09:00:00Z by ann"}
    return maintenance.ready(spec_over(seen), seen, name, node)


# ---- the plan


def test_a_node_is_emptied() -> None:
    found = drained(live())
    assert ids(found) == OUT and found.headline == "kw: drain w3 of kw-2"
    assert found.steps[0].facts == {"node": "w3", "seconds": 10800, "pods": ["kw-2"]}
    assert found.steps[2].disruptive and found.steps[2].facts == {"node": "w3", "uid": "pod-2"}
    assert found.changes == {"Node/w3 spec.unschedulable": (None, True), "Pod/kw-2 on w3": ("runs", None)}
    assert "stays Pending until it is uncordoned" in found.steps[2].title
    dynamic = drained(live(of=spec(storage="dynamic")))
    assert "goes where its volume can go" in dynamic.steps[2].title


def test_what_is_there_already_is_not_done_again() -> None:
    assert ids(drained(live(), cordoned=True)) == ["extend/w3", "evict/kw-2"]
    assert ids(drained(live(journal=IN_WINDOW), cordoned=True)) == ["evict/kw-2"]
    half = replace(JOURNAL, window={**WINDOW, "set": False})
    assert ids(drained(live(journal=half))) == OUT, "nobody knows whether it was raised"
    assert ids(drained(away(), cordoned=True)) == []
    closing = replace(IN_WINDOW, operation=during("maintain_node").operation)
    assert ids(drained(away(closing), cordoned=True)) == ["kept/w3"], "killed before it looked at what that took away"


def test_a_pod_whose_volume_would_go_with_it_is_not_evicted() -> None:
    items = [claim(2), volume(2, uid="claim-2")]
    for item in items:
        item["metadata"]["deletionTimestamp"] = "2026-11-24T10:00:00Z"
    with pytest.raises(ClusterError, match=r"PersistentVolume db.kw-2 of kw-2 is being deleted") as error:
        drained(live(extra=items))
    assert error.value.reason == "volume_going"
    assert ids(drained(live(extra=items[1:]))) == OUT, "the claim that stays keeps it"


def test_a_node_without_its_pods_is_only_cordoned() -> None:
    assert ids(drained(live(), name="w5")) == ["cordon/w5"]


def test_a_pod_on_its_way_out_is_waited_for() -> None:
    assert ids(drained(live(pods=[pod(0), pod(1), pod(2, deleting=True)]), cordoned=True)) == [
        "extend/w3",
        "evict/kw-2",
    ]


def test_two_volumes_that_cannot_move_are_not_taken_away_together() -> None:
    both = pod(1)
    both["spec"]["nodeName"] = "w3"
    with pytest.raises(ClusterError, match="kw-1 and kw-2 both run on w3") as error:
        drained(live(pods=[pod(0), both, pod(2)]))
    assert error.value.reason == "several_pods"
    dynamic = live(pods=[pod(0), both, pod(2)], of=spec(storage="dynamic"))
    found = drained(dynamic)
    assert ids(found) == ["extend/w3", "cordon/w3", "evict/kw-1", "return/w3", "evict/kw-2"]
    assert found.steps[3].facts["but"] == ["kw-2"], "the first one must serve elsewhere, the second one is still here"
    moving = live(pods=[pod(0), pod(1, ready=False), pod(2)], of=spec(storage="dynamic"), journal=IN_WINDOW)
    assert ids(drained(moving, cordoned=True)) == ["return/w3", "evict/kw-2"], (
        "gates that its own work fails are not asked"
    )
    leaving = live(pods=[pod(0), pod(1), pod(2, deleting=True)], journal=IN_WINDOW)
    assert ids(drained(leaving, cordoned=True)) == ["evict/kw-2"]


@pytest.mark.parametrize(
    ("toleration", "stays"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "node.kubernetes.io/not-ready", "operator": "Exists"}, False),
    ],
)
def test_a_pod_that_would_be_back_at_once_is_not_evicted(toleration: dict[str, str], stays: bool) -> None:
    third = pod(2)
    third["spec"]["tolerations"] = [toleration]
    seen = live(pods=[pod(0), pod(1), third])
    if not stays:
        assert ids(drained(seen)) == OUT
        return
    with pytest.raises(ClusterError, match=r"it would be back on w3 at once. Nothing was changed") as error:
        drained(seen)
    assert error.value.reason == "tolerates_cordon"


def test_a_node_that_does_not_exist() -> None:
    seen = live()
    with pytest.raises(ClusterError, match="there is no Kubernetes node w9") as error:
        maintenance.drained(spec_over(seen), seen, "w9", None, 10800)
    assert error.value.reason == "unknown_node"
    gone = away()
    found = maintenance.ready(spec_over(gone), gone, "w3", None)
    assert ids(found) == BACK[1:], "what was raised for it must be restored all the same"


def test_a_node_is_taken_back() -> None:
    found = ready(away())
    assert ids(found) == BACK and found.changes == {"Node/w3 spec.unschedulable": (True, None)}
    assert found.steps[2].title == f"{STORE_DEAD} back to 00:30:00"
    assert ids(ready(live(journal=IN_WINDOW), cordoned=False)) == BACK[2:]
    assert ids(ready(live(), cordoned=False)) == []
    assert ids(ready(live(journal=during("maintain_node")), cordoned=False)) == ["whole/w3"]


def test_what_somebody_else_has_cordoned_stays_so() -> None:
    with pytest.raises(ClusterError, match=r"w3 was cordoned by somebody else.*kubectl uncordon w3") as error:
        ready(away(), ours=False)
    assert error.value.reason == "cordoned_by_others"
    assert ids(ready(live(journal=IN_WINDOW), ours=False)) == BACK[2:], "nothing of it waits for the node"
    emptied = live(pods=[pod(0), pod(1), PENDING], of=spec(storage="dynamic"), without=["PersistentVolume/db.kw-2"])
    assert "uncordon/w3" not in ids(ready(emptied, ours=False)), "it can go elsewhere"


def test_a_mark_that_an_uncordoning_by_hand_left_goes_too() -> None:
    node = kube_node("w3")
    node["metadata"]["annotations"] = {CORDONED: "2026-11-23T09:00:00Z by ann"}
    seen = live()
    found = maintenance.ready(spec_over(seen), seen, "w3", node)
    assert ids(found)[0] == "uncordon/w3" and found.changes == {}


def test_a_longer_window_is_told_and_a_shorter_one_is_none() -> None:
    seen = away()
    for seconds, wanted in ((10800, []), (5400, []), (21600, ["extend/w3"])):
        found = maintenance.drained(spec_over(seen), seen, "w3", kube_node("w3", cordoned=True), seconds)
        assert ids(found) == wanted


def test_a_pod_that_somebody_sent_away_first_has_its_window_too() -> None:
    found = drained(away(JOURNAL), cordoned=True)
    assert ids(found) == ["extend/w3"] and found.steps[0].facts["pods"] == []


def test_another_nodes_window_is_left_alone() -> None:
    assert ids(ready(away(), name="w5")) == ["uncordon/w5"]
    under_way = replace(away(), journal=replace(IN_WINDOW, operation=during("maintain_node", "evict/kw-2").operation))
    assert ids(ready(under_way, name="w1", cordoned=False)) == [], "nor is its work called complete"


def test_a_single_node_needs_no_window() -> None:
    alone = spec(single_node=True)
    seen = live(1, of=alone)
    assert ids(drained(seen, name="w1")) == ["cordon/w1", "evict/kw-0"]


# ---- what plain runs see


def test_a_plain_run_in_the_window_says_whose_it_is() -> None:
    with pytest.raises(ClusterError, match=r"Kubernetes node w3 is in maintenance since 09:00 \(ann\)") as error:
        plan(away())
    assert error.value.reason == "maintenance"


def test_a_plain_run_restores_what_was_left_raised() -> None:
    assert ids(plan(live(journal=IN_WINDOW))) == ["restore/window"]
    killed = replace(IN_WINDOW, operation=during("maintain_node", "evict/kw-2").operation)
    assert ids(plan(live(journal=killed))) == ["restore/window", "close"]


def test_the_window_is_kept_by_the_journal() -> None:
    kept = Journal.read({"data": IN_WINDOW.data()})
    assert kept.window == WINDOW and Journal.read({"data": {"journal": '{"window": 7}'}}).window == {}


# ---- options


def test_how_long_the_window_may_be() -> None:
    assert [window_of(value) for value in (None, "", "90m", "3h", "5400", 5400)] == [
        10800,
        10800,
        5400,
        10800,
        5400,
        5400,
    ]
    for wrong in ("soon", "60", "-5", "1 day"):
        with pytest.raises(InputError, match="window: "):
            window_of(wrong)


# ---- whole runs

run_ids = itertools.count()


def go(world: World, state: str, waive: Sequence[str] = (), **how: Any) -> dict[str, Any]:
    given = {"kubernetes_node": "w3", "window": 10800, **how}
    asked = {"name": "kw", "namespace": "db", **({"waive": list(waive)} if waive else {})}
    return MaintainRun(world, asked, state=state, who="ann", run_id=f"m{next(run_ids)}", **given).go()  # type: ignore[arg-type]


def plain(world: World) -> dict[str, Any]:
    return Run(world, {"name": "kw", "namespace": "db"}, who="ann", run_id=f"m{next(run_ids)}").go()  # type: ignore[arg-type]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(stop_clocks(monkeypatch))


def untouched(world: World) -> None:
    """As it was before: nothing cordoned, nothing raised, everything serves, and no run finds anything to do."""
    assert world.whole() and [world.lives(ordinal) for ordinal in range(3)] == [1, 2, 3]
    assert world.settings[STORE_DEAD] == "00:30:00" and world.journal.window == {} and world.journal.operation == {}
    world.writes.clear()
    assert go(world, "ready")["steps"] == [] and plain(world)["steps"] == [] and world.writes == []


def test_out_and_back(world: World) -> None:
    result = go(world, "drained")
    assert result["steps"] == OUT and result["kubernetes_node"] == "w3"
    assert world.settings[STORE_DEAD] == "03:00:00" and world["Node/w3"]["spec"]["unschedulable"]
    assert world.lives(2) is None and world.has("Pod/kw-2")
    assert f"{STORE_DEAD} is 10800 s until w3 is back, was 00:30:00" in result["progress"]
    world.writes.clear()
    assert go(world, "drained")["steps"] == [] and world.writes == []
    assert go(world, "ready")["steps"] == BACK
    untouched(world)


def test_cut_into_slices_it_is_one_run(world: World) -> None:
    for state, steps in (("drained", OUT), ("ready", BACK)):
        done, carry = [], {}
        while True:
            how = {"seconds": 1.0, "sliced": True, "carry": carry, "who": "ann", "run_id": f"sliced-{state}"}
            where = {"state": state, "kubernetes_node": "w3", "window": 10800}
            result = MaintainRun(world, {"name": "kw", "namespace": "db"}, **where, **how).go()  # type: ignore[arg-type]
            done, carry = [*done, *result["steps"]], result["carry"]
            if not result["in_progress"]:
                break
        assert done == steps
    untouched(world)


def test_a_node_lost_in_the_window_is_replaced_and_nothing_stays_raised(world: World) -> None:
    go(world, "drained")
    world.node_dies("w3", gone=True)
    ReplaceRun(world, {"name": "kw", "namespace": "db"}, node="2", who="ann", run_id="r").go()  # type: ignore[arg-type]
    assert world.whole() and world.settings[STORE_DEAD] == "03:00:00"
    assert plain(world)["steps"] == ["restore/window"] and world.settings[STORE_DEAD] == "00:30:00"
    assert plain(world)["steps"] == []


def test_all_workers_in_turn(world: World) -> None:
    for name in ("w1", "w2", "w3", "w4"):
        assert go(world, "drained", kubernetes_node=name)["steps"]
        assert go(world, "ready", kubernetes_node=name)["steps"]
    untouched(world)


def test_check_mode_writes_nothing(world: World) -> None:
    assert go(world, "drained", check=True)["steps"] == OUT and world.writes == []


def test_a_pod_whose_kubelet_is_silent_is_judged_as_one_that_lives(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kw-0 is down, and kw-2 is not Ready though its database serves: to evict it would take the second one away."""
    world.disk_dies(0)
    looked = World.list

    def silent_kubelet(self: World, kind: str, *args: Any, **how: Any) -> Any:
        found, version = looked(self, kind, *args, **how)
        for item in found:
            if item["metadata"]["name"] == "kw-2" and kind == "Pod":
                item["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
        return found, version

    monkeypatch.setattr(World, "list", silent_kubelet)
    with pytest.raises(ClusterError) as error:
        go(world, "drained")
    assert error.value.reason == "nodes_live" and world.lives(2) == 3
    assert not [what for what in world.writes if what.startswith("evict")]


def test_another_node_down_refuses_it_with_nothing_touched(world: World) -> None:
    world.node_dies("w1")
    with pytest.raises(ClusterError) as error:
        go(world, "drained")
    assert error.value.reason == "nodes_live" and world.writes == []


def test_what_is_waited_for_refuses_before_anything_is_changed(world: World) -> None:
    """A range that lacks a replica for too long: neither raised nor cordoned."""
    world.ranges[2] = {1, 2}
    with pytest.raises(ClusterError) as error:
        go(world, "drained")
    assert error.value.reason == "ranges_underreplicated" and "Nothing was changed" in error.value.msg
    assert not world["Node/w3"]["spec"].get("unschedulable") and world.settings[STORE_DEAD] == "00:30:00"


def test_the_budget_is_waited_for(world: World) -> None:
    world.budget = 0

    def later() -> None:
        world.budget = int(world.clock.now > 1060)

    world.meanwhile = later
    result = go(world, "drained")
    assert result["steps"] == OUT and any(
        "the budget kw-budget lets no pod go now" in line for line in result["progress"]
    )


def test_a_budget_that_never_yields_leaves_nothing_raised(world: World) -> None:
    world.budget = 0
    with pytest.raises(ClusterError, match="lets no pod go now") as error:
        go(world, "drained")
    assert error.value.reason == "timeout" and "w3 stays cordoned" in error.value.msg
    assert world.settings[STORE_DEAD] == "00:30:00" and world.journal.window == {} and world.whole()
    go(world, "ready")
    untouched(world)


def test_a_node_that_does_not_come_back_leaves_nothing_raised(world: World) -> None:
    """From then on the engine may call it dead, and the others take over."""
    go(world, "drained")
    world.node_dies("w3")
    with pytest.raises(ClusterError) as error:
        go(world, "ready")
    assert error.value.reason in ("unschedulable", "timeout")
    assert world.settings[STORE_DEAD] == "00:30:00" and world.journal.window == {}
    assert ReplaceRun(world, {"name": "kw", "namespace": "db"}, node="2", lost=True, who="ann", run_id="r").go()[
        "steps"
    ]  # type: ignore[arg-type]
    assert world.whole() and plain(world)["steps"] == []


def test_a_plain_run_tells_of_a_cordon_that_a_killed_run_left(world: World) -> None:
    world.meanwhile = lambda: setattr(
        world, "deadly", world.calls * any("patch Node/" in item for item in world.writes)
    )
    with pytest.raises(Killed):
        go(world, "drained")
    world.meanwhile, world.dead, world.deadly = lambda: None, False, 0
    result = plain(world)
    assert result["steps"] == ["restore/window", "close"]
    assert any("w3 is still cordoned: take it back (playbook maintain_node" in line for line in result["progress"])
    assert go(world, "ready")["steps"][0] == "uncordon/w3"
    untouched(world)


def test_a_node_that_was_cordoned_before_is_left_cordoned(world: World) -> None:
    world["Node/w3"]["spec"]["unschedulable"] = True
    assert go(world, "drained")["steps"] == ["extend/w3", "evict/kw-2"]
    world.writes.clear()
    with pytest.raises(ClusterError) as error:
        go(world, "ready")
    assert error.value.reason == "cordoned_by_others" and world.writes == []
    assert world.settings[STORE_DEAD] == "03:00:00", "it is away still"
    del world["Node/w3"]["spec"]["unschedulable"]
    world.settle()
    assert go(world, "ready")["steps"] == ["restore/w3", "whole/w3"]
    untouched(world)


def test_another_clusters_cordon_is_ended_by_whoever_says_that_the_node_is_ready(world: World) -> None:
    world["Node/w3"]["spec"]["unschedulable"] = True
    world["Node/w3"]["metadata"]["annotations"] = {CORDONED: "2026-11-23T09:00:00Z by eve"}
    assert go(world, "drained")["steps"] == ["extend/w3", "evict/kw-2"]
    assert go(world, "ready")["steps"] == BACK
    assert not world["Node/w3"]["metadata"]["annotations"]
    untouched(world)


def test_the_window_is_made_longer_and_restored_to_what_was_before(world: World) -> None:
    go(world, "drained")
    assert go(world, "drained", window=21600)["steps"] == ["extend/w3"]
    assert world.settings[STORE_DEAD] == "06:00:00"
    go(world, "ready")
    untouched(world)


def test_a_setting_that_cannot_be_read_could_not_be_restored(world: World) -> None:
    world.settings[STORE_DEAD] = "for ever"
    with pytest.raises(ClusterError, match="'for ever', which is no duration") as error:
        go(world, "drained")
    assert error.value.reason == "setting_unknown" and world.settings[STORE_DEAD] == "for ever"
    assert world.journal.window == {} and not world["Node/w3"]["spec"].get("unschedulable")


def test_what_only_the_node_holds_would_be_away_with_it(world: World) -> None:
    """A table of one replica: whole, and out of reach for hours."""
    world.zone, world.ranges = 1, {2: {3}}
    with pytest.raises(ClusterError, match=r"range 2 \(bank.accounts\)") as error:
        go(world, "drained")
    assert error.value.reason == "majority_kept" and world.writes == []
    assert go(world, "drained", kubernetes_node="w1")["steps"]


def test_waiving_what_lacks_a_replica_does_not_give_its_majority_away(world: World) -> None:
    """One of three is dead: without another one nothing could be read or written for the whole window."""
    world.node_dies("w1")
    waive = ["nodes_live", "ranges_steady", "ranges_underreplicated"]
    with pytest.raises(ClusterError) as error:
        go(world, "drained", waive=waive)
    assert error.value.reason == "majority_kept" and world.writes == []
    with pytest.raises(ClusterError) as error:
        go(world, "drained", waive=waive[:2])
    assert error.value.reason == "ranges_underreplicated" and "evict" not in str(world.writes)


def test_where_uncordoning_fails_the_node_is_away_as_before(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    go(world, "drained")
    patch = world.patch

    def refused(kind: str, *what: Any, **how: Any) -> Any:
        if kind == "Node":
            raise KubeError(403, "Forbidden", "may not patch nodes")
        return patch(kind, *what, **how)

    monkeypatch.setattr(world, "patch", refused)
    with pytest.raises(ClusterError) as error:
        go(world, "ready")
    assert "stays raised until the node is taken back" in error.value.msg
    assert world.settings[STORE_DEAD] == "03:00:00" and world.journal.window
    monkeypatch.undo()


@pytest.mark.parametrize(("name", "closes"), [("w3", True), ("w4", False)])
def test_a_failure_closes_the_window_of_its_own_node_only(name: str, closes: bool) -> None:
    """Another's pod is still away, and the engine must go on waiting for it."""
    run = MaintainRun(None, {"name": "kw", "namespace": "db"}, state="ready", kubernetes_node=name, window=10800)  # type: ignore[arg-type]
    at, error = Step("whole/w4", ""), ClusterError("the ranges do not become whole", "timeout")
    assert run._is_over(SimpleNamespace(seen=away()), at, error) is closes  # type: ignore[arg-type]


def test_a_value_that_somebody_set_meanwhile_stays(world: World) -> None:
    go(world, "drained")
    world.settings[STORE_DEAD] = "00:45:00"
    result = go(world, "ready")
    assert world.settings[STORE_DEAD] == "00:45:00" and world.journal.window == {}
    assert f"{STORE_DEAD} is 00:45:00: somebody has set it meanwhile, and it stays" in result["progress"]


def test_it_is_never_told_less(world: World) -> None:
    world.settings[STORE_DEAD] = "05:00:00"
    go(world, "drained")
    assert world.settings[STORE_DEAD] == "05:00:00"
    go(world, "ready")
    assert world.settings[STORE_DEAD] == "05:00:00" and world.journal.window == {}


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 8))
def test_a_shorter_window_than_that_of_a_killed_run_ends_too(world: World, at: int, before: bool) -> None:
    world.deadly, world.deadly_before = at, before
    with pytest.raises(Killed):
        go(world, "drained")
    told = any(item.startswith("SET") for item in world.writes)
    world.dead, world.deadly = False, 0
    go(world, "drained", window=3600)
    assert world.settings[STORE_DEAD] == ("03:00:00" if told else "01:00:00"), "never is it told less"
    go(world, "ready")
    untouched(world)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 5))
@pytest.mark.parametrize("window", [None, 3600, 32400])
def test_a_longer_window_that_was_killed_ends_too(world: World, at: int, before: bool, window: int | None) -> None:
    go(world, "drained")
    world.calls, world.deadly, world.deadly_before = 0, at, before
    with pytest.raises(Killed):
        go(world, "drained", window=21600)
    world.dead, world.deadly = False, 0
    if window:
        go(world, "drained", window=window)
    go(world, "ready")
    untouched(world)


def test_a_cordoned_node_is_no_lost_one(world: World) -> None:
    go(world, "drained")
    world.writes.clear()
    with pytest.raises(ClusterError, match="is cordoned; uncordoned, it may bring its store back") as error:
        ReplaceRun(world, {"name": "kw", "namespace": "db"}, node="2", who="ann", run_id="r").go()  # type: ignore[arg-type]
    assert error.value.reason == "process_ended" and world.writes == []


@pytest.mark.parametrize("between", [True, False], ids=["plain run between", "at once"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("state", ["drained", "ready"])
@pytest.mark.parametrize("at", range(1, 12))
def test_killed_at_any_write(world: World, at: int, state: str, before: bool, between: bool) -> None:
    """The same run goes on; a plain run between restores what is no longer needed, or says whose window it is."""
    if state == "ready":
        go(world, "drained")
        world.calls = 0
    world.deadly, world.deadly_before = at, before
    try:
        go(world, state)
    except Killed:
        pass
    else:
        assert at > 8, "it should have died"
    world.dead, world.deadly = False, 0
    if between:
        try:
            plain(world)
            assert world.lives(2) == 3 and world.settings[STORE_DEAD] == "00:30:00", (
                "content, and it leaves nothing raised"
            )
        except ClusterError as error:
            assert error.reason in ("maintenance", "unschedulable", "timeout")
    if state == "drained":
        go(world, "drained")
        assert world.lives(2) is None and world.settings[STORE_DEAD] == "03:00:00"
    go(world, "ready")
    untouched(world)
