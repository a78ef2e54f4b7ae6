# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A cluster under a workload, on which an operator errs row after row, and the judge of what came of it."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from kindlab import IMAGE, MODULE, Place, Process, Result, cluster_answers, kubectl, until, worker_nodes

from faults.figures import Row
from workload.run import Options, Workload, verify_ledger

NAME = "kw"
BACK = 2  # plain runs that may be needed to bring the cluster back
BOOKS = ("leases", "configmaps")  # what a run writes about itself; anything else it writes is the cluster's
FAULTS = ("decommission.stuck", "replica_away", "running_job")  # of the stand-in, by settings
KWBASE = "timeout -s KILL 15 /kaiwudb/bin/kwbase"
RANGES = "SELECT replicas FROM kwdb_internal.ranges_no_leases"
ASK = f"{KWBASE} node status --decommission --insecure --format=csv && echo ---- && {KWBASE} sql --insecure --format=tsv -e '{RANGES}'"
DEAD = "kaiwudb.lab/off"  # the finalizer of a pod whose machine is off
NONE = "localhost:1/none:3.2.9"  # nobody listens there: the pull is refused at once


@dataclass(frozen=True)
class Misoperation:
    """One row. stage: the cluster it is played on. does: what the operator does; expected: any of these outcomes.

    disturbs: the operator's act itself takes nodes, or the way to them, from the clients. human: why only a person can
    bring this back, where that is right.
    """

    row: str
    stage: str
    does: str
    expected: tuple[str, ...]
    act: Callable[[Stage], None]
    quick: bool = False
    disturbs: bool = False
    human: str = ""


ROWS: dict[str, Misoperation] = {}


@dataclass(frozen=True)
class Shape:
    """How a stage begins: number of nodes, and options of the cluster. rate: statements a second of its workload.

    prepare: what its namespace needs before the cluster comes; undo: what it leaves that a namespace's end does not take.
    """

    nodes: int = 3
    options: dict[str, Any] = field(default_factory=dict)
    rate: float = 30.0
    prepare: Callable[[Place], None] | None = None
    undo: Callable[[Place], None] | None = None


SHAPES: dict[str, Shape] = {}


def misoperation(
    *expected: str, stage: str = "", shape: Shape | None = None, quick: bool = False, disturbs: bool = False, human: str = "",
) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:  # fmt: skip
    """A row: its name is the function's, what the operator does is its docstring. shape: a stage of its own."""

    def enter(act: Callable[[Stage], None]) -> Callable[[Stage], None]:
        name = act.__name__.strip("_").replace("_", "-")
        assert name not in ROWS, f"two rows {name}"
        if shape:
            SHAPES[name] = shape
        does = " ".join((act.__doc__ or "").split())
        ROWS[name] = Misoperation(name, stage or name, does, expected, act, quick, disturbs, human)
        return act

    return enter


def free_port() -> int:
    """A node port that no Service has."""
    services = json.loads(kubectl("get", "services", "--all-namespaces", "--output=json"))["items"]
    used = {port.get("nodePort") for service in services for port in service["spec"].get("ports", ())}
    return random.choice([port for port in range(30000, 32768) if port not in used])


def worker_addresses() -> list[str]:
    """Addresses of the Kubernetes nodes, on which a node port answers."""
    workers = worker_nodes()
    nodes = json.loads(kubectl("get", "nodes", "--output=json"))["items"]
    entries = [entry for node in nodes if node["metadata"]["name"] in workers for entry in node["status"]["addresses"]]
    return [entry["address"] for entry in entries if entry["type"] == "InternalIP"]


