# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Volumes that a storage class provisions, when a node leaves, is lost, or the whole cluster goes: by each policy; kept ones bring it back.

One walk over one cluster. The class may be one whose volumes say of no Kubernetes node that they lie there, though they do (the lab's own:
hostPath); what a provisioner of disks in nodes writes, the tests write then, or a pod would start elsewhere on an empty directory.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kindlab import Place, default_class, kubectl, node_of, on_node, store_of, until

NAME = "kw"
REPLACE = "kaiwudb.kubernetes.kaiwudb_node_replace"
COUNT = "SELECT count(*), sum(id) FROM bank.accounts"
ROWS = 100
LEFT: set[tuple[str, str]] = set()  # Kubernetes node and directory of every volume that a test asked about

pytestmark = pytest.mark.skipif(
    not shutil.which("docker"), reason="looks into the kind nodes through Docker, which is not here"
)


@pytest.fixture(scope="module")
def cluster(place: Place) -> Iterator[None]:
    """A cluster of four nodes on the cluster's default storage class, with rows."""
    if default_class() is None:
        pytest.skip("this Kubernetes cluster has no default storage class")
    place.defaults["storage"] = "dynamic"
    del place.defaults["local_path"]
    place.good(NAME, replicas="4")
    place.sql(NAME, "CREATE DATABASE bank; CREATE TABLE bank.accounts (id INT PRIMARY KEY)")
    place.sql(NAME, f"INSERT INTO bank.accounts VALUES {', '.join(f'({number})' for number in range(ROWS))}")
    try:
        yield
    finally:  # the lab's class takes away what it made on the control plane, where nothing was
        for node, path in LEFT:
            on_node(node, "rm", "-rf", path, check=False)


def claim(place: Place, ordinal: int) -> Any:
    return place.get("persistentvolumeclaim", f"datadir-{NAME}-{ordinal}")


def persistent_volume(name: str) -> Any:
    text = kubectl("get", "persistentvolume", name, "--ignore-not-found", "--output=json")
    return json.loads(text) if text.strip() else None


