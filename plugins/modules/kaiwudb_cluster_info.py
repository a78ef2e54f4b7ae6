#!/usr/bin/python
# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What a person asks about one KaiwuDB cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kaiwudb_cluster_info
short_description: Tell everything about a KaiwuDB cluster on Kubernetes
version_added: 1.0.0
author:
  - kaiwudb.kubernetes contributors (@kaiwudb)
description:
  - Nodes with pod, Kubernetes node, volume, build, liveness and replicas; ranges that are not whole; what a run would have to repair; the
    operation under way and the last ones.
  - Ranges are judged by their replica lists and the live nodes, not by the engine's metric, which lags.
  - A cluster that does not exist is an answer (RV(exists=false)), not an error.
extends_documentation_fragment:
  - kaiwudb.kubernetes.connection
  - kaiwudb.kubernetes.run.named
  - kaiwudb.kubernetes.attributes
  - kaiwudb.kubernetes.attributes.info_module
  - kaiwudb.kubernetes.attributes.actiongroup_kaiwudb
"""

EXAMPLES = r"""
- name: Look at a cluster
  kaiwudb.kubernetes.kaiwudb_cluster_info:
    name: orders
    namespace: orders
  register: found

- name: Show it
  ansible.builtin.debug:
    msg: "{{ found.status }}"

- name: Stop unless every range is whole
  ansible.builtin.assert:
    that: found.cluster.ranges_whole
"""

RETURN = r"""
exists:
  description: Whether there is such a cluster.
  returned: success
  type: bool
cluster:
  description: The cluster in a few words, with the options in force.
  returned: success
  type: dict
nodes:
  description: One entry a pod, then one for each engine node without a pod.
  returned: success
  type: list
  elements: dict
volumes:
  description: The local volumes, with the Kubernetes node and the cluster and store they belong to; also those that outlived their pod or the cluster.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the PersistentVolume.
      type: str
    ordinal:
      description: The pod's number.
      type: int
    kubernetes_node:
      description: Kubernetes node on which the directory lies.
      type: str
    size:
      description: Capacity as the PersistentVolume says it.
      type: str
    path:
      description: The directory on the Kubernetes node.
      type: str
    claim:
      description: The PersistentVolumeClaim that the volume is for.
      type: str
    phase:
      description: The PersistentVolume's phase as Kubernetes tells it, such as V(Available), V(Bound) or V(Released).
      type: str
    cluster_id:
      description: The engine's id of the cluster that the volume belongs to; none before it is noted.
      type: str
    store:
      description: C(node) and the id of the engine node whose store lies there; none before it is noted.
      type: str
    fingerprint:
      description:
        - What annotation C(kaiwudb.kubernetes/fingerprint) says; none when nothing is noted.
        - RV(volumes[].fingerprint.node_id) and RV(volumes[].fingerprint.store_id) are none where only the cluster is known.
      type: dict
      contains:
        cluster_id:
          description: The engine's id of the cluster.
          type: str
        node_id:
          description: Id of the engine node whose store it is.
          type: int
        store_id:
          description: The engine's id of the store.
          type: int
        ordinal:
          description: The pod's number.
          type: int
        cluster:
          description: Namespace and name of the cluster.
          type: str
        since:
          description: When this store was first noted on the volume (UTC).
          type: str
    retired:
      description: When the volume was given up, because its node left or it is being erased (UTC); none for one in use.
      type: str
  sample:
    - name: orders.orders-3
      ordinal: 3
      kubernetes_node: w4
      size: 500Gi
      path: /var/lib/kaiwudb/orders.orders-3
      claim: datadir-orders-3
      phase: Released
      cluster_id: 0d8b4f4c-4c5a-4b8e-9d4e-2f6a3f1f7c11
      store: node 4
      fingerprint:
        cluster_id: 0d8b4f4c-4c5a-4b8e-9d4e-2f6a3f1f7c11
        node_id: 4
        store_id: 4
        ordinal: 3
        cluster: orders/orders
        since: "2026-11-23T09:00:00Z"
      retired: "2026-11-24T10:00:00Z"
placement:
  description: Which Kubernetes node holds which ordinal's volume, with zone, directory and size; zones are none where Kubernetes nodes may not be listed.
  returned: success
  type: list
  elements: dict
  sample:
    - {ordinal: 0, kubernetes_node: w1, zone: a, directory: /var/lib/kaiwudb/orders.orders-0, size: 500Gi, why: kept}
ranges:
  description: Number of ranges and the ids of those that are unavailable or under-replicated; none when no node answers.
  returned: success
  type: dict
jobs:
  description: Jobs of the engine that run or wait.
  returned: when the cluster exists
  type: list
  elements: dict
journal:
  description: >-
    Cluster id, when it was initialised, the operation under way, and in C(history) the last ones: C(since), C(until), C(took) in seconds, C(outcome),
    image and replicas as asked for, and in C(was) those before, and C(steps) with their times.
  returned: success
  type: dict
plan:
  description: What a run with unchanged options would do now.
  returned: success
  type: dict
drift:
  description: Ids of the steps of RV(plan).
  returned: success
  type: list
  elements: str
status:
  description: All this for a person to read.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import options
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.module import info_main


def main() -> None:
    info_main(options.argument_spec("name", "namespace"))


if __name__ == "__main__":
    main()
