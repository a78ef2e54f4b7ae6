# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The one table of everything a user can ask of a cluster. PRIVATE to the collection.

Module argument specs are built from it at run time; the doc fragment, the roles' argument_specs, defaults, tasks and
README tables are generated from it (C(make generate)) and a unit test holds them to it.

An option that is not given keeps what the live cluster has; C(default) applies when the cluster is created.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

OPERATIONS = ("create", "initialize", "reconfigure", "scale_out", "scale_in", "upgrade", "finalize", "remove")


@dataclass(frozen=True)
class Option:
    """One option of C(kaiwudb_cluster), and one variable C(kaiwudb_NAME) of the roles.

    name: the option's name.
    kind: what a value must be; the key of C(_cluster.spec.COERCE).
    text: documentation, one sentence an entry.
    default: the value when the cluster is created; None where there is none.
    choices: the allowed values.
    scope: C(identity) which cluster; C(template) shapes the pods, so a change restarts them; C(object) shapes other
      objects; C(volume) shapes volumes; C(run) is about this run only and is not remembered.
    required: must be given when the cluster is created.
    fixed: cannot change while the cluster lives.
    minimum: the least number allowed.
    """

    name: str
    kind: str
    text: tuple[str, ...]
    default: t.Any = None
    choices: tuple[str, ...] = ()
    scope: str = "run"
    required: bool = False
    fixed: bool = False
    minimum: int | None = None


