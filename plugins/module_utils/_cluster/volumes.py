# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Which volumes are made, used again, freed for a new claim or brought to it. Pure. PRIVATE to the collection."""

from __future__ import annotations

import typing as t

from . import compare, fingerprint, going, growing, manifests, placement
from .errors import ClusterError, InputError
from .fingerprint import retired, wiping
from .names import RETIRED, ordinal_of
from .observe import Observed, ending, ready
from .placement import node_of
from .plan import Changes, Step
from .spec import Spec

if t.TYPE_CHECKING:
    from .._engine.parse import NodeRow

Object = t.Mapping[str, t.Any]


def ordinals_to_add(spec: Spec, seen: Observed) -> range:
    """Ordinals that get a pod they do not have yet."""
    return range(seen.replicas, max(seen.replicas, spec.replicas))


def refuse_other_storage(spec: Spec, seen: Observed) -> None:
    """InputError when a storage class made what the claims hold that a removal left: taken for local ones, the next removal would delete them."""
    if spec.storage != "dynamic" and seen.statefulset is None and seen.left_options:
        raise InputError(
            "storage",
            f"{spec.storage!r} is not allowed: a storage class made the volumes of the claims that are there ({', '.join(sorted(seen.claims))}); "
            "allowed is 'dynamic'",
        )


def ordinals_without_volume(spec: Spec, seen: Observed) -> list[int]:
    """Ordinals that get a volume: those to add, and pods that wait for one because somebody else added them."""
    adding = ordinals_to_add(spec, seen)
    if spec.storage != "local":
        return list(adding)

    def waits(ordinal: int) -> bool:
        if seen.names.pod(ordinal) in seen.journal.replacing:
            return False  # its replacement makes it one, elsewhere
        volume, claim = seen.volumes.get(seen.names.volume(ordinal)), seen.claims.get(seen.names.claim(ordinal), {})
        return (volume is None or retired(volume)) and claim.get("status", {}).get("phase") == "Pending"

    return [ordinal for ordinal in range(spec.replicas) if ordinal in adding or waits(ordinal)]


