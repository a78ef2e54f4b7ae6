# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Which Kubernetes node holds which ordinal's volume: computed, explained, stable. Pure. PRIVATE to the collection."""

from __future__ import annotations

import typing as t

from .errors import ClusterError
from .names import NODE, ordinal_of
from .spec import Spec

Object = t.Mapping[str, t.Any]
ZONE = "topology.kubernetes.io/zone"
HOSTNAME = "kubernetes.io/hostname"


def node_of(volume: Object) -> str | None:
    """The Kubernetes node a volume is pinned to; None for one that is not local."""
    noted = (volume.get("metadata", {}).get("annotations") or {}).get(NODE)
    if noted:
        return str(noted)
    terms = volume["spec"].get("nodeAffinity", {}).get("required", {}).get("nodeSelectorTerms") or ()
    return next(
        (
            value
            for term in terms
            for rule in term.get("matchExpressions") or ()
            if rule["key"] == HOSTNAME
            for value in rule["values"]
        ),
        None,
    )


def hostname_of(node: str, nodes: t.Iterable[Object] | None) -> str | None:
    """The hostname label of a node by its name; None where the nodes may not be listed."""
    return next(
        (
            (item["metadata"].get("labels") or {}).get(HOSTNAME)
            for item in nodes or ()
            if item["metadata"]["name"] == node
        ),
        None,
    )


def _tolerated(taint: Object, tolerations: t.Iterable[Object]) -> bool:
    """Whether one of the tolerations lets a pod past the taint (the scheduler's own rule)."""
    for item in tolerations:
        if item.get("effect") not in (None, "", taint["effect"]) or item.get("key") not in (None, "", taint["key"]):
            continue
        if item.get("operator", "Equal") == "Exists" or (
            item.get("key") == taint["key"] and (item.get("value") or "") == (taint.get("value") or "")
        ):
            return True
    return False


def unfit(node: Object, spec: Spec) -> str | None:
    """Why a database pod could not run on this Kubernetes node; None when it could."""
    labels = node["metadata"].get("labels") or {}
    if node["spec"].get("unschedulable"):
        return "is cordoned"
    for taint in node["spec"].get("taints") or ():
        if taint["effect"] in ("NoSchedule", "NoExecute") and not _tolerated(taint, spec.tolerations or ()):
            return f"has the taint {taint['key']}:{taint['effect']}"
    for key, value in (spec.node_selector or {}).items():
        if labels.get(key) != str(value):
            return f"lacks the label {key}={value}"
    if not any(
        item["type"] == "Ready" and item["status"] == "True" for item in node.get("status", {}).get("conditions") or ()
    ):
        return "is not ready"
    return None


def place(
    spec: Spec, ordinals: t.Iterable[int], volumes: t.Mapping[str, Object], nodes: t.Sequence[Object] | None
) -> dict[int, str]:
    """A node for each ordinal that has no volume yet; volumes that exist are never moved.

    Fewest volumes of this cluster first, by zone and then by node, then by name. nodes None: they may not be listed, so
    local_nodes is taken at its word. ClusterError (no_node) tells for each node why it cannot be used.
    """
    used = [node_of(volume) for volume in volumes.values()]
    if nodes is None:
        zones, reasons = dict.fromkeys(spec.local_nodes, ""), {}
    else:
        wanted = set(spec.local_nodes)
        listed = [node for node in nodes if not wanted or node["metadata"]["name"] in wanted]
        reasons = {node["metadata"]["name"]: unfit(node, spec) for node in listed}
        reasons.update(dict.fromkeys(wanted - set(reasons), "does not exist"))
        zones = {
            node["metadata"]["name"]: (node["metadata"].get("labels") or {}).get(ZONE, "")
            for node in listed
            if not reasons[node["metadata"]["name"]]
        }
    placed: dict[int, str] = {}
    for ordinal in ordinals:
        taken = [*used, *placed.values()]
        free = [name for name in zones if spec.anti_affinity != "required" or name not in taken]
        if not free:
            why = "; ".join(
                [f"{name} {reason}" for name, reason in sorted(reasons.items()) if reason]
                + [f"{name} already holds one" for name in sorted(set(filter(None, taken)))]
            )
            raise ClusterError(
                f"no Kubernetes node is left for volume {spec.name}-{ordinal}: {why or 'there are no nodes'}. "
                "Nothing was changed. Add a node, widen local_nodes or tolerations, or set anti_affinity to preferred.",
                "no_node",
                node=f"{spec.name}-{ordinal}",
            )
        by_zone = [zones.get(name or "") for name in taken]
        placed[ordinal] = min(free, key=lambda name: (by_zone.count(zones[name]), taken.count(name), name))
    return placed


def ordinals_of(volumes: t.Mapping[str, Object]) -> set[int]:
    """Ordinals that have a volume."""
    return {ordinal for ordinal in map(ordinal_of, volumes) if ordinal is not None}
