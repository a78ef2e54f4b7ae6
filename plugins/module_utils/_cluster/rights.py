# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Which rights a plan needs, asked before the first write: half a cluster for want of a right helps nobody. PRIVATE."""

from __future__ import annotations

import typing as t

from .errors import ClusterError

if t.TYPE_CHECKING:
    from .._kube.client import Client
    from .plan import Plan

Right = tuple[str, str, str, bool]  # verb, resource, API group, whether namespaced

_RUN: tuple[Right, ...] = (
    ("create", "leases", "coordination.k8s.io", True),
    ("patch", "leases", "coordination.k8s.io", True),
    ("patch", "configmaps", "", True),
)
_EXEC: tuple[Right, ...] = (("create", "pods/exec", "", True),)
_VOLUME: tuple[Right, ...] = (
    ("patch", "persistentvolumes", "", False),
    ("delete", "persistentvolumes", "", False),
    ("create", "pods", "", True),
    ("delete", "pods", "", True),
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
_BY_VERB: dict[str, tuple[Right, ...]] = {
    "volume": _VOLUME,
    "reuse": (*_VOLUME, ("delete", "persistentvolumeclaims", "", True)),
    "free": _VOLUME,
    "stamp": (*_EXEC, ("patch", "persistentvolumeclaims", "", True)),
    "drop": (("delete", "persistentvolumeclaims", "", True),),
    "initialize": (*_EXEC, ("patch", "persistentvolumeclaims", "", True)),
    "remember": (*_EXEC, ("patch", "persistentvolumeclaims", "", True)),
    "scale_out": (*_EXEC, ("patch", "statefulsets", "apps", True), ("patch", "persistentvolumeclaims", "", True)),
    "upgrade": (*_EXEC, ("patch", "statefulsets", "apps", True), ("delete", "pods", "", True)),
    "reconfigure": (*_EXEC, ("patch", "statefulsets", "apps", True), ("delete", "pods", "", True)),
    "revert": (*_EXEC, ("patch", "statefulsets", "apps", True), ("delete", "pods", "", True)),
    "reclaim": (
        *_EXEC,
        ("delete", "pods", "", True),
        ("patch", "persistentvolumeclaims", "", True),
        ("patch", "persistentvolumes", "", False),
    ),
    "template": (("delete", "statefulsets", "apps", True), ("patch", "statefulsets", "apps", True)),
    "expand": (("patch", "persistentvolumeclaims", "", True),),
    "rebind": (
        *_EXEC,
        ("delete", "pods", "", True),
        ("delete", "persistentvolumeclaims", "", True),
        ("patch", "persistentvolumeclaims", "", True),
        ("patch", "persistentvolumes", "", False),
    ),
    "renew": (
        *_EXEC,
        ("delete", "pods", "", True),
        ("delete", "persistentvolumeclaims", "", True),
        ("patch", "persistentvolumeclaims", "", True),
    ),
    "preserve": _EXEC,
    "prepull": (("create", "pods", "", True), ("delete", "pods", "", True), ("get", "pods/log", "", True)),
    "finalize": _EXEC,
    "release": _EXEC,
    "pause": (("patch", "statefulsets", "apps", True),),
    "resume": (("patch", "statefulsets", "apps", True),),
    "recommission": _EXEC,
    "decommission": _EXEC,
    "scale_in": (*_EXEC, ("patch", "statefulsets", "apps", True), ("delete", "persistentvolumeclaims", "", True)),
    "settle": _EXEC,
    "leave": _EXEC,
    "detach": (*_EXEC, ("delete", "pods", "", True), ("delete", "persistentvolumeclaims", "", True)),
    "clear": _VOLUME,
    "rejoin": (*_EXEC, ("patch", "persistentvolumeclaims", "", True)),
    "empty": (*_EXEC, ("patch", "persistentvolumeclaims", "", True)),
    "extend": _EXEC,
    "restore": _EXEC,
    "cordon": (("patch", "nodes", "", False),),
    "uncordon": (("patch", "nodes", "", False),),
    "evict": (*_EXEC, ("create", "pods/eviction", "", True)),
    "kept": _EXEC,
    "return": _EXEC,
    "whole": _EXEC,
    "remove": (
        ("delete", "statefulsets", "apps", True),
        ("delete", "pods", "", True),
        ("delete", "services", "", True),
        ("delete", "persistentvolumeclaims", "", True),
        ("delete", "configmaps", "", True),
        ("list", "controllerrevisions", "apps", True),
        ("delete", "controllerrevisions", "apps", True),
    ),
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
        rights = _BY_VERB.get(verb, ())
        if verb == "volume" and not step.facts.get("pod", True):
            rights = tuple(right for right in rights if right[1] != "pods")
        wanted.update(dict.fromkeys(rights))
        if step.facts.get("local"):
            wanted.update(dict.fromkeys(_VOLUME))
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
