# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Objects and rows as an API server and an engine give them, one small function each. The cluster is always db/kw.

Built from the collection's own manifests only where a live object is what an earlier run wrote.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import manifests
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.fingerprint import Fingerprint
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.names import FINGERPRINT, Names
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.observe import (
    KINDS,
    Deep,
    Job,
    Observed,
    Store,
)
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.options import OPTIONS
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Plan
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.present import present
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.ranges import Range
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.spec import Spec, parse_asked, resolve
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.parse import NodeRow
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES

Object = dict[str, Any]
# FAR is the first release whose cluster version is not known: an upgrade to it is held until somebody finalises.
OLD, NEW, FAR = "kwdb/kwdb:3.2.1", "kwdb/kwdb:3.2.2", "kwdb/kwdb:3.3.0"
ID = "0d8b4f4c-4c5a-4b8e-9d4e-2f6a3f1f7c11"
NAMES = Names("kw", "db")
LABELS = {
    "app.kubernetes.io/name": "kaiwudb",
    "app.kubernetes.io/instance": "kw",
    "app.kubernetes.io/managed-by": "kaiwudb.kubernetes",
}
# What Services and the StatefulSet select.
POD_LABELS = {
    "app.kubernetes.io/name": "kaiwudb",
    "app.kubernetes.io/instance": "kw",
    "app.kubernetes.io/component": "database",
}
REQUIRED = {"name": "kw", "namespace": "db", "image": OLD, "security": "insecure"}
DEFAULT = {option.name: option.default for option in OPTIONS}

RETIRED = {"kaiwudb.kubernetes/retired": "2026-11-23T09:30:00Z"}


def spec(**asked: Any) -> Spec:
    """A new cluster's: three nodes of OLD unless told otherwise."""
    return resolve(parse_asked({**REQUIRED, **asked}), None)


def spec_over(seen: Observed, **asked: Any) -> Spec:
    """What a run on a live cluster has: only name, namespace and what is given here were asked for."""
    return resolve(parse_asked({"name": "kw", "namespace": "db", **asked}), seen.remembered)


def pod(
    ordinal: int,
    *,
    image: str = OLD,
    revision: str = "r1",
    ready: bool = True,
    phase: str = "Running",
    waiting: tuple[str, str] | None = None,
    ended: int | None = None,
    restarts: int = 0,
    deleting: bool = False,
    unschedulable: str = "",
) -> Object:
    """waiting: (reason, message) of the container. ended: its exit code."""
    state: Object = {"running": {"startedAt": "2026-11-23T09:00:00Z"}}
    if waiting:
        state = {"waiting": {"reason": waiting[0], "message": waiting[1]}}
    elif ended is not None:
        state = {"terminated": {"exitCode": ended}}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    if unschedulable:
        conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": unschedulable}]
    status: Object = {"phase": phase, "conditions": conditions}
    if not unschedulable:
        status["containerStatuses"] = [{"name": "kaiwudb", "image": image, "restartCount": restarts, "state": state}]
    meta: Object = {
        "name": f"kw-{ordinal}",
        "namespace": "db",
        "uid": f"pod-{ordinal}",
        "labels": {**LABELS, "app.kubernetes.io/component": "database", "controller-revision-hash": revision},
    }
    if deleting:
        meta["deletionTimestamp"] = "2026-11-23T10:00:00Z"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"nodeName": f"w{ordinal + 1}", "containers": [{"name": "kaiwudb", "image": image}]},
        "status": status,
    }


def told(made: Object, editor: str = "") -> Object:
    """The pod with what the API server keeps of who set which field. editor: who changed the image of the pod itself."""

    def entry(manager: str, container: Object) -> Object:
        fields = {"f:spec": {"f:containers": {'k:{"name":"kaiwudb"}': container}}}
        return {"manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields}

    image: Object = {"f:image": {}}
    entries = [entry("kube-controller-manager", {".": {}, "f:name": {}, **({} if editor else image)})]
    entries += [entry(editor, image)] if editor else []
    kubelet = {"manager": "kubelet", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}}
    return {**made, "metadata": {**made["metadata"], "managedFields": [*entries, kubelet]}}


