# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Claims and volumes that somebody has deleted, and that go with the pods which hold them. Pure. PRIVATE to the collection."""

from __future__ import annotations

import typing as t

from .errors import ClusterError
from .fingerprint import retired
from .names import ordinal_of
from .observe import ending
from .placement import node_of
from .plan import Step

if t.TYPE_CHECKING:
    from .observe import Observed
    from .spec import Spec
Object = t.Mapping[str, t.Any]


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
        going = ending(claim)
        if claim is None or going or claim["metadata"].get("uid") not in (None, owner):
            pod = seen.names.pod(ordinal)
            title = (
                f"claim {seen.names.claim(ordinal)} "
                + ("is being deleted" if going else "was deleted")
                + ": its volume goes to a new one"
            )
            steps.append(Step(f"reclaim/{pod}", title, "reconfigure", pod=pod, facts={"ordinal": ordinal}))
    return steps


def refuse_losing(seen: Observed, steps: t.Iterable[Step]) -> None:
    """ClusterError (volume_going) before a step that ends a pod whose volume would go with it: both it and its claim are being deleted.

    Scaling in is none of these, for the node's data has moved away by then.
    """
    for step in steps:
        ordinal = ordinal_of(step.pod)
        if ordinal is None or not step.disruptive or step.operation == "scale_in":
            continue
        if step.verb in ("reclaim", "rebind") or ending(seen.claims.get(seen.names.claim(ordinal))):
            refuse(seen.volumes.get(seen.names.volume(ordinal)), step.pod)


def refuse(volume: Object | None, pod: str, untouched: str = "Nothing was changed") -> None:
    """ClusterError (volume_going) for a volume that is being deleted, before the pod on it is ended. untouched: what was left alone."""
    if volume is None or not ending(volume):
        return
    raise ClusterError(
        f"{told(volume, pod)} {untouched}. Move its data away and give it another volume: kaiwudb_node_decommission, then kaiwudb_node_replace "
        f"for {pod}; where too few nodes would stay, scale out first (playbook scale).",
        "volume_going",
        node=pod,
        resumable=False,
    )


def told(volume: Object, pod: str) -> str:
    """What is lost with it."""
    return (
        f"PersistentVolume {volume['metadata']['name']} of {pod} is being deleted, and nobody can call that back: it goes with its claim, and with it the "
        f"only note of where the store lies ({volume['spec'].get('local', {}).get('path')} on {node_of(volume)})."
    )


def notes(seen: Observed) -> list[str]:
    """Of each volume in use that is being deleted, a line for whoever has nothing else to do."""
    pods = ((pod, seen.volumes.get(seen.names.volume(ordinal))) for ordinal, pod in enumerate(seen.expected_pods()))
    return [
        f"{told(volume, pod)} Decommission {pod} and replace it before its pod or its claim goes."
        for pod, volume in pods
        if volume is not None and ending(volume)
    ]
