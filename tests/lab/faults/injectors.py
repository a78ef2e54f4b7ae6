# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Faults outside the run: pods, claims, kubelets, workers, the API server itself.

Each is injected once the operation is under way and mended before it returns, whatever became of the run. It gets the bed, the
operation, and whether the run still runs; it returns what it did, for a person.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import kindlab
from kindlab import kubectl, on_node, until

if TYPE_CHECKING:
    from faults.bed import Bed, Operation

Running = Callable[[], bool]
Injector = Callable[["Bed", "Operation", Running], str]
NAME = "kw"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
HANG = 20.0  # seconds an engine's command line hangs
AWAY = 75.0  # seconds a Kubernetes node is away at most; it counts as NotReady after 40


class NeverUnderWay(Exception):
    """The run had ended before the fault could be injected: the cell says nothing."""


def under_way(bed: Bed, operation: Operation, running: Running) -> None:
    """Returns once the operation has begun; NeverUnderWay when the run ends before."""

    def begun() -> bool:
        if not running():
            raise NeverUnderWay("the run had ended before the fault was injected")
        return operation.begun(bed)

    until(f"{operation.name} is under way", begun, 120, 0.1)


# ---- pods and claims


def delete_pod_0(bed: Bed, operation: Operation, running: Running) -> str:
    """The pod that serves init and most engine calls."""
    under_way(bed, operation, running)
    bed.kubectl("delete", "pod", bed.pod(0), "--wait=false")
    return f"{bed.pod(0)} deleted"


def evict(bed: Bed, operation: Operation, running: Running) -> str:
    """As `kubectl drain` does it: asked again while the disruption budget refuses."""
    under_way(bed, operation, running)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": bed.pod(1)}}
    path = f"/api/v1/namespaces/{bed.place.namespace}/pods/{bed.pod(1)}/eviction"
    refusals = 0
    while running():
        try:
            kubectl("create", "--raw", path, "--filename=-", stdin=json.dumps(eviction))
        except AssertionError as refused:
            assert any(text in str(refused) for text in ("disruption budget", "not found", "NotFound")), str(refused)
            refusals += 1
        else:
            return f"{bed.pod(1)} evicted after {refusals} refusals"
    return f"the budget refused {refusals} evictions while the run lasted"


def delete_claim(bed: Bed, operation: Operation, running: Running) -> str:
    """The claim of a pod that uses it: it stays, Terminating, until the pod goes."""
    under_way(bed, operation, running)
    claim = f"datadir-{bed.pod(operation.ordinal)}"

    def bound() -> bool:
        found = bed.place.get("persistentvolumeclaim", claim)
        return bool(found) and found["status"].get("phase") == "Bound"

    until(f"{claim} is bound", bound, 60, 0.1)
    bed.kubectl("delete", "persistentvolumeclaim", claim, "--wait=false")
    return f"{claim} Terminating"


def hang(bed: Bed, operation: Operation, running: Running) -> str:
    """Every engine call in pod 0 hangs, except the server itself."""
    under_way(bed, operation, running)
    file = "/kaiwudb/lab/cli-hang"

    def touched() -> bool:
        bed.place.exec(bed.pod(0), "touch", file)
        return True

    def tried() -> bool:
        with suppress(AssertionError):  # a container that has not started yet, or that the operation restarts now
            return touched()
        return False

    until(f"{file} is there", tried, 60, 0.2)
    with suppress(AssertionError):
        until("the run has ended", lambda: not running(), HANG)
    with suppress(AssertionError):  # a restarted container has lost it by itself
        bed.place.exec(bed.pod(0), "rm", "-f", file)
    return f"calls in {bed.pod(0)} hung for {HANG:g} s"


# ---- time


def ahead(bed: Bed, operation: Operation, running: Running) -> str:
    return "the run's machine is 10 minutes ahead"


def behind(bed: Bed, operation: Operation, running: Running) -> str:
    return "the run's machine is 10 minutes behind"


