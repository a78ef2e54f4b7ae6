# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A small Kubernetes with its controllers and an engine behind both edges, for whole runs that are killed at any request.

It is honest about what the operations on nodes rely on: a claim goes when no pod that has a node mounts it, a volume when its claim has
gone; a StatefulSet makes no pod while its claim is being deleted; only a kubelet that answers ends a pod; a store knows which node it
is; replicas move only to nodes that live and are not leaving, and a range without a live majority does not move at all.
"""

from __future__ import annotations

import copy
import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import (
    context,
    lock,
    manifests,
    node_run,
    run,
    short_lived_pods,
)
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.fingerprint import MISSING, UNKNOWN
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.names import ordinal_of
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.operations import members, ranges
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.placement import node_of
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import ExecResult, KubeError
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    JOURNAL,
    NAMES,
    kube_node,
    live,
    stamped,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.fakes import Clock

Object = dict[str, Any]
STORE_DEAD = "server.time_until_store_dead"


class Killed(BaseException):
    """The run was killed, or is dead already."""


def stop_clocks(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """One clock for everything that looks at one."""
    clock = Clock()
    for module in (context, lock, run, members, ranges, node_run):
        monkeypatch.setattr(module, "time", clock, raising=False)
    return clock


class World:
    """kw in db: one pod a Kubernetes node w1, w2, …; more nodes than pods are free. ranges: id to the node ids of its replicas.

    deadly: number of the write, or of the engine's order, at which the run dies, after it had its effect (before, with deadly_before).
    writes: what was written and ordered.
    """

    server, context = "https://world", None

    def __init__(self, clock: Clock, replicas: int = 3, workers: int = 4, ranges: int = 6) -> None:
        self.clock, self.replicas = clock, replicas
        self.objects: dict[tuple[str, str], Object] = {}
        self.version, self.next_id = 100, replicas + 1
        self.counts: dict[str, int] = {"reads": 0, "writes": 0, "execs": 0, "dry_runs": 0}
        self.calls, self.deadly, self.deadly_before, self.dead = 0, 0, False, False
        self.writes: list[str] = []
        self.beside: dict[str, str] = {}  # directory on its node to the fingerprint in it
        self.settings = {STORE_DEAD: "00:30:00"}
        self.stores: dict[str, int] = {}  # directory on its node to the id of the engine node whose store lies there
        self.engine: dict[int, dict[str, Any]] = {}
        self.budget = 1  # evictions that the budget allows beside the pods that are down
        self.zone = 3  # replicas that every zone wants
        self.work = 0.0  # seconds that a short-lived pod takes
        self.archived: set[tuple[str, str]] = set()  # directory on its node, and the suffix of its archive
        self.lag = 0.0  # seconds until gossip tells that a node is leaving
        self.stuck: set[str] = set()  # pods that no kubelet gets ended
        self.forgotten: set[int] = (
            set()
        )  # engine nodes that were down over a full restart: without an address until they are back
        self.crashing: set[str] = set()  # directories on nodes on which the database does not start
        self.meanwhile: Callable[[], None] = lambda: None
        self.made = live(replicas, journal=Journal()).objects
        for item in self.made.values():
            for made in item.values():
                self._put(made)
        for number in range(1, workers + 1):
            self._put(
                {
                    "apiVersion": "v1",
                    "kind": "Node",
                    **kube_node(f"w{number}", **{"kubernetes.io/hostname": f"w{number}"}),
                }
            )
        self._put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "db"}})
        self._put(manifests.configmap(NAMES, JOURNAL.data()))
        for ordinal in range(replicas):
            claim = self.objects["PersistentVolumeClaim", NAMES.claim(ordinal)]
            volume = self.objects["PersistentVolume", NAMES.volume(ordinal)]
            volume["spec"]["claimRef"]["uid"] = claim["metadata"]["uid"]
            for item in (claim, volume):
                item["metadata"].setdefault("annotations", {}).update(stamped(ordinal))
            self.stores[self._directory(volume)] = ordinal + 1
            self.engine[ordinal + 1] = {"ordinal": ordinal, "leaving": False, "live": True}
        spread = [[(start + step) % replicas + 1 for step in range(3)] for start in range(ranges)]
        self.ranges: dict[int, set[int]] = {number: set(ids) for number, ids in enumerate(spread, 1)}

    # ---- what happens to it

    def __getitem__(self, name: str) -> Object:
        kind, _slash, rest = name.partition("/")
        return self.objects[kind, rest]

    def has(self, name: str) -> bool:
        kind, _slash, rest = name.partition("/")
        return (kind, rest) in self.objects

    def node_dies(self, name: str, *, gone: bool = False) -> None:
        """The Kubernetes node does not answer any more; gone: its object is deleted too."""
        self["Node/" + name]["status"]["conditions"][0]["status"] = "Unknown"
        if gone:
            del self.objects["Node", name]
        self.settle()

    def disk_dies(self, ordinal: int) -> None:
        """The database on that ordinal's disk does not start any more."""
        self.crashing.add(self._directory(self["PersistentVolume/" + NAMES.volume(ordinal)]))
        self.settle()

    def empty(self, ordinal: int) -> None:
        """Somebody erased the directory under a pod, and it started anew."""
        place = self._directory(self["PersistentVolume/" + NAMES.volume(ordinal)])
        self.engine[self.stores.pop(place)]["live"] = False
        self.settle()

    def lives(self, ordinal: int) -> int | None:
        """The engine node that serves as that pod."""
        return next((number for number, row in self.engine.items() if row["ordinal"] == ordinal and row["live"]), None)

    def whole(self) -> bool:
        good = {number for number, row in self.engine.items() if row["live"] and not row["leaving"]}
        return all(len(ids & good) == len(ids) == 3 for ids in self.ranges.values())

    @property
    def journal(self) -> Journal:
        return Journal.read(self.objects.get(("ConfigMap", NAMES.journal)))

    # ---- controllers

    def _put(self, item: Object) -> Object:
        self.version += 1
        made = copy.deepcopy(item)
        old = self.objects.get((made["kind"], made["metadata"]["name"]))
        made["metadata"]["uid"] = old["metadata"]["uid"] if old else f"uid-{self.version}"
        made["metadata"]["resourceVersion"] = str(self.version)
        self.objects[made["kind"], made["metadata"]["name"]] = made
        return made

    @staticmethod
    def _directory(volume: Object) -> str:
        return f"{node_of(volume)}:{volume['spec']['local']['path']}"

    def _answers(self, name: str) -> bool:
        return self.has("Node/" + name) and self["Node/" + name]["status"]["conditions"][0]["status"] == "True"

    def settle(self) -> None:
        """All controllers, until nothing changes any more but what takes time."""
        for _round in range(4):
            self._kubelets()
            self._protection()
            self._sets()
            self._scheduler()
        self._engine()
        for number in self.ranges:
            self._move(number)

    def _database_pods(self) -> list[Object]:
        return [
            item
            for (kind, name), item in self.objects.items()
            if kind == "Pod" and item["metadata"].get("labels", {}).get("app.kubernetes.io/component") == "database"
        ]

    def _kubelets(self) -> None:
        for pod in self._database_pods():
            on = pod["spec"].get("nodeName")
            ends = not on or (self._answers(on) and pod["metadata"]["name"] not in self.stuck)
            if pod["metadata"].get("deletionTimestamp") and ends:
                del self.objects["Pod", pod["metadata"]["name"]]
            elif on and not self._answers(on):
                pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]

    def _protection(self) -> None:
        used = {
            NAMES.claim(ordinal_of(pod["metadata"]["name"]) or 0)
            for pod in self._database_pods()
            if pod["spec"].get("nodeName")
        }
        for kind, name in list(self.objects):
            item = self.objects[kind, name]
            going = item["metadata"].get("deletionTimestamp")
            if kind == "PersistentVolumeClaim" and going and name not in used:
                del self.objects[kind, name]
            if kind == "PersistentVolume" and going:
                claim = self.objects.get(("PersistentVolumeClaim", item["spec"]["claimRef"]["name"]))
                if claim is None or claim["metadata"]["uid"] != item["spec"]["claimRef"].get("uid"):
                    del self.objects[kind, name]

    def _sets(self) -> None:
        made = self.made
        for ordinal in range(self.replicas):
            name, claim = NAMES.pod(ordinal), NAMES.claim(ordinal)
            there = self.objects.get(("PersistentVolumeClaim", claim))
            if there is not None and there["metadata"].get("deletionTimestamp"):
                continue
            if there is None:
                self._put(made["PersistentVolumeClaim"][claim])
            if ("Pod", name) not in self.objects:
                pod = copy.deepcopy(made["Pod"][name])
                del pod["spec"]["nodeName"]
                waits = {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "its PersistentVolumeClaim",
                }
                pod["status"] = {"phase": "Pending", "conditions": [waits]}
                self._put(pod)

    def _scheduler(self) -> None:
        for ordinal in range(self.replicas):
            pod = self.objects.get(("Pod", NAMES.pod(ordinal)))
            claim = self.objects.get(("PersistentVolumeClaim", NAMES.claim(ordinal)))
            volume = self.objects.get(("PersistentVolume", NAMES.volume(ordinal)))
            if volume is None or claim is None or volume["metadata"].get("deletionTimestamp"):
                continue
            owner = volume["spec"]["claimRef"].setdefault("uid", claim["metadata"]["uid"])
            if pod is None or owner != claim["metadata"]["uid"] or pod["spec"].get("nodeName"):
                continue
            where = node_of(volume) or ""
            if self._answers(where) and not self["Node/" + where]["spec"].get("unschedulable"):
                pod["spec"]["nodeName"] = where
                pod["status"] = copy.deepcopy(self.made["Pod"][pod["metadata"]["name"]]["status"])

    def _engine(self) -> None:
        for row in self.engine.values():
            row["live"] = False
        for ordinal in range(self.replicas):
            pod = self.objects.get(("Pod", NAMES.pod(ordinal)))
            volume = self.objects.get(("PersistentVolume", NAMES.volume(ordinal)))
            on = (pod or {}).get("spec", {}).get("nodeName")
            if (
                pod is None
                or volume is None
                or not on
                or not self._answers(on)
                or pod["metadata"].get("deletionTimestamp")
            ):
                continue
            place = self._directory(volume)
            bad = place in self.crashing
            pod["status"]["conditions"] = [{"type": "Ready", "status": "False" if bad else "True"}]
            if bad:
                continue
            if place not in self.stores:
                self.stores[place] = self.next_id
                self.engine[self.next_id] = {"ordinal": ordinal, "leaving": False, "live": True}
                self.next_id += 1
            self.engine[self.stores[place]]["live"] = True

    def _move(self, number: int) -> None:
        ids = self.ranges[number]
        alive = {node for node in ids if self.engine[node]["live"]}
        if len(alive) * 2 <= len(ids):
            return
        leaving = sorted(node for node in ids if self.engine[node]["leaving"])
        free = sorted(
            node for node, row in self.engine.items() if row["live"] and not row["leaving"] and node not in ids
        )
        if leaving and free:
            ids.remove(leaving[0])
            ids.add(free[number % len(free)])

    # ---- the API server

    def _called(self, sort: str, what: str = "") -> None:
        if self.dead:
            raise Killed
        self.counts[sort] += 1
        if not what:
            return
        self.calls += 1
        if self.calls == self.deadly and self.deadly_before:
            self.dead = True
            raise Killed
        self.writes.append(what)

    def _over(self, changed: bool = True) -> None:
        if changed:
            self.settle()
        self.meanwhile()
        if self.deadly and self.calls == self.deadly:
            self.dead = True
            raise Killed

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        self._called("reads")
        item = self.objects.get((kind, name))
        if item is not None and "ends" in item and self.clock.now >= item["ends"][0]:
            item["status"] = item.pop("ends")[1]
        found = copy.deepcopy(item)
        self._over(changed=False)
        return found

    def list(
        self, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None, **_how: Any
    ) -> tuple[Any, str]:
        self._called("reads")
        found = [
            copy.deepcopy(item)
            for (sort, _name), item in self.objects.items()
            if sort == kind
            and all(item["metadata"].get("labels", {}).get(key) == value for key, value in (labels or {}).items())
        ]
        self._over(changed=False)
        return found, str(self.version)

    def watch(self, kind: str, namespace: str | None = None, *, timeout: float, **_how: Any) -> Iterator[Any]:
        self._called("reads")
        self.clock.now += timeout
        self._over()
        return iter(())

    def create(self, obj: Object) -> Object:
        self._called("writes", f"create {obj['kind']}/{obj['metadata']['name']}")
        if obj["kind"] == "Pod":
            on = obj["spec"]["nodeName"]
            said = self._prepare(on, obj["spec"]["containers"][0]["command"])
            ended = [{"name": "volume", "state": {"terminated": {"exitCode": 0, "message": said}}}]
            done = {"phase": "Succeeded", "containerStatuses": ended}
            obj = {**obj, "status": done if self._answers(on) else {"phase": "Pending"}}
            if self.work:
                obj = {**obj, "status": {"phase": "Pending"}, "ends": (self.clock.now + self.work, obj["status"])}
        made = copy.deepcopy(self._put(obj))
        self._over()
        return made

    def _prepare(self, on: str, command: Sequence[str]) -> str:
        place = f"{on}:{command[4]}"
        if command[2] == short_lived_pods.SCRIPTS["look"]:
            there = place in self.stores or place in self.crashing
            return self.beside.get(place, UNKNOWN) if there else MISSING
        if command[2] == short_lived_pods.SCRIPTS["make"]:
            assert place not in self.stores, f"{place} is not empty"
        elif self._answers(on):
            if command[2] != short_lived_pods.SCRIPTS["erase"] and place in self.stores.keys() | self.crashing:
                self.archived.add((place, command[5]))
            self.stores.pop(place, None)
            self.beside.pop(place, None)
            self.crashing.discard(place)
        return ""

    def apply(self, obj: Object, *, dry_run: bool = False) -> Object:
        self._called("writes", f"apply {obj['kind']}/{obj['metadata']['name']}")
        made = copy.deepcopy(self._put(obj))
        self._over()
        return made

    def patch(self, kind: str, name: str, namespace: str | None, body: Any, **_how: Any) -> Object:
        self._called("writes", f"patch {kind}/{name}")
        if (kind, name) not in self.objects:
            raise KubeError(404, "NotFound", "not found")
        item = self.objects[kind, name]
        for key in ("uid", "resourceVersion"):
            if body.get("metadata", {}).get(key) not in (None, item["metadata"][key]):
                raise KubeError(409, "Conflict", "another one by now")
        _merge(item, body)
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        found = copy.deepcopy(item)
        self._over()
        return found

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        grace: int | None = None,
        **_how: Any,
    ) -> bool:
        self._called("writes", f"delete {kind}/{name}{' by force' if grace == 0 else ''}")
        item = self.objects.get((kind, name))
        if item is not None:
            if uid not in (None, item["metadata"]["uid"]):
                raise KubeError(409, "Conflict", "another one by now")
            protected = kind in ("PersistentVolume", "PersistentVolumeClaim") or (kind == "Pod" and grace != 0)
            if protected:
                item["metadata"].setdefault("deletionTimestamp", "2026-11-23T10:00:00Z")
            else:
                del self.objects[kind, name]
        self._over()
        return item is not None

    def evict(self, name: str, namespace: str, *, uid: str) -> None:
        self._called("writes", f"evict Pod/{name}")
        pod = self.objects.get(("Pod", name))
        if pod is None:
            raise KubeError(404, "NotFound", "no such pod")
        down = sum(self.lives(ordinal) is None for ordinal in range(self.replicas))
        if down >= self.budget:
            raise KubeError(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.")
        pod["metadata"].setdefault("deletionTimestamp", "2026-11-23T10:00:00Z")
        self._over()

    def events(self, namespace: str, name: str) -> Any:
        return []

    def logs(self, *_what: Any, **_how: Any) -> str:
        return ""

    def can_i(self, *_right: Any) -> bool:
        self._called("reads")
        return True

    def server_version(self) -> dict[str, str]:
        return {"major": "1", "minor": "34"}

    # ---- the engine's command line

    def exec(self, namespace: str, pod: str, container: str, argv: Sequence[str], *, timeout: float) -> ExecResult:
        words = list(argv[5:])
        order = words[1].endswith("commission") or bool(re.search("(SET|RESET) CLUSTER", words[-1]))
        self._called(
            "execs",
            words[-1].removeprefix("--execute=")
            if words[0] == "sql" and order
            else " ".join(words[:3])
            if order
            else "",
        )
        ordinal = ordinal_of(pod) or 0
        number = self.lives(ordinal)
        if number is None:
            raise KubeError(404, "NotFound", f"pod {pod} does not run")
        if words[0] == "-c":  # the fingerprint beside the store
            self.beside[self._directory(self["PersistentVolume/" + NAMES.volume(ordinal)])] = words[3]
            return ExecResult(0, "", "")
        text = self._node(words) if words[0] == "node" else self._sql(words[-1].removeprefix("--execute="), number)
        self._over(changed=order)
        return ExecResult(0, text, "")

    def _node(self, words: Sequence[str]) -> str:
        if words[1] == "status":
            header = (
                "id",
                "address",
                "build",
                "is_available",
                "is_live",
                "gossiped_replicas",
                "is_decommissioning",
                "is_draining",
            )
            rows = [
                (
                    number,
                    "NULL" if number in self.forgotten and not row["live"] else NAMES.address(row["ordinal"], 26257),
                    "V3.2.1",
                    row["live"],
                    row["live"],
                    self._held(number),
                    row["leaving"] and self.clock.now >= row.get("told", 0.0) + self.lag,
                    False,
                )
                for number, row in self.engine.items()
            ]
            return _csv(header, rows)
        ids = [int(word) for word in words[2:] if word.isdigit()]
        for number in ids:
            self.engine[number]["leaving"] = words[1] == "decommission"
            self.engine[number].setdefault("told", self.clock.now)
        rows = [
            (number, self.engine[number]["live"], self._held(number), self.engine[number]["leaving"], False)
            for number in ids
        ]
        done = "\nNo more data reported on target nodes. Please verify cluster health before removing the nodes.\n"
        text = _csv(("id", "is_live", "replicas", "is_decommissioning", "is_draining"), rows)
        return text + ("" if any(self._held(number) for number in ids) else done)

    def _held(self, number: int) -> int:
        return sum(number in ids for ids in self.ranges.values())

    def _sql(self, statement: str, number: int) -> str:
        found = re.match(r"(SET|SHOW|RESET) CLUSTER SETTING (\S+)(?: = '(.*)')?$", statement)
        if found and found[1] == "SHOW":
            return _csv((found[2],), [(self.settings.get(found[2], ""),)])
        if found:
            seconds = int(re.match(r"(\d+)s$", found[3] or "1800s")[1])  # type: ignore[index]
            self.settings[found[2]] = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
            return "SET CLUSTER SETTING\n"
        if statement == "SHOW node_id":
            return _csv(("node_id",), [(number,)])
        if ".zones" in statement:
            row = (
                "RANGE default",
                "default",
                "NULL",
                "NULL",
                f"num_replicas = {self.zone}, range_max_bytes = 67108864",
            )
            return _csv(("target", "range_name", "database_name", "table_name", "raw_config_sql"), [row])
        if "ranges_no_leases" in statement:
            rows = [
                (key, "/Table/53", "bank", "accounts", "{" + ",".join(map(str, sorted(ids))) + "}")
                for key, ids in self.ranges.items()
            ]
            return _csv(("range_id", "start_pretty", "database_name", "table_name", "replicas"), rows)
        columns = {
            "jobs": ("job_id", "job_type"),
            "kv_store_status": ("node_id", "capacity", "available", "used"),
            "cluster_settings": ("value",),
        }
        return _csv(next(header for view, header in columns.items() if f".{view}" in statement), [])


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([str(value).lower() if isinstance(value, bool) else value for value in row] for row in rows)
    return out.getvalue()


def _merge(item: Object, body: Mapping[str, Any]) -> None:
    for key, value in body.items():
        if value is None:
            item.pop(key, None)
        elif isinstance(value, Mapping):
            _merge(item.setdefault(key, {}), value)
        else:
            item[key] = value