def needed(spec: Spec, seen: Observed, kube_nodes: t.Sequence[Object] | None, changes: Changes) -> list[Step]:
    """Volumes that pods to come need, and retained ones that must be freed for their claim."""
    wanted = ordinals_without_volume(spec, seen)
    _refuse_mounted(spec, seen, wanted)
    strange = _strangers(seen, wanted, "PersistentVolume" if spec.storage == "local" else "PersistentVolumeClaim")
    if spec.storage != "local":
        return _old_claims(spec, seen, strange)
    have = {ordinal: volume for name, volume in seen.volumes.items() if (ordinal := ordinal_of(name)) is not None}
    begun = {
        ordinal
        for ordinal in wanted
        if (claim := seen.claims.get(seen.names.claim(ordinal))) is not None and wiping(claim)
    }
    left = _left(spec, seen)
    unusable = {ordinal for ordinal in have if retired(have[ordinal]) or ordinal in strange | begun | left.keys()}
    missing = [ordinal for ordinal in wanted if ordinal not in have or ordinal in unusable]
    kept = {seen.names.volume(ordinal): volume for ordinal, volume in have.items() if ordinal not in unusable}
    steps = []
    for ordinal, choice in placement.choose(spec, missing, kept, kube_nodes).items():
        pod, old, node = seen.names.pod(ordinal), have.get(ordinal), choice.node
        path = manifests.directory(spec, ordinal)
        operation = "create" if seen.statefulset is None else "scale_out" if ordinal >= seen.replicas else "reconfigure"
        if old is not None:
            action = "wipe" if ordinal in begun else spec.volumes
            if action not in ("wipe", "archive"):
                raise _refusal(
                    old,
                    seen.names.pod(ordinal),
                    "archive (keep it under another name) or wipe (erase it)",
                    ordinal in strange,
                    left.get(ordinal),
                )
            steps.append(
                Step(
                    f"reuse/{pod}",
                    f"{action} {fingerprint.read(old) or 'the old store'} on {node_of(old)}"
                    + (", as was begun" if ordinal in begun else ""),
                    operation,
                    facts={
                        "ordinal": ordinal,
                        "node": node_of(old),
                        "action": action,
                        "policy": action,
                        **_unproved(left.get(ordinal)),
                    },
                )
            )
        steps.append(
            Step(
                f"volume/{pod}",
                f"{spec.storage_size} on {node}, {path}",
                operation,
                facts=making(spec, ordinal, choice, kube_nodes, old),
            )
        )
        changes[f"PersistentVolume/{seen.names.volume(ordinal)}"] = (None, f"{spec.storage_size} on {node}")
    # Where a node does not answer, nobody can look into its directory, and the others need not wait for that.
    reachable = {node["metadata"]["name"] for node in kube_nodes or () if placement.is_ready(node)}
    reachable |= {node_of(volume) for volume in have.values()} if kube_nodes is None else set()
    for ordinal in wanted:
        volume = have.get(ordinal)
        if (
            volume is not None
            and ordinal not in unusable
            and (volume["spec"].get("claimRef", {}).get("uid") or _too_small(spec, volume))
            and claim_that_stays(seen, ordinal) is None
        ):
            if ending(volume):
                name = volume["metadata"]["name"]
                raise ClusterError(
                    f"{going.told(volume, seen.names.pod(ordinal))} Nothing was changed. To have its store back, save it now (kubectl get pv {name} "
                    "-o yaml) and create it again without its resourceVersion when it has gone. Else decommission its node (kaiwudb_node_decommission) first.",
                    "volume_going",
                    node=seen.names.pod(ordinal),
                    resumable=False,
                )
            steps.append(
                Step(
                    f"free/{seen.names.pod(ordinal)}",
                    f"kept, with {fingerprint.read(volume) or 'nothing initialised'}: it goes to its new claim"
                    + (f", now of {spec.storage_size}" if _too_small(spec, volume) else ""),
                    "create" if seen.statefulset is None else "scale_out",
                    facts={"ordinal": ordinal, "look": node_of(volume) in reachable},
                )
            )
    return steps


def making(
    spec: Spec, ordinal: int, choice: placement.Choice, kube_nodes: t.Sequence[Object] | None, old: Object | None
) -> dict[str, t.Any]:
    """Facts of the step that makes a volume. old: the one whose store is put aside or erased before, None without one."""
    path = manifests.directory(spec, ordinal)
    return {
        "ordinal": ordinal,
        "node": choice.node,
        "hostname": placement.hostname_of(choice.node, kube_nodes),
        "choice": choice,
        "directory": path,
        "pod": spec.local_pv_prepare == "pod",
        # A store that is put aside leaves its directory behind, empty.
        "left": old is not None and (node_of(old), old["spec"]["local"]["path"]) == (choice.node, path),
    }


def table(spec: Spec, seen: Observed, steps: t.Sequence[Step], zones: t.Mapping[str, str]) -> list[dict[str, t.Any]]:
    """Where the volumes lie, and those that the steps make. zones: by Kubernetes node."""
    chosen = {step.facts["ordinal"]: step.facts["choice"] for step in steps if "choice" in step.facts}
    have = {ordinal: volume for name, volume in seen.volumes.items() if (ordinal := ordinal_of(name)) is not None}
    rows = placement.rows(spec, have, chosen, lambda ordinal: manifests.directory(spec, ordinal), zones)
    left = {ordinal for ordinal, volume in have.items() if ordinal not in chosen and retired(volume)}
    return [{**row, "why": "kept, its node left"} if row["ordinal"] in left else row for row in rows]


