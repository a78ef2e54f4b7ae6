#!/usr/bin/python
# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The local volumes of one KaiwuDB cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kaiwudb_local_volume
short_description: Make or remove the local volumes of a KaiwuDB cluster
version_added: 1.0.0
author:
  - kaiwudb.kubernetes contributors (@kaiwudb)
description:
  - Makes one PersistentVolume for each ordinal that has no volume yet, pinned to that ordinal's claim and to one Kubernetes node.
  - M(kaiwudb.kubernetes.kaiwudb_cluster) does the same as part of its own plan; this module is for those who hand out volumes beforehand, or
    whose right to make volumes is not the database administrator's.
  - Volumes that exist are never moved. Which node gets which ordinal is computed (fewest volumes first, by zone and then by node) and returned in the plan.
extends_documentation_fragment:
  - kaiwudb.kubernetes.connection
  - kaiwudb.kubernetes.run
  - kaiwudb.kubernetes.cluster.volumes
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
  state:
    description:
      - V(present) makes the volumes that are missing.
      - V(absent) treats volumes that nothing uses as O(volumes) says; V(retain) does nothing.
    type: str
    default: present
    choices: [present, absent]
"""

EXAMPLES = r"""
- name: Volumes for three nodes on the workers of one rack
  kaiwudb.kubernetes.kaiwudb_local_volume:
    name: orders
    namespace: orders
    image: kwdb/kwdb:3.2.1
    replicas: 3
    storage_size: 500Gi
    local_path: /data/kaiwudb
    local_nodes: [w1, w2, w3]

- name: Erase the volumes of a cluster that is gone
  kaiwudb.kubernetes.kaiwudb_local_volume:
    name: orders
    namespace: orders
    image: kwdb/kwdb:3.2.1
    state: absent
    volumes: wipe
    confirm: orders
"""

RETURN = r"""
steps:
  description: Ids of the steps that were done; in check mode, of those that would be.
  returned: always
  type: list
  elements: str
  sample: [volume/orders-0, volume/orders-1, volume/orders-2]
plan:
  description: The plan; C(placement) says which ordinal goes to which Kubernetes node, and why.
  returned: always
  type: dict
"""

from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.module import cluster_main
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.options import VOLUME_OPTIONS


def main() -> None:
    cluster_main(VOLUME_OPTIONS, volumes_only=True)


if __name__ == "__main__":
    main()
