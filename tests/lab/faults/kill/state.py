# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Whether the asked-for state is reached: what is left undone, in sentences. Looked at without the collection."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from typing import Any

import kindlab
from kindlab import Place, kubectl

Object = dict[str, Any]
KINDS = "statefulsets,pods,persistentvolumeclaims,services,poddisruptionbudgets,configmaps,leases,serviceaccounts"
ID = "kaiwudb.kubernetes/cluster-id"
RETIRED = "kaiwudb.kubernetes/retired"


@dataclass(frozen=True)
class Wanted:
    """What was asked for. replicas 0: nothing may be left of the cluster."""

    replicas: int
    image: str = ""
    initialized: bool = True


@dataclass
class Found:
    """What is there. objects: of the namespace, by kind and name; rows: `node status --decommission`; ids: cluster id by pod.

    holders: ids of the nodes that any range lists.

    directories: those of this namespace's volumes, by Kubernetes node; None where nobody can look.
    """

    name: str
    namespace: str
    objects: dict[str, dict[str, Object]]
    volumes: dict[str, Object] = field(default_factory=dict)
    rows: list[dict[str, str]] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    directories: list[str] | None = None
    holders: set[str] = field(default_factory=set)


def look(place: Place, name: str, wanted: Wanted, *, all_ids: bool = False) -> Found:
    """Everything that ``complaints`` judges. all_ids: ask every pod for its cluster id, not only the first."""
    objects: dict[str, dict[str, Object]] = {}
    for item in json.loads(kubectl("--namespace", place.namespace, "get", KINDS, "--output=json"))["items"]:
        objects.setdefault(item["kind"], {})[item["metadata"]["name"]] = item
    selector = f"--selector=kaiwudb.kubernetes/namespace={place.namespace}"
    volumes = json.loads(kubectl("get", "persistentvolumes", selector, "--output=json"))["items"]
    found = Found(name, place.namespace, objects, {item["metadata"]["name"]: item for item in volumes})
    if wanted.replicas and wanted.initialized:
        found.rows = place.node_rows(name)
        # Not the nodes' own counters: one whose machine went off keeps the last it has told.
        found.holders = set(re.findall(r"\d+", place.sql(name, "SELECT replicas FROM kwdb_internal.ranges_no_leases")))
        query = "SELECT value FROM kwdb_internal.node_build_info WHERE field = 'ClusterID'"
        for ordinal in range(wanted.replicas if all_ids else 1):
            found.ids[f"{name}-{ordinal}"] = place.sql(name, query, ordinal).split()[-1]
    listed = [kindlab.on_node(node, "ls", place.local_path, check=False).split() for node in kindlab.worker_nodes()]
    found.directories = sorted(name for names in listed for name in names) if shutil.which("docker") else None
    return found


def complaints(found: Found, wanted: Wanted, cluster_id: str = "") -> list[str]:
    """What is not as asked, a sentence each; empty when all is. cluster_id: the one that the cluster has had so far."""
    if not wanted.replicas:
        return _left(found)
    said = _set(found, wanted) + _pods(found, wanted) + _volumes(found, wanted) + _memory(found, wanted)
    return said + (_engine(found, wanted, cluster_id) if wanted.initialized else [])


def _left(found: Found) -> list[str]:
    """What a removed cluster has left behind; the namespace's own account and the workload of others are no part of it."""
    mine = [
        f"{kind} {name}"
        for kind, items in found.objects.items()
        for name, item in items.items()
        if kind in ("StatefulSet", "Pod", "PersistentVolumeClaim", "Lease")
        or (item["metadata"].get("labels") or {}).get("app.kubernetes.io/instance") == found.name
    ]
    mine += [f"PersistentVolume {name}" for name in found.volumes]
    mine += [f"directory {name}" for name in found.directories or ()]
    return [f"left behind: {', '.join(mine)}"] if mine else []


def _names(found: Found, wanted: Wanted) -> list[str]:
    return [f"{found.name}-{ordinal}" for ordinal in range(wanted.replicas)]


def _set(found: Found, wanted: Wanted) -> list[str]:
    live = found.objects.get("StatefulSet", {}).get(found.name)
    if live is None:
        return ["there is no StatefulSet"]
    said = []
    if live["spec"]["replicas"] != wanted.replicas:
        said.append(f"the StatefulSet has {live['spec']['replicas']} replicas, not {wanted.replicas}")
    image = live["spec"]["template"]["spec"]["containers"][0]["image"]
    if image != wanted.image:
        said.append(f"the template's image is {image}, not {wanted.image}")
    return said


