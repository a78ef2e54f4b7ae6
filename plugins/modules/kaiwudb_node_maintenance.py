#!/usr/bin/python
# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes node is emptied of a KaiwuDB cluster's pods, or taken back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kaiwudb_node_maintenance
short_description: Empty a Kubernetes node of a KaiwuDB cluster for its maintenance, and take it back
version_added: 1.0.0
author:
  - kaiwudb.kubernetes contributors (@kaiwudb)
description:
  - V(drained) proves the gates, has the engine wait longer before it calls a store dead (C(server.time_until_store_dead)), cordons the Kubernetes
    node and ends this cluster's pods on it through the Eviction API, so that its disruption budget counts. A pod with a local volume stays Pending
    until the node is back; that is the meaning.
  - V(ready) uncordons the node, waits until every pod is ready and live, restores what the engine was told before, and waits until all ranges are whole.
    A node that somebody else had cordoned (it lacks the annotation C(kaiwudb.kubernetes/cordoned)) stays so; where a pod waits for it, that is said
    (RV(reason=cordoned_by_others)).
  - What the engine was told before is kept in the cluster's journal first. A run that fails outside the window restores it; of a run that was killed, the
    next plain run of M(kaiwudb.kubernetes.kaiwudb_cluster) restores it once every pod serves, and says whose window it is until then.
  - Pods that are not of this cluster are left alone. Where several clusters have pods on the node, each is one task; cordoning twice is no change.
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
  kubernetes_node:
    description:
      - The Kubernetes node, by its name.
    type: str
    required: true
  state:
    description:
      - V(drained) or V(ready).
    type: str
    required: true
    choices: [drained, ready]
  window:
    description:
      - How long the node may be away before the others make new replicas of what it holds, such as V(3h), V(90m) or a number of seconds; 75 seconds at
        least. The engine is never told less than it was told before.
      - V(3h) when not given.
    type: str
seealso:
  - module: kaiwudb.kubernetes.kaiwudb_node_replace
"""

EXAMPLES = r"""
- name: Before the kernel of worker3 is patched
  kaiwudb.kubernetes.kaiwudb_node_maintenance:
    name: orders
    namespace: orders
    kubernetes_node: worker3
    state: drained
    window: 90m

- name: Afterwards
  kaiwudb.kubernetes.kaiwudb_node_maintenance:
    name: orders
    namespace: orders
    kubernetes_node: worker3
    state: ready
"""

RETURN = r"""
kubernetes_node:
  description: The Kubernetes node.
  returned: success
  type: str
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
  description: Stable code of a refusal or failure, such as V(nodes_live), V(ranges_underreplicated), V(several_pods) or V(timeout).
  returned: failure
  type: str
"""

from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.module import maintenance_main


def main() -> None:
    maintenance_main()


if __name__ == "__main__":
    main()