def topology(
    spec: Spec,
    seen: Observed,
    rows: t.Sequence[t.Mapping[str, t.Any]],
    kube_nodes: t.Sequence[Object] | None,
    changes: Changes,
) -> list[Step]:
    """What pods are told of their place, where that is to be told and known. It is read when a pod starts, so it restarts nobody."""
    if spec.locality != "zone" or kube_nodes is None:
        return []
    where, name = placement.localities(kube_nodes), seen.names.topology
    live = seen.objects["ConfigMap"].get(name)
    zoneless = {node["metadata"]["name"] for node in kube_nodes} - set(where)
    nowhere = {seen.names.pod(row["ordinal"]) for row in rows if row["kubernetes_node"] in zoneless}
    known = {
        pod: text.strip()
        for pod, text in ((live or {}).get("data") or {}).items()
        if (ordinal_of(pod) or 0) < spec.replicas and pod not in nowhere
    }
    told = {
        seen.names.pod(row["ordinal"]): where[row["kubernetes_node"]]
        for row in rows
        if row["kubernetes_node"] in where and row["ordinal"] < spec.replicas
    }
    wanted = manifests.topology(spec, {**known, **told})  # of nodes that are not there just now, what was known
    operation = (
        "create"
        if seen.statefulset is None
        else "scale_out"
        if ordinals_to_add(spec, seen)
        else "upgrade"  # whose pods read it as they restart, whatever else that run may not do
        if seen.image != spec.image
        else "reconfigure"
    )
    title = ", ".join(f"{pod} {value}" for pod, value in sorted(told.items()) if known.get(pod) != value)
    if live is None:
        steps = [Step(f"create/ConfigMap/{name}", title, operation, facts={"object": wanted})] if told else []
    elif compare.differences(wanted["data"], live.get("data"), "data"):
        facts = {"object": wanted, "patch": compare.repair(wanted, live)}
        steps = [Step(f"repair/ConfigMap/{name}", title or "pods that are no more", operation, facts=facts)]
    else:
        return []
    changes.update(
        {f"ConfigMap/{name} {pod}": (known.get(pod), value) for pod, value in told.items() if known.get(pod) != value}
    )
    return steps


def _old_claims(spec: Spec, seen: Observed, strange: t.Collection[int]) -> list[Step]:
    """Claims of a storage class that were kept when their node left, and that pods to come would take as they are."""
    operation = "create" if seen.statefulset is None else "scale_out"
    left = _left(spec, seen)
    steps = []
    for ordinal in ordinals_to_add(spec, seen):
        pod, claim = seen.names.pod(ordinal), claim_that_stays(seen, ordinal)
        if claim is None or not (retired(claim) or wiping(claim) or ordinal in strange | left.keys()):
            continue
        action = "wipe" if wiping(claim) else spec.volumes
        if action == "retain":
            ways = "archive (keep its volume), delete or wipe (erase it)"
            raise _refusal(claim, pod, ways, ordinal in strange, left.get(ordinal))
        steps.append(
            Step(
                f"drop/{pod}",
                f"{action} claim {claim['metadata']['name']}, {fingerprint.read(claim) or 'the store of a node that left'}",
                operation,
                facts={"ordinal": ordinal, "action": action, "policy": action, **_unproved(left.get(ordinal))},
            )
        )
    return steps


def _unproved(row: NodeRow | None) -> dict[str, t.Any]:
    """Facts of a step that gives a store up which no scale in has marked: whose, for the ranges must say that it holds nothing."""
    return {"left": row.id} if row else {}


def _left(spec: Spec, seen: Observed) -> dict[int, NodeRow]:
    """Ordinals to come whose store is that of a node which the engine calls decommissioned, though nobody has marked it."""
    found = {ordinal: decommissioned(spec, seen, ordinal) for ordinal in ordinals_to_add(spec, seen)}
    return {ordinal: row for ordinal, row in found.items() if row is not None}


