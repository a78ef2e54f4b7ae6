# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes objects of a cluster, rendered from its Spec. Pure. PRIVATE to the collection."""

from __future__ import annotations

import copy
import json
import typing as t

from .fingerprint import ASIDE, EMPTY, FILE, MISSING, UNKNOWN
from .names import CLAIM, CLUSTER_ID, COMPONENT, CONTAINER, MADE_FOR, NAMESPACE, NODE, OPTIONS, RESTART, WIPING, Names
from .spec import Spec

if t.TYPE_CHECKING:
    from .._engine.profiles import Profile

Manifest = dict[str, t.Any]


def names_of(spec: Spec) -> Names:
    return Names(spec.name, spec.namespace, spec.cluster_domain)


def _meta(names: Names, name: str, **more: t.Any) -> dict[str, t.Any]:
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
        "metadata": _meta(names, names.name),
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
        "metadata": _meta(
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
        "metadata": _meta(names, names.ui),
        "spec": {
            "type": "NodePort",
            "selector": names.pod_selector,
            "ports": _ports(("http", spec.http_port, spec.ui_node_port)),
        },
    }
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _meta(names, names.budget),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": names.pod_selector}},
    }
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _meta(names, names.name),
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
        "metadata": _meta(names, names.topology),
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
        "metadata": _meta(names, names.name, annotations={OPTIONS: annotation(spec)}),
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


# What a preparing pod may do to the one directory it is told. Arguments, never text put into the script: $1 directory, $2 suffix of an archive.
_EACH = 'for item in "$1"/* "$1"/.[!.]* "$1"/..?*; do '
_WIPE = (
    f'{_EACH}[ "${{item##*/}}" = {ASIDE} ] || rm -rf -- "$item"; done; '
    f'rest=$(ls -A -- "$1") || exit 4; rest=$(printf "%s\\n" "$rest" | grep -vxF {ASIDE}); '
    'if [ -n "$rest" ]; then echo "not erased: $rest"; exit 4; fi; '
    'if [ -n "$2" ]; then rmdir -- "$2" 2>/dev/null || :; fi'
)
# Nobody's data: what comes with a file system, and what was put aside where the directory is a mount point.
_OTHERS = f"grep -vxF -e lost+found -e {ASIDE}"
# $there, without these. Read first: what cannot be read is not empty.
_THERE = f'$(printf "%s\\n" "$there" | {_OTHERS})'
_FULL = f'[ -n "$(ls -A -- "$1" 2>/dev/null | {_OTHERS})" ]'
# The same order again finds it done; only what came after it must never be put into the archive, nor lost.
_RENAME = (
    'if [ ! -e "$1.$2" ]; then if {what}; then mv -- "$1" "$1.$2" || exit 1; fi; '
    f'elif {_FULL}; then echo "$1 is not empty, and $1.$2 is there already"; exit 1; fi'
)
# A mount point cannot be renamed (EBUSY), so its content goes into a directory in it. Under another name until all of it is there: killed
# half-way, the same again goes on.
_WITHIN = (
    f'to="$1/{ASIDE}/$2"; part="$1/{ASIDE}/.$2"; '
    f'if {_FULL}; then if [ -e "$to" ]; then echo "$1 is not empty, and $to is there already"; exit 1; fi; '
    f'mkdir -p -- "$part" || exit 1; {_EACH}case "${{item##*/}}" in lost+found|{ASIDE}) ;; '
    '*) if [ -e "$item" ] || [ -L "$item" ]; then mv -- "$item" "$part" || exit 1; fi ;; esac; done; fi; '
    'if [ -e "$part" ]; then mv -- "$part" "$to" || exit 1; fi'
)
MOUNTS = "/proc/self/mountinfo"  # the fifth field is the mount point (man 5 proc_pid_mountinfo)
_ARCHIVE = (
    f'mounted=; while read -r a b c d at more; do [ "$at" != "$1" ] || mounted=1; done < {MOUNTS}; '
    f'if [ -n "$mounted" ]; then {_WITHIN}; else {{rename}}; fi'
)
SCRIPTS = {
    # Someone's data is never taken for a fresh directory: say what lies there and fail. The kubelet has made it, for it is what is mounted.
    "make": (
        f'there=$(ls -A -- "$1") || exit 1; if [ -n "{_THERE}" ]; then '
        f'echo "not empty:"; cat -- "$1/{FILE}" 2>/dev/null; ls -la -- "$1"; exit 3; fi'
    ),
    # What lies there, without touching it: into the pod's own status, for which nobody needs the right to read logs.
    "look": (
        '{ if [ -L "$1" ] && [ ! -e "$1" ]; then echo "$1 is a link to what lies outside of its parent, so nobody can look into it. Nothing in it '
        'was touched. Put the directory itself there, or set local_pv_prepare to none."; exit 1; '
        f'elif [ ! -e "$1" ]; then echo {MISSING}; elif ! there=$(ls -A -- "$1"); then exit 1; elif [ -z "{_THERE}" ]; then echo {EMPTY}; '
        f'elif [ -s "$1/{FILE}" ]; then cat -- "$1/{FILE}"; else echo {UNKNOWN}; fi; }} > /dev/termination-log'
    ),
    "archive": _ARCHIVE.replace("{rename}", _RENAME.replace("{what}", '[ -e "$1" ]')),
    # Through the claim, mounted at $1, and proven empty; then the empty directory, where it was made by such a pod ($2; a disk's own mount point stays).
    "wipe": _WIPE,
    # The same on the Kubernetes node, of a directory that no claim reaches any more; a second time there may be none.
    "erase": f'if [ -e "$1" ]; then {_WIPE}; fi',
    # Where an administrator has made the directory: it stays, empty, with its owner and mode. Killed half-way, the same again ends there.
    "archive_content": _ARCHIVE.replace(
        "{rename}",
        _RENAME.replace("{what}", _FULL) + '; mkdir -p -- "$1"; '
        'if [ -d "$1.$2" ]; then chown "$(stat -c %u:%g -- "$1.$2")" "$1" && chmod "$(stat -c %a -- "$1.$2")" "$1"; fi',
    ),
    "gone": 'if [ -e "$1" ]; then rmdir -- "$1"; fi',
}


