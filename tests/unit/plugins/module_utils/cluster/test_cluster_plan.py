# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""From what is wanted and what is there to the steps between, in every state a run may find."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError, InputError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.gates import Gate
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.absent import absent
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Plan, Step
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.present import outdated, settled
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    JOURNAL,
    NEW,
    OLD,
    WORKERS,
    claim,
    gone,
    ids,
    kube_node,
    live,
    observed,
    plan_of,
    pod,
    row,
    silent,
    spec,
    spec_over,
    statefulset,
    volume,
)

OBJECTS = [
    "create/ServiceAccount/kw",
    "create/Service/kw",
    "create/Service/kw-public",
    "create/PodDisruptionBudget/kw-budget",
]
VOLUMES = ["volume/kw-0", "volume/kw-1", "volume/kw-2"]
RETIRED = {"kaiwudb.kubernetes/retired": "2026-11-23T09:30:00Z"}
FRESH = Journal()


def plan(seen: Any = None, nodes: Any = WORKERS, **asked: Any) -> Plan:
    """Of a run that asks for this on the cluster that is there."""
    found = live() if seen is None else seen
    return plan_of(spec_over(found, **asked), found, nodes)


def during(name: str, step: str = "", **facts: Any) -> Journal:
    return replace(JOURNAL, operation={"name": name, "step": step, "who": "ann", **facts})


# ---- nothing there


def test_nothing_there() -> None:
    found = plan_of(spec(), observed())
    assert ids(found) == [*OBJECTS, *VOLUMES, "create/StatefulSet/kw", "initialize"]
    assert found.headline == f"kw: create 3 nodes of {OLD} in db" and found.remaining == () and found.writes
    assert [step.operation for step in found.steps] == ["create"] * 8 + ["initialize"]
    assert [step.facts for step in found.steps if step.id.startswith("volume/")] == [
        {"ordinal": number, "node": f"w{number + 1}", "hostname": None} for number in range(3)
    ]
    assert found.changes == {
        **{f"{name.removeprefix('create/')}": (None, "created") for name in OBJECTS},
        **{f"PersistentVolume/db.kw-{number}": (None, f"10Gi on w{number + 1}") for number in range(3)},
        "StatefulSet/kw spec.replicas": (None, 3), "StatefulSet/kw image": (None, OLD),
    }  # fmt: skip
    assert not any(step.disruptive for step in found.steps)


def test_no_namespace() -> None:
    with pytest.raises(
        ClusterError, match=r"namespace db does not exist\. Nothing was changed\. Make it, or set create_namespace"
    ) as error:
        plan_of(spec(), observed(there=False))
    assert (error.value.reason, error.value.facts) == ("namespace_missing", {"resumable": False})
    made = plan_of(spec(create_namespace=True), observed(there=False))
    assert made.steps[0] == Step("create/Namespace/db", "it does not exist", "create", asked=True)
    assert made.changes["Namespace/db"] == (None, "created")
    with pytest.raises(ClusterError, match="create/Namespace/db is asked for"):
        plan_of(spec(create_namespace=True, operations=["upgrade"]), observed(there=False))


def test_dynamic_storage_makes_no_volumes() -> None:
    assert ids(plan_of(spec(storage="dynamic"), observed())) == [*OBJECTS, "create/StatefulSet/kw", "initialize"]


def test_a_single_node_initialises_itself() -> None:
    assert ids(plan_of(spec(single_node=True), observed())) == [*OBJECTS, "volume/kw-0", "create/StatefulSet/kw"]


def test_volumes_only() -> None:
    """Volumes that were made before, or outlived a cluster, are found again."""
    found = plan_of(spec(), observed(*(volume(number) for number in range(3))))
    assert ids(found) == [*OBJECTS, "create/StatefulSet/kw", "initialize"]
    two = plan_of(spec(), observed(volume(1, "w5")))
    assert {step.id: step.facts["node"] for step in two.steps if step.id.startswith("volume/")} == {
        "volume/kw-0": "w1",
        "volume/kw-2": "w2",
    }