def row(node_id: int, ordinal: int | None = None, **fields: Any) -> NodeRow:
    """A healthy node on the pod of that ordinal; without one, an id whose address is NULL."""
    address = None if ordinal is None else f"kw-{ordinal}.kw.db.svc.cluster.local:26257"
    healthy = {"is_available": True, "is_live": True, "is_decommissioning": False, "is_draining": False}
    return NodeRow(
        **{"id": node_id, "address": address, "build": "V3.2.1", "gossiped_replicas": 20, **healthy, **fields}
    )


def gone(node_id: int, ordinal: int | None = None, **fields: Any) -> NodeRow:
    """The row of a node that left for good."""
    dead = {"is_available": False, "is_live": False, "is_decommissioning": True, "gossiped_replicas": 0}
    return row(node_id, ordinal, **{**dead, **fields})


def claim(ordinal: int, **annotations: str) -> Object:
    meta: Object = {"name": f"datadir-kw-{ordinal}", "namespace": "db", "labels": dict(LABELS)}
    if annotations:
        meta["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": {}}


def volume(ordinal: int, node: str | None = None, *, uid: str = "", **annotations: str) -> Object:
    """A pinned local volume. uid: of the claim it is bound to."""
    made = copy.deepcopy(manifests.volume(spec(), ordinal, node or f"w{ordinal + 1}"))
    if uid:
        made["spec"]["claimRef"]["uid"] = uid
    if annotations:
        made["metadata"]["annotations"] = annotations
    return made


def kube_node(
    name: str,
    *,
    zone: str = "",
    taints: Sequence[Mapping[str, str]] = (),
    cordoned: bool = False,
    ready: bool = True,
    **labels: str,
) -> Object:
    meta = {"name": name, "labels": {**labels, **({"topology.kubernetes.io/zone": zone} if zone else {})}}
    body: Object = {"taints": list(taints)} if taints else {}
    if cordoned:
        body["unschedulable"] = True
    conditions = [{"type": "Ready", "status": "True" if ready else "Unknown"}]
    return {"metadata": meta, "spec": body, "status": {"conditions": conditions}}


WORKERS = [kube_node(f"w{number}") for number in range(1, 6)]


