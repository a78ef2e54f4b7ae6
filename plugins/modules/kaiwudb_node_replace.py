#!/usr/bin/python
# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""A lost node of a KaiwuDB cluster is replaced by an empty one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kaiwudb_node_replace
short_description: Replace a node of a KaiwuDB cluster whose Kubernetes node or disk is lost
version_added: 1.0.0
author:
  - kaiwudb.kubernetes contributors (@kaiwudb)
description:
  - Finds out what is lost of a database node (its Kubernetes node, its disk, or its place), proves that every range keeps a majority of its
    replicas elsewhere, and tells the dead node to leave.
  - Then its claim and its volume go, a volume is pinned to another Kubernetes node, the pod comes back with an empty store as a new node, and the
    module waits until the old one holds nothing and all ranges are whole.
  - A range that is short of its majority refuses it, by name, with nothing touched. Killed at any moment, the same task goes on.
  - A store that was emptied by hand under its old name (two rows, one address) is tidied up by the same task.
  - A node that serves is left alone. To move one, decommission it first (M(kaiwudb.kubernetes.kaiwudb_node_decommission)), then replace it.
extends_documentation_fragment:
  - kaiwudb.kubernetes.connection
  - kaiwudb.kubernetes.run.named
  - kaiwudb.kubernetes.run.limits
  - kaiwudb.kubernetes.run
  - kaiwudb.kubernetes.attributes
  - kaiwudb.kubernetes.attributes.actiongroup_kaiwudb
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  node:
    description:
      - The node, as its pod's name (V(orders-3)) or an ordinal (V(3)).
    type: str
    required: true
  kubernetes_node:
    description:
      - Kubernetes node that takes the new volume; for a disk that was exchanged, the same one as before.
      - Not given, it is computed as for a new volume, from all but the one that is lost. Only with local volumes.
    type: str
  lost:
    description:
      - V(true) says that what ran on the old Kubernetes node will never run again, where Kubernetes cannot tell or hopes for its return, that is,
        where the node does not answer or is cordoned. The pod is then ended without its kubelet's word.
      - Needed too where only the image or the configuration keeps the pod from starting, which says nothing about its store.
      - It is said of the Kubernetes node on which the pod was when the run began. Should the one that took it over be lost as well before all ranges
        are whole, say it again together with O(kubernetes_node).
      - Not needed where the Node object is gone, carries the taint C(node.kubernetes.io/out-of-service), or answers.
      - V(false) when not given.
    type: str
  volumes:
    description:
      - What becomes of the old directory, where its Kubernetes node still answers. V(retain) and V(delete) leave it as it is; V(archive) renames it;
        V(wipe) erases it, in a pod on that Kubernetes node that proves that nothing is left. The PersistentVolume object goes either way.
      - With V(archive) and V(wipe) the same is done to what an earlier life of the ordinal left on the new Kubernetes node. A store of another
        cluster there is refused, and with V(wipe) also what nothing in it identifies.
      - With C(storage=dynamic) V(archive) keeps the old volume aside (reclaim policy C(Retain)); else the storage class decides about it.
      - V(retain) when not given.
    type: str
  stall_timeout:
    description:
      - Seconds without a replica moving after which the decommission counts as stalled.
      - Not given, three times what the largest range may take at the engine's snapshot rate, 300 at least.
    type: str
seealso:
  - module: kaiwudb.kubernetes.kaiwudb_node_decommission
  - module: kaiwudb.kubernetes.kaiwudb_node_maintenance
"""

EXAMPLES = r"""
- name: The Kubernetes node of orders-2 was destroyed, and its Node object deleted
  kaiwudb.kubernetes.kaiwudb_node_replace:
    name: orders
    namespace: orders
    node: orders-2

- name: It is switched off for good, and Kubernetes only knows that it does not answer
  kaiwudb.kubernetes.kaiwudb_node_replace:
    name: orders
    namespace: orders
    node: orders-2
    lost: true

- name: The disk of worker3 was exchanged
  kaiwudb.kubernetes.kaiwudb_node_replace:
    name: orders
    namespace: orders
    node: orders-2
    kubernetes_node: worker3
"""

RETURN = r"""
pod:
  description: The pod that was replaced.
  returned: success
  type: str
loss:
  description: What was found to be lost; C(kind), C(text) and C(kubernetes_node).
  returned: success
  type: dict
steps:
  description: What was done, or in check mode would be done.
  returned: success
  type: list
  elements: str
plan:
  description: Headline, steps and gates.
  returned: always
  type: dict
progress:
  description: What moved, a line each.
  returned: success
  type: list
  elements: str
in_progress:
  description: Whether O(max_runtime) ended the run before its end.
  returned: success
  type: bool
reason:
  description: Stable code of a refusal or failure, such as V(ranges_unavailable), V(node_dead), V(process_ended) or V(no_node).
  returned: failure
  type: str
"""

from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.module import replace_main


def main() -> None:
    replace_main()


if __name__ == "__main__":
    main()
