# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""From what is wanted and what is there to the steps between, in every state a run may find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import missing
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError, InputError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.names import CLUSTER_ID
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.observe import Observed
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.placement import Choice
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Step
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.present import settled
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.parse import NodeRow
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    ID,
    JOURNAL,
    LABELS,
    NEW,
    OLD,
    RETIRED,
    WORKERS,
    claim,
    during,
    gone,
    ids,
    kube_node,
    left,
    live,
    observed,
    plan,
    plan_of,
    pod,
    row,
    silent,
    spec,
    spec_over,
    stamped,
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
FRESH = Journal()


# ---- nothing there


def test_nothing_there() -> None:
    found = plan_of(spec(), observed())
    assert ids(found) == [*OBJECTS, *VOLUMES, "create/StatefulSet/kw", "initialize"]
    assert found.headline == f"kw: create 3 nodes of {OLD} in db" and found.remaining == () and found.writes
    assert [step.operation for step in found.steps] == ["create"] * 8 + ["initialize"]
    assert [step.facts for step in found.steps if step.id.startswith("volume/")] == [
        {
            "ordinal": number,
            "node": f"w{number + 1}",
            "hostname": None,
            "choice": Choice(f"w{number + 1}", "", f"fewest volumes so far: 0 on w{number + 1}"),
            "directory": f"/var/lib/kaiwudb/db.kw-{number}",
            "pod": True,
            "left": False,
        }
        for number in range(3)
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
    assert ids(plan_of(spec(single_node=True), observed())) == [
        *OBJECTS, "volume/kw-0", "create/StatefulSet/kw", "remember",
    ]  # fmt: skip


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
    assert ids(plan_of(spec(), observed(*stamped))) == [*OBJECTS, "create/StatefulSet/kw", "remember"]
    started = live(journal=FRESH, pods=[pod(number) for number in range(3)])
    assert ids(plan(started)) == ["remember"]


# ---- created, initialised, settled


def created(**more: Any) -> Any:
    waiting = [pod(number, ready=False, **more) for number in range(3)]
    return silent(live(pods=waiting, nodes=[], journal=FRESH), "no pod is ready")


def test_created() -> None:
    found = plan(created())
    assert ids(found) == ["initialize"] and found.steps[0].title == "once, at kw-0"


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
        made = spec_over(three)
        plan_of(replace(made, asked=made.asked | {"replicas"}, values={**made.values, "replicas": 1}), three)


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
    assert [step.title for step in found.steps[2:]] == ["replicas 3 → 4", "replicas 4 → 5"]


def test_which_directories_somebody_else_must_have_made() -> None:
    found = plan(replicas="5", local_pv_prepare="ssh", local_path="/data/db").result()["new_volumes"]
    assert found == [{"node": f"w{number + 1}", "directory": f"/data/db/db.kw-{number}"} for number in (3, 4)]
    retired = volume(3, "w4", uid="old", **RETIRED)
    reused = plan(live(extra=[retired]), replicas=5, volumes="archive", local_pv_prepare="ssh")
    assert {"reuse/kw-3", "volume/kw-3"} <= {*ids(reused)}
    assert reused.new_volumes() == [{"node": "w5", "directory": "/var/lib/kaiwudb/db.kw-4"}], (
        "a store put aside leaves its directory behind"
    )
    moved = plan(live(extra=[retired]), replicas=4, volumes="archive", local_path="/data/db")
    assert moved.new_volumes() == [{"node": "w4", "directory": "/data/db/db.kw-3"}]
    assert plan().new_volumes() == []


def without_directory(*, ordinal: int = 3, **how: Any) -> Observed:
    """A volume was made whose directory nobody had made: its pod cannot mount it."""
    waits = [volume(3, "w4", uid="claim-3")] if ordinal == 3 else []
    pods = [pod(number, ready=number != ordinal) for number in range(4 if waits else 3)]
    rows = [row(number + 1, number, is_live=number != ordinal) for number in range(3)]
    return live(4 if waits else 3, **{"pods": pods, "nodes": rows, "extra": waits, **how})


def test_directories_of_volumes_that_were_made_before_them() -> None:
    wanted = [{"node": "w4", "directory": "/var/lib/kaiwudb/db.kw-3"}]
    found = plan(without_directory(), local_pv_prepare="ssh").result()
    assert (found["new_volumes"], found["waiting_volumes"]) == ([], wanted)
    known = [volume(3, "w4", uid="claim-3", **{CLUSTER_ID: ID})]
    assert plan(without_directory(extra=known)).result()["waiting_volumes"] == wanted, "of this cluster, of no node"
    joined = [*(row(number + 1, number) for number in range(3)), row(4, 3, is_live=False)]
    left = replace(joined[-1], is_decommissioning=True)
    assert plan(without_directory(nodes=joined)).waiting == (), "it has joined: an empty one would hide what is lost"
    assert len(plan(without_directory(nodes=[*joined[:-1], left]), replicas=4).waiting) == 1, (
        "that node was another volume's"
    )
    for held in (stamped(3), RETIRED):
        again = without_directory(extra=[volume(3, "w4", uid="claim-3", **held)])
        assert missing.directories(spec(replicas=4), again) == []
    silent = without_directory(nodes=None)
    assert missing.directories(spec(replicas=4), silent) == [], "nobody says who has joined"
    beforehand = observed(volume(0, "w1"), volume(1, "w2"))
    assert [row["node"] for row in plan_of(spec(), beforehand).waiting] == ["w1", "w2"]
    assert plan().waiting == () and missing.directories(spec(storage="dynamic"), beforehand) == []


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        ("ssh", "(playbook prepare_nodes does), and run again"),
        ("none", "w4, and run again"),
        ("pod", "w4, and run again"),
    ],
)
def test_what_helps_where_a_directory_is_missing(prepare: str, says: str) -> None:
    wanted = spec(replicas=4, local_pv_prepare=prepare)
    advice = missing.advice(wanted, without_directory(), "kw-3")
    assert advice.startswith("Make the directory /var/lib/kaiwudb/db.kw-3 on w4") and says in advice
    lost = without_directory(extra=[volume(3, "w4", uid="claim-3", **stamped(3))])
    advice = missing.advice(wanted, lost, "kw-3")
    assert advice.startswith("/var/lib/kaiwudb/db.kw-3 on w4 held the store of node 4 of cluster")
    assert "Do not make an empty one" in advice and "playbook replace_node, kaiwudb_node=kw-3" in advice
    for other in ("kw-volume-3", "kw-9", "x"):
        assert missing.advice(wanted, lost, other).startswith("Look on the node")
    alone = spec(single_node=True)
    single = live(1, of=alone, nodes=[row(1, 0)], extra=[volume(0, "w1", **stamped(0))])
    assert "replace_node" not in missing.advice(alone, single, "kw-0")


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
        assert found.steps[0].facts == {"ordinal": 3, "node": "w4", "action": policy, "policy": policy}
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


