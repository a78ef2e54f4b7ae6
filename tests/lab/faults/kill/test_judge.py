# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The judge and the driver of the kill matrix can say no, and skip nothing. No cluster is needed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from faults.kill.chain import Walk
from faults.kill.state import ID, RETIRED, Found, Wanted, complaints
from faults.proxy import Request, Reset, parse
from faults.runner import MODES, Kill, Mode

pytestmark = pytest.mark.quick

IMAGE = "kwdb-standin:3.2.2"
NOTES = {"annotations": {ID: "the-id"}}


def sound() -> Found:
    """Three nodes, as they should be."""
    names = [f"kw-{ordinal}" for ordinal in range(3)]
    containers = {"containers": [{"image": IMAGE}]}
    journal = {"operation": {}, "initialized": {"at": "then"}, "initializing": {}, "cluster_id": "the-id"}
    objects: dict[str, dict[str, dict[str, Any]]] = {
        "StatefulSet": {"kw": {"spec": {"replicas": 3, "template": {"spec": containers}}, "status": {"updateRevision": "r2"}}},
        "Pod": {
            name: {
                "metadata": {"labels": {"controller-revision-hash": "r2"}}, "spec": containers,
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
            }
            for name in names
        },
        "PersistentVolumeClaim": {f"datadir-{name}": {"metadata": NOTES, "status": {"phase": "Bound"}} for name in names},
        "Lease": {"kw-lock": {"spec": {"holderIdentity": ""}}},
        "ConfigMap": {"kw-journal": {"data": {"journal": json.dumps(journal)}}},
    }  # fmt: skip
    row = {
        "build": "V3.2.2",
        "is_live": "true",
        "is_available": "true",
        "gossiped_replicas": "16",
        "is_decommissioning": "false",
    }
    gone = {
        **row,
        "id": "4",
        "address": "NULL",
        "is_live": "false",
        "gossiped_replicas": "0",
        "is_decommissioning": "true",
    }
    rows = [{**row, "id": str(at), "address": f"{name}.kw.ns:26257"} for at, name in enumerate(names, 1)]
    volumes = {f"ns.{name}": {"metadata": NOTES, "status": {"phase": "Bound"}} for name in names}
    ids = dict.fromkeys(names, "the-id")
    return copy.deepcopy(Found("kw", "ns", objects, volumes, [*rows, gone], ids, sorted(volumes)))


def _journal(found: Found, **change: Any) -> None:
    kept = found.objects["ConfigMap"]["kw-journal"]["data"]
    kept["journal"] = json.dumps({**json.loads(kept["journal"]), **change})


DEFECTS: dict[str, tuple[Callable[[Found], Any], str]] = {
    "no StatefulSet": (lambda f: f.objects.pop("StatefulSet"), "no StatefulSet"),
    "replicas": (lambda f: f.objects["StatefulSet"]["kw"]["spec"].update(replicas=4), "4 replicas"),
    "pod missing": (lambda f: f.objects["Pod"].pop("kw-1"), "pods are"),
    "preparer left": (lambda f: f.objects["Pod"].update({"kw-volume-1": {}}), "pods are"),
    "old image": (
        lambda f: f.objects["Pod"]["kw-2"]["spec"].update(containers=[{"image": "old:1"}]),
        "kw-2 runs old:1",
    ),
    "old template": (
        lambda f: f.objects["Pod"]["kw-2"]["metadata"]["labels"].update({"controller-revision-hash": "r1"}),
        "newest",
    ),
    "not ready": (lambda f: f.objects["Pod"]["kw-0"]["status"].update(conditions=[]), "kw-0 is Running"),
    "being deleted": (lambda f: f.objects["Pod"]["kw-0"]["metadata"].update(deletionTimestamp="now"), "being deleted"),
    "claim left": (
        lambda f: f.objects["PersistentVolumeClaim"].update({"datadir-kw-3": {"metadata": {}, "status": {}}}),
        "claims are",
    ),
    "volume left": (lambda f: f.volumes.update({"ns.kw-3": {"metadata": {}, "status": {}}}), "volumes are"),
    "directory left": (lambda f: f.directories and f.directories.append("ns.kw-3"), "directories"),
    "volume released": (lambda f: f.volumes["ns.kw-0"]["status"].update(phase="Released"), "is Released"),
    "volume retired": (
        lambda f: f.volumes["ns.kw-0"]["metadata"]["annotations"].update({RETIRED: "then"}),
        "left by a node",
    ),
    "volume of another": (lambda f: f.volumes["ns.kw-0"]["metadata"]["annotations"].update({ID: "another"}), "stamped"),
    "lock held": (lambda f: f.objects["Lease"]["kw-lock"]["spec"].update(holderIdentity="dead"), "held by dead"),
    "no lock": (lambda f: f.objects.pop("Lease"), "lock is missing"),
    "no journal": (lambda f: f.objects.pop("ConfigMap"), "no journal"),
    "under way": (lambda f: _journal(f, operation={"name": "upgrade"}), "upgrade is under way"),
    "forgotten": (lambda f: _journal(f, initialized={}), "initialized"),
    "still initialising": (lambda f: _journal(f, initializing={"since": "then"}), "init is under way"),
    "other id": (lambda f: _journal(f, cluster_id="another"), "journal says another"),
    "two clusters": (lambda f: f.ids.update({"kw-2": "another"}), "another"),
    "node missing": (lambda f: f.rows.pop(1), "nodes that stay"),
    "one node more": (
        lambda f: f.rows[3].update(is_decommissioning="false", address="kw-3.kw.ns:26257"),
        "nodes that stay",
    ),
    "node leaving": (lambda f: f.rows[2].update(is_decommissioning="true"), "nodes that stay"),
    "node silent": (lambda f: f.rows[0].update(is_available="false"), "not live"),
    "old build": (lambda f: f.rows[0].update(build="V3.2.1"), "V3.2.1"),
    "left with replicas": (lambda f: f.holders.add("4"), "still hold"),
}


