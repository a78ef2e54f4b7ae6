# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""REST paths of the kinds that this collection uses.

Static on purpose: no discovery request, no cache in a shared directory, and it works with narrow rights. All versions
here are served by every Kubernetes from 1.28 on (https://kubernetes.io/docs/reference/using-api/deprecation-guide/).
Pure: imports neither kubernetes nor Ansible.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote


class Kind(NamedTuple):
    """prefix: ``/api/v1`` or ``/apis/GROUP/VERSION``."""

    prefix: str
    plural: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        return self.prefix.removeprefix("/apis/").removeprefix("/api/")

    @property
    def group(self) -> str:
        return self.api_version.partition("/")[0] if "/" in self.api_version else ""


KINDS: dict[str, Kind] = {
    "Namespace": Kind("/api/v1", "namespaces", False),
    "Node": Kind("/api/v1", "nodes", False),
    "Pod": Kind("/api/v1", "pods", True),
    "Service": Kind("/api/v1", "services", True),
    "ServiceAccount": Kind("/api/v1", "serviceaccounts", True),
    "ConfigMap": Kind("/api/v1", "configmaps", True),
    "Secret": Kind("/api/v1", "secrets", True),
    "Event": Kind("/api/v1", "events", True),
    "PersistentVolume": Kind("/api/v1", "persistentvolumes", False),
    "PersistentVolumeClaim": Kind("/api/v1", "persistentvolumeclaims", True),
    "StatefulSet": Kind("/apis/apps/v1", "statefulsets", True),
    "ControllerRevision": Kind("/apis/apps/v1", "controllerrevisions", True),
    "Deployment": Kind("/apis/apps/v1", "deployments", True),
    "Job": Kind("/apis/batch/v1", "jobs", True),
    "CronJob": Kind("/apis/batch/v1", "cronjobs", True),
    "PodDisruptionBudget": Kind("/apis/policy/v1", "poddisruptionbudgets", True),
    "Lease": Kind("/apis/coordination.k8s.io/v1", "leases", True),
    "EndpointSlice": Kind("/apis/discovery.k8s.io/v1", "endpointslices", True),
    "StorageClass": Kind("/apis/storage.k8s.io/v1", "storageclasses", False),
    "SelfSubjectAccessReview": Kind("/apis/authorization.k8s.io/v1", "selfsubjectaccessreviews", False),
}


def path(kind: str, name: str | None = None, namespace: str | None = None, subresource: str | None = None) -> str:
    """REST path of an object, or of a collection when no name is given (all namespaces when no namespace is given).

    Raises KeyError for an unknown kind, ValueError for a namespaced object without its namespace.
    """
    entry = KINDS[kind]
    parts = [entry.prefix]
    if entry.namespaced and namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    elif entry.namespaced and name:
        raise ValueError(f"{kind} {name} needs a namespace")
    parts.append(entry.plural)
    if name:
        parts.append(quote(name, safe=""))
    if subresource:
        parts.append(subresource)
    return "/".join(parts)
