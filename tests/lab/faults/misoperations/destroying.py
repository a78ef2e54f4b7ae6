# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""What takes stores away, or all nodes at once. Each row has a cluster of its own."""

from __future__ import annotations

import pytest
from kindlab import IMAGE, Place, node_of, on_node, until, worker_nodes

from .stage import KWBASE, NAME, Shape, Stage, has_docker, misoperation

THREE = Shape(3)
MEBIBYTES = 192  # of each node's own little file system in the row about room


def wipe(stage: Stage, ordinal: int) -> None:
    """A disk is replaced by an empty one: everything below the volume's directory is gone."""
    volume = stage.place.volume(NAME, ordinal)
    assert volume is not None
    path = volume["spec"]["local"]["path"]
    on_node(node_of(volume), "find", path, "-mindepth", "1", "-delete")


def loses_its_disk(stage: Stage, ordinal: int, others: tuple[int, ...] = ()) -> str:
    """A node comes back on an empty store, as a new node; the id it had. others: ordinals that die before."""
    if not has_docker():
        pytest.skip("looks into the Kubernetes nodes through Docker, which is not here")
    old = stage.node(ordinal)["id"]  # nobody tells it once a majority is dead
    for other in others:
        stage.breaks(other)
    uid = stage.place.uids(NAME)[f"{NAME}-{ordinal}"]
    wipe(stage, ordinal)
    stage.hand("delete", "pod", f"{NAME}-{ordinal}", "--grace-period=0", "--force")
    until("the pod is another", lambda: stage.place.uids(NAME).get(f"{NAME}-{ordinal}", uid) != uid, 60)
    wipe(stage, ordinal)  # what the old process wrote in its last moments
    return str(old)


def live_again(stage: Stage, ordinal: int, old: str) -> bool:
    """Whether an ordinal lives under another id, and its old one counts as dead."""
    view = stage.look()
    row = view.node(ordinal)
    return row.get("id", old) != old and row["id"] in view.live and old not in view.live


@misoperation("one cluster; the old node is decommissioned; 3 nodes of 3.2.1", shape=THREE, disturbs=True)
def pod_0_lost_its_store_others_live(stage: Stage) -> None:
    """Pod 0's disk is empty, the others live: initialise again, then decommission the node that is no more."""
    known = stage.place.journal(NAME)["cluster_id"]
    old = loses_its_disk(stage, 0)
    stage.asks(operations=["initialize"])
    stage.seen.pop()  # whether it had to wait is no part of the outcome
    until("pod 0 lives as a new node", lambda: live_again(stage, 0, old), 90, 1)
    stage.sees("one cluster", lambda: ids(stage) == {known})
    result = stage.place.run(NAME, module="kaiwudb.kubernetes.kaiwudb_node_decommission", node=f"id={old}")
    stage.operations += 1
    stage.note("the old node is decommissioned" if not result.failed else result.msg)
    stage.asks()
    stage.seen.pop()
    stage.notes_state()


def ids(stage: Stage) -> set[str]:
    """The cluster ids that the Ready pods tell."""
    words = f"{KWBASE} sql --insecure --format=tsv -e 'SELECT kwdb_internal.cluster_id()'"
    return {stage.place.exec(pod, "sh", "-c", words).splitlines()[1] for pod in stage.look().ready}


@misoperation(
    "stopped: timeout; nobody initialised; one cluster; 3 nodes of 3.2.1",
    "refused: never_initialised; nobody initialised; one cluster; 3 nodes of 3.2.1",
    "refused: timeout; nobody initialised; one cluster; 3 nodes of 3.2.1",
    shape=THREE,
    disturbs=True,
)
def pod_0_lost_its_store_none_lives(stage: Stage) -> None:
    """Pod 0's disk is empty and the others are dead: initialise again. When they are back, decommission the old node."""
    known = stage.place.journal(NAME)["cluster_id"]
    old = loses_its_disk(stage, 0, others=(2, 1))
    until("pod 0 runs on its empty store", lambda: "Running" in phase(stage, 0), 60)
    stage.asks(operations=["create", "initialize"], wait_timeout="20")
    stage.sees("nobody initialised", lambda: not stage.look().ready)
    stage.mends()
    stage.asks()
    stage.seen.pop()
    until("pod 0 lives as a new node", lambda: live_again(stage, 0, old), 120, 1)
    stage.sees("one cluster", lambda: ids(stage) == {known})
    stage.decommission(f"id={old}")
    stage.seen.pop()
    stage.notes_state()