def left_by_hand(storage: str = "local", *, noted: bool = True, **more: Any) -> Any:
    """Node 4 was told to leave (kaiwudb_node_decommission), then somebody sent its pod away with `kubectl scale`: nothing is marked."""
    of = spec(storage=storage)
    notes = stamped(3) if noted else {}
    kept = [claim(3, **notes), *([volume(3, "w4", uid="claim-3", **notes)] if storage == "local" else [])]
    return live(3, **{"of": of, "extra": kept, "nodes": [row(1, 0), row(2, 1), row(3, 2), gone(4, 3)], **more})


@pytest.mark.parametrize("noted", [False, True])
@pytest.mark.parametrize(("storage", "what"), [("local", "volume db.kw-3"), ("dynamic", "claim datadir-kw-3")])
def test_a_store_that_only_the_engine_knows_to_have_left_does_not_come_back_either(
    storage: str, what: str, noted: bool
) -> None:
    seen = left_by_hand(storage, noted=noted)
    with pytest.raises(
        ClusterError, match=f"^{what} still holds the store of node 4.*, which was decommissioned; it would come back"
    ) as error:
        plan(seen, replicas=4)
    assert (error.value.reason, error.value.facts) == ("store_retired", {"node": "kw-3", "resumable": False})
    found = plan(seen, replicas=4, volumes="archive")
    assert ids(found) == [*(["reuse/kw-3", "volume/kw-3"] if storage == "local" else ["drop/kw-3"]), "scale_out/kw-3"]
    assert found.steps[0].facts["left"] == 4 and found.steps[-1].title == "replicas 3 → 4"


def test_after_a_full_restart_the_note_on_the_store_tells_its_node() -> None:
    with pytest.raises(ClusterError, match="which was decommissioned"):
        plan(left_by_hand(nodes=[row(1, 0), row(2, 1), row(3, 2), gone(4)]), replicas=4)


@pytest.mark.parametrize(
    "more",
    [
        {"nodes": [row(1, 0), row(2, 1), row(3, 2), gone(4, 3, is_decommissioning=False)]},
        {"nodes": [row(1, 0), row(2, 1), row(3, 2), gone(9, 3), row(4, is_live=False)]},
        {"extra": [volume(3, "w4")]},
    ],
    ids=["sent away only", "another one had the address before", "a fresh volume"],
)
def test_a_store_that_may_come_back(more: dict[str, Any]) -> None:
    assert ids(plan(left_by_hand(**more), replicas=4)) == ["scale_out/kw-3"]


LEAVING_FOUR = (row(1, 0), row(2, 1), row(3, 2), row(4, 3, is_decommissioning=True))


def brought_back(rows: Sequence[NodeRow] = LEAVING_FOUR, storage: str = "dynamic", **more: Any) -> Any:
    """Scaled in with the claim kept, then grown again with `kubectl scale`: its pod has mounted it."""
    kept = claim(3, **stamped(3), **(RETIRED if storage == "dynamic" else {}))
    place = [volume(3, "w4", uid="claim-3", **stamped(3), **RETIRED)] if storage == "local" else []
    return live(4, of=spec(storage=storage, replicas=4), extra=[kept, *place], nodes=rows, **more)


