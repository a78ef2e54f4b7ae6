# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes objects of a cluster, rendered from its Spec. Pure. PRIVATE to the collection."""

from __future__ import annotations

import copy
import json
import typing as t

from .names import CLAIM, CLUSTER_ID, COMPONENT, CONTAINER, MADE_FOR, NAMESPACE, NODE, OPTIONS, RESTART, WIPING, Names
from .spec import Spec

if t.TYPE_CHECKING:
    from .._engine.profiles import Profile

Manifest = dict[str, t.Any]


def names_of(spec: Spec) -> Names:
    return Names(spec.name, spec.namespace, spec.cluster_domain)


def meta(names: Names, name: str, **more: t.Any) -> dict[str, t.Any]:
    """Metadata of an object of the cluster."""
    return {"name": name, "namespace": names.namespace, "labels": dict(names.labels), **more}


def namespace(spec: Spec) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": spec.namespace, "annotations": {MADE_FOR: spec.name}},
    }


def _ports(*ports: tuple[str, int, int | None]) -> list[dict[str, t.Any]]:
    return [
        {
            "name": name,
            "port": port,
            "targetPort": name,
            "protocol": "TCP",
            **({"nodePort": node_port} if node_port else {}),
        }
        for name, port, node_port in ports
    ]


def objects(spec: Spec, profile: Profile) -> list[Manifest]:
    """Everything but namespace, StatefulSet, journal and volumes; what a run repairs when it finds it changed."""
    names = names_of(spec)
    brpc = [("brpc", spec.brpc_port, None)] if profile.has_brpc else []
    headless = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(names, names.name),
        # Nodes must find each other before they are ready: readiness itself waits for init.
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": names.pod_selector,
            "ports": _ports(("sql", spec.sql_port, None), ("http", spec.http_port, None), *brpc),
        },
    }
    public = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(
            names, names.public, **({"annotations": dict(spec.service_annotations)} if spec.service_annotations else {})
        ),
        "spec": {
            "type": spec.service_type,
            "selector": names.pod_selector,
            "ports": _ports(("sql", spec.sql_port, spec.sql_node_port), ("http", spec.http_port, None)),
        },
    }
    ui = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(names, names.ui),
        "spec": {
            "type": "NodePort",
            "selector": names.pod_selector,
            "ports": _ports(("http", spec.http_port, spec.ui_node_port)),
        },
    }
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": meta(names, names.budget),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": names.pod_selector}},
    }
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": meta(names, names.name),
        "automountServiceAccountToken": False,
    }
    return [account, headless, public, *([ui] if spec.ui == "nodeport" else []), budget]


def _affinity(spec: Spec, names: Names) -> dict[str, t.Any]:
    apart = {"labelSelector": {"matchLabels": names.pod_selector}, "topologyKey": "kubernetes.io/hostname"}
    if spec.anti_affinity == "required":
        return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
    return {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": apart}]
        }
    }


def _resources(spec: Spec) -> dict[str, t.Any]:
    if spec.resources:
        return dict(spec.resources)
    amounts = {key: value for key, value in (("cpu", spec.cpu), ("memory", spec.memory)) if value}
    return {"requests": amounts, "limits": amounts} if amounts else {}


def _get(path: str, port: str = "http") -> dict[str, t.Any]:
    return {"httpGet": {"path": path, "port": port, "scheme": "HTTP"}}


# One template serves all ordinals, and pods may not read their Kubernetes node's labels. So a ConfigMap tells each pod where its volume
# is, by a file of the pod's name that is read when it starts: a node more changes the ConfigMap, never the template, and restarts nobody.
# The shell gives way to the engine (exec), so that SIGTERM reaches it.
_TOPOLOGY = "/etc/kaiwudb.kubernetes/topology"
_SAYS_WHERE = [
    "/bin/sh",
    "-c",
    f'f="{_TOPOLOGY}/$POD_NAME"; [ -s "$f" ] && {{ read -r where < "$f" || :; set -- "$@" "--locality=$where"; }}; exec "$@"',
    "sh",
]


