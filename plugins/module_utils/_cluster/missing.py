# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Directories of local volumes that are not on their Kubernetes nodes: whose they are, and what is to be done. Pure. PRIVATE to the collection."""

from __future__ import annotations

import typing as t

from . import fingerprint
from .fingerprint import retired
from .names import ordinal_of
from .observe import ready
from .placement import node_of

if t.TYPE_CHECKING:
    from .observe import Observed
    from .spec import Spec


def _begun(seen: Observed, ordinal: int) -> str:
    """Whose store the ordinal's volume should hold, as is noted, or as the engine says of its pod; "" where there has been none yet."""
    mark, row = fingerprint.read(seen.volumes.get(seen.names.volume(ordinal))), seen.node_of(seen.names.pod(ordinal))
    if mark is not None and mark.node_id is not None:
        return str(mark)
    # One that is leaving is the node which this volume's replaces.
    return f"the store of node {row.id}" if row is not None and not row.is_decommissioning else ""


def directories(spec: Spec, seen: Observed) -> list[dict[str, str]]:
    """Directories of volumes that were made while nobody had made these yet: no store was ever seen on them, and their pods do not serve.

    Never one of a member, whose directory is missing because its disk is: made anew it would bring the node back empty.
    """
    if spec.storage != "local" or (seen.initialized and seen.nodes is None):  # then nobody can say who is a member
        return []
    found = []
    for ordinal in range(max(seen.replicas, spec.replicas)):
        volume, pod = seen.volumes.get(seen.names.volume(ordinal)), seen.pods.get(seen.names.pod(ordinal))
        if volume is None or retired(volume) or _begun(seen, ordinal) or (pod is not None and ready(pod)):
            continue
        found.append({"node": node_of(volume) or "", "directory": volume["spec"]["local"]["path"]})
    return found


def advice(spec: Spec, seen: Observed, pod: str) -> str:
    """What to do about a directory that is missing under a pod's volume."""
    ordinal = ordinal_of(pod)
    volume = None if ordinal is None else seen.volumes.get(seen.names.volume(ordinal))
    if spec.storage != "local" or ordinal is None or volume is None or pod != seen.names.pod(ordinal):
        return "Look on the node what is wrong with what it mounts, mend it and run again."
    where = f"{volume['spec']['local']['path']} on {node_of(volume)}"
    held = _begun(seen, ordinal)
    if held:
        return (
            f"{where} held {held}: mount its disk again, or bring the directory back, and run again. Do not make an empty one: the node would "
            "come back without its data, under its old name."
            + (
                f" Where it is lost, replace the node (playbook replace_node, kaiwudb_node={pod})."
                * (not spec.single_node)
            )
        )
    how = " (playbook prepare_nodes does)" if spec.local_pv_prepare == "ssh" else ""
    return f"Make the directory {where}{how}, and run again: a kubelet tries again within two minutes."
