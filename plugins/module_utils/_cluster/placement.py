# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Which Kubernetes node holds which ordinal's volume: computed, explained, stable. Pure. PRIVATE to the collection."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .errors import ClusterError
from .names import NODE, ordinal_of
from .spec import Spec

Object = t.Mapping[str, t.Any]
ZONE = "topology.kubernetes.io/zone"
REGION = "topology.kubernetes.io/region"
HOSTNAME = "kubernetes.io/hostname"


@dataclass(frozen=True)
class Choice:
    """A Kubernetes node for one ordinal's volume, its zone ("" where it has none or is not known), and why this one."""

    node: str
    zone: str
    why: str


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
    return None if is_ready(node) else "is not ready"


def is_ready(node: Object) -> bool:
    return any(
        item["type"] == "Ready" and item["status"] == "True" for item in node.get("status", {}).get("conditions") or ()
    )


def choose(
    spec: Spec, ordinals: t.Iterable[int], volumes: t.Mapping[str, Object], nodes: t.Sequence[Object] | None
) -> dict[int, Choice]:
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
        zones = {name: zone for name, zone in zones_of(listed).items() if not reasons[name]}
    placed: dict[int, Choice] = {}
    for ordinal in ordinals:
        taken = [*used, *(choice.node for choice in placed.values())]
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
        node = min(free, key=lambda name: (by_zone.count(zones[name]), taken.count(name), name))
        zone = zones[node]
        counts = [f"{by_zone.count(zone)} in zone {zone}"] if zone else []
        counts.append(f"{taken.count(node)} on {node}")
        why = "the only node left" if len(free) == 1 else f"fewest volumes so far: {', '.join(counts)}"
        placed[ordinal] = Choice(node, zone, why)
    return placed


def zones_of(nodes: t.Iterable[Object] | None) -> dict[str, str]:
    """Zone by the name of the Kubernetes node; "" for one without the label."""
    return {node["metadata"]["name"]: (node["metadata"].get("labels") or {}).get(ZONE, "") for node in nodes or ()}


def localities(nodes: t.Iterable[Object] | None) -> dict[str, str]:
    """What the engine is told of each Kubernetes node that has a zone: C(region=eu-1,zone=eu-1a), the widest first, as it wants it."""
    found = {}
    for node in nodes or ():
        labels = node["metadata"].get("labels") or {}
        if labels.get(ZONE):
            tiers = [("region", labels.get(REGION)), ("zone", labels[ZONE])]
            found[node["metadata"]["name"]] = ",".join(f"{tier}={value}" for tier, value in tiers if value)
    return found


def decided(spec: Spec, nodes: t.Iterable[Object] | None) -> Spec:
    """The spec of a cluster to be made, with C(locality) settled once and for all: pods must not restart because a label came later."""
    if spec.locality or spec.storage != "local" or spec.single_node or not localities(nodes):
        return spec
    return replace(spec, values={**spec.values, "locality": "zone"})


def rows(
    spec: Spec,
    volumes: t.Mapping[int, Object],
    chosen: t.Mapping[int, Choice],
    directory: t.Callable[[int], str],
    zones: t.Mapping[str, str],
) -> list[dict[str, t.Any]]:
    """The table of what lies where: one entry an ordinal, volumes that stay and those to be made. zones: by Kubernetes node."""
    kept = {
        ordinal: {
            "kubernetes_node": node_of(volume),
            "zone": zones.get(node_of(volume) or "") or None,
            "directory": volume["spec"].get("local", {}).get("path"),
            "size": volume["spec"]["capacity"]["storage"],
            "why": "kept",
        }
        for ordinal, volume in volumes.items()
        if ordinal not in chosen
    }
    made = {
        ordinal: {
            "kubernetes_node": choice.node,
            "zone": choice.zone or None,
            "directory": directory(ordinal),
            "size": spec.storage_size,
            "why": choice.why,
        }
        for ordinal, choice in chosen.items()
    }
    return [{"ordinal": ordinal, **row} for ordinal, row in sorted({**kept, **made}.items())]


def ordinals_of(volumes: t.Mapping[str, Object]) -> set[int]:
    """Ordinals that have a volume."""
    return {ordinal for ordinal in map(ordinal_of, volumes) if ordinal is not None}
