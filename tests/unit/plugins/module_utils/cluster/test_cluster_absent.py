# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The plan that takes a cluster away: everything of it, in the order in which it goes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.absent import absent
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError, InputError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Plan
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.spec import parse_asked, resolve
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.volumes import refuse_other_storage
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    JOURNAL,
    OLD,
    claim,
    ids,
    live,
    observed,
    spec,
    spec_over,
    statefulset,
    volume,
)


def made_for(cluster: str) -> dict[str, Any]:
    return {"metadata": {"name": "db", "annotations": {"kaiwudb.kubernetes/made-for": cluster}}}


def removal(seen: Any, **asked: Any) -> Plan:
    return absent(spec_over(seen, operations=["remove"], **asked), seen)


def test_remove_in_the_order_in_which_it_goes() -> None:
    journal = {"kind": "ConfigMap", "metadata": {"name": "kw-journal"}}
    seen = live(extra=[journal], namespace=made_for("kw"))
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
    assert {"StatefulSet/kw", "Service/kw-public", "PersistentVolumeClaim/datadir-kw-1"} <= set(kept.changes)


def provisioned() -> Any:
    """A cluster on volumes that a storage class made."""
    claims = [claim(ordinal) for ordinal in range(3)]
    for ordinal, made in enumerate(claims):
        made["spec"]["volumeName"] = f"pvc-{ordinal}"
    return live(of=spec(storage="dynamic"), extra=claims, namespace=made_for("kw"))


@pytest.mark.parametrize(
    ("policy", "keeps"), [("retain", True), ("delete", False), ("wipe", False), ("archive", False)]
)
def test_claims_that_are_kept_are_no_part_of_it(policy: str, keeps: bool) -> None:
    """Nor is their namespace, with which they would go; so a second removal finds nothing to do."""
    found = removal(provisioned(), volumes=policy)
    assert ({"remove/claims", "remove/namespace"} <= set(ids(found))) is not keeps
    assert ("PersistentVolumeClaim/datadir-kw-1" in found.changes) is not keeps
    left = replace(
        provisioned(), objects={kind: {} for kind in live().objects} | {"PersistentVolumeClaim": provisioned().claims}
    )
    again = absent(
        resolve(
            parse_asked({"name": "kw", "namespace": "db", "volumes": policy, "operations": ["remove"]}),
            left.left_options,
        ),
        left,
    )
    assert (ids(again) == []) is keeps, "of what was left it is known that a storage class made it"


def test_what_a_storage_class_made_is_not_taken_for_local_volumes() -> None:
    """By a deployment that forgot to say so: the next removal would delete the claims."""
    left = replace(
        provisioned(), objects={kind: {} for kind in live().objects} | {"PersistentVolumeClaim": provisioned().claims}
    )
    with pytest.raises(InputError, match=r"storage: 'local' is not allowed: .*datadir-kw-0, .*allowed is 'dynamic'"):
        refuse_other_storage(spec(), left)
    refuse_other_storage(spec(storage="dynamic"), left)
    refuse_other_storage(spec(), live())
    refuse_other_storage(spec(), provisioned())  # of one that lives its options tell


def test_claims_of_local_volumes_say_nothing_of_a_storage_class() -> None:
    local = live(extra=[{**claim(ordinal), "spec": {"volumeName": f"db.kw-{ordinal}"}} for ordinal in range(3)])
    assert local.left_options == {} and live().left_options == {}


@pytest.mark.parametrize(
    "where",
    [
        {"metadata": {"name": "db"}},
        {"metadata": {"name": "db", "annotations": None}},
        {},
        made_for("other"),
        made_for(""),
    ],
)
def test_a_namespace_that_was_there_before_or_is_anothers_stays(where: dict[str, Any]) -> None:
    """Also one that nobody may look at."""
    assert "remove/namespace" not in ids(removal(live(namespace=where)))


def test_a_removal_killed_at_its_very_end_leaves_its_lock() -> None:
    gone = spec(operations=["remove"])
    assert ids(absent(gone, observed(), lock=True)) == ["remove/lock"]
    assert ids(absent(gone, observed(namespace=made_for("kw")), lock=True)) == ["remove/lock", "remove/namespace"]
    assert ids(absent(gone, observed(), lock=False)) == [] and ids(absent(gone, observed(volume(0)), lock=True)) == [
        "remove/lock"
    ]
    assert "remove/lock" not in ids(absent(spec_over(live(), operations=["remove"]), live(), lock=True)), (
        "it goes with the rest"
    )
    assert ids(absent(gone, observed(), volumes_only=True, lock=True)) == [], "it is not the volumes' lock"


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
        (live(without=["StatefulSet/kw"]), "datadir-kw-0, datadir-kw-1, datadir-kw-2"),
    ):
        with pytest.raises(ClusterError, match=f"the volumes of kw are in use: {what}") as error:
            absent(wipe, seen, volumes_only=True)
        assert (error.value.reason, error.value.facts) == ("volumes_in_use", {"resumable": False})


def test_a_paused_cluster_is_not_removed() -> None:
    marked = statefulset(spec())
    marked["metadata"]["annotations"]["kaiwudb.kubernetes/paused"] = "09:00 by ann"
    for asked in ({}, {"paused": False}, {"volumes": "wipe"}):
        with pytest.raises(ClusterError) as error:
            removal(live(sts=marked), **asked)
        assert error.value.msg == (
            "kw is paused (09:00 by ann). Nothing was changed. Set paused to false in a run of deploy first."
        )
        assert (error.value.reason, error.value.facts) == ("paused", {"resumable": False})


def test_an_interrupted_removal_goes_on_without_its_statefulset() -> None:
    """Nothing is paused where there is no StatefulSet to carry the mark."""
    seen = live(
        without=["StatefulSet/kw"], journal=replace(JOURNAL, operation={"name": "remove", "options": {"image": OLD}})
    )
    found = absent(spec(operations=["remove"]), seen)
    assert ids(found)[0] == "remove/pods" and "remove/statefulset" not in ids(found)