def decommissioned(spec: Spec, seen: Observed, ordinal: int) -> NodeRow | None:
    """The engine's row of the store that the ordinal has, where that node was told to leave and no scale in that was begun is seen through first.

    By the note on the store. Where none is, by the pod's address, which without a claim may be that of a store before this one.
    """
    pod, store = seen.names.pod(ordinal), _store_of(spec, seen, ordinal)
    ends = seen.journal.operation.get("step") == f"scale_in/{pod}"
    # Pods without their StatefulSet run on as they are, and are taken over.
    if store is None or seen.statefulset is None or ends:
        return None
    claim = claim_that_stays(seen, ordinal)
    noted = [mark for mark in (fingerprint.read(store), fingerprint.read(claim)) if mark and mark.node_id is not None]
    if noted:
        ours = noted[0].cluster_id == seen.cluster_id
        row = next((node for node in seen.nodes or () if ours and node.id == noted[0].node_id), None)
    else:
        row = seen.node_of(pod) if claim is not None else None
    return row if row is not None and row.is_decommissioning else None


def claim_that_stays(seen: Observed, ordinal: int) -> Object | None:
    """The claim that a pod to come would take. One that is being deleted goes with the pod that drains; under an orphan that runs it stays."""
    claim = seen.claims.get(seen.names.claim(ordinal))
    held = seen.statefulset is None and seen.names.pod(ordinal) in seen.pods
    return None if ending(claim) and not held else claim


def _strangers(seen: Observed, wanted: t.Collection[int], kind: str) -> set[int]:
    """Ordinals to come whose volume or claim holds another cluster's store. ClusterError when nobody can say which cluster is meant."""
    name_of = seen.names.volume if kind == "PersistentVolume" else seen.names.claim
    marks = {
        ordinal: mark
        for ordinal in wanted
        if (obj := seen.objects[kind].get(name_of(ordinal))) is not None
        and not retired(obj)
        and (mark := fingerprint.read(obj)) is not None
    }
    ours = seen.journal.cluster_id or _of_members(seen)
    if ours is None and len({mark.cluster_id for mark in marks.values()}) > 1:
        raise ClusterError(
            f"the volumes kept for {seen.names.name} hold stores of different clusters: "
            + "; ".join(f"{seen.names.pod(ordinal)}: {mark}" for ordinal, mark in sorted(marks.items()))
            + ". Nothing was changed. Keep the volumes of one of them, and delete the other PersistentVolumes or claims after saving what they hold.",
            "store_foreign",
            resumable=False,
        )
    return {ordinal for ordinal, mark in marks.items() if ours is not None and mark.cluster_id != ours}


def _of_members(seen: Observed) -> str | None:
    """The id that claims and volumes of pods that are there carry; what was kept from before does not count."""
    marks = [
        fingerprint.read(seen.claims.get(seen.names.claim(ordinal)))
        or fingerprint.read(seen.volumes.get(seen.names.volume(ordinal)))
        for ordinal in range(seen.replicas)
    ]
    return next((mark.cluster_id for mark in marks if mark is not None), None)


def _refuse_mounted(spec: Spec, seen: Observed, wanted: t.Collection[int]) -> None:
    """ClusterError (store_retired) for a pod that somebody else made and that has come back with a store which a scale in has retired.

    wanted: those that get another volume. Pods that are to go may go with it.
    """

    def came_back(ordinal: int) -> NodeRow | None:
        pod, store = seen.names.pod(ordinal), _store_of(spec, seen, ordinal)
        others_do = ordinal in wanted or pod in seen.journal.leaving_pods or pod in seen.journal.replacing
        return None if store is None or not retired(store) or others_do else decommissioned(spec, seen, ordinal)

    found = {ordinal: row for ordinal in range(seen.replicas) if (row := came_back(ordinal)) is not None}
    for ordinal in sorted(found):
        if ordinal >= spec.replicas:
            return
        pod, store = seen.names.pod(ordinal), _store_of(spec, seen, ordinal) or {}
        back = f"put the node back (kaiwudb_node_decommission, node {pod}, state active)"
        # Pods leave from the highest down, and three stay.
        highest = ordinal >= 3 and found.keys() >= set(range(ordinal, seen.replicas))
        raise ClusterError(
            f"pod {pod} has come back with {_kind(store)} {store['metadata']['name']} and the store of node {found[ordinal].id} in it, which left "
            f"({store['metadata']['annotations'][RETIRED]}); it is decommissioned and never takes data. Nothing was changed. "
            + (f"Scale in again (replicas={ordinal}), or {back}." if highest else f"{back[0].upper()}{back[1:]}."),
            "store_retired",
            node=pod,
            resumable=False,
        )


