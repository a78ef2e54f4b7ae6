# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A wait that can only fail ends within 20 s of the first terminal event, and says which pod, why, and what it showed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from kindlab import CRASH_IMAGE, Place, kubectl

LIMIT = 20 + 1  # seconds; Kubernetes writes its times in whole ones
NO_IMAGE = "localhost:1/none:1.2.3"  # nobody listens there: the pull is refused at once
VOLUMES = "kaiwudb.kubernetes.kaiwudb_local_volume"
REFUSAL = "ERROR: rpc error: code = Unknown desc = cannot bootstrap this store"
# A database whose `init` refuses and whose every other command is the product's own.
SCRIPT = f"""#!/bin/sh
[ "$1" != init ] || {{ echo "{REFUSAL}" >&2; exit 1; }}
exec /kaiwudb/bin/kwbase "$@"
"""
OVERRIDES = {"spec": {
    "volumes": [{"name": "lab", "configMap": {"name": "refusing", "defaultMode": 0o755}}],
    "containers": [{"name": "kaiwudb", "volumeMounts": [{"name": "lab", "mountPath": "/lab"}]}],
}}  # fmt: skip


def seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def event(*reasons: str) -> Callable[[Place, str], float]:
    """When the first event with one of these reasons happened to a pod of the cluster."""

    def first(place: Place, name: str) -> float:
        found = [
            item
            for item in place.get("events")
            if item["reason"] in reasons and item["involvedObject"]["name"].startswith(f"{name}-")
        ]
        assert found, f"no event {reasons}"
        return min(seconds(item.get("firstTimestamp") or item["eventTime"]) for item in found)

    return first


def exit_of_the_first_container(place: Place, name: str) -> float:
    ends = []
    for pod in place.pods(name).values():
        for status in pod["status"].get("containerStatuses", ()):
            ends += [
                state["terminated"]["finishedAt"]
                for state in (status.get("lastState", {}), status["state"])
                if "terminated" in state
            ]
    return min(map(seconds, ends))


def last_start(place: Place, name: str) -> float:
    return max(
        seconds(pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"])
        for pod in place.pods(name).values()
    )


@dataclass(frozen=True)
class Case:
    """options: of the run. reason: its code. first: time of the first terminal event. shows: texts of message and evidence."""

    options: dict[str, Any]
    reason: str
    first: Callable[[Place, str], float]
    shows: tuple[str, ...]
    volumes_first: bool = False


CASES = {
    "image": Case({"image": NO_IMAGE}, "image_pull", event("Failed"), (NO_IMAGE, "Pull"), volumes_first=True),
    "image-of-volume": Case({"image": NO_IMAGE}, "image_pull", event("Failed"), (NO_IMAGE, "Pull")),
    "no-node": Case({"cpu": "1000"}, "unschedulable", event("FailedScheduling"), ("cannot be scheduled", "Insufficient cpu", "FailedScheduling")),
    "no-volume": Case({"storage": "dynamic", "storage_class": "there-is-none"}, "unschedulable", event("FailedScheduling"),
                      ("cannot be scheduled", "PersistentVolumeClaim", "FailedScheduling")),
    "crash": Case({"image": CRASH_IMAGE}, "container_crash", exit_of_the_first_container, ("crash",)),
    "directory": Case({"local_pv_prepare": "none"}, "volume_mount", event("FailedMount"), ("mount", "does not exist", "FailedMount")),
    "init": Case({"binary": "/lab/kwbase", "pod_overrides": OVERRIDES}, "init_refused", last_start, ("init was refused", "cannot bootstrap this store")),
}  # fmt: skip


@pytest.fixture(scope="module")
def refusing(place: Place) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "refusing"}, "data": {"kwbase": SCRIPT}}
    kubectl("--namespace", place.namespace, "create", "--filename=-", stdin=json.dumps(body))


@pytest.mark.parametrize("name", CASES)
def test_ends_within_20_seconds_and_says_why(place: Place, refusing: None, name: str) -> None:
    case = CASES[name]
    if case.volumes_first:
        place.good(name, module=VOLUMES)
    process = place.start(name, **case.options)
    result = process.wait(180)
    ended = time.time()
    waited = ended - case.first(place, name)
    assert result.failed and result.data["reason"] == case.reason, result.msg
    assert waited <= LIMIT, f"ended {waited:.0f} s after the first terminal event: {result.msg}"
    assert result.data["node"].startswith(f"{name}-") and result.data["node"] in result.msg
    assert result.data["step"]
    evidence = result.data["evidence"]
    told = result.msg + "\n".join(evidence["events"] + evidence["log"])
    for text in case.shows:
        assert text in told
    assert evidence["events"]
    if case.reason in ("container_crash", "init_refused"):
        assert evidence["log"], "the container ran, so it has last words"


def test_a_corrected_run_goes_on(place: Place) -> None:
    """What failed above for its image is a cluster after the same run with a good one."""
    result = place.good("image", operations=["create", "initialize"])
    assert result.data["cluster"]["nodes_live"] == 3