def test_a_kept_volume_is_freed_for_its_new_claim() -> None:
    kept = [volume(number, uid=f"old-{number}") for number in range(3)]
    found = plan_of(spec(), observed(*kept))
    assert ids(found) == [*OBJECTS, "free/kw-0", "free/kw-1", "free/kw-2", "create/StatefulSet/kw", "initialize"]
    with_claims = plan_of(spec(), observed(*kept, *(claim(number) for number in range(3))))
    assert not [name for name in ids(with_claims) if name.startswith("free/")]


def test_an_old_cluster_on_its_volumes_is_remembered_not_initialised() -> None:
    stamped = [volume(number, **{"kaiwudb.kubernetes/cluster-id": "id"}) for number in range(3)]
    assert ids(plan_of(spec(), observed(*stamped))) == [*OBJECTS, "create/StatefulSet/kw"]
    started = live(journal=FRESH, pods=[pod(number) for number in range(3)])
    assert ids(plan(started)) == ["remember"]


# ---- created, initialised, settled


def created(**more: Any) -> Any:
    waiting = [pod(number, ready=False, **more) for number in range(3)]
    return silent(live(pods=waiting, nodes=[], journal=FRESH), "no pod is ready")


def test_created() -> None:
    assert ids(plan(created())) == ["initialize"]


def test_created_with_a_wrong_image_is_corrected_at_once() -> None:
    found = plan(created(), image=NEW)
    assert ids(found) == ["create/StatefulSet/kw", "initialize"]
    assert found.changes == {"StatefulSet/kw image": (OLD, NEW)}
    assert ids(plan(created(), cache="1GiB"))[0] == "create/StatefulSet/kw"


def test_initialised_but_killed_before_the_journal() -> None:
    assert ids(plan(live(journal=FRESH))) == ["remember"]


def test_settled() -> None:
    found = plan()
    assert (found.steps, found.remaining, found.changes, found.writes) == ((), (), {}, False)
    assert found.headline == "kw: nothing to do"


def test_settled_and_asked_for_again_with_everything_spelled_out() -> None:
    same = {
        "image": OLD,
        "replicas": "3",
        "security": "insecure",
        "storage_size": "10240Mi",
        "cache": ".25",
        "single_node": "false",
    }
    found = plan(**same)
    assert [name for name in ids(found) if name != "repair/StatefulSet/kw"] == []