def _kind(obj: Object) -> str:
    return "claim" if obj["kind"] == "PersistentVolumeClaim" else "volume"


def _refusal(obj: Object, pod: str, ways: str, foreign: bool, row: NodeRow | None) -> ClusterError:
    """Of a claim or volume whose store must not be mounted again as it is; with its origin. row: of a node that left, where only the engine says so."""
    what = f"{_kind(obj)} {obj['metadata']['name']}"
    origin = fingerprint.read(obj)
    if foreign:
        return ClusterError(
            f"{what} still holds {origin}, which is not this cluster. Nothing was changed. Set volumes to {ways}, after saving what you need.",
            "store_foreign",
            node=pod,
            resumable=False,
        )
    if retired(obj) or row is None:
        when = (obj["metadata"].get("annotations") or {}).get(RETIRED)
        whose = f"{f'{origin}, which' if origin else 'the store of a node that'} left ({when})"
    else:
        whose = f"{origin or f'the store of node {row.id}'}, which was decommissioned"
    return ClusterError(
        f"{what} still holds {whose}; it would "
        f"come back decommissioned and never take data. Nothing was changed. Set volumes to {ways}, after saving what you need.",
        "store_retired",
        node=pod,
        resumable=False,
    )


def restamp(spec: Spec, seen: Observed) -> list[Step]:
    """Volumes on which another store lies than is noted: somebody emptied one, and its pod joined anew; or none is, for somebody else added the pod."""
    wrong = []
    for ordinal, pod in enumerate(seen.expected_pods() if seen.cluster_id else ()):
        node, store = seen.node_of(pod), _store_of(spec, seen, ordinal)
        if node is None or not node.is_live or store is None or retired(store) or pod in seen.journal.replacing:
            continue  # a replacement notes it itself
        # One that is not ready may be on a fresh volume, not joined yet, while its address still tells of the node before.
        if not (pod in seen.pods and ready(seen.pods[pod])):
            continue
        mark = fingerprint.read(store)
        noted = mark.node_id if mark else None
        if noted != node.id:
            what = "nothing is noted" if noted is None else f"noted is node {noted}"
            wrong.append(f"{pod} has the store of node {node.id}, {what}")
    return _stamp(spec, wrong)


def stamp_when_settled(spec: Spec, seen: Observed) -> list[Step]:
    """Of pods that somebody else added and that are waited for: whose store it is, once they have joined."""
    stores = {pod: _store_of(spec, seen, ordinal) for ordinal, pod in enumerate(seen.expected_pods())}
    kept = {pod: fingerprint.read(store) for pod, store in stores.items() if store is not None and not retired(store)}
    joining = [pod for pod in stores if (mark := kept.get(pod)) is None or mark.node_id is None]
    return _stamp(spec, [f"once {', '.join(joining)} joined"] if joining and seen.cluster_id else [])


def _store_of(spec: Spec, seen: Observed, ordinal: int) -> Object | None:
    """The object that says whose store the pod has."""
    if spec.storage == "local":
        return seen.volumes.get(seen.names.volume(ordinal))
    return seen.claims.get(seen.names.claim(ordinal))


def _stamp(spec: Spec, why: t.Sequence[str]) -> list[Step]:
    return [Step("stamp", "; ".join(why), "reconfigure", facts={"local": spec.storage == "local"})] if why else []


def _too_small(spec: Spec, volume: Object) -> bool:
    """Whether a claim of the size that is wanted would not bind to it."""
    return growing.less(volume["spec"]["capacity"]["storage"], spec.storage_size)