def statefulset(of: Spec, *, replicas: int | None = None, partition: int = 0, seen: bool = True) -> Object:
    """Live, of revision r1. seen: whether the controller has seen its newest generation."""
    made = copy.deepcopy(manifests.statefulset(of, PROFILES[of.engine], sleep_action=True))
    made["metadata"].update(uid="sts-1", generation=4, resourceVersion="77")
    made["spec"]["replicas"] = of.replicas if replicas is None else replicas
    made["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = partition
    made["status"] = {"observedGeneration": 4 if seen else 3, "updateRevision": "r1", "currentRevision": "r1"}
    return made


def named(*objects: Object) -> dict[str, Object]:
    return {item["metadata"]["name"]: item for item in objects}


def observed(
    *objects: Object,
    journal: Journal | None = None,
    nodes: Iterable[NodeRow] | None = None,
    namespace: Mapping[str, Any] | None = None,
    there: bool = True,
    **more: Any,
) -> Observed:
    """These objects and no others. there: whether the namespace is."""
    found: dict[str, dict[str, Object]] = {kind: {} for kind in (*KINDS, "PersistentVolume")}
    for item in objects:
        found[item["kind"]][item["metadata"]["name"]] = item
    where = {"metadata": {"name": "db"}} if namespace is None else namespace
    rows = None if nodes is None else tuple(nodes)
    silence = "" if rows is not None else "no pod is ready"
    return Observed(
        NAMES, where if there else None, found, journal or Journal(), nodes=rows, **{"engine_silence": silence, **more}
    )


def stamped(ordinal: int, rows: Sequence[NodeRow] = ()) -> dict[str, str]:
    """The note of the store that the pod has: of the node that serves there, of these rows, or of the pod's first; none before it joined."""
    address = row(0, ordinal).address
    here = [item for item in rows or [row(ordinal + 1, ordinal)] if item.address == address]
    node = max(here, key=lambda item: (bool(item.is_live), item.id), default=None)
    return {FINGERPRINT: Fingerprint(ID, node.id, node.id).text()} if node else {}


JOURNAL = Journal(cluster_id=ID, initialized={"at": "2026-11-23T09:00:00Z", "who": "dba"})


def live(
    replicas: int = 3,
    *,
    of: Spec | None = None,
    pods: Sequence[Object] | None = None,
    nodes: Sequence[NodeRow] | None = None,
    journal: Journal = JOURNAL,
    extra: Sequence[Object] = (),
    without: Sequence[str] = (),
    sts: Object | None = None,
    **more: Any,
) -> Observed:
    """A settled cluster: every object as written, every pod ready, every node live; but for what is given otherwise.

    extra: more objects, or others of the same name. without: Kind/name of what is missing.
    """
    made = of or spec(replicas=replicas)
    objects: list[Object] = [*copy.deepcopy(manifests.objects(made, PROFILES[made.engine])), sts or statefulset(made)]
    objects += list(pods) if pods is not None else [pod(ordinal, image=made.image) for ordinal in range(replicas)]
    rows = nodes if nodes is not None else [row(ordinal + 1, ordinal) for ordinal in range(replicas)]
    for ordinal in range(replicas):
        notes = stamped(ordinal, rows) if journal.cluster_id else {}
        objects += [claim(ordinal, **notes), volume(ordinal, uid=f"claim-{ordinal}", **notes)]
    chosen = {f"{item['kind']}/{item['metadata']['name']}": item for item in [*objects, *extra]}
    return observed(
        *(item for name, item in chosen.items() if name not in without), journal=journal, nodes=rows, **more
    )


def silent(seen: Observed, why: str = "cannot dial server") -> Observed:
    """The same without an answer of the engine."""
    return replace(seen, nodes=None, engine_silence=why)


def ranges(
    replicas: Sequence[int] = (1, 2, 3), count: int = 4, *, wanted: int = 3, name: str = "bank.accounts"
) -> tuple[Range, ...]:
    return tuple(Range(number, name, frozenset(replicas), wanted) for number in range(1, count + 1))


def deep(
    found: Sequence[Range] | None = None, *, jobs: Sequence[Job] = (), stores: Sequence[Store] = (), **more: Any
) -> Deep:
    return Deep(tuple(ranges() if found is None else found), tuple(jobs), tuple(stores), **more)


def store(node_id: int, used: int = 10, available: int = 90, capacity: int = 100) -> Store:
    return Store(node_id, capacity, available, used)


def plan_of(wanted: Spec, seen: Observed, nodes: Sequence[Object] | None = WORKERS) -> Plan:
    return present(wanted, seen, PROFILES[wanted.engine], kube_nodes=nodes)


def plan(seen: Observed | None = None, nodes: Sequence[Object] | None = WORKERS, **asked: Any) -> Plan:
    """Of a run that asks for this on the cluster that is there."""
    found = live() if seen is None else seen
    return plan_of(spec_over(found, **asked), found, nodes)


def ids(plan: Plan) -> list[str]:
    return [step.id for step in plan.steps]


def left(plan: Plan) -> list[str]:
    """What is not done in this run."""
    return [step.id for step in plan.remaining]


def during(name: str, step: str = "", **facts: Any) -> Journal:
    """The journal while an operation is under way."""
    return replace(JOURNAL, operation={"name": name, "step": step, "who": "ann", **facts})


def mid_upgrade(image: str = NEW, *, pulled: Mapping[str, Any] | None = None, **facts: Any) -> Observed:
    """The highest of three pods has the new image, the next one is under way. facts: more of the operation."""
    half = statefulset(spec(image=image), partition=1)
    half["status"]["updateRevision"] = "r2"
    pods = [pod(0), pod(1), pod(2, image=image, revision="r2")]
    under_way = during("upgrade", "upgrade/kw-1", image=image, replicas=3, **facts)
    return live(sts=half, pods=pods, journal=replace(under_way, pulled=pulled or {}))
