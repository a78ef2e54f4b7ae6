# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What is there, in one snapshot: the API server's view and the engine's, joined by address. PRIVATE to the collection.

Light (one LIST a kind by label, one C(node status)) is enough for a settled cluster; C(deep) adds what gates need.
"""

from __future__ import annotations

import contextlib
import json
import re
import typing as t
from dataclasses import dataclass, field, replace

from . import fingerprint
from . import ranges as _ranges
from .errors import ClusterError
from .journal import Journal
from .names import MADE_FOR, OPTIONS, PAUSED, Names, ordinal_of, owned
from .ranges import Constraint, Range, Wholeness

if t.TYPE_CHECKING:
    from .._engine.cli import Engine
    from .._engine.parse import NodeRow
    from .._kube.client import Client

Object = t.Mapping[str, t.Any]
# Kinds found by the cluster's labels in its namespace; volumes are cluster-scoped and listed apart.
KINDS = ("StatefulSet", "Service", "PodDisruptionBudget", "ServiceAccount", "ConfigMap", "Pod", "PersistentVolumeClaim")


@dataclass(frozen=True)
class Job:
    """A job of the engine that runs or waits."""

    id: str
    kind: str


@dataclass(frozen=True)
class Store:
    """One node's store, bytes."""

    node: int
    capacity: int
    available: int
    used: int


@dataclass(frozen=True)
class Deep:
    """What only a gate needs to know.

    constraints: what zones require of nodes. largest: bytes a range may have (the largest C(range_max_bytes) of the zones).
    whole_for: seconds over which every reading said that all ranges are whole; kept_for: that every range has a live majority;
    apart: how long that must be.
    """

    ranges: tuple[Range, ...]
    jobs: tuple[Job, ...]
    stores: tuple[Store, ...]
    constraints: tuple[Constraint, ...] = ()
    largest: int = 0
    whole_for: float = 0.0
    kept_for: float = 0.0
    apart: float = 0.0

    def wholeness(self, seen: Observed, also: int | None = None, without: int | None = None) -> Wholeness:
        """also: id of a dead node whose replicas count as if it lived. without: of one that lives, as if it were down."""
        members = seen.members()
        live = {node.id for node in members if (node.is_live and node.is_available) or node.id == also}
        live -= {without}
        return _ranges.wholeness(self.ranges, live, len([node for node in members if not node.is_decommissioning]))

    def room_without(self, seen: Observed, leaving: t.Collection[int], most: int) -> tuple[int, int] | None:
        """Bytes that would move and bytes the live nodes that stay can take; None while a store of one of them has not reported yet.

        leaving: node ids. most: per cent of its disk that each may use, whoever fills it. Stores of nodes that left or died are still
        listed, with room that nobody can use.
        """
        staying = {node.id for node in seen.live()}.difference(leaving)
        asked = staying | {node.id for node in seen.nodes or () if node.id in leaving and node.is_live}
        reported = {store.node for store in self.stores} - {store.node for store in self.stores if not store.capacity}
        if not staying or not asked <= reported:
            return None
        moved = sum(store.used for store in self.stores if store.node in leaving)
        # One that is too full already has no room, and takes none from the others.
        room = [
            store.available - store.capacity * (100 - most) // 100 for store in self.stores if store.node in staying
        ]
        return moved, sum(max(0, one) for one in room)