def stick(bed: Bed, operation: Operation, running: Running) -> str:
    """A decommission stands still from here on, so that the next run finds the figures of this one."""
    if operation.name == "scale_in":
        under_way(bed, operation, running)
        bed.place.sql(NAME, "SET CLUSTER SETTING lab.decommission.stuck = 'true'")
    return "the run's machine is 10 minutes behind"


def unstick(bed: Bed, operation: Operation, running: Running) -> str:
    """It goes on when the run has asked the engine how far it is."""
    if operation.name == "scale_in":

        def asked() -> bool:
            return not running() or any(
                "decommission" in item.query.get("command", ()) for item in bed.network.requests
            )

        until("the run asks for the leaving node", asked, 60, 0.1)
        with suppress(AssertionError):
            until("the run has judged the answer", lambda: not running(), 3)
        bed.place.sql(NAME, "SET CLUSTER SETTING lab.decommission.stuck = 'false'")
    return "the next one's is 10 minutes ahead"


# ---- Kubernetes itself


def docker(*words: str) -> str:
    """A command of Docker's, on the machine of kind."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


def restart_api_server(bed: Bed, operation: Operation, running: Running) -> str:
    """Its process ends at once; the kubelet starts it again, after a pause that grows with each time."""
    under_way(bed, operation, running)
    (master,) = [node["metadata"]["name"] for node in _nodes() if CONTROL_PLANE in node["metadata"]["labels"]]
    on_node(master, "pkill", "-KILL", "-x", "kube-apiserver")
    until("the API server answers again", _api_answers, 420, 1)
    return "API server restarted"


def stop_kubelet(bed: Bed, operation: Operation, running: Running) -> str:
    """Containers run on, but nobody starts, stops or enters one, until Kubernetes calls the node NotReady."""
    under_way(bed, operation, running)
    worker = bed.victim(operation)
    on_node(worker, "systemctl", "stop", "kubelet")
    try:
        gone = _away(worker, running)
    finally:
        last = _heartbeat(worker)
        on_node(worker, "systemctl", "start", "kubelet")
        until(f"{worker} is Ready", lambda: _heartbeat(worker) != last and _ready(worker), 120, 1)
    return f"kubelet of {worker} stopped, {gone}"


def stop_worker(bed: Bed, operation: Operation, running: Running) -> str:
    """A machine goes down with all that runs on it, and comes back when Kubernetes has called it NotReady."""
    under_way(bed, operation, running)
    worker = bed.victim(operation)
    docker("stop", "-t", "3", worker)
    try:
        gone = _away(worker, running)
    finally:
        kindlab.start_worker(worker)
    return f"{worker} stopped and started, {gone}"


def address(node: kindlab.Object) -> str:
    """Where a Kubernetes node's ports are reached from here."""
    return str(next(item["address"] for item in node["status"]["addresses"] if item["type"] == "InternalIP"))


def workers() -> dict[str, str]:
    """Addresses of the Kubernetes nodes that run pods, by name."""
    return {
        node["metadata"]["name"]: address(node) for node in _nodes() if CONTROL_PLANE not in node["metadata"]["labels"]
    }


def _nodes() -> list[kindlab.Object]:
    nodes: list[kindlab.Object] = json.loads(kubectl("get", "nodes", "--output=json"))["items"]
    return nodes


def _ready(name: str) -> bool:
    conditions = next(node for node in _nodes() if node["metadata"]["name"] == name)["status"]["conditions"]
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _heartbeat(name: str) -> str:
    """The last sign of life of a node's kubelet: for 40 s a dead node is still called Ready."""
    return kubectl("--namespace=kube-node-lease", "get", "lease", name, "--output=jsonpath={.spec.renewTime}")


def _away(worker: str, running: Running) -> str:
    """Waits until Kubernetes has noticed, or nobody is left to care."""
    with suppress(AssertionError):
        until("noticed", lambda: not running() or not _ready(worker), AWAY, 1)
    return "the run ended meanwhile" if not running() else "NotReady" if not _ready(worker) else "still called Ready"


def _api_answers() -> bool:
    with suppress(AssertionError, subprocess.TimeoutExpired):
        return kubectl("get", "--raw=/readyz", "--request-timeout=5s").strip() == "ok"
    return False