@pytest.mark.parametrize(("storage", "what"), [("dynamic", "claim datadir-kw-3"), ("local", "volume db.kw-3")])
def test_a_retired_store_that_somebody_else_has_mounted(storage: str, what: str) -> None:
    seen = brought_back(storage=storage)
    for asked in ({}, {"replicas": 4}, {"replicas": 5}, {"image": NEW}, {"volumes": "wipe"}):
        with pytest.raises(ClusterError) as error:
            plan(seen, **asked)  # type: ignore[arg-type]
        assert error.value.msg == (
            f"pod kw-3 has come back with {what} and the store of node 4 in it, which left (2026-11-23T09:30:00Z); it is decommissioned and never takes "
            "data. Nothing was changed. Scale in again (replicas=3), or put the node back (kaiwudb_node_decommission, node kw-3, state active)."
        )
        assert (error.value.reason, error.value.facts) == ("store_retired", {"node": "kw-3", "resumable": False})
    assert ids(plan(seen, replicas=3)) == ["scale_in/kw-3"], "the way back"
    assert ids(plan(brought_back([*LEAVING_FOUR[:3], row(4, 3)], storage))) == [], "put back"


@pytest.mark.parametrize(
    "journal",
    [
        replace(JOURNAL, leaving={"pods": ["kw-3"], "replicas": 3}),
        replace(JOURNAL, replacing={"kw-3": {"who": "ann"}}),
    ],
    ids=["leaving", "replaced"],
)
def test_what_is_still_on_its_way_is_not_taken_for_one_that_came_back(journal: Journal) -> None:
    assert "scale_in/kw-3" not in ids(plan(brought_back(journal=journal), replicas=4))


def test_one_below_others_can_only_be_put_back() -> None:
    more = live(5, of=spec(storage="dynamic", replicas=5), nodes=[*LEAVING_FOUR, row(5, 4)],
                extra=[claim(3, **stamped(3), **RETIRED)])  # fmt: skip
    with pytest.raises(ClusterError, match=r"Nothing was changed\. Put the node back \(kaiwudb_node_decommission"):
        plan(more)


# ---- shrinking


def test_a_retired_claim_goes_before_a_cluster_is_made_on_it() -> None:
    """With the permissions of the role statefulset, too: else its pod would come up with a store that left."""
    seen = observed(*[claim(ordinal) for ordinal in range(3)], claim(3, **RETIRED))
    wanted = spec(storage="dynamic", replicas=4, operations=["create", "reconfigure"], volumes="delete")
    made = plan_of(wanted, seen)
    assert ids(made).index("drop/kw-3") < ids(made).index("create/StatefulSet/kw") and "drop/kw-3" not in left(made)


def test_scale_in_from_the_highest_ordinal_one_by_one() -> None:
    found = plan(live(5), replicas=3)
    assert ids(found) == ["scale_in/kw-4", "scale_in/kw-3"]
    assert all(step.disruptive and step.asked for step in found.steps)
    assert found.steps[0].title == "node 5 leaves, volume db.kw-4: retain" and found.steps[0].facts == {
        "ordinal": 4,
        "local": True,
        "policy": "retain",
    }
    assert found.changes == {"StatefulSet/kw spec.replicas": (5, 3)} and found.headline == "kw: scale in 5→3, 2 steps"


def test_where_a_storage_class_provisions_the_claim_is_treated() -> None:
    found = plan(live(4, of=spec(replicas=4, storage="dynamic")), replicas=3, volumes="delete")
    assert ids(found) == ["scale_in/kw-3"] and found.steps[0].title == "node 4 leaves, claim: delete"


def test_a_forgotten_option_is_no_scale_in() -> None:
    assert ids(plan(live(5))) == []


def leaving(replicas: int = 4) -> Any:
    rows = [
        *(row(number, number - 1) for number in range(1, 4)),
        row(4, 3, is_decommissioning=True, gossiped_replicas=7),
    ]
    under_way = replace(during("scale_in", "scale_in/kw-3", replicas=3), leaving={"pods": ["kw-3"], "replicas": 3})
    return live(replicas, nodes=rows, journal=under_way)


def test_mid_decommission_goes_on_without_being_asked_again() -> None:
    assert ids(plan(leaving())) == ids(plan(leaving(), replicas=3)) == ["scale_in/kw-3"]


def test_the_old_number_in_the_middle_puts_the_node_back() -> None:
    found = plan(leaving(), replicas=4)
    assert ids(found) == ["recommission/kw-3"]
    assert found.steps[0].facts == {"id": 4} and found.steps[0].title == "node 4 was leaving and stays"


def test_who_is_leaving_outlives_other_operations() -> None:
    """Killed while scaling in, and an upgrade came between: the node is still ours to put back, or to see through."""
    seen = leaving()
    between = replace(
        seen, journal=replace(seen.journal, operation={"name": "upgrade", "step": "prepull", "image": OLD})
    )
    assert ids(plan(between)) == ["scale_in/kw-3"] and ids(plan(between, replicas=4)) == ["recommission/kw-3"]
    idle = replace(seen, journal=replace(seen.journal, operation={}))
    assert ids(plan(idle)) == ["scale_in/kw-3"] and ids(plan(idle, replicas=4)) == ["recommission/kw-3"]


def test_a_node_is_put_back_before_anything_else() -> None:
    assert ids(plan(leaving(), replicas=4, image=NEW))[:2] == ["recommission/kw-3", "prepull"]


