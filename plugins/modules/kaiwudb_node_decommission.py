#!/usr/bin/python
# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""One node of a KaiwuDB cluster leaves, or comes back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kaiwudb_node_decommission
short_description: Decommission a node of a KaiwuDB cluster, or take it back
version_added: 1.0.0
author:
  - kaiwudb.kubernetes contributors (@kaiwudb)
description:
  - Moves all replicas of one database node to the others and confirms twice that it holds none; or makes a node that is leaving active again.
  - It serves any node, also a dead one and one whose pod is gone. It does not touch StatefulSet, pod or volume; RV(follows) says what comes next.
  - To make a cluster smaller use M(kaiwudb.kubernetes.kaiwudb_cluster) with fewer replicas; it does this and the rest.
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
      - The node, as its pod's name (V(orders-3)), an ordinal (V(3)) or a node id (V(id=4)).
    type: str
    required: true
  state:
    description:
      - V(decommissioned) empties the node; V(active) is the undo, at any moment before its pod is gone.
    type: str
    default: decommissioned
    choices: [decommissioned, active]
  stall_timeout:
    description:
      - Seconds without a replica moving after which the decommission counts as stalled.
      - Not given, three times what the largest range may take at the engine's snapshot rate, 300 at least.
    type: str
  on_failure:
    description:
      - What to do when the node stalls. V(stop), the default, leaves it leaving, to be continued; V(rollback) puts it back.
    type: str
"""

EXAMPLES = r"""
- name: Empty a node whose disk is failing
  kaiwudb.kubernetes.kaiwudb_node_decommission:
    name: orders
    namespace: orders
    node: orders-2

- name: Change of mind
  kaiwudb.kubernetes.kaiwudb_node_decommission:
    name: orders
    namespace: orders
    node: orders-2
    state: active

- name: A dead node that will not come back
  kaiwudb.kubernetes.kaiwudb_node_decommission:
    name: orders
    namespace: orders
    node: id=4
"""

RETURN = r"""
node:
  description: Id, address and pod of the node. On failure the pod's name.
  returned: always
  type: raw
follows:
  description: What is left to do for the StatefulSet, in words.
  returned: success
  type: str
progress:
  description: What moved, a line each.
  returned: success
  type: list
  elements: str
in_progress:
  description: Whether O(max_runtime) ended the run before its end.
  returned: success
  type: bool
figures:
  description: Replicas left, at the start, and per second.
  returned: success
  type: dict
"""

from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.module import decommission_main


def main() -> None:
    decommission_main()


if __name__ == "__main__":
    main()
