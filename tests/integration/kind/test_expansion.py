# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Volumes grow in place where their storage class expands them: nobody restarts, a run that waits says for what, and what can never be is told at once.

A stand-in: kind has no driver that resizes. The class is the cluster's default with `allowVolumeExpansion`, and this test writes what the CSI
external-resizer and the kubelet would write (capacity of the volume; conditions, allocatedResourceStatuses and capacity of the claim). So the
API server, its admission and the collection are real; that a disk has become larger is not shown, for here sizes are only numbers.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kindlab import Place, default_class, kubectl

NAME = "kw"
CLAIMS = [f"datadir-{NAME}-{ordinal}" for ordinal in range(3)]
EXPAND = f"expand/{NAME}"
NO_ROOM = "rpc error: code = OutOfRange desc = no disk is that large"


@pytest.fixture(scope="module")
def three(place: Place) -> Iterator[None]:
    """A cluster of three nodes on a storage class of the test's own."""
    found = default_class()
    if found is None:
        pytest.skip("this Kubernetes cluster has no default storage class")
    mine = {**found, "metadata": {"name": f"{place.namespace}-expands"}, "allowVolumeExpansion": True}
    kubectl("create", "--filename=-", stdin=json.dumps(mine))
    try:
        del place.defaults["local_path"]
        place.defaults.update(storage="dynamic", storage_class=mine["metadata"]["name"])
        place.good(NAME, replicas="3")
        yield
    finally:
        kubectl("delete", "storageclass", mine["metadata"]["name"], check=False)


class Resizer:
    """Plays the external-resizer, and the kubelet that grows the file system, for the claims of a namespace while it is entered.

    Source: https://github.com/kubernetes-csi/external-resizer (pkg/controller/resize_status.go).
    pending: claims whose file system waits for a restart of their pod. infeasible: whether the driver refuses every size.
    """

    def __init__(self, place: Place, *, pending: tuple[str, ...] = (), infeasible: bool = False) -> None:
        self.place, self.pending, self.infeasible = place, pending, infeasible
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.failed: list[BaseException] = []

    def __enter__(self) -> Resizer:
        self._thread.start()
        return self

    def __exit__(self, *_how: object) -> None:
        self._over.set()
        self._thread.join(60)
        assert not self.failed, self.failed

    def _work(self) -> None:
        try:
            while not self._over.wait(0.5):
                for name in CLAIMS:
                    self._look_at(name)
        except BaseException as error:  # for the thread that waits
            self.failed.append(error)

    def _look_at(self, name: str) -> None:
        claim = self.place.get("persistentvolumeclaim", name)
        wanted = claim["spec"]["resources"]["requests"]["storage"]
        waits = claim["status"].get("allocatedResourceStatuses") == {"storage": "NodeResizePending"}
        if claim["status"]["capacity"]["storage"] == wanted or (waits and name in self.pending):
            return
        if self.infeasible:
            self._says(
                name, "ControllerResizeError", "ControllerResizeInfeasible", f"failed to expand pvc with {NO_ROOM}"
            )
            return
        self._says(name, "Resizing", "ControllerResizeInProgress")
        time.sleep(1)  # a driver takes its time
        size = json.dumps({"spec": {"capacity": {"storage": wanted}}})
        kubectl("patch", "persistentvolume", claim["spec"]["volumeName"], f"--patch={size}")
        self._says(name, "FileSystemResizePending", "NodeResizePending", "Waiting for user to (re-)start a pod")
        if name not in self.pending:
            self._status(name, {"conditions": [], "allocatedResourceStatuses": None, "capacity": {"storage": wanted}})

    def _says(self, name: str, condition: str, phase: str, message: str = "") -> None:
        told = [{"type": condition, "status": "True", "message": message}]
        self._status(name, {"conditions": told, "allocatedResourceStatuses": {"storage": phase}})

    def _status(self, name: str, status: dict[str, Any]) -> None:
        words = ("patch", "persistentvolumeclaim", name, "--subresource=status", "--type=merge")
        kubectl("--namespace", self.place.namespace, *words, f"--patch={json.dumps({'status': status})}")