def _pods(found: Found, wanted: Wanted) -> list[str]:
    pods = found.objects.get("Pod", {})
    said = []
    if sorted(pods) != _names(found, wanted):
        said.append(f"pods are {sorted(pods)}, not {_names(found, wanted)}")
    live = found.objects.get("StatefulSet", {}).get(found.name, {})
    revision = live.get("status", {}).get("updateRevision")
    for name in _names(found, wanted):
        pod = pods.get(name)
        if pod is None:
            continue
        conditions = {item["type"]: item["status"] for item in pod["status"].get("conditions", ())}
        if pod["spec"]["containers"][0]["image"] != wanted.image:
            said.append(f"pod {name} runs {pod['spec']['containers'][0]['image']}, not {wanted.image}")
        if pod["metadata"]["labels"].get("controller-revision-hash") != revision:
            said.append(f"pod {name} is not of the newest template")
        if pod["metadata"].get("deletionTimestamp"):
            said.append(f"pod {name} is being deleted")
        if pod["status"]["phase"] != "Running" or (wanted.initialized and conditions.get("Ready") != "True"):
            said.append(f"pod {name} is {pod['status']['phase']}, Ready {conditions.get('Ready')}")
    return said


def _volumes(found: Found, wanted: Wanted) -> list[str]:
    names = _names(found, wanted)
    claims, said = found.objects.get("PersistentVolumeClaim", {}), []
    if sorted(claims) != [f"datadir-{name}" for name in names]:
        said.append(f"claims are {sorted(claims)}, not those of {names}")
    expected = [f"{found.namespace}.{name}" for name in names]
    if sorted(found.volumes) != expected:
        said.append(f"volumes are {sorted(found.volumes)}, not {expected}")
    if found.directories is not None and found.directories != expected:
        said.append(f"directories on the nodes are {found.directories}, not {expected}")
    for kind, items in (("claim", claims), ("volume", found.volumes)):
        for name, item in items.items():
            if item["status"].get("phase") != "Bound":
                said.append(f"{kind} {name} is {item['status'].get('phase')}")
            if RETIRED in (item["metadata"].get("annotations") or {}):
                said.append(f"{kind} {name} is marked as left by a node")
    return said


def _memory(found: Found, wanted: Wanted) -> list[str]:
    said = []
    lease = found.objects.get("Lease", {}).get(f"{found.name}-lock")
    if lease is None or lease["spec"].get("holderIdentity"):
        said.append(f"the lock is {'missing' if lease is None else 'held by ' + lease['spec']['holderIdentity']}")
    kept = found.objects.get("ConfigMap", {}).get(f"{found.name}-journal")
    journal = json.loads(kept["data"]["journal"]) if kept else {}
    if kept is None:
        said.append("there is no journal")
    elif journal.get("operation"):
        said.append(f"the journal says that {journal['operation'].get('name')} is under way")
    elif bool(journal.get("initialized")) != wanted.initialized:
        said.append(f"the journal says initialized: {journal.get('initialized')}")
    elif journal.get("initializing") and wanted.initialized:
        said.append("the journal says that init is under way")
    return said


def _engine(found: Found, wanted: Wanted, cluster_id: str) -> list[str]:
    said = []
    ids = set(found.ids.values())
    kept = found.objects.get("ConfigMap", {}).get(f"{found.name}-journal")
    noted = json.loads(kept["data"]["journal"]).get("cluster_id") if kept else None
    if ids != {noted}:
        said.append(f"the pods say cluster {sorted(ids)}, the journal says {noted}")
    if cluster_id and ids != {cluster_id}:
        said.append(f"the pods say cluster {sorted(ids)}; it was {cluster_id}")
    stamped = {
        (item["metadata"].get("annotations") or {}).get(ID)
        for item in [*found.objects.get("PersistentVolumeClaim", {}).values(), *found.volumes.values()]
    }
    if stamped != {noted}:
        said.append(f"claims and volumes are stamped with {stamped}, the cluster is {noted}")
    staying = [row for row in found.rows if row["is_decommissioning"] != "true"]
    hosts = sorted(row["address"].split(".")[0] for row in staying)
    if hosts != _names(found, wanted):
        said.append(f"nodes that stay are {hosts}, not {_names(found, wanted)}")
    silent = [row["address"] for row in staying if (row["is_live"], row["is_available"]) != ("true", "true")]
    if silent:
        said.append(f"nodes {silent} are not live")
    tag = wanted.image.rpartition(":")[2]
    other = {row["build"] for row in staying if tag not in row["build"]}
    if other and tag[:1].isdigit():
        said.append(f"nodes run build {sorted(other)}, the image is {wanted.image}")
    holding = [row["id"] for row in found.rows if row not in staying and row["id"] in found.holders]
    if holding:
        said.append(f"nodes {holding} have left and still hold replicas")
    return said