@dataclass
class View:
    """What Kubernetes and the engine say. asked: replicas of the StatefulSet, None without one. rows: by column; ranges: replicas of each."""

    asked: int | None
    pods: dict[str, dict[str, Any]]
    rows: list[dict[str, str]] = field(default_factory=list)
    ranges: list[set[str]] = field(default_factory=list)

    @property
    def ready(self) -> list[str]:
        """Pods that are Ready and stay."""
        return [
            name
            for name, pod in sorted(self.pods.items())
            if not pod["metadata"].get("deletionTimestamp")
            and any(
                item["type"] == "Ready" and item["status"] == "True" for item in pod["status"].get("conditions", ())
            )
        ]

    @property
    def live(self) -> list[str]:
        """Ids of nodes that are live and stay."""
        return [
            row["id"]
            for row in self.rows
            if (row["is_live"], row["is_available"], row["is_decommissioning"]) == ("true", "true", "false")
        ]

    @property
    def whole(self) -> bool:
        return bool(self.ranges) and all(len(ids) >= 3 and ids <= set(self.live) for ids in self.ranges)

    @property
    def text(self) -> str:
        images = [pod["spec"]["containers"][0]["image"].rsplit(":", 1)[-1] for pod in self.pods.values()]
        builds = "/".join(sorted(set(images)))
        if self.asked == len(self.pods) == len(self.ready) == len(self.live):
            return f"{self.asked} nodes of {builds}"
        asked = "no StatefulSet" if self.asked is None else f"{self.asked} asked"
        live = f"{len(self.live)} live" if self.rows else "none answers"
        return f"{asked}, {len(self.pods)} pods of {builds or 'nothing'}, {len(self.ready)} ready, {live}"

    def node(self, ordinal: int) -> dict[str, str]:
        """The newest row of an ordinal; {} when the engine knows none."""
        rows = [row for row in self.rows if row["address"].startswith(f"{NAME}-{ordinal}.")]
        return max(rows, key=lambda row: int(row["id"]), default={})