def test_calling_off_a_scale_in_is_remembered() -> None:
    """It had not been told to leave yet, so there is nothing to put back; but the next run must not take it away after all."""
    seen = live(4, journal=replace(JOURNAL, leaving={"pods": ["kw-3"], "replicas": 3}))
    found = plan(seen, replicas=4)
    assert ids(found) == ["close"] and found.steps[0].title.startswith("leaving of kw-3 of an earlier run is over")
    assert ids(plan(seen)) == ["scale_in/kw-3"], "who only runs again goes on"
    both = live(5, journal=replace(JOURNAL, leaving={"pods": ["kw-3", "kw-4"], "replicas": 3}))
    assert ids(plan(both, replicas=4)) == ["scale_in/kw-4"], "one of the two stays"


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


def test_nor_does_the_pod_come_back_before_its_scale_in_is_over() -> None:
    """By the permissions of the playbook deploy, which asks for the size before; kw-3 would start on a store that is to be retired."""
    under_way = replace(during("scale_in", "scale_in/kw-3", replicas=3), leaving={"pods": ["kw-3"], "replicas": 3})
    seen = left_by_hand(journal=under_way)
    assert ids(plan(seen, replicas=4)) == ["scale_in/kw-3", "scale_out/kw-3"]
    with pytest.raises(ClusterError) as error:
        plan(seen, replicas=4, operations=["create", "initialize", "reconfigure", "scale_out"])
    assert error.value.msg == (
        "scale_out/kw-3 is asked for, but scale_in/kw-3 comes first, which an earlier run began, and this run may only create, initialize, reconfigure, "
        "scale_out. Nothing was changed. Run the playbook scale, or add scale_in to operations."
    )
    assert (error.value.reason, error.value.facts["resumable"]) == ("operation_not_allowed", False)
    other = replace(under_way, operation={"name": "upgrade", "step": "upgrade/kw-1", "who": "ben"})
    with pytest.raises(ClusterError, match="which was decommissioned"):  # nobody goes on with it
        plan(left_by_hand(journal=other), replicas=4)
    assert ids(plan(left_by_hand(journal=other), replicas=3))[-1] == "scale_in/kw-3"


def test_claims_that_pods_left_are_tidied_up_from_the_highest_down() -> None:
    """Also when nobody remembers why they are there."""
    foreign = claim(9)
    foreign["metadata"]["name"] = "datadir-kw-backup"
    left_over = live(3, extra=[claim(3), claim(4), foreign])
    assert ids(plan(left_over)) == ["scale_in/kw-4", "scale_in/kw-3"]
    growing = plan(left_over, replicas=4)
    assert ids(growing) == ["volume/kw-3", "scale_in/kw-4", "scale_out/kw-3"], (
        "the pod to come takes its claim as it is"
    )


def test_killed_right_before_the_end_of_a_scale_in() -> None:
    seen = live(3, journal=during("scale_in", "scale_in/kw-3", replicas=3, pods=["kw-3"]))
    assert ids(plan(seen)) == ["scale_in/kw-3"]


# ---- a run that was killed


def test_the_last_pod_of_an_upgrade_is_seen_through() -> None:
    seen = live(
        sts=statefulset(spec(image=NEW)),
        pods=[pod(number, image=NEW) for number in range(3)],
        journal=during("upgrade", "upgrade/kw-0", image=NEW, replicas=3),
    )
    assert ids(plan(seen)) == ["upgrade/kw-0"]
    assert ids(plan(replace(seen, journal=JOURNAL))) == []


@pytest.mark.parametrize(
    "operation",
    [{}, {"step": None}, {"step": "nonsense"}, {"step": "upgrade/kw-0", "image": NEW}, {"step": "scale_out/kw-7"}, {"step": "scale_in/kw-1"},
     {"step": "upgrade/kw-9", "image": OLD}, {"step": "reclaim/kw-7"}, {"step": "upgrade/kw-3", "image": OLD},
     {"step": "scale_out/kw-3"}, {"step": "reclaim/kw-3"}, {"step": "create/Service/kw"},
     {"step": "initialize/kw-0"}, {"step": "prepull"}, {"step": "preserve"}, {"step": "finalize"}],
)  # fmt: skip
def test_an_interrupted_step_that_leads_elsewhere_is_dropped(operation: dict[str, Any]) -> None:
    """What is left of it is its entry in the journal, which would otherwise be under way for ever."""
    assert ids(plan(live(journal=replace(JOURNAL, operation={"name": "x", **operation})))) == ["close"]


def test_what_an_interrupted_step_may_need_is_mended_first() -> None:
    halfway = live(without=["Service/kw"], journal=during("create", "create/StatefulSet/kw"))
    assert ids(plan(halfway)) == ["create/Service/kw", "create/StatefulSet/kw"]
    growing = live(4, journal=during("scale_out", "scale_out/kw-3"), without=["PodDisruptionBudget/kw-budget"])
    assert ids(plan(growing)) == ["create/PodDisruptionBudget/kw-budget", "scale_out/kw-3"]


def test_interrupted_before_init_was_seen_through() -> None:
    assert ids(plan(live(journal=during("initialize", "initialize")))) == ["initialize"]
    assert ids(plan(live(journal=during("create", "create/StatefulSet/kw")))) == ["create/StatefulSet/kw"]