def phase(stage: Stage, ordinal: int) -> str:
    """A pod's phase."""
    pod = stage.place.pods(NAME).get(f"{NAME}-{ordinal}")
    return str(pod["status"].get("phase", "")) if pod else ""


@misoperation("done; its volume has a claim again; 3 nodes of 3.2.1", shape=THREE, disturbs=True)
def a_claim_deleted_under_a_live_pod(stage: Stage) -> None:
    """Delete a claim in use, which stays Terminating as long as its pod does."""
    claim = f"datadir-{NAME}-2"
    old = stage.place.get("persistentvolumeclaim", claim)["metadata"]["uid"]
    stage.hand("delete", "persistentvolumeclaim", claim, "--wait=false")
    stage.asks()
    stage.sees("its volume has a claim again", lambda: bound_anew(stage, claim, old))
    stage.notes_state()


def bound_anew(stage: Stage, claim: str, old: str) -> bool:
    """Whether a claim of that name is another one than before, and bound."""
    found = stage.place.get("persistentvolumeclaim", claim)
    return bool(found) and found["metadata"]["uid"] != old and found["status"]["phase"] == "Bound"


@misoperation(
    "done; the same cluster id; 3 nodes of 3.2.1",
    "nothing to do; the same cluster id; 3 nodes of 3.2.1",
    shape=THREE,
    disturbs=True,
)
def all_pods_killed_at_once(stage: Stage) -> None:
    """Force-delete every pod at once."""
    known = stage.place.journal(NAME)["cluster_id"]
    stage.hand("delete", "pods", "--all", "--force", "--grace-period=0")
    stage.asks()
    stage.sees("the same cluster id", lambda: stage.place.journal(NAME)["cluster_id"] == known)
    stage.notes_state()


@misoperation("done; done; the same cluster id; 3 nodes of 3.2.1", shape=THREE, disturbs=True)
def removed_and_deployed_again(stage: Stage) -> None:
    """Remove the cluster, volumes kept; find that it was the wrong one, and deploy it again."""
    known = stage.place.journal(NAME)["cluster_id"]
    stage.asks(state="absent", confirm=NAME, deletion_protection="false", volumes="retain")
    stage.asks(**stage.base)
    stage.sees("the same cluster id", lambda: stage.place.journal(NAME)["cluster_id"] == known)
    stage.notes_state()


@misoperation("done; the same cluster; 3 nodes of 3.2.1", shape=THREE, disturbs=True)
def every_memory_removed(stage: Stage) -> None:
    """Journal, annotations of claims and volumes, and every pod gone at once; the stores are whole."""
    known = stage.place.journal(NAME)["cluster_id"]
    stage.hand("delete", "configmap", f"{NAME}-journal")
    notes = [f"kaiwudb.kubernetes/{note}-" for note in ("cluster-id", "fingerprint")]
    for ordinal in range(3):
        stage.hand("annotate", "persistentvolumeclaim", f"datadir-{NAME}-{ordinal}", *notes)
        stage.hand("annotate", "persistentvolume", f"{stage.place.namespace}.{NAME}-{ordinal}", *notes)
    stage.hand("delete", "pods", "--all", "--force", "--grace-period=0")
    stage.asks()
    until("the pods serve again", lambda: len(stage.look().ready) == 3, 120, 1)
    stage.sees("the same cluster", lambda: ids(stage) == {known})
    stage.notes_state()


