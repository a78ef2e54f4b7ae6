# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Names, labels and annotations of everything the collection makes. PRIVATE to the collection."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

MANAGER = "kaiwudb.kubernetes"
APP = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
NAMESPACE = f"{MANAGER}/namespace"  # on what is cluster-scoped: two clusters of one name may live in two namespaces

OPTIONS = f"{MANAGER}/options"  # on the StatefulSet: the options in force, so that what is not given stays
PAUSED = f"{MANAGER}/paused"  # on the StatefulSet: since when and by whom; such a cluster is only read
RESTART = f"{MANAGER}/restart-id"  # on the pods: the restart they belong to
MADE_FOR = f"{MANAGER}/made-for"  # on a namespace that was made here: the cluster with which it goes
RUN = f"{MANAGER}/run"  # on short-lived pods: the run they work for
CLUSTER_ID = f"{MANAGER}/cluster-id"  # on claims and volumes, which outlive the journal
FINGERPRINT = f"{MANAGER}/fingerprint"  # on claims and volumes: whose store lies there (cluster, node, store, ordinal, since when)
STORE = f"{MANAGER}/store"  # the same as earlier versions wrote it, the node alone
RETIRED = f"{MANAGER}/retired"  # on volumes: when their node left the cluster; never mounted again as they are
WIPING = f"{MANAGER}/wiping"  # on claims: since when what they reach is being erased; no pod of the database may take them any more
ARCHIVED = f"{MANAGER}/archived"  # on volumes that a storage class provisioned: since when they are kept aside, without a claim
CORDONED = f"{MANAGER}/cordoned"  # on Kubernetes nodes: since when and by whom; what somebody else has cordoned has none, and stays so
NODE = f"{MANAGER}/node"  # on volumes: the Kubernetes node, where its hostname label says something else

CONTAINER = "kaiwudb"
CLAIM = "datadir"  # the claim template's name, as in the article


@dataclass(frozen=True)
class Names:
    """What the parts of one cluster are called."""

    name: str
    namespace: str
    domain: str = "cluster.local"

    @property
    def labels(self) -> dict[str, str]:
        """On every object; C(selector) finds them again."""
        return {APP: "kaiwudb", INSTANCE: self.name, MANAGED_BY: MANAGER}

    @property
    def selector(self) -> dict[str, str]:
        return {APP: "kaiwudb", INSTANCE: self.name}

    @property
    def pod_selector(self) -> dict[str, str]:
        """Database pods only, not the short-lived pods that prepare volumes."""
        return {**self.selector, COMPONENT: "database"}

    @property
    def volume_selector(self) -> dict[str, str]:
        return {**self.selector, NAMESPACE: self.namespace}

    @property
    def public(self) -> str:
        return f"{self.name}-public"

    @property
    def ui(self) -> str:
        return f"{self.name}-ui"

    @property
    def budget(self) -> str:
        return f"{self.name}-budget"

    @property
    def journal(self) -> str:
        return f"{self.name}-journal"

    @property
    def topology(self) -> str:
        """The ConfigMap that tells each pod where its volume is."""
        return f"{self.name}-topology"

    @property
    def lock(self) -> str:
        return f"{self.name}-lock"

    def pod(self, ordinal: int) -> str:
        return f"{self.name}-{ordinal}"

    def claim(self, ordinal: int) -> str:
        return f"{CLAIM}-{self.name}-{ordinal}"

    def volume(self, ordinal: int) -> str:
        """Dots keep namespace and name apart: neither may hold one."""
        return f"{self.namespace}.{self.name}-{ordinal}"

    def preparer(self, ordinal: int) -> str:
        return f"{self.name}-volume-{ordinal}"

    def puller(self, ordinal: int) -> str:
        """The short-lived pod that runs a new image on the node of that ordinal."""
        return f"{self.name}-pull-{ordinal}"

    def host(self, ordinal: int) -> str:
        """Fully qualified, as the engine advertises it."""
        return f"{self.pod(ordinal)}.{self.name}.{self.namespace}.svc.{self.domain}"

    def address(self, ordinal: int, port: int) -> str:
        return f"{self.host(ordinal)}:{port}"


def ordinal_of(name: str) -> int | None:
    """The ordinal at the end of a pod's, claim's or volume's name."""
    tail = name.rsplit("-", 1)[-1]
    return int(tail) if tail.isdigit() else None


def owned(obj: t.Mapping[str, t.Any], names: Names) -> bool:
    """Whether an object carries the labels of this cluster."""
    labels = obj["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in names.labels.items())