@dataclass(frozen=True)
class Observed:
    """One look at one cluster.

    objects: kind to name to object, only those with the cluster's labels.
    nodes: rows of C(node status --decommission); None when no node answered, and C(engine_silence) says why.
    ids: pod name to the node id the pod itself reports, where two rows share an address.
    strays: pods by the names of ours that do not carry the cluster's labels (any more).
    """

    names: Names
    namespace: Object | None
    objects: t.Mapping[str, t.Mapping[str, Object]]
    journal: Journal
    sql_port: int = 26257
    nodes: tuple[NodeRow, ...] | None = None
    engine_silence: str = ""
    ids: t.Mapping[str, int] = field(default_factory=dict)
    strays: t.Mapping[str, Object] = field(default_factory=dict)

    @property
    def statefulset(self) -> Object | None:
        return self.objects["StatefulSet"].get(self.names.name)

    @property
    def running_set(self) -> Object:
        """The StatefulSet of a step that needs one. ClusterError when somebody has deleted it meanwhile."""
        if self.statefulset is None:
            raise ClusterError(
                f"StatefulSet {self.names.name} is gone: somebody deleted it while this run worked. Run again to make it anew.",
                "statefulset_missing",
            )
        return self.statefulset

    @property
    def pods(self) -> t.Mapping[str, Object]:
        return self.objects["Pod"]

    @property
    def claims(self) -> t.Mapping[str, Object]:
        return self.objects["PersistentVolumeClaim"]

    @property
    def volumes(self) -> t.Mapping[str, Object]:
        return self.objects["PersistentVolume"]

    @property
    def replicas(self) -> int:
        """Replicas the StatefulSet has now; 0 without one."""
        return int(self.statefulset["spec"]["replicas"]) if self.statefulset else 0

    @property
    def image(self) -> str | None:
        return container(self.statefulset["spec"]["template"])["image"] if self.statefulset else None

    @property
    def remembered(self) -> dict[str, t.Any] | None:
        """The options in force; None when there is no cluster yet."""
        if self.statefulset is None:
            return self._orphaned
        leaving = any(pod in self.expected_pods() for pod in self.journal.leaving_pods)
        target = self.journal.leaving.get("replicas") if leaving else None
        return {**self.noted, "image": self.image, "replicas": target or self.replicas}

    @property
    def _orphaned(self) -> dict[str, t.Any] | None:
        """What pods that lost their StatefulSet still tell, with the options that the journal kept."""
        pods = [pod for name, pod in sorted(self.pods.items()) if ordinal_of(name) is not None]
        if not pods or "security" not in self.journal.options:
            return None
        highest = max(ordinal_of(pod["metadata"]["name"]) or 0 for pod in pods)
        count = 1 if self.journal.options.get("single_node") else max(3, highest + 1)
        return {**self.journal.options, "image": container(pods[0])["image"], "replicas": count}

    @property
    def noted(self) -> dict[str, t.Any]:
        """The options the StatefulSet's annotation holds; the journal's when it is lost or somebody wrote nonsense into it."""
        if self.statefulset is None:
            return {}
        try:
            known = json.loads((self.statefulset["metadata"].get("annotations") or {}).get(OPTIONS, "null"))
        except ValueError:
            known = None
        return known if isinstance(known, dict) and known else dict(self.journal.options)

    @property
    def made_namespace(self) -> bool:
        """Whether the namespace was made for this cluster and goes with it."""
        notes = (self.namespace or {}).get("metadata", {}).get("annotations") or {}
        return bool(notes.get(MADE_FOR) == self.names.name)

    @property
    def paused(self) -> str:
        """Who paused the cluster and when, as its annotation says; empty when nobody did."""
        notes = (self.statefulset or {}).get("metadata", {}).get("annotations") or {}
        return str(notes[PAUSED]) or "somebody" if PAUSED in notes else ""

    @property
    def removed_options(self) -> dict[str, t.Any]:
        """The options of a cluster whose removal was interrupted after its StatefulSet had gone; {} otherwise."""
        operation = self.journal.operation
        return dict(operation.get("options") or {}) if operation.get("name") == "remove" else {}

    @property
    def left_options(self) -> dict[str, t.Any]:
        """What the claims that a removal left say of the cluster: with volumes of a storage class's own making, that it provisioned them."""
        bound = {claim["spec"].get("volumeName") for claim in self.claims.values()} - {None, ""}
        ours = {self.names.volume(ordinal) for ordinal in map(ordinal_of, self.claims) if ordinal is not None}
        return {"storage": "dynamic"} if bound - ours else {}

    @property
    def cluster_id(self) -> str | None:
        """The engine's cluster id, from the journal or from any claim or volume that outlived it."""
        stamped = (
            mark.cluster_id
            for kind in ("PersistentVolumeClaim", "PersistentVolume")
            for obj in self.objects[kind].values()
            if (mark := fingerprint.read(obj)) is not None
        )
        return self.journal.cluster_id or next(stamped, None)

    @property
    def initialized(self) -> bool:
        """Ready implies initialised (503 before), but the reverse does not hold: a 503 may be a restart."""
        return bool(
            self.journal.initialized or self.cluster_id or self.nodes or any(ready(pod) for pod in self.pods.values())
        )

    def expected_pods(self) -> list[str]:
        return [self.names.pod(ordinal) for ordinal in range(self.replicas)]

    def rows_of(self, pod: str) -> list[NodeRow]:
        """Rows with exactly the pod's advertised address; a substring would take kw-1 for kw-10."""
        ordinal = ordinal_of(pod)
        address = self.names.address(ordinal if ordinal is not None else -1, self.sql_port)
        return [node for node in self.nodes or () if node.address == address]

    def node_of(self, pod: str) -> NodeRow | None:
        """The pod's node: of two rows with one address the one the live pod reports, else the live, else the newest."""
        rows = self.rows_of(pod)
        told = [row for row in rows if row.id == self.ids.get(pod)]
        return max(told or rows, key=lambda row: (bool(row.is_live), row.id), default=None)

    def members(self) -> list[NodeRow]:
        """Rows that are nodes. One that is decommissioning and has no pod is history, not a node.

        Nor is one that is dead and whose pod does not serve: on a dead Kubernetes node a pod is Terminating for ever. Of one without a pod
        not even its own figures matter: gossip about it is frozen at its end, and for some seconds it still counts as live.
        What it may still hold shows in the ranges, where it is not among the live ones.
        """
        there = [(self.node_of(name), ready(pod)) for name, pod in self.pods.items()]
        owned = [row for row, serves in there if row and (serves or row.is_live)]
        return [row for row in self.nodes or () if not row.is_decommissioning or row in owned]

    def live(self) -> list[NodeRow]:
        """Members that answer and are not leaving."""
        return [row for row in self.members() if row.is_live and row.is_available and not row.is_decommissioning]

    def down(self, pod: str) -> bool:
        """Whether nobody loses anything when the pod is ended: there is none, or it is not Ready and its node does not live either.

        A kubelet that is silent and a probe that fails make a pod not Ready whose database serves. Where the engine as a whole is
        silent, only a container that does not run proves anything; before the first init there is nothing to lose.
        """
        found = self.pods.get(pod)
        if found is None or ready(found):
            return found is None
        if self.nodes is None:
            return not self.initialized or not may_run(found)
        row = self.node_of(pod)
        return row is None or not row.is_live


