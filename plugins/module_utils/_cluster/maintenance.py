# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""One Kubernetes node is emptied of a cluster's pods, and taken back. Pure. PRIVATE to the collection.

While the node is away the others must not make new replicas of what it holds: the engine is told to wait longer before it calls a store
dead. The journal keeps what it was told before, so that whoever comes next can restore it.
"""

from __future__ import annotations

import typing as t

from .._engine.parse import seconds as seconds_of
from .errors import ClusterError
from .going import refuse_losing
from .names import CORDONED
from .observe import Observed
from .observe import ready as is_ready
from .placement import node_of
from .plan import Changes, Plan, Step
from .present import settled
from .spec import Spec

Object = t.Mapping[str, t.Any]
OPERATION = "maintain_node"
STORE_DEAD = "server.time_until_store_dead"
CORDON_TAINT = "node.kubernetes.io/unschedulable"
LEAST = 75  # seconds; the engine refuses less


def pods_on(seen: Observed, node: str) -> list[str]:
    """The cluster's pods that are bound to this Kubernetes node, also those on their way out."""
    return sorted(name for name, pod in seen.pods.items() if pod["spec"].get("nodeName") == node)


def _pinned_to(seen: Observed, node: str) -> list[str]:
    """Its pods that have left it, or died, but can run nowhere else."""
    pods = ((seen.names.volume(ordinal), pod) for ordinal, pod in enumerate(seen.expected_pods()))
    return [pod for volume, pod in pods if volume in seen.volumes and node_of(seen.volumes[volume]) == node]


def _tolerates_cordon(pod: Object) -> bool:
    """As the scheduler judges it: such a pod goes also where no new pods should go."""
    return any(
        item.get("effect") in (None, "", "NoSchedule")
        and (item.get("key") == CORDON_TAINT or (not item.get("key") and item.get("operator") == "Exists"))
        for item in pod["spec"].get("tolerations") or ()
    )


def marked(node: Object) -> bool:
    """Whether it was cordoned here, for this cluster or another one."""
    return CORDONED in (node["metadata"].get("annotations") or {})


def _open_for(window: Object, name: str, seconds: int) -> bool:
    """Whether the engine waits so long for this node already."""
    raised = seconds_of(str(window.get("raised") or "")) or 0.0
    return bool(window.get("node") == name and window.get("set")) and raised >= seconds


def _serves(seen: Observed, name: str) -> bool:
    pod, row = seen.pods.get(name), seen.node_of(name)
    return pod is not None and is_ready(pod) and row is not None and bool(row.is_live and row.is_available)


def _step(verb: str, name: str, title: str, pod: str = "", **facts: t.Any) -> Step:
    return Step(f"{verb}/{name}", title, OPERATION, True, pod, facts)