@pytest.mark.parametrize(
    ("journal", "closed"),
    [
        (JOURNAL, False),
        (during("reconfigure", "repair/Service/kw"), True),
        (during("upgrade", "prepull", image=NEW), True),
        (during("decommission", "decommission/4", node=4), False),
        (during("recommission", "recommission/4", node=4), False),
        (replace(JOURNAL, operation={"step": "upgrade/kw-0"}), False),
    ],
)
def test_an_operation_that_nobody_ended_is_closed(journal: Journal, closed: bool) -> None:
    """But not one of kaiwudb_node_decommission, whose node this run knows nothing of."""
    found = plan(live(journal=journal))
    assert ids(found) == (["close"] if closed else []) and found.writes is closed
    if closed:
        assert (
            found.steps[0].title
            == f"{journal.operation['name']} of an earlier run is over, nothing of it is left to do"
        )
        assert found.steps[0].operation == "" and found.changes == {}


def test_an_operation_that_goes_on_is_not_closed() -> None:
    growing = live(4, journal=during("scale_out", "scale_out/kw-3"))
    assert ids(plan(growing)) == ["scale_out/kw-3"]
    another = live(journal=during("reconfigure", "repair/Service/kw"))
    assert "close" not in ids(plan(another, replicas=4)), "the next operation ends the one before"
    unhealthy = live(pods=[pod(0), pod(1)], journal=during("reconfigure", "repair/Service/kw"))
    assert ids(plan(unhealthy)) == ["settle", "close"]


# ---- pods whose labels somebody edited


def stray(ordinal: int = 1, claim_name: str = "datadir-kw-1") -> Any:
    edited = pod(ordinal)
    edited["metadata"]["labels"] = {"app": "edited"}
    edited["spec"]["volumes"] = [
        {"name": "config", "configMap": {"name": "x"}},
        {"name": "datadir", "persistentVolumeClaim": {"claimName": claim_name}},
    ]
    return live(pods=[pod(0), pod(2)], strays={f"kw-{ordinal}": edited})


def test_a_pod_that_mounts_our_claim_gets_its_labels_back() -> None:
    found = plan(stray())
    assert ids(found) == ["repair/Pod/kw-1", "settle"] and (found.steps[0].operation, found.steps[0].pod) == (
        "reconfigure",
        "kw-1",
    )
    assert found.steps[0].facts == {
        "patch": {"metadata": {"labels": {**LABELS, "app.kubernetes.io/component": "database"}}}
    }


@pytest.mark.parametrize("claim_name", ["datadir-kw-10", "datadir-kw-2", "other", ""])
def test_somebody_elses_pod_of_our_name_is_refused(claim_name: str) -> None:
    with pytest.raises(ClusterError) as error:
        plan(stray(claim_name=claim_name))
    assert error.value.reason == "foreign_object" and error.value.msg.startswith(
        "Pod kw-1 exists in db and is not part of KaiwuDB cluster kw"
    )


# ---- a claim that somebody deleted


def reclaiming(ordinal: int = 1, **more: Any) -> Any:
    """Ordinal's volume belongs to a claim that is gone."""
    return live(without=[f"PersistentVolumeClaim/datadir-kw-{ordinal}"], **more)


def test_a_deleted_claims_volume_goes_to_a_new_claim() -> None:
    found = plan(reclaiming())
    assert ids(found) == ["reclaim/kw-1"] and found.steps[0].facts == {"ordinal": 1} and found.steps[0].pod == "kw-1"
    assert found.steps[0].title == "claim datadir-kw-1 was deleted: its volume goes to a new one"
    assert found.steps[0].disruptive and found.steps[0].operation == "reconfigure" and not found.steps[0].asked


def test_a_claim_that_waits_for_its_pod_to_end() -> None:
    going = claim(1)
    going["metadata"]["deletionTimestamp"] = "2026-11-24T10:00:00Z"
    found = plan(live(extra=[going]))
    assert ids(found) == ["reclaim/kw-1"]
    assert found.steps[0].title == "claim datadir-kw-1 is being deleted: its volume goes to a new one"


def going(item: Any) -> Any:
    return {**item, "metadata": {**item["metadata"], "deletionTimestamp": "2026-11-24T10:00:00Z"}}


GOING_PV = going(volume(1, uid="claim-1", **stamped(1)))


def test_a_pod_whose_volume_would_go_with_it_is_not_ended() -> None:
    """`kubectl delete pv,pvc`: both wait for the pod."""
    seen = live(extra=[going(claim(1)), GOING_PV])
    for asked in ({}, {"image": NEW}, {"image": NEW, "operations": ["upgrade"]}, {"replicas": 4}):
        with pytest.raises(ClusterError) as error:
            plan(seen, **asked)  # type: ignore[arg-type]
        assert error.value.msg == (
            "PersistentVolume db.kw-1 of kw-1 is being deleted, and nobody can call that back: it goes with its claim, and with it the only note of where "
            "the store lies (/var/lib/kaiwudb/db.kw-1 on w2). Nothing was changed. Move its data away and give it another volume: "
            "kaiwudb_node_decommission, then kaiwudb_node_replace for kw-1; where too few nodes would stay, scale out first (playbook scale)."
        )
        assert (error.value.reason, error.value.facts) == ("volume_going", {"node": "kw-1", "resumable": False})
    more = plan(seen, replicas=4, operations=["scale_out", "scale_in"])
    assert ids(more) == ["volume/kw-3", "scale_out/kw-3"] and left(more) == ["reclaim/kw-1"], "room for its data"
    grown = live(4, extra=[going(claim(3)), going(volume(3, uid="claim-3", **stamped(3)))])
    assert ids(plan(grown, replicas=3)) == ["scale_in/kw-3"], "its data moves first"