def holds(deep: Deep | None, node_id: int) -> bool:
    """Whether a range lists it; also when nobody can tell."""
    return deep is None or any(node_id in item.replicas for item in deep.ranges)


def container(template: Object) -> Object:
    """The database container of a pod template or pod."""
    return next(
        (item for item in template["spec"]["containers"] if item["name"] == "kaiwudb"),
        template["spec"]["containers"][0],
    )


def ready(pod: Object) -> bool:
    """The pod's Ready condition; says nothing about the engine's health."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    return any(
        item["type"] == "Ready" and item["status"] == "True" for item in pod.get("status", {}).get("conditions") or ()
    )


def ending(obj: Object | None) -> bool:
    """Whether somebody has ordered its end already, which cannot be called back."""
    return obj is not None and bool(obj["metadata"].get("deletionTimestamp"))


def may_run(pod: Object) -> bool:
    """Whether the database may run in the pod, whatever becomes of its probes: unless it has no place, or its container waits or has ended."""
    status = pod.get("status", {})
    if not pod["spec"].get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return False
    name = container(pod)["name"]
    state = next((item.get("state") for item in status.get("containerStatuses") or () if item["name"] == name), None)
    return not any((state or {}).get(kind) for kind in ("waiting", "terminated"))


def look_at_objects(client: Client, names: Names, *, sql_port: int = 26257, volumes: bool | None = True) -> Observed:
    """The API server's half of the light snapshot: one read a kind. KubeError when it refuses or does not answer.

    volumes: whether PersistentVolumes are looked at. They are cluster-scoped: an account of one namespace may not list them, and where a
    storage class provisions it need not. None: where there is no cluster either, none of them is an answer too.
    """
    from .._kube.errors import KubeError

    namespace = _namespace(client, names)
    objects: dict[str, dict[str, Object]] = {kind: {} for kind in (*KINDS, "PersistentVolume")}
    if namespace is not None:
        for kind in KINDS:
            objects[kind] = _by_name(
                client.list(kind, names.namespace, labels=names.pod_selector if kind == "Pod" else names.selector)[0],
                names,
            )
    denied: KubeError | None = None
    if volumes is not False:
        try:
            found = client.list("PersistentVolume", labels=names.volume_selector)[0]
            objects["PersistentVolume"] = _by_name(found, names)
        except KubeError as error:
            if error.status != 403:
                raise
            denied = error
    journal = Journal.read(objects["ConfigMap"].get(names.journal))
    if journal.recreate and names.name not in objects["StatefulSet"]:
        # A run was killed while it made the StatefulSet again: it counts as there, and step template makes it.
        objects["StatefulSet"][names.name] = {**journal.recreate, "status": {"observedGeneration": -1}}
    seen = Observed(names, namespace, objects, journal, sql_port)
    known = seen.remembered or seen.removed_options
    if denied and (known.get("storage", "local") if known else "local" if volumes else "") == "local":
        raise denied
    # A pod whose labels were edited is in no list, yet its name is taken: nobody can make another one.
    unlisted = {
        name: client.get("Pod", name, names.namespace) for name in seen.expected_pods() if name not in seen.pods
    }
    strays = {name: pod for name, pod in unlisted.items() if pod is not None and not _labelled(pod, names)}
    return replace(seen, strays=strays)


def _labelled(pod: Object, names: Names) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in {**names.labels, **names.pod_selector}.items())


def _namespace(client: Client, names: Names) -> Object | None:
    """The namespace; None when it is not there, empty when we may not look (then the lists tell)."""
    from .._kube.errors import KubeError

    try:
        return client.get("Namespace", names.namespace)
    except KubeError as error:
        if error.status == 403:
            return {}
        raise


def _by_name(items: t.Iterable[Object], names: Names) -> dict[str, Object]:
    return {obj["metadata"]["name"]: obj for obj in items if owned(obj, names)}


def ask_engine(engine: Engine, seen: Observed) -> Observed:
    """The snapshot with the engine's rows. Before init SQL accepts and hangs, so only Ready pods are asked."""
    from .._engine.errors import EngineError

    serving = sorted((name for name, pod in seen.pods.items() if ready(pod)), key=lambda name: ordinal_of(name) or 0)
    if not serving:
        return replace(seen, nodes=None, engine_silence="no pod is ready")
    try:
        rows = tuple(engine.node_status(decommission=True, pods=serving))
        found = replace(seen, nodes=rows, engine_silence="")
    except EngineError as error:
        return replace(seen, nodes=None, engine_silence=str(error))
    ids = {}
    for pod in serving:
        if len(found.rows_of(pod)) > 1:
            # Else only this pod's own word is missing, and the live row or the newest counts.
            with contextlib.suppress(EngineError):
                ids[pod] = engine.node_id(pod)
    return replace(found, ids=ids)


