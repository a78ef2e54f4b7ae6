# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Volumes that are to become larger: what is behind, and the way that each kind of storage has. Pure. PRIVATE to the collection.

The claim template of a StatefulSet cannot be changed, so the StatefulSet is made again round its pods, which do not notice (step
C(template)). Then the claims follow: by themselves where their class expands volumes (C(expand)); by a successor of the claim, which takes
the same volume and asks for more, where volumes are local (C(rebind): their size is a number, the directory is as large as its disk); else
by a fresh volume for each ordinal in turn, whose node leaves with its data moved and comes back empty (C(renew)).
"""

from __future__ import annotations

import copy
import json
import typing as t

from . import quantity
from .names import OPTIONS
from .observe import Observed, ending
from .plan import Changes, Step
from .spec import Spec
from .verdict import DONE, Verdict

Object = t.Mapping[str, t.Any]


def template_size(statefulset: Object | None) -> str | None:
    """Of the claims that the StatefulSet makes; None without any."""
    made = next(iter((statefulset or {}).get("spec", {}).get("volumeClaimTemplates") or ()), None)
    return str(made["spec"]["resources"]["requests"]["storage"]) if made else None


def requested(claim: Object | None) -> str | None:
    found = ((claim or {}).get("spec", {}).get("resources") or {}).get("requests") or {}
    return str(found["storage"]) if "storage" in found else None


def capacity(claim: Object | None) -> str | None:
    """What it has; None before it is bound."""
    found = ((claim or {}).get("status") or {}).get("capacity") or {}
    return str(found["storage"]) if "storage" in found else None


def less(size: str | None, wanted: str) -> bool:
    """Whether a size that is known is below what is wanted."""
    return size is not None and quantity.parse(size) < quantity.parse(wanted)


def template(spec: Spec, seen: Observed, changes: Changes) -> list[Step]:
    """The StatefulSet with larger claims in its template, or the rest of it where a run was killed on the way."""
    size = template_size(seen.statefulset)
    if not less(size, spec.storage_size) and not seen.journal.recreate:
        return []
    if less(size, spec.storage_size):
        changes[f"StatefulSet/{spec.name} storage_size"] = (size, spec.storage_size)
    title = f"claims of {spec.storage_size} in its template, was {size}: made again round its pods, which run on"
    return [Step(f"template/{spec.name}", title, "reconfigure", asked="storage_size" in spec.asked)]


def behind(spec: Spec, seen: Observed) -> list[int]:
    """Ordinals whose claim asks for less than is wanted, from the highest down."""
    return [
        ordinal
        for ordinal in reversed(range(min(seen.replicas, spec.replicas)))
        if less(requested(seen.claims.get(seen.names.claim(ordinal))), spec.storage_size)
    ]


def _unfinished(claim: Object | None, wanted: str) -> bool:
    """Whether its class is still expanding it; what only its pod can end, when it starts again, is not waited for anew."""
    status = (claim or {}).get("status") or {}
    pending = any(
        item["type"] == "FileSystemResizePending" and item.get("status") == "True"
        for item in status.get("conditions") or ()
    )
    return less(capacity(claim), wanted) and not pending


def claims(spec: Spec, seen: Observed, expands: bool, changes: Changes) -> list[Step]:
    """How the claims follow. expands: whether the storage class expands volumes."""
    steps, sizes, unfinished, local = [], [], 0, spec.storage == "local"
    asked = "storage_size" in spec.asked
    for ordinal in reversed(range(min(seen.replicas, spec.replicas))):
        pod, claim = seen.names.pod(ordinal), seen.claims.get(seen.names.claim(ordinal))
        was = requested(claim)
        if claim is None or was is None or not less(was, spec.storage_size):
            unfinished += not local and _unfinished(claim, spec.storage_size)
            continue
        if local and ending(claim):
            continue  # its successor is on the way: step reclaim
        changes[f"PersistentVolumeClaim/{claim['metadata']['name']} storage"] = (was, spec.storage_size)
        if expands and not local:
            sizes.append(was)
            continue
        verb, how = (
            ("rebind", "by a new claim on the same volume and data")
            if local
            else ("renew", "by a fresh volume, its node leaves and comes back empty")
        )
        steps.append(
            Step(
                f"{verb}/{pod}",
                f"{was} → {spec.storage_size}, {how}",
                "reconfigure",
                asked=asked,
                pod=pod,
                facts={"ordinal": ordinal, "local": local},
            )
        )
    # One step for all: they grow at once, and when one of them has grown, what was planned is still the same.
    if sizes or unfinished:
        was = f"{', '.join(sorted(set(sizes), key=quantity.parse))} → {spec.storage_size}, " if sizes else ""
        title = f"{was}{len(sizes) + unfinished} claims, expanded by their storage class"
        steps.append(Step(f"expand/{spec.name}", title, "reconfigure", asked=asked and bool(sizes)))
    return steps


def grown_note(seen: Observed, size: str) -> str:
    """The StatefulSet's annotation of options with the new size and nothing else changed: what else is asked for is still to be done."""
    return json.dumps({**seen.noted, "storage_size": size}, sort_keys=True)


