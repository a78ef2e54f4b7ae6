# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Which volumes are made, used again, freed for a new claim or brought to it. Pure. PRIVATE to the collection."""

from __future__ import annotations

import typing as t

from . import manifests, placement
from .errors import ClusterError
from .names import RETIRED, ordinal_of
from .observe import Observed
from .placement import node_of
from .plan import Step
from .spec import Spec

Object = t.Mapping[str, t.Any]


def ordinals_to_add(spec: Spec, seen: Observed) -> range:
    """Ordinals that get a pod they do not have yet."""
    return range(seen.replicas, max(seen.replicas, spec.replicas))


def ordinals_without_volume(spec: Spec, seen: Observed) -> list[int]:
    """Ordinals that get a volume: those to add, and pods that wait for one because somebody else added them."""
    adding = ordinals_to_add(spec, seen)
    if spec.storage != "local":
        return list(adding)

    def waits(ordinal: int) -> bool:
        volume, claim = seen.volumes.get(seen.names.volume(ordinal)), seen.claims.get(seen.names.claim(ordinal), {})
        return (volume is None or retired(volume)) and claim.get("status", {}).get("phase") == "Pending"

    return [ordinal for ordinal in range(spec.replicas) if ordinal in adding or waits(ordinal)]


def needed(
    spec: Spec, seen: Observed, kube_nodes: t.Sequence[Object] | None, changes: dict[str, tuple[t.Any, t.Any]]
) -> list[Step]:
    """Volumes that pods to come need, and retained ones that must be freed for their claim."""
    if spec.storage != "local":
        return _old_claims(spec, seen)
    have = {ordinal: volume for name, volume in seen.volumes.items() if (ordinal := ordinal_of(name)) is not None}
    wanted = ordinals_without_volume(spec, seen)
    missing = [ordinal for ordinal in wanted if ordinal not in have or retired(have[ordinal])]
    kept = {name: volume for name, volume in seen.volumes.items() if not retired(volume)}
    steps = []
    for ordinal, node in placement.place(spec, missing, kept, kube_nodes).items():
        pod, old, path = seen.names.pod(ordinal), have.get(ordinal), manifests.directory(spec, ordinal)
        operation = "create" if seen.statefulset is None else "scale_out" if ordinal >= seen.replicas else "reconfigure"
        if old is not None:
            since = old["metadata"]["annotations"][RETIRED]
            if spec.volumes not in ("wipe", "archive"):
                raise ClusterError(
                    f"volume {old['metadata']['name']} still holds the store of a node that left ({since}); it would come back decommissioned "
                    "and never take data. Nothing was changed. Set volumes to archive (keep it under another name) or wipe (erase it).",
                    "store_retired",
                    node=pod,
                    resumable=False,
                )
            steps.append(
                Step(
                    f"reuse/{pod}",
                    f"{spec.volumes} the old store on {node_of(old)}",
                    operation,
                    facts={"ordinal": ordinal, "node": node_of(old), "action": spec.volumes},
                )
            )
        steps.append(
            Step(
                f"volume/{pod}",
                f"{spec.storage_size} on {node}, {path}",
                operation,
                facts={
                    "ordinal": ordinal,
                    "node": node,
                    "hostname": placement.hostname_of(node, kube_nodes),
                    "directory": path,
                    "pod": spec.local_pv_prepare == "pod",
                    # A store that is put aside leaves its directory behind, empty.
                    "left": old is not None and (node_of(old), old["spec"]["local"]["path"]) == (node, path),
                },
            )
        )
        changes[f"PersistentVolume/{seen.names.volume(ordinal)}"] = (None, f"{spec.storage_size} on {node}")
    for ordinal in wanted:
        volume = have.get(ordinal)
        if (
            volume is not None
            and not retired(volume)
            and volume["spec"].get("claimRef", {}).get("uid")
            and seen.names.claim(ordinal) not in seen.claims
        ):
            steps.append(
                Step(
                    f"free/{seen.names.pod(ordinal)}",
                    f"volume kept for cluster {seen.cluster_id or 'not initialised'} takes its new claim",
                    "create" if seen.statefulset is None else "scale_out",
                    facts={"ordinal": ordinal},
                )
            )
    return steps


def _old_claims(spec: Spec, seen: Observed) -> list[Step]:
    """Claims of a storage class that were kept when their node left, and that pods to come would take as they are."""
    operation = "create" if seen.statefulset is None else "scale_out"
    steps = []
    for ordinal in ordinals_to_add(spec, seen):
        pod, claim = seen.names.pod(ordinal), seen.claims.get(seen.names.claim(ordinal))
        if claim is None or not retired(claim):
            continue
        if spec.volumes == "retain":
            raise ClusterError(
                f"claim {claim['metadata']['name']} still holds the store of a node that left ({claim['metadata']['annotations'][RETIRED]}); it would "
                "come back decommissioned and never take data. Nothing was changed. Set volumes to delete to drop the claim, after saving what you need.",
                "store_retired",
                node=pod,
                resumable=False,
            )
        steps.append(
            Step(
                f"drop/{pod}",
                f"claim {claim['metadata']['name']} with the store of a node that left",
                operation,
                facts={"ordinal": ordinal},
            )
        )
    return steps


def retired(volume: Object) -> bool:
    """Whether its node has left the cluster: the store in it must never be mounted again as it is."""
    return RETIRED in (volume["metadata"].get("annotations") or {})


def reclaim(spec: Spec, seen: Observed) -> list[Step]:
    """Pods whose claim was deleted, or whose volume still belongs to a claim that is gone: the volume goes to a new claim."""
    if spec.storage != "local":
        return []
    steps = []
    for ordinal in range(min(seen.replicas, spec.replicas)):
        volume, claim = seen.volumes.get(seen.names.volume(ordinal)), seen.claims.get(seen.names.claim(ordinal))
        owner = (volume or {}).get("spec", {}).get("claimRef", {}).get("uid")
        if volume is None or retired(volume) or not owner:
            continue
        going = claim is not None and claim["metadata"].get("deletionTimestamp")
        if claim is None or going or claim["metadata"].get("uid") not in (None, owner):
            pod = seen.names.pod(ordinal)
            title = (
                f"claim {seen.names.claim(ordinal)} "
                + ("is being deleted" if going else "was deleted")
                + ": its volume goes to a new one"
            )
            steps.append(
                Step(f"reclaim/{pod}", title, "reconfigure", disruptive=True, pod=pod, facts={"ordinal": ordinal})
            )
    return steps