OPTIONS: tuple[Option, ...] = (
    Option(
        "name",
        "dns_label",
        (
            "Name of the cluster: of its StatefulSet, its headless Service and the stem of everything else.",
            "A DNS label of at most 40 characters.",
        ),
        scope="identity",
        required=True,
        fixed=True,
    ),
    Option(
        "namespace", "dns_label", ("Namespace that holds the cluster.",), scope="identity", required=True, fixed=True
    ),
    Option(
        "create_namespace",
        "bool",
        (
            "Make the namespace when it does not exist.",
            "A namespace made this way is deleted again with the cluster; one that existed before never is.",
        ),
        default=False,
    ),
    Option(
        "engine",
        "str",
        (
            "The database: V(kwdb) is KWDB or KaiwuDB 3.0 and later, V(kwdb2) is 2.x, V(bini) the older product of the family.",
        ),
        default="kwdb",
        choices=("kwdb", "kwdb2", "bini"),
        scope="template",
        fixed=True,
    ),
    Option(
        "image",
        "image",
        ("Image of the database, with a tag or a digest.", "Another image on a live cluster is an upgrade."),
        scope="template",
        required=True,
    ),
    Option(
        "image_pull_policy",
        "str",
        ("When kubelets pull the image.",),
        default="IfNotPresent",
        choices=("Always", "IfNotPresent", "Never"),
        scope="template",
    ),
    Option(
        "image_pull_secrets",
        "names",
        ("Names of the Secrets that hold registry credentials.",),
        default=(),
        scope="template",
    ),
    Option(
        "binary",
        "str",
        ("Path of the database binary in the image, where it is not the engine's usual one.",),
        scope="template",
    ),
    Option(
        "security",
        "str",
        (
            "How clients and nodes prove who they are; it must be said, never assumed.",
            "V(insecure): no TLS and no passwords; whoever reaches the port is root.",
        ),
        choices=("insecure",),
        scope="template",
        required=True,
        fixed=True,
    ),
    Option(
        "replicas",
        "replicas",
        ("Number of database nodes, one pod each.", "Three or more; V(1) only together with C(single_node=true)."),
        default=3,
        scope="object",
        minimum=1,
    ),
    Option(
        "single_node",
        "bool",
        (
            "One node without replication (C(start-single-node)); it can never become a cluster, nor a cluster become it.",
        ),
        default=False,
        scope="template",
        fixed=True,
    ),
    Option(
        "storage_size",
        "quantity",
        (
            "Size of each node's volume, a Kubernetes quantity such as V(500Gi). A larger one than before lets the volumes grow; none ever shrinks.",
            "Where the storage class expands volumes no pod restarts. Local volumes, whose size is only a number, get new claims one by one: each pod "
            "restarts behind the gates, data and directory stay. Elsewhere each node in turn leaves and comes back on a fresh volume.",
        ),
        default="10Gi",
        scope="volume",
    ),
    Option(
        "storage",
        "str",
        (
            "V(local): a directory on a Kubernetes node, one PersistentVolume pinned to each ordinal.",
            "V(dynamic): the storage class provisions.",
        ),
        default="local",
        choices=("local", "dynamic"),
        scope="volume",
        fixed=True,
    ),
    Option(
        "storage_class",
        "dns_name",
        (
            "Storage class of the claims; for C(storage=local) only a label that claims and volumes share.",
            "Not given with C(storage=dynamic): the default class of the Kubernetes cluster. Not given with C(storage=local): V(kaiwudb-local).",
        ),
        scope="volume",
        fixed=True,
    ),
    Option(
        "local_path",
        "path",
        ("Directory on the Kubernetes nodes under which each volume gets a directory of its own.",),
        default="/var/lib/kaiwudb",
        scope="volume",
    ),
    Option(
        "local_nodes",
        "names",
        ("Kubernetes nodes that may hold volumes; all schedulable ones when empty.",),
        default=(),
        scope="volume",
    ),
    Option(
        "local_pv_prepare",
        "str",
        (
            "Who makes the directories: V(pod), a short-lived pod on each node (it mounts that directory of the host);",
            "V(ssh), playbook C(prepare_nodes), over SSH and before the volumes are made; V(none), they exist already.",
            "With V(ssh) and V(none) a directory is its administrator's: what O(volumes) says is done to what is in it, by a short-lived pod "
            "too, and it stays, empty, with its owner and mode.",
        ),
        default="pod",
        choices=("pod", "ssh", "none"),
        scope="volume",
    ),
    Option(
        "volumes",
        "str",
        (
            "What becomes of a volume when its node leaves the cluster, or the cluster is removed.",
            "V(retain) keeps volume and data; V(archive) keeps the data under another directory name (in the directory itself where that is a "
            "mount point); "
            "V(delete) deletes the API objects only; V(wipe) erases the data too.",
            "V(wipe) goes through the claim, in a pod that proves that nothing is left.",
            "With C(storage=dynamic) V(retain) keeps the claim; V(archive) deletes it and keeps its volume aside (reclaim policy C(Retain)); V(delete) "
            "deletes it, and the storage class decides about the data; V(wipe) erases the data first.",
            "A store that was kept when its node left is never mounted again as it is: scaling out needs V(archive) or V(wipe) then.",
        ),
        default="retain",
        choices=("retain", "archive", "delete", "wipe"),
    ),
    Option("cpu", "quantity", ("CPU requested and limited for each node.",), scope="template"),
    Option("memory", "quantity", ("Memory requested and limited for each node.",), scope="template"),
    Option(
        "resources",
        "dict",
        ("Resources of the database container as Kubernetes writes them; overrides O(cpu) and O(memory).",),
        scope="template",
    ),
    Option(
        "cache",
        "str",
        ("C(--cache) of the database: bytes, or a share of the memory such as V(.25).",),
        default=".25",
        scope="template",
    ),
    Option("max_sql_memory", "str", ("C(--max-sql-memory) of the database.",), default=".25", scope="template"),
    Option(
        "extra_args", "strings", ("More arguments for the database's start command.",), default=(), scope="template"
    ),
    Option("env", "dict", ("Environment variables of the database container, name to value.",), scope="template"),
    Option("sql_port", "port", ("Port for SQL and between nodes.",), default=26257, scope="template", fixed=True),
    Option("http_port", "port", ("Port for HTTP.",), default=8080, scope="template", fixed=True),
    Option(
        "brpc_port",
        "port",
        ("Port of the engine's second protocol between nodes (engine V(kwdb) only).",),
        default=27257,
        scope="template",
        fixed=True,
    ),
    Option(
        "cluster_domain",
        "dns_name",
        ("DNS domain of the Kubernetes cluster.",),
        default="cluster.local",
        scope="template",
        fixed=True,
    ),
    Option(
        "anti_affinity",
        "str",
        ("V(required): never two database nodes on one Kubernetes node; V(preferred): if it can be helped.",),
        default="required",
        choices=("required", "preferred"),
        scope="template",
    ),
    Option(
        "locality",
        "str",
        (
            "What the engine is told of the place of its nodes (C(--locality)), so that it spreads replicas; C(storage=local) only.",
            "V(zone): region and zone of the Kubernetes node that holds the volume, from its labels C(topology.kubernetes.io/region) and C(…/zone).",
            "V(none): nothing; the engine then calls each node a region of its own (C(region=NODE1)).",
            "Not given: V(zone) for a cluster that is made on Kubernetes nodes with zones, else V(none).",
        ),
        choices=("zone", "none"),
        scope="template",
    ),
    Option("node_selector", "dict", ("Labels a Kubernetes node must have to hold a pod.",), scope="template"),
    Option("tolerations", "list", ("Tolerations of the pods, as Kubernetes writes them.",), scope="template"),
    Option("pod_labels", "dict", ("More labels for the pods.",), scope="template"),
    Option("pod_annotations", "dict", ("Annotations of the pods.",), scope="template"),
    Option(
        "restart_id",
        "str",
        ("Any text; another one than before restarts every node, one by one behind the gates. A date does well.",),
        scope="template",
    ),
    Option("pod_security_context", "dict", ("Security context of the pods.",), scope="template"),
    Option("container_security_context", "dict", ("Security context of the database container.",), scope="template"),
    Option("priority_class", "dns_name", ("Priority class of the pods.",), scope="template"),
    Option(
        "pre_stop_seconds",
        "int",
        ("Seconds a pod waits before it is told to stop, so that Services stop sending clients to it first.",),
        default=5,
        scope="template",
        minimum=0,
    ),
    Option(
        "termination_grace_period",
        "int",
        ("Seconds the database may take to drain; the database itself sets no limit.",),
        default=120,
        scope="template",
        minimum=1,
    ),
    Option(
        "pod_overrides",
        "dict",
        ("Merged over the pod template at the end, for what no option covers; lists of named things merge by name.",),
        scope="template",
    ),
    Option(
        "service_type",
        "str",
        ("Type of the public Service.",),
        default="ClusterIP",
        choices=("ClusterIP", "NodePort", "LoadBalancer"),
        scope="object",
    ),
    Option("service_annotations", "dict", ("Annotations of the public Service.",), scope="object"),
    Option(
        "sql_node_port",
        "port",
        ("Node port for SQL with O(service_type=NodePort); Kubernetes chooses when not given.",),
        scope="object",
    ),
    Option(
        "ui",
        "str",
        ("V(nodeport): a Service of its own, C(NAME-ui), opens the HTTP port (never SQL) on every Kubernetes node.",),
        default="none",
        choices=("none", "nodeport"),
        scope="object",
    ),
    Option("ui_node_port", "port", ("The node port; Kubernetes chooses one when not given.",), scope="object"),
    Option(
        "deletion_protection",
        "bool",
        ("Refuse to remove a cluster that holds tables of its users.",),
        default=True,
        scope="object",
    ),
    Option(
        "operations",
        "operations",
        (
            "What this run may do; a difference it may not make is refused before anything is touched.",
            "A step that merely comes next (initialise after create, finalise after upgrade) is returned as RV(ignore:remaining).",
            "V(finalize) lets the cluster version rise once every node runs the new release: the end of the way back, so it must be named.",
        ),
        default=tuple(name for name in OPERATIONS if name not in ("finalize", "remove")),
        choices=OPERATIONS,
    ),
    Option("confirm", "str", ("The cluster's name, typed again; needed to remove it.",)),
    Option("waive", "gates", ("Names of gates that may fail in this run.",), default=()),
    Option(
        "max_runtime",
        "int",
        (
            "Seconds after which the run ends with RV(ignore:in_progress=true) and success; the same run again continues.",
            "V(0) means no limit.",
        ),
        default=0,
        minimum=0,
    ),
    Option(
        "wait_timeout",
        "int",
        ("Seconds without any movement after which a wait is given up.",),
        default=600,
        minimum=10,
    ),
    Option(
        "stall_timeout",
        "int",
        (
            "Seconds without a replica moving after which a decommission counts as stalled.",
            "Not given: three times what the largest range may take at the engine's snapshot rate, 300 at least; pauses of seconds are normal.",
        ),
        minimum=10,
    ),
    Option(
        "soak",
        "int",
        ("Seconds a restarted node must stay healthy before the next one is touched.",),
        default=0,
        minimum=0,
    ),
    Option(
        "pause_after",
        "int",
        (
            "Number of pods with the new image or options after which the run holds, with success and RV(ignore:held=true): the canary.",
            "The same run without it goes on; the old image undoes it. V(0) means no hold.",
        ),
        default=0,
        minimum=0,
    ),
    Option(
        "pre_pull",
        "bool",
        (
            "Run the new image once on every Kubernetes node that needs it before the first pod is restarted.",
            "A node that cannot pull it ends the upgrade with nothing restarted.",
        ),
        default=True,
    ),
    Option(
        "on_failure",
        "str",
        (
            "What a run does when a node stalls while it leaves, or a pod cannot start with what is new.",
            "V(stop) leaves it as it is, to be mended and continued.",
            "V(rollback) puts the node back, or brings the pods back to what they ran, behind the same gates.",
            "Where its time (C(max_runtime)) is over on the way back, the same run again completes it, and fails as that one would have.",
        ),
        default="stop",
        choices=("stop", "rollback"),
    ),
    Option(
        "paused",
        "bool",
        (
            "V(true) marks the cluster: until a run says V(false), every run that would write is refused, and only looks.",
            "The mark is the annotation C(kaiwudb.kubernetes/paused) of the StatefulSet, which a person may set too.",
        ),
    ),
)

BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}

# What concerns volumes alone: the options of kaiwudb_local_volume.
VOLUME_OPTIONS = (
    "name",
    "namespace",
    "create_namespace",
    "image",
    "image_pull_policy",
    "image_pull_secrets",
    "binary",
    "engine",
    "replicas",
    "storage_size",
    "storage_class",
    "local_path",
    "local_nodes",
    "local_pv_prepare",
    "volumes",
    "confirm",
    "anti_affinity",
    "node_selector",
    "tolerations",
    "wait_timeout",
)

_MODULE_TYPES = {
    "names": "list",
    "strings": "list",
    "operations": "list",
    "gates": "list",
    "dict": "raw",
    "list": "raw",
}


def argument_spec(*names: str) -> dict[str, dict[str, t.Any]]:
    """The module argument spec of the named options (all when none is named).

    Scalars are strings: a survey's C("4"), C("true") and C("") (not given) must reach C(Spec), which coerces once.
    """
    chosen = [BY_NAME[name] for name in names] if names else OPTIONS
    spec: dict[str, dict[str, t.Any]] = {}
    for option in chosen:
        kind = _MODULE_TYPES.get(option.kind, "str")
        spec[option.name] = {"type": kind, **({"elements": "str"} if kind == "list" else {})}
        if option.name in ("name", "namespace"):
            spec[option.name]["required"] = True
        if option.name == "image_pull_secrets":
            spec[option.name]["no_log"] = False  # names of Secrets, not what is in them
    return spec