def _little_disks(place: Place) -> None:
    """A little file system of its own for each volume, on every worker: where a pod lands is the product's choice."""
    if not has_docker():
        pytest.skip("looks into the Kubernetes nodes through Docker, which is not here")
    for node in worker_nodes():
        for ordinal in range(4):
            path = f"{place.local_path}/{place.namespace}.{NAME}-{ordinal}"
            on_node(node, "mkdir", "-p", path)
            on_node(node, "mount", "-t", "tmpfs", "-o", f"size={MEBIBYTES}m", "tmpfs", path)


def _full_disks_away(place: Place) -> None:
    for node in worker_nodes():
        for ordinal in range(4):
            on_node(node, "umount", "-l", f"{place.local_path}/{place.namespace}.{NAME}-{ordinal}", check=False)


@misoperation("refused: space; 4 nodes of 3.2.1; done; 3 nodes of 3.2.1", disturbs=False,
              shape=Shape(4, {"local_pv_prepare": "none", "volumes": "wipe"}, rate=15, prepare=_little_disks, undo=_full_disks_away))  # fmt: skip
def too_little_room(stage: Stage) -> None:
    """The disks of the nodes that stay are nearly full; ask for three. Then make room and ask again."""
    for number in range(6):  # so that what must move is more than what is left
        stage.lab(f"CREATE TABLE defaultdb.bulk{number} (k INT8 PRIMARY KEY, v STRING)")
        stage.lab(
            f"INSERT INTO defaultdb.bulk{number} SELECT i, repeat('x', 10000) FROM generate_series(1, 600) AS g(i)"
        )
    until("the new tables are whole", stage.whole, 60, 1)
    filler = {}
    for ordinal in range(3):
        volume = stage.place.volume(NAME, ordinal)
        assert volume is not None
        filler[ordinal] = (node_of(volume), f"{volume['spec']['local']['path']}/filler")
        node, path = filler[ordinal]
        free = int(on_node(node, "df", "--output=avail", "-B1M", path.rsplit("/", 1)[0]).split()[-1])
        on_node(node, "fallocate", "-l", f"{free - 6}M", path)  # a little stays, for what is acknowledged meanwhile
    until("the engine knows", lambda: _available(stage) < 7 << 20 and _used(stage, 3) > 18 << 20, 60, 1)
    stage.asks(replicas="3")
    stage.notes_state()
    for node, path in filler.values():
        on_node(node, "rm", path)
    until("the engine knows", lambda: _available(stage) > 7 << 20, 60, 1)
    stage.asks(replicas="3")
    stage.notes_state()


def _available(stage: Stage) -> int:
    """The most that any of the first three nodes reports as free, bytes."""
    rows = stage.query("SELECT node_id, available FROM kwdb_internal.kv_store_status")
    mine = {stage.node(ordinal)["id"] for ordinal in range(3)}
    return max(int(row[1]) for row in rows if row[0] in mine)


def _used(stage: Stage, ordinal: int) -> int:
    """What a node reports as used, bytes."""
    rows = stage.query("SELECT node_id, used FROM kwdb_internal.kv_store_status")
    return sum(int(row[1]) for row in rows if row[0] == stage.node(ordinal)["id"])


@misoperation("done; the other cluster is another one and as it was; 3 nodes of 3.2.1", shape=THREE)
def the_same_name_in_two_namespaces(stage: Stage) -> None:
    """A second cluster of the same name in another namespace; it is removed with its volumes again."""
    first = stage.place
    known, pods = first.journal(NAME)["cluster_id"], first.uids(NAME)
    second = Place(stage.home, {"anti_affinity": "preferred", "volumes": "wipe"})
    second.collections = first.collections
    try:
        second.good(NAME, replicas="3", image=IMAGE)
        assert second.journal(NAME)["cluster_id"] != known
        stage.operations += 2
        removed = second.run(NAME, state="absent", confirm=NAME, deletion_protection="false")
        stage.note("done" if not removed.failed else removed.msg)
        stage.sees(
            "the other cluster is another one and as it was",
            lambda: first.uids(NAME) == pods and first.journal(NAME)["cluster_id"] == known and first.volume(NAME, 0),
        )
    finally:
        second.clean()
    stage.notes_state()