def test_a_volume_that_is_being_deleted_under_a_claim_that_stays_outlives_its_pod() -> None:
    asks = {**claim(1), "spec": {"resources": {"requests": {"storage": "10Gi"}}}}
    seen = live(extra=[{**asks, "metadata": {**asks["metadata"], "annotations": stamped(1)}}, GOING_PV])
    assert ids(plan(seen)) == [] and "upgrade/kw-1" in ids(plan(seen, image=NEW))
    with pytest.raises(ClusterError, match="is being deleted") as error:  # a new claim would take it along
        plan(seen, storage_size="20Gi")
    assert error.value.reason == "volume_going"


def test_a_kept_volume_that_is_being_deleted_is_not_lost_silently() -> None:
    """A fresh one would be made somewhere, and the store of a member forgotten."""
    kept = going(volume(3, "w4", uid="claim-3", **stamped(3)))
    with pytest.raises(ClusterError, match=r"kubectl get pv db.kw-3 -o yaml") as error:
        plan(live(extra=[going(claim(3)), kept]), replicas=4)
    assert error.value.reason == "volume_going"
    given_up = going(volume(3, "w4", uid="claim-3", **RETIRED))
    assert ids(plan(live(extra=[given_up]), replicas=4, volumes="wipe"))[0] == "reuse/kw-3"


@pytest.mark.parametrize(("uid", "planned"), [("claim-1", []), ("another", ["reclaim/kw-1"]), (None, [])])
def test_a_volume_that_still_names_the_claim_before(uid: str | None, planned: list[str]) -> None:
    renewed = claim(1)
    if uid:
        renewed["metadata"]["uid"] = uid
    assert ids(plan(live(extra=[renewed]))) == planned


def test_what_is_not_reclaimed() -> None:
    dynamic = live(of=spec(storage="dynamic"), without=["PersistentVolumeClaim/datadir-kw-1"])
    assert ids(plan(dynamic)) == [], "its class makes another volume"
    assert ids(plan(reclaiming(extra=[volume(1, **stamped(1))]))) == [], "the volume belongs to nobody"
    assert ids(plan(live(without=["PersistentVolumeClaim/datadir-kw-1", "PersistentVolume/db.kw-1"]))) == [], (
        "there is none"
    )
    assert ids(plan(reclaiming(extra=[volume(1, uid="claim-1", **RETIRED)]))) == [], "its node left"
    shrinking = live(4, without=["PersistentVolumeClaim/datadir-kw-3"])
    assert "reclaim/kw-3" not in ids(plan(shrinking, replicas=3)), "its node leaves"


def test_reclaiming_comes_before_other_work_and_may_be_left() -> None:
    assert ids(plan(reclaiming(), image=NEW))[0] == "reclaim/kw-1"
    assert ids(plan(reclaiming(), replicas=4)) == ["reclaim/kw-1", "volume/kw-3", "scale_out/kw-3"]
    found = plan(reclaiming(), replicas=4, operations=["scale_out"])
    assert "reclaim/kw-1" not in ids(found) and left(found) == ["reclaim/kw-1"]


def test_a_volume_goes_to_its_new_claim_before_anything_waits_for_its_pod() -> None:
    """Claims deleted by hand during a first deploy: no pod runs until their volumes are free again."""
    waiting = [pod(0, ready=False), pod(1, ready=False, unschedulable="unbound claims"), pod(2, ready=False)]
    fresh = silent(reclaiming(pods=waiting, nodes=[], journal=FRESH), "no pod is ready")
    assert ids(plan(fresh)) == ["reclaim/kw-1", "initialize"]
    assert ids(plan(fresh, image=NEW)) == ["reclaim/kw-1", "create/StatefulSet/kw", "initialize"]
    cut = silent(
        reclaiming(pods=waiting, nodes=[], journal=during("create", "create/StatefulSet/kw")), "no pod is ready"
    )
    assert ids(plan(cut))[:2] == ["reclaim/kw-1", "create/StatefulSet/kw"]


def test_an_interrupted_reclaim_is_seen_through() -> None:
    """The claim is new and the volume its own, but nobody has seen the pod serve."""
    seen = live(journal=during("reconfigure", "reclaim/kw-1"))
    found = plan(seen)
    assert ids(found) == ["reclaim/kw-1"] and found.steps[0].operation == "reconfigure"
    assert found.steps[0].facts == {"ordinal": 1} and found.steps[0].pod == "kw-1"
    still = reclaiming(journal=during("reconfigure", "reclaim/kw-1"))
    assert ids(plan(still)) == ["reclaim/kw-1"], "once"