def test_a_sound_cluster_gives_no_complaint() -> None:
    assert complaints(sound(), Wanted(3, IMAGE), "the-id") == []


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_is_said(defect: str) -> None:
    found = sound()
    spoil, word = DEFECTS[defect]
    spoil(found)
    assert any(word in text for text in complaints(found, Wanted(3, IMAGE), "the-id")), complaints(
        found, Wanted(3, IMAGE)
    )


def test_another_cluster_than_before_is_said() -> None:
    assert "it was the-first" in " ".join(complaints(sound(), Wanted(3, IMAGE), "the-first"))


def test_what_a_removed_cluster_leaves_is_said() -> None:
    found = Found("kw", "ns", {}, directories=[])
    assert complaints(found, Wanted(0)) == []
    for kind, name in (("Lease", "kw-lock"), ("Pod", "kw-volume-0"), ("PersistentVolumeClaim", "datadir-kw-0")):
        left = Found("kw", "ns", {kind: {name: {"metadata": {}}}})
        assert complaints(left, Wanted(0)) == [f"left behind: {kind} {name}"]
    service = {"metadata": {"labels": {"app.kubernetes.io/instance": "kw"}}}
    assert complaints(Found("kw", "ns", {"Service": {"kw": service}}), Wanted(0)) == ["left behind: Service kw"]
    assert complaints(Found("kw", "ns", {}, directories=["ns.kw-0"]), Wanted(0)) == ["left behind: directory ns.kw-0"]


class Traffic:
    """Requests as the proxy would report them to a kill; ``died``: how many were answered when the run died."""

    def __init__(self, number: int, mode: Mode) -> None:
        self.on_request: Callable[[Request], Any] = lambda _request: None
        self.on_answer = self.on_relayed = self.on_request
        self.relayed: list[str] = []
        self.dead_with: list[str] | None = None
        self.kill = Kill(number, mode)
        self.kill.arm(self, self._die)  # type: ignore[arg-type]  # all that arm() asks of a proxy

    def _die(self) -> None:
        self.dead_with = list(self.relayed)

    def send(self, method: str, target: str) -> bool:
        """Whether it reached the server."""
        request = parse(1, method, target)
        if self.on_request(request) == Reset("before"):
            return False
        self.on_answer(request)
        self.relayed.append(target)
        self.on_relayed(request)
        return True


@pytest.mark.parametrize("mode", MODES)
def test_a_kill_comes_at_its_request_and_nothing_after_it_reaches_the_server(mode: Mode) -> None:
    traffic = Traffic(2, mode)
    one, two = "/api/v1/namespaces/ns/configmaps/one", "/api/v1/namespaces/ns/pods/kw-0/exec?command=timeout"
    traffic.send("GET", one)
    traffic.send("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
    traffic.send("PATCH", one)
    assert traffic.dead_with is None
    traffic.send("GET", two)
    assert traffic.kill.victim is not None and traffic.kill.victim.sort == "exec"
    assert (traffic.dead_with or [])[-1] == (one if mode == "before" else two)
    assert not traffic.send("PATCH", one)


def test_a_walk_takes_every_number_until_a_run_ends_before_it() -> None:
    walk = Walk(1, 1)
    walk.counted = 3
    taken = []
    requests = iter([3, 3, 2, 4, 4, 4])  # what each run would send: polling makes them differ
    while not walk.over:
        if next(requests) >= walk.number:
            taken.append(walk.number)
            walk.killed()
        else:
            walk.ended_early()
    assert taken == [1, 2, 3, 4]