class Stage:
    """One cluster, made anew when a row left it beyond repair. What an operator does goes through its methods."""

    def __init__(self, name: str, shape: Shape, home: Path, collections: Path | None = None) -> None:
        self.name, self.shape, self.home, self.collections = name, shape, home, collections
        self.broken = True
        self.place: Place = None  # type: ignore[assignment]  # made by ready()
        self.workload: Workload | None = None
        self._lost = 0
        self._reset()

    def _reset(self) -> None:
        self.seen: list[str] = []
        self.operations = self.faults = 0
        self.sent: list[str] = []

    # ---- the cluster

    @property
    def base(self) -> dict[str, Any]:
        """What every row begins and ends with, as options of a plain run."""
        return {"replicas": str(self.shape.nodes), "image": IMAGE}

    def ready(self) -> None:
        """A whole cluster with a workload on it; the one that is there, where it is sound."""
        if not self.broken:
            return
        self.close()
        self.home.mkdir(parents=True, exist_ok=True)
        self.place = Place(self.home, {
            "anti_affinity": "preferred", "service_type": "NodePort", "sql_node_port": str(free_port()), "volumes": "wipe",
            "termination_grace_period": "15", "pre_stop_seconds": "2", "wait_timeout": "90", **self.shape.options,
        })  # fmt: skip
        if self.collections:
            self.place.collections = self.collections
        if self.shape.prepare:
            self.shape.prepare(self.place)
        self.place.good(NAME, **self.base)
        until("the new cluster is whole", self.whole, 120, 1)
        for row in self.nodes():
            if row["address"] == "NULL":  # an id given to a join whose answer was lost: nobody has it
                self.place.exec(
                    f"{NAME}-0", "sh", "-c", f"{KWBASE} node decommission {row['id']} --wait=none --insecure"
                )
        self.ledger = self.home / f"{self.place.namespace}.ledger"
        self.workload = Workload(self.workload_options(ledger=self.ledger))
        self.workload.start()
        until("tables are whole", self.whole, 120, 1)
        self._lost, self.broken = 0, False

    def workload_options(self, **more: Any) -> Options:
        """Of this cluster's workload, and of a look for its rows."""
        port = self.place.defaults["sql_node_port"]
        addresses = [f"{address}:{port}" for address in worker_addresses()]
        return Options(addresses, connections=3, rate=self.shape.rate, max_seconds=7200, **more)

    def close(self) -> None:
        """Everything away."""
        if self.workload is not None:
            self.workload.stopped.set()
            self.workload = None
        if self.place is not None:
            if self.shape.undo:
                self.shape.undo(self.place)
            with suppress(AssertionError, subprocess.TimeoutExpired):
                self.mends()
            self.place.clean()
            self.place = None  # type: ignore[assignment]

    def look(self) -> View:
        """Both views of the cluster, with as few calls as may be: a busy machine feels each."""
        found = json.loads(kubectl(
            "--namespace", self.place.namespace, "get", "statefulsets,pods", f"--selector=app.kubernetes.io/instance={NAME}", "--output=json",
        ))["items"]  # fmt: skip
        sets = [item for item in found if item["kind"] == "StatefulSet" and item["metadata"]["name"] == NAME]
        pods = {
            item["metadata"]["name"]: item
            for item in found
            if item["kind"] == "Pod" and item["metadata"]["labels"].get("app.kubernetes.io/component") == "database"
        }
        view = View(sets[0]["spec"]["replicas"] if sets else None, pods)
        for name in view.ready:
            with suppress(AssertionError, subprocess.TimeoutExpired):
                rows, ranges = self.place.exec(name, "sh", "-c", ASK).split("----\n")
                lines = [line.split(",") for line in rows.splitlines() if line]
                view.rows = [dict(zip(lines[0], line, strict=False)) for line in lines[1:]]
                view.ranges = [set(line.strip('"{}').split(",")) for line in ranges.splitlines()[1:]]
                break
        return view

    def query(self, statement: str) -> list[list[str]]:
        """Rows of a statement as text, through a pod that serves."""
        ready = self.look().ready
        assert ready, "no pod is ready"
        words = ("timeout", "-s", "KILL", "15", "/kaiwudb/bin/kwbase", "sql", "--insecure", "--format=tsv", "-e")
        return [line.split("\t") for line in self.place.exec(ready[0], *words, statement).splitlines()[1:]]

    def nodes(self) -> list[dict[str, str]]:
        """`node status --decommission` through a pod that serves, by column."""
        return self.look().rows

    def node(self, ordinal: int) -> dict[str, str]:
        """The newest row of an ordinal; {} when the engine knows none."""
        return self.look().node(ordinal)

    def whole(self) -> bool:
        """Every range has three replicas or more, all on live nodes that stay."""
        return self.look().whole

    def state(self) -> str:
        """The cluster for a person: `3 nodes of 3.2.1`, or where its views differ."""
        return self.look().text

    def sound(self) -> bool:
        """As every row finds it."""
        view = self.look()
        return view.text == self.normal and view.whole

    @property
    def normal(self) -> str:
        """The state that every row begins and ends with."""
        return f"{self.shape.nodes} nodes of {IMAGE.rsplit(':', 1)[-1]}"

    # ---- what an operator does, and what is seen of it

    def asks(self, cluster: str = NAME, *, module: str = MODULE, seconds: float = 300, **options: Any) -> Result:
        """A run of the collection to its end; its outcome is noted."""
        self.operations += 1
        result = self.place.run(cluster, module=module, seconds=seconds, **options)
        self.note(outcome(result))
        self.sent.append(f"{result.msg} {result.steps}")
        return result

    def decommission(self, node: str, **options: Any) -> Result:
        """`kaiwudb_node_decommission`."""
        options = {"waive": self.place.defaults["waive"], **options}
        return self.asks(module="kaiwudb.kubernetes.kaiwudb_node_decommission", node=node, **options)

    def begins(self, **options: Any) -> Process:
        """A run in the background."""
        self.operations += 1
        return self.place.start(NAME, **options)

    def ends(self, process: Process, seconds: float = 300) -> Result:
        """The end of a run in the background; its outcome is noted."""
        result = process.wait(seconds)
        self.note(f"stopped: {result.data.get('reason')}" if result.failed else outcome(result))
        self.sent.append(result.msg)
        return result

    def hand(self, *words: str, stdin: str | None = None) -> str:
        """kubectl in the cluster's namespace, past the collection."""
        self.faults += 1
        return kubectl("--namespace", self.place.namespace, *words, stdin=stdin)

    def breaks(self, ordinal: int) -> None:
        """A node dies and stays dead, as on a machine that is off: its process ends, and its pod stays Terminating."""
        pod = f"{NAME}-{ordinal}"
        self._hold(pod, [DEAD])
        self.hand("delete", "pod", pod, "--wait=false", "--grace-period=1")
        until(f"{pod} is down", lambda: self.down(ordinal), 90, 1)

    def mends(self) -> None:
        """The machines are on again: pods that stayed Terminating go, and their StatefulSet makes them anew."""
        for name, pod in self.place.pods(NAME).items():
            if DEAD in (pod["metadata"].get("finalizers") or ()):
                self._hold(name, None)

    def _hold(self, pod: str, finalizers: list[str] | None) -> None:
        patch = json.dumps({"metadata": {"finalizers": finalizers}})
        self.hand("patch", "pod", pod, "--type=merge", f"--patch={patch}")

    def down(self, ordinal: int) -> bool:
        """Whether a pod is not Ready and the engine (where it answers) counts its node as neither live nor available."""
        view = self.look()
        row = view.node(ordinal)
        dead = not row or (row["is_live"], row["is_available"]) == ("false", "false")
        return dead and f"{NAME}-{ordinal}" not in view.ready

    def lab(self, statement: str) -> None:
        """A fault of the stand-in, by SQL."""
        self.query(statement)

    def stuck(self, on: bool) -> None:
        """Whether decommissions stand still."""
        self.lab(f"SET CLUSTER SETTING lab.decommission.stuck = '{str(on).lower()}'")

    def calm(self) -> None:
        """No fault of the stand-in any more."""
        self.lab("; ".join(f"RESET CLUSTER SETTING lab.{name}" for name in FAULTS))

    def note(self, text: str) -> None:
        """Part of the outcome."""
        self.seen.append(text)

    def sees(self, what: str, holds: Callable[[], Any], seconds: float = 30) -> None:
        """Note that something holds within a time, or that it does not."""
        with suppress(AssertionError):
            until(what, holds, seconds, 1)
            self.note(what)
            return
        self.note(f"not: {what}")

    def notes_state(self) -> None:
        """Note what the cluster is now, once it has had the time its pods need."""
        with suppress(AssertionError):
            until("the views agree", lambda: " asked, " not in self.state(), 30, 1)
        self.note(self.state())

    # ---- the judge

    def play(self, row: Misoperation) -> Row:
        """The row, the way back by plain runs, and the record of both."""
        self._reset()
        self.ready()
        assert self.workload is not None
        self.workload.phase(row.row)
        problem = ""
        try:
            row.act(self)
        except (AssertionError, KeyError, subprocess.SubprocessError, psycopg.Error) as error:
            problem = f"{type(error).__name__}: {error}".strip()
            self.note(f"failed: {problem.splitlines()[0][:200]}")
        humans = self._back(row)
        figures = self.workload.phase("between")
        lost, unreadable = self.search()
        outcome = "; ".join(self.seen)
        held = any(outcome == text for text in row.expected)
        if humans:
            outcome += "; needs a person" + (f" ({row.human})" if row.human else "")
        if lost:
            outcome += f"; {lost} acknowledged rows lost"
        if unreadable:
            outcome += f"; unreadable: {', '.join(unreadable)}"
        self.broken = bool(humans or lost or unreadable)
        return Row(
            "misoperation", row.row, " or ".join(row.expected), outcome, held and not lost and bool(row.human) >= humans,
            operations=self.operations, faults=self.faults, acknowledged=int(str(figures["acknowledged"])), lost=lost,
            retries_failed=int(str(figures["retries_failed"])), humans=int(humans), disturbs_nodes=row.disturbs,
            does=row.does,
        )  # fmt: skip

    def _back(self, row: Misoperation) -> bool:
        """Bring the cluster back by plain runs; whether that took a person."""
        with suppress(AssertionError, subprocess.TimeoutExpired):
            self.mends()
        for turn in range(BACK + 1):
            with suppress(AssertionError, subprocess.TimeoutExpired):
                self.calm()
            with suppress(AssertionError, subprocess.TimeoutExpired):
                # Right after a run that succeeded the ranges may still be filling; nobody need do anything then.
                if turn or self.state() == self.normal:
                    until("the cluster is as before", self.sound, 60 if turn else 30, 2)
                    return False
            if turn < BACK:
                self.operations += 1
                with suppress(AssertionError, subprocess.TimeoutExpired):
                    result = self.place.run(NAME, **self.base)
                    self.sent.append(f"back: {outcome(result)}: {result.msg}")
        self.sent.append(f"not back: {self.state()}")
        return True

    def search(self) -> tuple[int, list[str]]:
        """Rows lost since the last look, and tables that nobody can read."""
        found = verify_ledger(self.ledger, self.workload_options(verify_seconds=30.0))
        new = found.lost - self._lost
        self._lost = found.lost
        return max(0, new), sorted(found.unreadable)


def outcome(result: Result) -> str:
    """What a run came to, in a word or two. Refused: it wrote nothing but its own books."""
    if result.failed:
        touched = any(request.kind == "write" and request.resource not in BOOKS for request in result.requests)
        return f"{'stopped' if touched else 'refused'}: {result.data.get('reason')}"
    if result.data.get("held"):
        return "held"
    if result.data.get("in_progress"):
        return "unfinished"
    return "done" if result.steps else "nothing to do"


def has_docker() -> bool:
    """Whether the Kubernetes nodes can be looked into."""
    return bool(shutil.which("docker"))


__all__ = ["ROWS", "SHAPES", "Misoperation", "Shape", "Stage", "cluster_answers", "misoperation", "outcome"]