# ---- pods that somebody else added


@pytest.mark.parametrize("old", [None, volume(3, "w4", **RETIRED)])
def test_a_pod_that_was_added_by_kubectl_gets_its_volume(old: Any) -> None:
    """Its claim waits; without a volume of ours it would wait for ever."""
    waiting = claim(3)
    waiting["status"] = {"phase": "Pending"}
    pods = [*(pod(number) for number in range(3)), pod(3, ready=False, unschedulable="unbound claims")]
    seen = live(
        4, pods=pods, extra=[waiting, *([old] if old else [])], without=[] if old else ["PersistentVolume/db.kw-3"]
    )
    found = plan(seen, replicas=4, volumes="wipe")
    assert ids(found) == [*(["reuse/kw-3"] if old else []), "volume/kw-3", "settle", "stamp"]
    assert found.steps[-3].operation == "reconfigure"
    bound = claim(3)
    bound["status"] = {"phase": "Bound"}
    assert "volume/kw-3" not in ids(plan(live(4, extra=[bound], without=["PersistentVolume/db.kw-3"]), replicas=4))


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_size_that_nobody_may_ask_for_is_left_when_one_is_said(size: int) -> None:
    """`kubectl scale` asks nobody."""
    shrunk = live(size, of=spec(), sts=statefulset(spec(), replicas=size))
    assert ids(plan(shrunk, replicas=3))[-1] == "scale_out/kw-2"
    with pytest.raises(
        InputError, match=rf"somebody else made the StatefulSet {size} pods large.* allowed are 3 and more"
    ):
        plan(shrunk)


def test_members_that_were_sent_away_come_back_together() -> None:
    """`kubectl scale` to 0 leaves five stores, none of which serves alone; a sixth is new and joins after them."""
    kept = [claim(number) for number in range(5)] + [volume(number, uid=f"claim-{number}") for number in range(5)]
    none = live(0, of=spec(replicas=5), sts=statefulset(spec(replicas=5), replicas=0), extra=kept)
    found = plan(none, replicas=6, anti_affinity="preferred")
    outs = [step for step in found.steps if step.id.startswith("scale_out/")]
    assert [step.facts["replicas"] for step in outs] == [5, 5, 5, 5, 5, 6]
    assert outs[0].title == "replicas 0 → 5: its store is there" and outs[5].title == "replicas 5 → 6"
    left_over = live(3, extra=[claim(3, **RETIRED)])
    assert [
        step.facts["replicas"]
        for step in plan(left_over, replicas=5, volumes="wipe").steps
        if step.id.startswith("scale_out/")
    ] == [4, 5]


# ---- what one run may not do hides nothing


def test_a_pod_that_is_down_is_waited_for_also_by_a_run_that_may_do_nothing_else() -> None:
    half = statefulset(spec(image=NEW), partition=2)
    half["status"]["updateRevision"] = "r2"
    pods = [pod(0), pod(1, ready=False), pod(2, image=NEW, revision="r2")]
    found = plan(live(of=spec(image=NEW), sts=half, pods=pods), operations=["scale_out"])
    assert ids(found) == ["settle"] and "upgrade/kw-1" in left(found)
    assert ids(plan(created(), operations=["create"])) == [], "no pod serves before init"


def test_what_is_asked_for_is_not_put_off_behind_an_init_that_may_not_run() -> None:
    begun = live(journal=replace(FRESH, operation=during("initialize", "initialize").operation))
    assert ids(plan(begun, replicas=4)) == ["volume/kw-3", "initialize", "scale_out/kw-3"]
    with pytest.raises(ClusterError) as error:
        plan(begun, replicas=4, operations=["scale_out"])
    assert error.value.reason == "operation_not_allowed" and "initialize comes first" in error.value.msg
    assert left(plan(begun, operations=["scale_out"])) == ["initialize"], "nothing was asked for"


# ---- pods whose StatefulSet is gone


def orphans(replicas: int = 4, **options: Any) -> Any:
    made = spec(replicas=replicas, **options)
    kept = replace(JOURNAL, options=made.remembered())
    return live(replicas, of=made, without=["StatefulSet/kw"], journal=kept)


def test_pods_that_lost_their_statefulset_are_taken_over() -> None:
    found = plan(orphans(cache="1GiB"))
    assert ids(found) == ["create/StatefulSet/kw", "settle"]
    assert found.steps[0].title == f"4 pods of {OLD}, pods that run are taken over"
    assert found.changes == {"StatefulSet/kw spec.replicas": (None, 4), "StatefulSet/kw image": (None, OLD)}
    assert spec_over(orphans(cache="1GiB")).cache == "1GiB", "with the options that the journal kept"


STAMP = {"kaiwudb.kubernetes/cluster-id": ID}