def drained(spec: Spec, seen: Observed, name: str, node: Object | None, seconds: int) -> Plan:
    """Cordon, then end the cluster's pods on the node through the Eviction API. seconds: how long the window may be.

    ClusterError when there is no such node, or when two of the cluster's volumes would be away at once.
    """
    if node is None:
        raise ClusterError(f"there is no Kubernetes node {name}. Nothing was changed.", "unknown_node", resumable=False)
    pods = pods_on(seen, name)
    if spec.storage == "local" and len(pods) > 1:
        raise ClusterError(
            f"{' and '.join(pods)} both run on {name}, and their volumes cannot move: they would be away at once. Nothing was changed. "
            "Move one of them first (kaiwudb_node_decommission, then kaiwudb_node_replace).",
            "several_pods",
            node=pods[0],
            resumable=False,
        )
    stubborn = [pod for pod in pods if _tolerates_cordon(seen.pods[pod])]
    if stubborn:
        raise ClusterError(
            f"{stubborn[0]} tolerates {CORDON_TAINT}: it would be back on {name} at once. Nothing was changed. Take that toleration away "
            "first (tolerations, or pod_overrides).",
            "tolerates_cordon",
            node=stubborn[0],
            resumable=False,
        )
    window = seen.journal.window
    steps = []
    away = pods or _pinned_to(seen, name)  # also of a pod that somebody else has sent away first
    if away and not spec.single_node and not _open_for(window, name, seconds):
        title = f"{STORE_DEAD} is raised until the node is back"
        steps.append(_step("extend", name, title, node=name, seconds=seconds, pods=pods))
    if not node["spec"].get("unschedulable"):
        steps.append(_step("cordon", name, "no new pods", node=name))
    stays = "stays Pending until it is uncordoned" if spec.storage == "local" else "goes where its volume can go"
    # Another one on the same node goes when the one before serves elsewhere, which an earlier run may have sent there.
    waits = window.get("node") == name and any(
        pod not in pods and not _serves(seen, pod) for pod in seen.expected_pods()
    )
    for index, pod in enumerate(pods):
        if waits:
            steps.append(_step("return", name, "until every pod that is not on it serves", node=name, but=pods[index:]))
        uid = seen.pods[pod]["metadata"]["uid"]
        steps.append(_step("evict", pod, f"through its budget; {stays}", pod, node=name, uid=uid))
        waits = True
    refuse_losing(seen, steps)
    changes: Changes = {f"Pod/{pod} on {name}": ("runs", None) for pod in pods}
    if not node["spec"].get("unschedulable"):
        changes[f"Node/{name} spec.unschedulable"] = (None, True)
    # A run may have ended right after the last eviction, before it looked at what that took away.
    if not steps and seen.journal.operation.get("name") == OPERATION and not spec.single_node:
        steps.append(_step("kept", name, "every range has its majority", node=name))
    return _plan(spec, seen, f"drain {name}" + (f" of {', '.join(pods)}" if pods else ""), steps, changes)


def ready(spec: Spec, seen: Observed, name: str, node: Object | None) -> Plan:
    """Uncordon, wait for the pods, restore what was raised, and wait until all ranges are whole.

    A node that does not exist any more is not uncordoned; what was raised for it is restored all the same. One that somebody else has
    cordoned stays so: ClusterError (cordoned_by_others) where a pod waits for it, with nothing changed.
    """
    window = seen.journal.window
    mine, others = window.get("node") == name, bool(window) and window.get("node") != name
    steps = []
    changes: Changes = {}
    cordoned = node is not None and node["spec"].get("unschedulable")
    if node is not None and marked(node):  # also the mark of one that somebody has uncordoned by hand
        steps.append(_step("uncordon", name, "pods may come back", node=name))
        changes.update({f"Node/{name} spec.unschedulable": (True, None)} if cordoned else {})
    elif cordoned and (waiting := [pod for pod in _pinned_to(seen, name) if not _serves(seen, pod)]):
        raise ClusterError(
            f"{name} was cordoned by somebody else, and {waiting[0]} can run nowhere else. Nothing was changed. Uncordon it (kubectl uncordon "
            f"{name}), then run again.",
            "cordoned_by_others",
            node=waiting[0],
        )
    if not others and not settled(spec, seen):  # what is away for another node's sake does not come back with this one
        steps.append(_step("return", name, "until every pod is ready and live", but=()))
    if mine:
        steps.append(_step("restore", name, f"{STORE_DEAD} back to {window.get('was')}"))
    if not others and (steps or seen.journal.operation.get("name") == OPERATION):
        steps.append(_step("whole", name, "until all ranges are whole"))
    return _plan(spec, seen, f"take {name} back", steps, changes, closes=not others)


def _plan(spec: Spec, seen: Observed, what: str, steps: list[Step], changes: Changes, *, closes: bool = True) -> Plan:
    """closes: an operation that the journal still has under way is this one, so it is complete where nothing is left to do."""
    if closes and not steps and seen.journal.operation.get("name") == OPERATION:
        steps = [Step("close", "an earlier run is complete")]
    return Plan(f"{spec.name}: {what if steps else 'nothing to do'}", tuple(steps), changes=changes)