def again(live: Object, size: str, note: str) -> dict[str, t.Any]:
    """The StatefulSet as it is to be made again: as it lives, template and all, so that its pods stay of its newest revision.

    Its partition restarts nothing until somebody has seen that this is so.
    """
    spec = copy.deepcopy(dict(live["spec"]))
    claim = spec["volumeClaimTemplates"][0]
    kept = {key: claim["metadata"][key] for key in ("name", "labels", "annotations") if key in claim["metadata"]}
    claim["spec"]["resources"]["requests"]["storage"] = size
    spec["volumeClaimTemplates"] = [{"metadata": kept, "spec": claim["spec"]}, *spec["volumeClaimTemplates"][1:]]
    spec["template"].get("metadata", {}).pop("creationTimestamp", None)  # null, of no meaning
    spec["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": spec["replicas"]}}
    meta = live["metadata"]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": dict(meta.get("labels") or {}),
            "annotations": {**(meta.get("annotations") or {}), OPTIONS: note},
        },
        "spec": spec,
    }


def expanded(claim: Object | None, wanted: str, pending_for: t.Callable[[bool], float]) -> Verdict:
    """Whether a claim has grown. pending_for: told whether only the file system is missing, it says for how many seconds that has been so.

    Most drivers grow the file system under a running pod; the others do it when the pod starts again, which is not ours to force here.
    Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#resizing-an-in-use-persistentvolumeclaim
    """
    status = (claim or {}).get("status") or {}
    name = (claim or {}).get("metadata", {}).get("name", "")
    if not less(capacity(claim) or "0", wanted):
        return DONE
    conditions = {item["type"]: item for item in status.get("conditions") or () if item.get("status") == "True"}
    told = [item.get("message") or kind for kind, item in conditions.items() if kind.endswith("ResizeError")]
    phase = (status.get("allocatedResourceStatuses") or {}).get("storage", "")
    # The driver will never do it; why, stands in the condition. A former attempt's verdict goes in a moment.
    if phase.endswith("Infeasible"):
        why = told[0] if told else "its storage driver gives no reason"
        return Verdict(False, f"claim {name} can never grow to {wanted} ({phase}): {why}", "resize_failed", 5.0)
    if told:  # tried again and again
        return Verdict(False, f"claim {name} cannot be resized: {told[0]}", "resize_failed", 30.0)
    pending = "FileSystemResizePending" in conditions
    if pending_for(pending) >= 30.0:
        return DONE
    begun = phase or "Resizing" in conditions
    what = (
        "its file system grows when the pod is started again, or soon"
        if pending
        else "is being resized"
        if begun
        else f"the driver of its storage class has not begun to resize it to {wanted}"
    )
    return Verdict(False, f"claim {name}: {what}")
