#!/usr/bin/python
# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""One KaiwuDB cluster on Kubernetes, whole."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kaiwudb_cluster
short_description: Run a KaiwuDB cluster on Kubernetes
version_added: 1.0.0
author:
  - kaiwudb.kubernetes contributors (@kaiwudb)
description:
  - Brings one cluster from whatever state it is in to the one asked for, or says what is in the way.
  - It creates the cluster, initialises it once, adds nodes, decommissions and removes nodes, restarts it pod by pod on another image or
    with other options, repairs what somebody changed by hand, and removes it whole.
  - An option that is not given keeps what the live cluster has; the defaults apply when it is created. A new version of this collection
    never restarts a database whose options did not change.
  - Every number and boolean may come as text, and V("") means not given, as surveys send them.
  - Long work is done in slices; the run shows a line whenever something moved, may be killed at any moment, and continues when it is run again.
extends_documentation_fragment:
  - kaiwudb.kubernetes.connection
  - kaiwudb.kubernetes.run
  - kaiwudb.kubernetes.cluster
  - kaiwudb.kubernetes.attributes
  - kaiwudb.kubernetes.attributes.actiongroup_kaiwudb
attributes:
  check_mode:
    support: full
    details:
      - Returns the very plan the real run executes, and sends no write.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - A second run on a settled cluster sends no write request at all.
options:
  state:
    description:
      - V(present) makes the cluster what the options say; V(absent) removes it, with its volumes treated as O(volumes) says.
    type: str
    default: present
    choices: [present, absent]
seealso:
  - module: kaiwudb.kubernetes.kaiwudb_cluster_info
  - module: kaiwudb.kubernetes.kaiwudb_node_decommission
"""

EXAMPLES = r"""
- name: Create and initialise a cluster of three nodes
  kaiwudb.kubernetes.kaiwudb_cluster:
    name: orders
    namespace: orders
    create_namespace: true
    image: kwdb/kwdb:3.2.1
    security: insecure
    replicas: 3
    storage_size: 10Gi

- name: See what an upgrade would do
  kaiwudb.kubernetes.kaiwudb_cluster:
    name: orders
    namespace: orders
    image: kwdb/kwdb:3.2.2
    operations: [upgrade]
  check_mode: true
  diff: true

- name: A canary, one pod on the new release, then a person decides
  kaiwudb.kubernetes.kaiwudb_cluster:
    name: orders
    namespace: orders
    image: kwdb/kwdb:3.2.2
    pause_after: 1
    on_failure: rollback
    operations: [upgrade]

- name: Restart every node, one by one
  kaiwudb.kubernetes.kaiwudb_cluster:
    name: orders
    namespace: orders
    restart_id: "2026-11-24"

- name: Let the cluster version rise, after which no upgrade can be undone
  kaiwudb.kubernetes.kaiwudb_cluster:
    name: orders
    namespace: orders
    operations: [finalize]

- name: Nobody but a person touches this cluster for a while
  kaiwudb.kubernetes.kaiwudb_cluster:
    name: orders
    namespace: orders
    paused: true

- name: One node fewer, its volume erased
  kaiwudb.kubernetes.kaiwudb_cluster:
    name: orders
    namespace: orders
    replicas: 3
    operations: [scale_in]
    volumes: wipe

- name: Remove the cluster and its data
  kaiwudb.kubernetes.kaiwudb_cluster:
    name: orders
    namespace: orders
    state: absent
    confirm: orders
    deletion_protection: false
    volumes: wipe
"""

RETURN = r"""
steps:
  description: Ids of the steps that were done; in check mode, of those that would be.
  returned: always
  type: list
  elements: str
  sample: [create/Service/orders, volume/orders-0, create/StatefulSet/orders, initialize]
plan:
  description:
    - The plan as it was made before the first step, with headline, C(steps), C(remaining), C(gates) and, when volumes are made, C(placement).
    - A gate has name, value, limit, holds, sentence and waived; C(waits) says that a run waits for it before it refuses.
  returned: always
  type: dict
plan_lines:
  description: The plan for a person to read.
  returned: success
  type: list
  elements: str
remaining:
  description: Ids of steps that come next but are not among O(operations), or are held by O(pause_after) or O(paused).
  returned: success
  type: list
  elements: str
held:
  description: Whether O(pause_after) ended the run with pods still to come; RV(remaining) names them.
  returned: success
  type: bool
in_progress:
  description: Whether O(max_runtime) ended the run before its end; the same run again continues.
  returned: success
  type: bool
progress:
  description: What moved, a line each.
  returned: always
  type: list
  elements: str
cluster:
  description: The cluster in a few words (name, namespace, replicas, ready, nodes_live, version, image, initialized, cluster_id, ranges_whole).
  returned: success
  type: dict
did:
  description: What was done, in a few words.
  returned: success
  type: str
  sample: create ×5, volume ×3, initialize
figures:
  description: Figures of the step under way, such as the replicas a leaving node still holds.
  returned: success
  type: dict
at:
  description: Id of the step under way when RV(in_progress=true).
  returned: success
  type: str
requests:
  description: Requests sent to the API server, by sort (C(reads), C(writes), C(execs), C(dry_runs)).
  returned: success
  type: dict
server:
  description: The API server that was used.
  returned: success
  type: str
context:
  description: The kubeconfig context that was used.
  returned: success
  type: str
seconds:
  description: How long it took.
  returned: success
  type: float
reason:
  description: Stable code of a failure, such as V(nodes_needed), V(image_pull), V(locked) or V(invalid_option).
  returned: failure
  type: str
step:
  description: Id of the step that failed.
  returned: failure
  type: str
node:
  description: The pod it failed at.
  returned: failure
  type: str
resumable:
  description: Whether the same run again may succeed once the cause is mended.
  returned: failure
  type: bool
evidence:
  description: Events and last log lines of the pod that cannot start.
  returned: failure
  type: dict
"""

from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.module import cluster_main


def main() -> None:
    cluster_main()


if __name__ == "__main__":
    main()