def _short_lived(
    spec: Spec, name: str, node: str | None, container: Manifest, *, volumes: t.Sequence[Manifest] = ()
) -> Manifest:
    """A pod that does one thing on one node and ends. Its container's name says what for. node: None where its volume decides."""
    names = names_of(spec)
    secrets = [{"name": secret} for secret in spec.image_pull_secrets]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _meta(names, name) | {"labels": {**names.labels, COMPONENT: container["name"]}},
        "spec": {
            # Bound to its node directly: it must run there and nowhere else, also on a node that is cordoned.
            **({"nodeName": node} if node else {}),
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "tolerations": [{"operator": "Exists"}],
            **({"imagePullSecrets": secrets} if secrets else {}),
            "containers": [
                {
                    "image": spec.image,
                    "imagePullPolicy": spec.image_pull_policy,
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    **container,
                }
            ],
            **({"volumes": list(volumes)} if volumes else {}),
        },
    }


def preparer(spec: Spec, ordinal: int, node: str, path: str, action: str, suffix: str = "") -> Manifest:
    """The pod that makes one volume's directory on one node, looks into it, puts it aside or erases it; from the cluster's own image.

    What it makes is mounted itself. The parent, where other volumes lie, is mounted read-only to say whether a directory is there at all, and
    writable only where the directory's own entry may be renamed or removed.
    """
    mounted = path if action == "make" else path.rsplit("/", 1)[0]
    own = spec.local_pv_prepare == "pod"  # an administrator's directory stays, empty
    script = "archive_content" if action == "archive" and not own else action
    more = (path if own else "") if action == "erase" else suffix
    container = {
        "name": "volume",
        "command": ["/bin/sh", "-c", SCRIPTS[script], "sh", path, more],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": "host", "mountPath": mounted, **({"readOnly": True} if action == "look" else {})}],
    }
    host = {"name": "host", "hostPath": {"path": mounted, "type": "DirectoryOrCreate"}}
    return _short_lived(spec, names_of(spec).preparer(ordinal), node, container, volumes=[host])


def wiper(spec: Spec, ordinal: int, node: str | None, path: str | None) -> Manifest:
    """The pod that erases what one claim reaches. path: the directory on the node that goes too when it is empty; None: it stays."""
    parent = path.rsplit("/", 1)[0] if path else None
    container = {
        "name": "volume",
        "command": ["/bin/sh", "-c", SCRIPTS["wipe"], "sh", "/claim", path or ""],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [
            {"name": "claim", "mountPath": "/claim"},
            *([{"name": "host", "mountPath": parent}] if parent else []),
        ],
    }
    names = names_of(spec)
    volumes = [
        {"name": "claim", "persistentVolumeClaim": {"claimName": names.claim(ordinal)}},
        *([{"name": "host", "hostPath": {"path": parent, "type": "Directory"}}] if parent else []),
    ]
    return _short_lived(spec, names.preparer(ordinal), node, container, volumes=volumes)


def claim(names: Names, ordinal: int, volume: t.Mapping[str, t.Any], since: str) -> Manifest:
    """A claim for a volume that has none, through which it is erased."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _meta(names, names.claim(ordinal), annotations={WIPING: since}),
        "spec": {
            "accessModes": list(volume["spec"]["accessModes"]),
            "resources": {"requests": {"storage": volume["spec"]["capacity"]["storage"]}},
            "storageClassName": volume["spec"].get("storageClassName", ""),
            "volumeName": volume["metadata"]["name"],
        },
    }


def puller(spec: Spec, profile: Profile, ordinal: int, node: str) -> Manifest:
    """The pod that runs the new image's C(version) on one node: it can be pulled there, and it is what it says."""
    container = {
        "name": "pull",
        "command": [spec.binary or profile.binary, "version"],
        **({"env": [{"name": "LD_LIBRARY_PATH", "value": profile.library_path}]} if profile.library_path else {}),
    }
    return _short_lived(spec, names_of(spec).puller(ordinal), node, container)


def configmap(names: Names, data: t.Mapping[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(names, names.journal), "data": dict(data)}


def lease(names: Names, holder: str, now: str, seconds: int) -> Manifest:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": _meta(names, names.lock),
        "spec": {"holderIdentity": holder, "acquireTime": now, "renewTime": now, "leaseDurationSeconds": seconds},
    }