@pytest.mark.parametrize(
    ("make", "storage"),
    [(lambda number, **notes: volume(number, uid=f"c{number}", **notes), "local"), (claim, "dynamic")],
)
def test_stores_that_are_kept_are_never_left_out_by_making_the_statefulset_smaller(make: Any, storage: str) -> None:
    kept = [make(number, **STAMP) for number in range(5)]
    with pytest.raises(ClusterError, match=r"-4 is kept .* Set replicas to 5, and scale in afterwards") as error:
        plan_of(spec(storage=storage), observed(*kept))
    assert (error.value.reason, error.value.facts["resumable"]) == ("orphaned_volumes", False)
    assert "create/StatefulSet/kw" in ids(plan_of(spec(storage=storage, replicas=5), observed(*kept)))
    others = [make(3, **STAMP, **RETIRED), make(4)]  # one left the cluster, one never belonged to it
    assert "create/StatefulSet/kw" in ids(plan_of(spec(storage=storage), observed(*kept[:3], *others)))


def test_pods_are_never_dropped_by_making_the_statefulset_smaller() -> None:
    with pytest.raises(ClusterError) as error:
        plan(orphans(), replicas=3)
    assert (error.value.reason, error.value.facts) == ("orphaned_pods", {"resumable": False})
    assert error.value.msg == (
        "StatefulSet kw is gone, but pods up to kw-3 run; one of 3 replicas would end the others without moving their data. "
        "Nothing was changed. Set replicas to 4, and scale in afterwards."
    )
    assert ids(plan(orphans(), replicas=5))[-2:] == ["create/StatefulSet/kw", "settle"], "a bigger one ends nobody"
    gap = orphans(4)
    del gap.objects["Pod"]["kw-1"]
    with pytest.raises(ClusterError, match=r"pods up to kw-3 run.* Set replicas to 4"):
        plan(gap, replicas=3)


# ---- paused

SINCE = "2026-11-24T09:00:00Z by ann"


def paused(note: str = SINCE, **more: Any) -> Any:
    marked = statefulset(more.pop("of", None) or spec())
    marked["metadata"]["annotations"]["kaiwudb.kubernetes/paused"] = note
    return live(sts=marked, **more)


def test_pausing_marks_the_cluster_and_leaves_the_rest() -> None:
    found = plan(paused=True)
    assert ids(found) == ["pause"] and found.remaining == () and found.writes
    assert found.changes == {"StatefulSet/kw paused": (None, "paused")} and found.steps[0].operation == ""
    with_work = plan(image=NEW, paused=True)
    assert (ids(with_work), left(with_work)) == (["pause"], ["prepull", "upgrade/kw-2", "upgrade/kw-1", "upgrade/kw-0"])
    assert with_work.changes == {"StatefulSet/kw paused": (None, "paused")}, "nothing else will differ"
    assert ids(plan(paused=True, operations=["scale_out"])) == ["pause"], "no operation of its own"
    assert with_work.headline == "kw: pause, 1 step"


def test_a_hold_does_not_hold_while_it_is_being_paused() -> None:
    found = plan(image=NEW, pause_after=1, paused=True)
    assert (ids(found), found.held) == (["pause"], False)
    assert left(found) == ["prepull", "upgrade/kw-2", "upgrade/kw-1", "upgrade/kw-0"]


def test_pausing_twice_is_nothing_to_do() -> None:
    found = plan(paused(), paused=True, image=NEW)
    assert (ids(found), found.changes, found.writes) == ([], {}, False)
    assert left(found) == ["prepull", "upgrade/kw-2", "upgrade/kw-1", "upgrade/kw-0"]


def test_a_paused_cluster_refuses_whoever_knows_nothing_of_it() -> None:
    with pytest.raises(ClusterError) as error:
        plan(paused(), image=NEW)
    assert error.value.msg == (
        f"kw is paused ({SINCE}), and prepull and 3 more steps would be to do. Nothing was changed. Set paused to false to go on."
    )
    assert (error.value.reason, error.value.facts) == ("paused", {"step": "prepull", "resumable": False})
    with pytest.raises(ClusterError, match=r"and create/Service/kw would be to do\. Nothing"):
        plan(paused(without=["Service/kw"]))
    with pytest.raises(ClusterError, match=r"and create/Service/kw and 1 more steps would be to do"):
        plan(paused(without=["Service/kw", "Service/kw-public"]))
    with pytest.raises(ClusterError, match=r"kw is paused \(somebody\)"):
        plan(paused(""), replicas=4)


def test_a_paused_cluster_may_be_looked_at() -> None:
    assert ids(plan(paused())) == []
    waiting = paused(pods=[pod(0), pod(1)])
    assert ids(plan(waiting)) == ["settle"], "waiting writes nothing"


def test_going_on_comes_first() -> None:
    found = plan(paused(), paused=False, image=NEW)
    assert ids(found) == ["resume", "prepull", "upgrade/kw-2", "upgrade/kw-1", "upgrade/kw-0"]
    assert found.steps[0].title == f"paused {SINCE}" and found.steps[0].operation == ""
    assert found.changes == {"StatefulSet/kw paused": ("paused", None), "StatefulSet/kw image": (OLD, NEW)}
    assert ids(plan(paused(), paused=False, operations=["scale_out"])) == ["resume"]
    assert ids(plan(paused=False)) == [], "nobody had paused it"


def test_what_does_not_exist_cannot_be_paused() -> None:
    with pytest.raises(InputError, match="paused: there is no cluster yet that could be paused; leave it out"):
        plan_of(spec(paused=True), observed())
    assert ids(plan_of(spec(paused=False), observed()))[-1] == "initialize"