def test_a_newer_collection_never_restarts_a_database() -> None:
    """What it renders differently (another probe, another argument) is no difference; only options are."""
    changed = statefulset(spec())
    changed["spec"]["template"]["spec"]["containers"][0]["command"].append("--of-an-older-collection")
    changed["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 1
    assert ids(plan(live(sts=changed), security="insecure", image=OLD)) == []


def test_not_settled_is_only_waited_for() -> None:
    for seen in (
        live(pods=[pod(0), pod(1), pod(2, ready=False)]),
        live(pods=[pod(0), pod(1)]),
        live(nodes=[row(1, 0), row(2, 1), row(3, 2, is_live=False)]),
    ):
        found = plan(seen)
        assert ids(found) == ["settle"] and not found.writes and not settled(spec_over(seen), seen)
    assert settled(spec(), live())


@pytest.mark.parametrize(
    "kind_name", ["Service/kw", "Service/kw-public", "PodDisruptionBudget/kw-budget", "ServiceAccount/kw"]
)
def test_what_was_deleted_is_made_again(kind_name: str) -> None:
    found = plan(live(without=[kind_name]))
    assert ids(found) == [f"create/{kind_name}"] and found.steps[0].operation == "reconfigure"
    assert found.steps[0].facts["object"]["metadata"]["name"] == kind_name.split("/")[1]
    assert found.changes == {kind_name: (None, "created")}


def test_what_was_edited_is_mended_and_nothing_else() -> None:
    seen = live()
    edited = seen.objects["Service"]["kw-public"]
    edited["spec"]["selector"]["app.kubernetes.io/instance"] = "other"  # type: ignore[index]
    found = plan(seen)
    assert ids(found) == ["repair/Service/kw-public"]
    assert found.steps[0].title == "spec.selector.app.kubernetes.io/instance"
    assert found.steps[0].facts["patch"] == {"spec": {"selector": {"app.kubernetes.io/instance": "kw"}}}
    assert found.changes == {"Service/kw-public spec.selector.app.kubernetes.io/instance": ("other", "kw")}
    assert found.diff() == {"before": "Service/kw-public spec.selector.app.kubernetes.io/instance: other\n",
                            "after": "Service/kw-public spec.selector.app.kubernetes.io/instance: kw\n"}  # fmt: skip


def test_ui_comes_and_goes() -> None:
    assert ids(plan(ui="nodeport")) == ["create/Service/kw-ui", "repair/StatefulSet/kw"]
    open_ = live(of=spec(ui="nodeport"))
    assert ids(plan(open_)) == []
    closing = plan(open_, ui="none")
    assert ids(closing) == ["repair/StatefulSet/kw", "delete/Service/kw-ui"]
    assert closing.changes["Service/kw-ui"] == ("present", None) and closing.steps[-1].asked
    with pytest.raises(ClusterError, match="delete/Service/kw-ui is asked for"):
        plan(open_, ui="none", operations=["upgrade"])


# ---- what can never be


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"storage_size": "5Gi"}, "storage_size: 5Gi would shrink the volumes from 10Gi; allowed are 10Gi and more"),
        ({"storage_size": "20Gi"}, "storage_size: growing volumes is not supported yet; allowed is 10Gi"),
        ({"sql_port": 1}, "sql_port: cannot change while the cluster lives"),
    ],
)
def test_immutable(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as error:
        plan(**asked)
    assert error.value.msg.startswith(says)
    assert ids(plan(storage_size="10240Mi")) in ([], ["repair/StatefulSet/kw"])


def test_one_never_becomes_three_nor_three_one() -> None:
    single = live(1, of=spec(single_node=True))
    with pytest.raises(InputError, match=r"replicas: 1 can never become 3: .*; allowed is 1"):
        plan(single, replicas=3)
    three = live()
    with pytest.raises(InputError, match=r"replicas: 3 can never become 1: .*; allowed is 3 and more"):
        plan_of(replace(spec_over(three), values={**spec_over(three).values, "replicas": 1}), three)


def test_too_few_kubernetes_nodes() -> None:
    with pytest.raises(ClusterError) as error:
        plan_of(spec(), observed(), [*WORKERS[:2], kube_node("w3", cordoned=True)])
    assert error.value.reason == "no_node" and "kw-2" in error.value.msg and "w3 is cordoned" in error.value.msg
    dynamic = live(of=spec(storage="dynamic"))
    with pytest.raises(
        ClusterError, match=r"4 replicas need as many Kubernetes nodes under anti_affinity=required, 3 can be used"
    ):
        plan(dynamic, WORKERS[:3], replicas=4)
    assert ids(plan(dynamic, None, replicas=4)) == ["scale_out/kw-3"], "nobody knows, so nobody refuses"
    assert ids(plan(live(of=spec(storage="dynamic", anti_affinity="preferred")), WORKERS[:3], replicas=4)) == [
        "scale_out/kw-3"
    ]


# ---- growing


def test_scale_out() -> None:
    found = plan(replicas="5")
    assert ids(found) == ["volume/kw-3", "volume/kw-4", "scale_out/kw-3", "scale_out/kw-4"]
    assert found.headline == "kw: scale out 3→5, 4 steps"
    assert found.changes["StatefulSet/kw spec.replicas"] == (3, 5)
    assert [step.facts.get("ordinal") for step in found.steps] == [3, 4, 3, 4]


def test_half_scaled_out() -> None:
    half = live(4, pods=[pod(0), pod(1), pod(2), pod(3, ready=False)], nodes=[row(1, 0), row(2, 1), row(3, 2)], extra=[volume(4, "w5")],
                journal=during("scale_out", "scale_out/kw-3", replicas=5))  # fmt: skip
    found = plan(half, replicas=5)
    assert ids(found) == ["scale_out/kw-3", "scale_out/kw-4"], "the step under way is seen through"
    assert found.steps[0].facts == {"ordinal": 3} and found.steps[0].pod == "kw-3"


def test_a_retired_store_never_comes_back_by_accident() -> None:
    retired = volume(3, "w4", uid="old", **RETIRED)
    with pytest.raises(
        ClusterError, match=r"volume db.kw-3 still holds the store of a node that left \(2026-11-23T09:30:00Z\)"
    ) as error:
        plan(live(extra=[retired]), replicas=4)
    assert (error.value.reason, error.value.facts) == ("store_retired", {"node": "kw-3", "resumable": False})
    for policy in ("archive", "wipe"):
        found = plan(live(extra=[retired]), replicas=4, volumes=policy)
        assert ids(found) == ["reuse/kw-3", "volume/kw-3", "scale_out/kw-3"]
        assert found.steps[0].facts == {"ordinal": 3, "node": "w4", "action": policy}
    with pytest.raises(ClusterError, match="still holds the store"):
        plan(live(extra=[retired]), replicas=4, volumes="delete")


def test_a_retired_claim_of_a_storage_class_never_comes_back_by_accident() -> None:
    seen = live(of=spec(storage="dynamic"), extra=[claim(3, **RETIRED)])
    with pytest.raises(ClusterError, match="claim datadir-kw-3 still holds the store of a node that left") as error:
        plan(seen, replicas=4)
    assert (error.value.reason, error.value.facts) == ("store_retired", {"node": "kw-3", "resumable": False})
    for policy in ("archive", "delete", "wipe"):
        assert ids(plan(seen, replicas=4, volumes=policy)) == ["drop/kw-3", "scale_out/kw-3"]
    assert ids(plan(live(of=spec(storage="dynamic"), extra=[claim(3)]), replicas=4)) == ["scale_out/kw-3"]


# ---- shrinking


def test_scale_in_from_the_highest_ordinal_one_by_one() -> None:
    found = plan(live(5), replicas=3)
    assert ids(found) == ["scale_in/kw-4", "scale_in/kw-3"]
    assert all(step.disruptive and step.asked for step in found.steps)
    assert found.steps[0].title == "node 5 leaves, volume db.kw-4: retain" and found.steps[0].facts == {"ordinal": 4}
    assert found.changes == {"StatefulSet/kw spec.replicas": (5, 3)} and found.headline == "kw: scale in 5→3, 2 steps"


def test_a_forgotten_option_is_no_scale_in() -> None:
    assert ids(plan(live(5))) == []


def leaving(replicas: int = 4) -> Any:
    rows = [
        *(row(number, number - 1) for number in range(1, 4)),
        row(4, 3, is_decommissioning=True, gossiped_replicas=7),
    ]
    return live(replicas, nodes=rows, journal=during("scale_in", "scale_in/kw-3", replicas=3, pods=["kw-3"]))


def test_mid_decommission_goes_on_without_being_asked_again() -> None:
    assert ids(plan(leaving())) == ids(plan(leaving(), replicas=3)) == ["scale_in/kw-3"]


def test_the_old_number_in_the_middle_puts_the_node_back() -> None:
    found = plan(leaving(), replicas=4)
    assert ids(found) == ["recommission/kw-3"]
    assert found.steps[0].facts == {"id": 4} and found.steps[0].title == "node 4 was leaving and stays"


def test_a_node_decommissioned_by_hand_is_not_put_back_behind_its_back() -> None:
    """Somebody used kaiwudb_node_decommission: no scale-in of ours is to be undone."""
    seen = replace(leaving(), journal=JOURNAL)
    assert "recommission/kw-3" not in ids(plan(seen))


def test_pod_gone_claim_left() -> None:
    """Killed between StatefulSet minus one and the volume's policy."""
    after = live(3, extra=[claim(3), volume(3, uid="claim-3")], nodes=[*(row(number, number - 1) for number in range(1, 4)), gone(4, 3)],
                 journal=during("scale_in", "scale_in/kw-3", replicas=3, pods=["kw-3"]))  # fmt: skip
    assert ids(plan(after)) == ids(plan(after, replicas=3)) == ["scale_in/kw-3"]
    kept = live(3, extra=[claim(3, **RETIRED)])
    assert ids(plan(kept)) == [], "a claim kept by policy is no work"


def test_killed_right_before_the_end_of_a_scale_in() -> None:
    seen = live(3, journal=during("scale_in", "scale_in/kw-3", replicas=3, pods=["kw-3"]))
    assert ids(plan(seen)) == ["scale_in/kw-3"]


# ---- another image, other options


def test_upgrade_from_the_highest_ordinal_down() -> None:
    found = plan(image=NEW)
    assert ids(found) == ["upgrade/kw-2", "upgrade/kw-1", "upgrade/kw-0"]
    assert found.headline == f"kw: upgrade {OLD} → {NEW}, 3 steps" and found.changes == {
        "StatefulSet/kw image": (OLD, NEW)
    }
    assert found.steps[0].title == f"node 3: {OLD} → {NEW}" and all(
        step.disruptive and step.asked for step in found.steps
    )


def mid_upgrade() -> Any:
    half = statefulset(spec(image=NEW), partition=1)
    half["status"]["updateRevision"] = "r2"
    pods = [pod(0), pod(1), pod(2, image=NEW, revision="r2")]
    return live(sts=half, pods=pods, journal=during("upgrade", "upgrade/kw-1", image=NEW, replicas=3))


def test_mid_upgrade() -> None:
    assert ids(plan(mid_upgrade(), image=NEW)) == ids(plan(mid_upgrade())) == ["upgrade/kw-1", "upgrade/kw-0"]


def test_the_old_image_in_the_middle_rolls_back_what_was_changed() -> None:
    found = plan(mid_upgrade(), image=OLD)
    assert ids(found) == ["upgrade/kw-2"] and found.changes == {"StatefulSet/kw image": (NEW, OLD)}


def test_the_last_pod_of_an_upgrade_is_seen_through() -> None:
    done = statefulset(spec(image=NEW))
    seen = live(
        sts=done,
        pods=[pod(number, image=NEW) for number in range(3)],
        journal=during("upgrade", "upgrade/kw-0", image=NEW, replicas=3),
    )
    assert ids(plan(seen)) == ["upgrade/kw-0"]
    assert ids(plan(replace(seen, journal=JOURNAL))) == []


@pytest.mark.parametrize(
    "operation",
    [{}, {"step": None}, {"step": "nonsense"}, {"step": "upgrade/kw-0", "image": NEW}, {"step": "scale_out/kw-7"}, {"step": "scale_in/kw-1"},
     {"step": "upgrade/kw-9", "image": OLD}],
)  # fmt: skip
def test_an_interrupted_step_that_leads_elsewhere_is_dropped(operation: dict[str, Any]) -> None:
    assert ids(plan(live(journal=replace(JOURNAL, operation={"name": "x", **operation})))) == []


def test_what_an_interrupted_step_may_need_is_mended_first() -> None:
    halfway = live(without=["Service/kw"], journal=during("create", "create/StatefulSet/kw"))
    assert ids(plan(halfway)) == ["create/Service/kw", "create/StatefulSet/kw"]
    growing = live(4, journal=during("scale_out", "scale_out/kw-3"), without=["PodDisruptionBudget/kw-budget"])
    assert ids(plan(growing)) == ["create/PodDisruptionBudget/kw-budget", "scale_out/kw-3"]


def test_interrupted_before_init_was_seen_through() -> None:
    assert ids(plan(live(journal=during("initialize", "initialize")))) == ["initialize"]
    assert ids(plan(live(journal=during("create", "create/StatefulSet/kw")))) == ["create/StatefulSet/kw"]


def test_other_options_restart_pod_by_pod() -> None:
    found = plan(cache="1GiB", memory="2Gi")
    assert ids(found) == ["reconfigure/kw-2", "reconfigure/kw-1", "reconfigure/kw-0"]
    assert found.steps[0].title == "node 3: memory, cache" and found.steps[0].facts == {
        "ordinal": 2,
        "options": ["memory", "cache"],
    }
    assert found.changes == {"StatefulSet/kw cache": (".25", "1GiB"), "StatefulSet/kw memory": (None, "2Gi")}


def test_image_and_replicas_together() -> None:
    assert ids(plan(live(4), image=NEW, replicas=3)) == [
        "scale_in/kw-3",
        "upgrade/kw-2",
        "upgrade/kw-1",
        "upgrade/kw-0",
    ]
    assert ids(plan(image=NEW, replicas=4)) == [
        "volume/kw-3",
        "upgrade/kw-2",
        "upgrade/kw-1",
        "upgrade/kw-0",
        "scale_out/kw-3",
    ]


def test_outdated_reads_pods_not_counters() -> None:
    unseen = statefulset(spec(), seen=False)
    unseen["status"]["updateRevision"] = "r0"
    assert outdated(spec(), live(sts=unseen)) == [], "what the controller has not seen yet says nothing"
    edited = statefulset(spec())
    edited["status"]["updateRevision"] = "r2"
    assert outdated(spec(), live(sts=edited)) == ["kw-2", "kw-1", "kw-0"]
    assert outdated(spec(), observed()) == []


# ---- permissions


def test_what_merely_comes_next_remains() -> None:
    found = plan_of(spec(operations=["create"]), observed())
    assert ids(found)[-1] == "create/StatefulSet/kw" and [step.id for step in found.remaining] == ["initialize"]


def test_what_was_asked_for_and_is_not_allowed_is_refused() -> None:
    for asked, step in (
        ({"image": NEW}, "upgrade/kw-2"),
        ({"replicas": 5}, "scale_out/kw-3"),
        ({"cache": "1GiB"}, "reconfigure/kw-2"),
    ):
        with pytest.raises(ClusterError) as error:
            plan(operations=["create", "scale_in"], **asked)
        assert error.value.reason == "operation_not_allowed" and error.value.facts["resumable"] is False
        assert "Nothing was changed" in error.value.msg and "this run may only create, scale_in" in error.value.msg
        assert error.value.facts["step"] == step
    with pytest.raises(ClusterError, match="scale_in/kw-3 is asked for"):
        plan(live(4), replicas=3, operations=["upgrade"])


def test_scaling_while_an_upgrade_is_half_done_leaves_the_upgrade() -> None:
    found = plan(mid_upgrade(), replicas=4, operations=["scale_out"])
    assert [step.id for step in found.remaining] == ["upgrade/kw-1", "upgrade/kw-0"]
    assert ids(found) == ["volume/kw-3", "scale_out/kw-3"]


def test_a_run_that_may_only_initialise_creates_nothing() -> None:
    with pytest.raises(ClusterError, match="create/StatefulSet/kw is asked for"):
        plan_of(spec(operations=["initialize"]), observed())
    assert ids(plan(created(), operations=["initialize"])) == ["initialize"]


# ---- removal


def removal(seen: Any, **asked: Any) -> Plan:
    return absent(spec_over(seen, operations=["remove"], **asked), seen)


def test_remove_in_the_order_in_which_it_goes() -> None:
    journal = {"kind": "ConfigMap", "metadata": {"name": "kw-journal"}}
    seen = live(extra=[journal], journal=replace(JOURNAL, made_namespace=True))
    found = removal(seen, volumes="wipe")
    assert ids(found) == [
        "remove/statefulset",
        "remove/pods",
        "remove/claims",
        "remove/objects",
        "remove/volumes",
        "remove/journal",
        "remove/namespace",
    ]
    assert all(step.asked and step.operation == "remove" for step in found.steps)
    assert found.headline == "kw: remove, volumes wipe" and found.steps[4].title == "wipe db.kw-0, db.kw-1, db.kw-2"
    assert found.changes["PersistentVolume/db.kw-1"] == ("present", None)
    kept = removal(seen)
    assert "remove/volumes" not in ids(kept) and "PersistentVolume/db.kw-1" not in kept.changes


def test_a_namespace_that_was_there_before_stays() -> None:
    assert "remove/namespace" not in ids(removal(live()))


def test_nothing_to_remove() -> None:
    found = absent(spec(operations=["remove"]), observed(volume(0)))
    assert (found.steps, found.headline, found.writes) == ((), "kw: nothing to remove", False)


def test_removal_must_be_allowed() -> None:
    with pytest.raises(ClusterError, match="remove/statefulset is asked for, but this run may only create"):
        absent(spec_over(live(), operations=["create"]), live())


def test_volumes_alone_only_when_nothing_uses_them() -> None:
    wipe = spec(volumes="wipe", operations=["remove"])
    found = absent(
        wipe,
        observed(volume(0), volume(1), {"kind": "ConfigMap", "metadata": {"name": "kw-journal"}}),
        volumes_only=True,
    )
    assert ids(found) == ["remove/volumes"] and set(found.changes) == {
        "PersistentVolume/db.kw-0",
        "PersistentVolume/db.kw-1",
    }
    for seen, what in (
        (live(), "datadir-kw-0, datadir-kw-1, datadir-kw-2"),
        (observed(volume(0), statefulset(spec())), "its StatefulSet exists"),
    ):
        with pytest.raises(ClusterError, match=f"the volumes of kw are in use: {what}") as error:
            absent(wipe, seen, volumes_only=True)
        assert error.value.reason == "volumes_in_use"


# ---- the plan as data and as text


def test_a_plan_as_a_person_reads_it() -> None:
    gate = Gate("space", "1 B", "≤ 2 B", True)
    step = Step("upgrade/kw-2", "node 3", "upgrade", True, True, "kw-2", {"ordinal": 2})
    rest = Step("initialize", "once", "initialize")
    made = Plan("kw: upgrade", (step,), (rest,), {"b": (1, 2), "a": (None, 3), "c": (4, None)}, (gate,))
    assert made.lines() == [
        "kw: upgrade",
        "  1 upgrade/kw-2                 node 3",
        "  gates  space 1 B (≤ 2 B)",
        "  not allowed in this run: initialize",
    ]
    assert made.diff() == {"before": "b: 1\nc: 4\n", "after": "a: 3\nb: 2\n"}
    assert made.result() == {
        "headline": "kw: upgrade", "steps": [{"id": "upgrade/kw-2", "title": "node 3", "operation": "upgrade", "pod": "kw-2"}],
        "remaining": [{"id": "initialize", "title": "once", "operation": "initialize", "pod": ""}], "gates": [gate.result()],
    }  # fmt: skip
    assert Plan("kw: nothing to do", ()).lines() == ["kw: nothing to do", "  not allowed in this run: nothing"]
    assert made.writes and not Plan("", (Step("settle", "wait"),)).writes