def sizes(place: Place) -> list[tuple[str, str]]:
    """What each claim asks for, and what it has."""
    found = [place.get("persistentvolumeclaim", name) for name in CLAIMS]
    return [
        (claim["spec"]["resources"]["requests"]["storage"], claim["status"]["capacity"]["storage"]) for claim in found
    ]


def template_size(place: Place) -> Any:
    template = place.get("statefulset", NAME)["spec"]["volumeClaimTemplates"][0]
    return template["spec"]["resources"]["requests"]["storage"]


def test_nobody_restarts_and_all_claims_grow_at_once(three: None, place: Place) -> None:
    uids, how = place.uids(NAME), {"storage_size": "2Gi", "operations": ["reconfigure"]}
    foreseen = place.good(NAME, check=True, **how)
    assert foreseen.steps == [f"template/{NAME}", EXPAND] and foreseen.writes == []
    with Resizer(place):
        done = place.good(NAME, **how)
    assert done.steps == foreseen.steps and "3 claims of 2Gi" in done.data["progress"]
    assert sizes(place) == [("2Gi", "2Gi")] * 3 and template_size(place) == "2Gi"
    assert place.uids(NAME) == uids and place.ready(NAME, 3)
    assert place.good(NAME, storage_size="2Gi").writes == [] and place.good(NAME, storage_size=None).writes == []


@pytest.mark.thorough
def test_while_nobody_resizes_the_run_says_so_and_another_goes_on(three: None, place: Place) -> None:
    """It ends by max_runtime with everything asked for; the next one need not be told the size."""
    place.defaults["storage_size"] = None
    uids = place.uids(NAME)
    held = place.good(NAME, storage_size="3Gi", operations=["reconfigure"], max_runtime=30)
    assert held.data["in_progress"] and held.seconds < 60
    told = f"{EXPAND}   claim {CLAIMS[0]}: the driver of its storage class has not begun to resize it to 3Gi"
    assert told in held.data["progress"]
    assert sizes(place) == [("3Gi", "2Gi")] * 3 and template_size(place) == "3Gi"
    with Resizer(place):
        done = place.good(NAME)
    assert done.steps == [EXPAND] and not done.data["in_progress"]
    assert sizes(place) == [("3Gi", "3Gi")] * 3 and place.uids(NAME) == uids
    assert place.good(NAME).writes == []


@pytest.mark.thorough
def test_a_file_system_that_waits_for_its_pod_holds_nobody_up(three: None, place: Place) -> None:
    uids = place.uids(NAME)
    with Resizer(place, pending=(CLAIMS[1],)):
        done = place.good(NAME, storage_size="4Gi", operations=["reconfigure"])
    said = f"{CLAIMS[1]}: the file system grows when the pod is started again (playbook restart)"
    assert said in done.data["progress"]
    assert sizes(place) == [("4Gi", "4Gi"), ("4Gi", "3Gi"), ("4Gi", "4Gi")] and place.uids(NAME) == uids
    assert place.good(NAME).writes == [], "only its pod can end that"


@pytest.mark.thorough
def test_what_the_driver_refuses_is_told_at_once(three: None, place: Place) -> None:
    """Nothing was restarted; and when the storage has room after all, the same run goes on."""
    uids = place.uids(NAME)
    with Resizer(place, infeasible=True):
        refused = place.refused(NAME, "resize_failed", storage_size="9Ti", operations=["reconfigure"])
        again = place.refused(NAME, "resize_failed")
    for found in (refused, again):
        assert "can never grow to 9Ti (ControllerResizeInfeasible)" in found.msg and NO_ROOM in found.msg
        assert "runs on with the size it has" in found.msg and found.seconds < 40
    assert place.uids(NAME) == uids and place.ready(NAME, 3)
    with Resizer(place):
        done = place.good(NAME)
    assert sizes(place) == [("9Ti", "9Ti")] * 3 and done.steps == [EXPAND]
    assert place.good(NAME).writes == [] and place.uids(NAME) == uids
