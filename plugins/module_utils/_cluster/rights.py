# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Which rights a plan needs, asked before the first write: half a cluster for want of a right helps nobody. PRIVATE."""

from __future__ import annotations

import typing as t

from .errors import ClusterError
from .verbs import VOLUME, Right

if t.TYPE_CHECKING:
    from .._kube.client import Client
    from .plan import Plan

_RUN: tuple[Right, ...] = (
    ("create", "leases", "coordination.k8s.io", True),
    ("patch", "leases", "coordination.k8s.io", True),
    ("patch", "configmaps", "", True),
)
_PLURAL = {
    "Service": ("services", ""),
    "PodDisruptionBudget": ("poddisruptionbudgets", "policy"),
    "ServiceAccount": ("serviceaccounts", ""),
    "StatefulSet": ("statefulsets", "apps"),
    "ConfigMap": ("configmaps", ""),
    "Namespace": ("namespaces", ""),
    "Pod": ("pods", ""),
}
_ERASE: tuple[Right, ...] = (
    ("create", "pods", "", True),
    ("delete", "pods", "", True),
    ("create", "persistentvolumeclaims", "", True),
    ("patch", "persistentvolumeclaims", "", True),
)
_BY_POLICY: dict[tuple[t.Any, bool], tuple[Right, ...]] = {
    ("wipe", True): _ERASE,
    ("wipe", False): _ERASE,
    ("archive", False): (("get", "persistentvolumes", "", False), ("patch", "persistentvolumes", "", False)),
    ("retain", False): (("patch", "persistentvolumeclaims", "", True),),
}


def needed(plan: Plan) -> list[Right]:
    """The rights of all steps, each once, in order."""
    wanted: dict[Right, None] = dict.fromkeys(_RUN)
    for step in plan.steps:
        verb, _slash, rest = step.id.partition("/")
        if verb in ("create", "repair", "delete"):
            kind = rest.split("/")[0]
            resource, group = _PLURAL[kind]
            how = "delete" if verb == "delete" else "create" if kind == "Namespace" else "patch"
            wanted[how, resource, group, kind != "Namespace"] = None
        rights = step.known.rights
        if verb == "volume" and not step.facts.get("pod", True):
            rights = tuple(right for right in rights if right[1] != "pods")
        wanted.update(dict.fromkeys(rights))
        if step.facts.get("local"):
            wanted.update(dict.fromkeys(VOLUME))
        wanted.update(dict.fromkeys(_BY_POLICY.get((step.facts.get("policy"), bool(step.facts.get("local"))), ())))
    return list(wanted)


def refuse_missing(client: Client, plan: Plan, namespace: str) -> None:
    """ClusterError (forbidden) with every right that is missing."""
    missing = [
        (verb, resource, namespaced)
        for verb, resource, group, namespaced in needed(plan)
        if not client.can_i(verb, resource, group, namespace if namespaced else None)
    ]
    if missing:
        rights = "; ".join(
            f"{verb} {resource} " + (f"in namespace {namespace}" if namespaced else "cluster-wide")
            for verb, resource, namespaced in missing
        )
        raise ClusterError(
            f"these rights are missing: {rights}. Nothing was changed. Grant them (examples/rbac holds a Role and a ClusterRole).",
            "forbidden",
            missing=[f"{verb} {resource}" for verb, resource, _namespaced in missing],
            resumable=False,
        )