def volumes_of(place: Place, count: int) -> dict[str, tuple[str, str]]:
    """Kubernetes node and directory of each volume that the pods have, by its name; pinned to that node from now on."""
    found = {}
    for ordinal in range(count):
        name = claim(place, ordinal)["spec"]["volumeName"]
        volume, runs_on = persistent_volume(name), place.pods(NAME)[f"{NAME}-{ordinal}"]["spec"]["nodeName"]
        path = (volume["spec"].get("local") or volume["spec"]["hostPath"])["path"]
        if not volume["spec"].get("nodeAffinity"):
            rule = {"key": "kubernetes.io/hostname", "operator": "In", "values": [runs_on]}
            pin = {"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}}}}
            kubectl("patch", "persistentvolume", name, f"--patch={json.dumps(pin)}")
        assert node_of(persistent_volume(name)) == runs_on
        found[name] = runs_on, path
    LEFT.update(found.values())
    return found


def gone(volumes: Any) -> None:
    """The storage class has taken them away."""
    until("the volumes are gone", lambda: not any(map(persistent_volume, volumes)), 60)


def rows_are_there(place: Place) -> None:
    assert place.sql(NAME, COUNT).splitlines()[1] == f"{ROWS},{sum(range(ROWS))}"


def newest_id(place: Place, ordinal: int) -> int:
    row = place.row_of(NAME, ordinal)
    assert row is not None
    return int(row["id"])


def remove(place: Place, policy: str) -> None:
    """The whole cluster goes."""
    place.good(NAME, state="absent", confirm=NAME, deletion_protection="false", volumes=policy)
    assert place.get("statefulset", NAME) is None and place.pods(NAME) == {}


@contextmanager
def broken_disk(node: str, path: str) -> Iterator[None]:
    """As the kernel leaves a disk that fails: it can only be read, and here nothing is left to be read."""
    on_node(node, "mount", "-t", "tmpfs", "-o", "ro", "tmpfs", path)
    try:
        yield
    finally:
        on_node(node, "umount", "--lazy", path)


def test_scale_in_with_delete_leaves_nothing(cluster: None, place: Place) -> None:
    how = {"replicas": "3", "operations": ["scale_in"], "volumes": "delete"}
    *_others, old = volumes_of(place, 4)
    place.when_allowed(NAME, **how)
    assert place.good(NAME, **how).steps == [f"scale_in/{NAME}-3"]
    assert claim(place, 3) is None
    gone([old])
    rows_are_there(place)


def test_a_lost_disk_is_replaced_by_a_fresh_volume(cluster: None, place: Place) -> None:
    before = newest_id(place, 2)
    name, (node, path) = list(volumes_of(place, 3).items())[2]
    with broken_disk(node, path):
        kubectl("--namespace", place.namespace, "delete", "pod", f"{NAME}-2", "--grace-period=1", "--wait=false")
        dead = "false"
        until("the engine sees that it is dead", lambda: (place.row_of(NAME, 2) or {}).get("is_live") == dead, 60)
        result = place.good(NAME, module=REPLACE, node="2")
    # The class makes the new volume by itself: a pod that has joined when a slice looks again needs no step for that.
    done = [step for step in result.steps if step != f"rejoin/{NAME}-2"]
    assert done == [f"{verb}/{NAME}-2" for verb in ("leave", "detach", "empty")]
    assert result.data["loss"]["kind"] == "store" and result.data["loss"]["kubernetes_node"] == node
    assert claim(place, 2)["spec"]["volumeName"] != name and newest_id(place, 2) > before
    assert store_of(claim(place, 2))["node_id"] == newest_id(place, 2)
    gone([name])
    assert place.run(NAME, module=REPLACE, node="2").writes == [] and place.good(NAME, replicas="3").writes == []
    rows_are_there(place)


def test_what_a_removal_retained_comes_back_with_all_rows(cluster: None, place: Place) -> None:
    volumes, cluster_id = volumes_of(place, 3), place.journal(NAME)["cluster_id"]
    ids = [newest_id(place, ordinal) for ordinal in range(3)]
    remove(place, "retain")
    # Once more, as a job that is launched again: without its StatefulSet nobody says that a storage class made the volumes.
    again = place.good(NAME, state="absent", confirm=NAME, deletion_protection="false", volumes=None, storage=None)
    assert again.steps == [] and again.writes == []
    assert [claim(place, ordinal)["spec"]["volumeName"] for ordinal in range(3)] == list(volumes)
    back = place.good(NAME, replicas="3")
    assert not [step for step in back.steps if step.startswith(("init", "drop"))], back.steps
    assert place.journal(NAME)["cluster_id"] == cluster_id
    assert [newest_id(place, ordinal) for ordinal in range(3)] == ids and list(volumes_of(place, 3)) == list(volumes)
    rows_are_there(place)
    assert place.good(NAME, replicas="3").writes == []


@pytest.mark.thorough
@pytest.mark.parametrize("policy", ["archive", "wipe", "delete"])
def test_a_removal_leaves_what_its_policy_says(cluster: None, place: Place, policy: str) -> None:
    place.good(NAME, replicas="3")
    cluster_id, volumes = place.journal(NAME)["cluster_id"], volumes_of(place, 3)
    try:
        remove(place, policy)
        assert place.get("persistentvolumeclaims") == []
        if policy == "archive":
            for volume in map(persistent_volume, volumes):
                assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
                assert volume["metadata"]["annotations"]["kaiwudb.kubernetes/archived"]
                assert store_of(volume)["cluster_id"] == cluster_id
            assert all(on_node(node, "ls", "-A", path) for node, path in volumes.values())
        else:
            gone(volumes)
        if policy == "wipe":
            assert [on_node(node, "ls", "-A", path, check=False) for node, path in volumes.values()] == [""] * 3
    finally:
        # The test's own volumes: let their class take them away.
        delete = {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}
        for name in volumes:
            kubectl("patch", "persistentvolume", name, f"--patch={json.dumps(delete)}", check=False)