def _told_where(spec: Spec) -> bool:
    """Whether the pods look for their place when they start."""
    own = any(argument.startswith("--locality") for argument in spec.extra_args)
    return spec.locality == "zone" and spec.storage == "local" and not spec.single_node and not own


def topology(spec: Spec, localities: t.Mapping[str, str]) -> Manifest:
    """The ConfigMap of pod name to locality."""
    names = names_of(spec)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta(names, names.topology),
        "data": {pod: f"{where}\n" for pod, where in localities.items()},
    }


def template(spec: Spec, profile: Profile, *, sleep_action: bool) -> Manifest:
    """The pod template. sleep_action: whether the server knows C(preStop.sleep) (Kubernetes 1.30 and later)."""
    names = names_of(spec)
    brpc = spec.brpc_port if profile.has_brpc else None
    ports = [("sql", spec.sql_port), ("http", spec.http_port), *([("brpc", brpc)] if brpc else [])]
    command = profile.start_command(
        binary=spec.binary,
        advertise=f"$(POD_NAME).{names.name}.{names.namespace}.svc.{names.domain}:{spec.sql_port}",
        # Always the first three, whatever the number of nodes: a join list that changes would restart every pod.
        join=[] if spec.single_node else [names.address(ordinal, spec.sql_port) for ordinal in range(3)],
        sql_port=spec.sql_port,
        http_port=spec.http_port,
        brpc_port=brpc,
        store=profile.store,
        single_node=spec.single_node,
        cache=spec.cache,
        max_sql_memory=spec.max_sql_memory,
        extra=list(spec.extra_args),
    )
    told = _told_where(spec)
    wait = (
        {"sleep": {"seconds": spec.pre_stop_seconds}}
        if sleep_action
        else {"exec": {"command": ["sleep", str(spec.pre_stop_seconds)]}}
    )
    resources = _resources(spec)
    security = dict(spec.container_security_context or {}) or ({"privileged": True} if profile.privileged else {})
    database = {
        "name": CONTAINER,
        "image": spec.image,
        "imagePullPolicy": spec.image_pull_policy,
        "command": [*_SAYS_WHERE, *command] if told else command,
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
            *([{"name": "LD_LIBRARY_PATH", "value": profile.library_path}] if profile.library_path else []),
            *({"name": key, "value": str(value)} for key, value in (spec.env or {}).items()),
        ],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports],
        # Not ready=1: pods wait there for init, and a startup probe would kill them. Recovery of a large store takes its time.
        "startupProbe": {**_get("/health"), "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 1800},
        "livenessProbe": {**_get("/health"), "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6},
        "readinessProbe": {**_get("/health?ready=1"), "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 2},
        "volumeMounts": [
            {"name": CLAIM, "mountPath": profile.store},
            *([{"name": "topology", "mountPath": _TOPOLOGY, "readOnly": True}] if told else []),
        ],
        **({"lifecycle": {"preStop": wait}} if spec.pre_stop_seconds else {}),
        **({"resources": resources} if resources else {}),
        **({"securityContext": security} if security else {}),
    }
    pod = {
        "serviceAccountName": names.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # a Service's variables must not reach the database's own (KWBASE_PORT)
        "terminationGracePeriodSeconds": spec.termination_grace_period,
        "affinity": _affinity(spec, names),
        "containers": [database],
        **(
            {"volumes": [{"name": "topology", "configMap": {"name": names.topology, "optional": True}}]} if told else {}
        ),
        **({"nodeSelector": dict(spec.node_selector)} if spec.node_selector else {}),
        **({"tolerations": list(spec.tolerations)} if spec.tolerations else {}),
        **(
            {"imagePullSecrets": [{"name": name} for name in spec.image_pull_secrets]}
            if spec.image_pull_secrets
            else {}
        ),
        **({"securityContext": dict(spec.pod_security_context)} if spec.pod_security_context else {}),
        **({"priorityClassName": spec.priority_class} if spec.priority_class else {}),
    }
    notes = {**(spec.pod_annotations or {}), **({RESTART: spec.restart_id} if spec.restart_id else {})}
    made = {
        "metadata": {
            "labels": {**(spec.pod_labels or {}), **names.labels, COMPONENT: "database"},
            **({"annotations": notes} if notes else {}),
        },
        "spec": pod,
    }
    return merged(made, spec.pod_overrides) if spec.pod_overrides else made


def merged(base: t.Any, over: t.Any) -> t.Any:
    """C(over) laid over C(base): dictionaries merge, lists of named things merge by name, None removes, the rest replaces."""
    if isinstance(base, dict) and isinstance(over, dict):
        result = {key: merged(base[key], over[key]) if key in over else copy.deepcopy(base[key]) for key in base}
        result.update({key: value for key, value in over.items() if key not in base})
        return {key: value for key, value in result.items() if value is not None}
    if (
        isinstance(base, list)
        and isinstance(over, list)
        and all(isinstance(item, dict) and "name" in item for item in base + over)
    ):
        named = {item["name"]: item for item in base}
        for item in over:
            named[item["name"]] = merged(named[item["name"]], item) if item["name"] in named else item
        return list(named.values())
    return copy.deepcopy(over)


def annotation(spec: Spec) -> str:
    """The value of the StatefulSet's annotation that remembers the options in force."""
    return json.dumps(spec.remembered(), sort_keys=True)


def statefulset(spec: Spec, profile: Profile, *, sleep_action: bool) -> Manifest:
    names = names_of(spec)
    claim = {
        "metadata": {"name": CLAIM, "labels": dict(names.labels)},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": spec.storage_size}},
            **({"storageClassName": spec.storage_class} if spec.storage_class else {}),
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": meta(names, names.name, annotations={OPTIONS: annotation(spec)}),
        "spec": {
            "replicas": spec.replicas,
            "serviceName": names.name,
            "podManagementPolicy": "Parallel",  # pod 0 alone never gets ready: it needs the others for its quorum
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "selector": {"matchLabels": names.pod_selector},
            "template": template(spec, profile, sleep_action=sleep_action),
            "volumeClaimTemplates": [claim],
        },
    }


def directory(spec: Spec, ordinal: int) -> str:
    """The volume's directory on its Kubernetes node."""
    return f"{spec.local_path}/{names_of(spec).volume(ordinal)}"


def volume(spec: Spec, ordinal: int, node: str, cluster_id: str | None = None, hostname: str | None = None) -> Manifest:
    """A PersistentVolume pinned twice: its claim to the ordinal, its node affinity to the Kubernetes node.

    hostname: the node's label C(kubernetes.io/hostname), which some clouds fill with something else than its name.
    """
    names = names_of(spec)
    notes = {
        **({CLUSTER_ID: cluster_id} if cluster_id else {}),
        **({NODE: node} if hostname not in (None, node) else {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": names.volume(ordinal),
            "labels": {**names.labels, NAMESPACE: names.namespace},
            **({"annotations": notes} if notes else {}),
        },
        "spec": {
            "capacity": {"storage": spec.storage_size},
            "accessModes": ["ReadWriteOnce"],
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": spec.storage_class,
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": names.namespace,
                "name": names.claim(ordinal),
            },
            "local": {"path": directory(spec, ordinal)},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {"key": "kubernetes.io/hostname", "operator": "In", "values": [hostname or node]}
                            ]
                        }
                    ]
                }
            },
        },
    }


def claim(names: Names, ordinal: int, volume: t.Mapping[str, t.Any], since: str) -> Manifest:
    """A claim for a volume that has none, through which it is erased."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": meta(names, names.claim(ordinal), annotations={WIPING: since}),
        "spec": {
            "accessModes": list(volume["spec"]["accessModes"]),
            "resources": {"requests": {"storage": volume["spec"]["capacity"]["storage"]}},
            "storageClassName": volume["spec"].get("storageClassName", ""),
            "volumeName": volume["metadata"]["name"],
        },
    }


def configmap(names: Names, data: t.Mapping[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(names, names.journal), "data": dict(data)}


def lease(names: Names, holder: str, now: str, seconds: int) -> Manifest:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": meta(names, names.lock),
        "spec": {"holderIdentity": holder, "acquireTime": now, "renewTime": now, "leaseDurationSeconds": seconds},
    }