_WANTED = re.compile(r"num_replicas = (\d+)")
_LARGEST = re.compile(r"range_max_bytes = (\d+)")


def _wanted(zones: t.Iterable[t.Mapping[str, t.Any]]) -> t.Callable[[t.Mapping[str, t.Any]], int]:
    """From zone rows, the function that tells how many replicas a range row wants."""
    own: dict[tuple[str, str, str], int] = {}
    for zone in zones:
        found = _WANTED.search(zone["raw_config_sql"] or "")
        if found:
            own[zone["range_name"] or "", zone["database_name"] or "", zone["table_name"] or ""] = int(found.group(1))
    default = own.get(("default", "", ""), 3)

    def wanted(row: t.Mapping[str, t.Any]) -> int:
        database, table = row["database_name"] or "", row["table_name"] or ""
        if database or table:
            return own.get(("", database, table)) or own.get(("", database, "")) or default
        start = row["start_pretty"] or ""
        zone = (
            "timeseries"
            if start.startswith("/System/tsd")
            else "liveness"
            if start.startswith("/System/NodeLiveness") and not start.endswith("Max")
            else "system"
            if start.startswith("/System")
            else "meta"
            if start in ("", "/Min") or start.startswith("/Meta")
            else ""
        )
        return own.get((zone, "", "")) or default

    return wanted


def _constraints(zone: t.Mapping[str, t.Any], wanted: t.Callable[[t.Mapping[str, t.Any]], int]) -> list[Constraint]:
    """What one zone requires; the number of replicas it does not say itself is that of the zone above it."""
    config = zone["raw_config_sql"] or ""
    own = _WANTED.search(config)
    count = int(own.group(1)) if own else wanted({**zone, "start_pretty": "/Table"})
    return _ranges.constraints(zone["target"] or "a zone", config, count)


def _ids(text: str | None) -> frozenset[int]:
    return frozenset(int(part) for part in re.findall(r"\d+", text or ""))


def look_deep(engine: Engine, seen: Observed) -> Deep | None:
    """Ranges, jobs and stores; None when SQL does not answer."""
    from .._engine.errors import EngineError

    def ask(columns: str, view: str, where: str = "") -> list[dict[str, str | None]]:
        return engine.sql_rows(
            " ".join(("SELECT", columns, "FROM", f"{engine.profile.virtual_schema}.{view}", where)).strip()
        )

    try:
        zones = ask("target, range_name, database_name, table_name, raw_config_sql", "zones")
        wanted = _wanted(zones)
        rows = ask("range_id, start_pretty, database_name, table_name, replicas", "ranges_no_leases")
        jobs = ask("job_id, job_type", "jobs", "WHERE status IN ('running', 'pending', 'reverting')")
        stores = ask("node_id, capacity, available, used", "kv_store_status")
    except EngineError:
        return None
    return Deep(
        tuple(
            Range(
                int(row["range_id"] or 0),
                ".".join(filter(None, (row["database_name"], row["table_name"]))),
                _ids(row["replicas"]),
                wanted(row),
            )
            for row in rows
        ),
        tuple(Job(row["job_id"] or "", row["job_type"] or "") for row in jobs),
        tuple(
            Store(*(int(float(row[key] or 0)) for key in ("node_id", "capacity", "available", "used")))
            for row in stores
        ),
        tuple(item for zone in zones for item in _constraints(zone, wanted)),
        max(
            (int(found.group(1)) for zone in zones if (found := _LARGEST.search(zone["raw_config_sql"] or ""))),
            default=0,
        ),
    )
