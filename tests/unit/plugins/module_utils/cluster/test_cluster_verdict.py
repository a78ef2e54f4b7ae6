# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""What a wait learns from a pod: done, not yet, or never."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.verdict import (
    DONE,
    Verdict,
    completed,
    hopeless,
    of_pods,
    overdue,
    ran,
    ready,
    running,
    worst,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import OLD, pod


@pytest.mark.parametrize(
    ("reason", "code", "patience"),
    [
        ("ErrImagePull", "image_pull", 8.0), ("ImagePullBackOff", "image_pull", 3.0), ("InvalidImageName", "image_pull", 0.0),
        ("ErrImageNeverPull", "image_pull", 0.0), ("CreateContainerConfigError", "container_config", 8.0),
        ("CreateContainerError", "container_config", 8.0), ("RunContainerError", "container_crash", 8.0),
        ("CrashLoopBackOff", "container_crash", 0.0),
    ],
)  # fmt: skip
def test_no_waiting_mends_it(reason: str, code: str, patience: float) -> None:
    image = f"image {OLD}: " if code == "image_pull" else ""
    expected = Verdict(False, f"pod kw-1 cannot start: {image}{reason}: said so", code, patience, "kw-1", "kaiwudb")
    stuck = pod(1, phase="Pending", waiting=(reason, "said so"), restarts=2)
    assert hopeless(stuck) == running(stuck, "kw-1") == ready(stuck, "kw-1") == expected
    assert completed(stuck, "kw-1") == ran(stuck, "kw-1") == expected


def test_without_a_message_there_is_no_loose_end() -> None:
    found = hopeless(pod(1, waiting=("CrashLoopBackOff", ""), restarts=2))
    assert found is not None and found.why == "pod kw-1 cannot start: CrashLoopBackOff"


def test_no_place_for_the_pod() -> None:
    found = hopeless(pod(2, phase="Pending", unschedulable="0/5 nodes are available"))
    assert found == Verdict(
        False, "pod kw-2 cannot be scheduled: 0/5 nodes are available", "unschedulable", 8.0, "kw-2"
    )


@pytest.mark.parametrize(
    ("ended", "restarts", "never"),
    [(7, 1, "container_crash"), (7, 0, None), (0, 3, None), (None, 3, None)],
)
def test_one_exit_is_no_crash_two_are(ended: int | None, restarts: int, never: str | None) -> None:
    found = hopeless(pod(0, ended=ended, restarts=restarts))
    assert (found.never if found else None) == never
    if found:
        assert found == Verdict(False, "pod kw-0 crashes: exit code 7", "container_crash", 3.0, "kw-0", "kaiwudb")


def test_an_init_container_counts_too() -> None:
    stuck = pod(0, phase="Pending")
    stuck["status"]["initContainerStatuses"] = [
        {"name": "first", "image": "x:1", "restartCount": 0, "state": {"waiting": {"reason": "InvalidImageName"}}}
    ]
    assert hopeless(stuck) == Verdict(
        False, "pod kw-0 cannot start: image x:1: InvalidImageName", "image_pull", 0.0, "kw-0", "first"
    )


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "pod kw-0 does not exist yet"),
        (pod(0, deleting=True), "pod kw-0 is stopping"),
        (pod(0, phase="Pending"), "pod kw-0 is Pending"),
        (pod(0, phase="Pending", waiting=("ContainerCreating", "")), "pod kw-0 is Pending (ContainerCreating)"),
        (pod(0, waiting=("PodInitializing", "")), "pod kw-0 is Running (PodInitializing)"),
        ({"metadata": {"name": "kw-0"}}, "pod kw-0 is Pending"),
    ],
)
def test_not_running_yet(found: Any, why: str) -> None:
    assert running(found, "kw-0") == ready(found, "kw-0") == Verdict(False, why, pod="kw-0")


def test_running_says_nothing_about_ready() -> None:
    waiting = pod(0, ready=False)
    assert running(waiting, "kw-0") is DONE
    assert ready(waiting, "kw-0") == Verdict(False, "pod kw-0 runs but is not ready", pod="kw-0")
    assert ready(pod(0), "kw-0") is DONE


def test_ready_of_a_revision() -> None:
    assert ready(pod(0, revision="r2"), "kw-0", "r2") is DONE
    assert ready(pod(0, revision="r1"), "kw-0", "r2") == Verdict(
        False, "pod kw-0 still runs the old template", pod="kw-0"
    )
    assert ready(pod(0, revision="r1"), "kw-0", None) is DONE


def _short_lived(phase: str, code: int | None = None, message: str = "", *, what: str = "volume") -> dict[str, Any]:
    found = pod(0, phase=phase)
    found["metadata"]["name"] = f"kw-{what}-0"
    state = {"terminated": {"exitCode": code, "message": message}} if code is not None else {}
    found["status"]["containerStatuses"] = [{"name": what, "image": "x:1", "restartCount": 0, "state": state}]
    return found


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (None, Verdict(False, "pod kw-volume-0 does not exist yet", pod="kw-volume-0")),
        (_short_lived("Succeeded", 0), DONE),
        (_short_lived("Running"), Verdict(False, "pod kw-volume-0 is Running", pod="kw-volume-0")),
        (_short_lived("Failed", 3, "not empty:\nfile\n"), Verdict(False, "not empty:\nfile", "volume_not_empty", 0.0, "kw-volume-0", "volume")),
        (_short_lived("Failed", 1, "denied"), Verdict(False, "denied", "volume_prepare", 0.0, "kw-volume-0", "volume")),
        ({"metadata": {"name": "x"}}, Verdict(False, "pod kw-volume-0 is Pending", pod="kw-volume-0")),
        ({"metadata": {"name": "x"}, "status": {"phase": "Failed", "message": "Evicted"}},
         Verdict(False, "Evicted", "volume_prepare", 0.0, "kw-volume-0", "volume")),
    ],
)  # fmt: skip
def test_a_short_lived_pod(found: Any, verdict: Verdict) -> None:
    assert completed(found, "kw-volume-0") == verdict


NO_RUN = "the image does not run: "


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (None, Verdict(False, "pod kw-pull-0 does not exist yet", pod="kw-pull-0")),
        (_short_lived("Succeeded", 0, what="pull"), DONE),
        (_short_lived("Running", what="pull"), Verdict(False, "pod kw-pull-0 is Running", pod="kw-pull-0")),
        (_short_lived("Failed", 1, "no such file\n", what="pull"), Verdict(False, f"{NO_RUN}no such file", "container_crash", 0.0, "kw-pull-0", "pull")),
        # 3 means something for a volume only
        (_short_lived("Failed", 3, "x", what="pull"), Verdict(False, f"{NO_RUN}x", "container_crash", 0.0, "kw-pull-0", "pull")),
        (_short_lived("Failed", 132, what="pull"), Verdict(False, f"{NO_RUN}exit code 132", "container_crash", 0.0, "kw-pull-0", "pull")),
        ({"metadata": {"name": "x"}, "status": {"phase": "Failed", "message": "Evicted"}},
         Verdict(False, f"{NO_RUN}Evicted", "container_crash", 0.0, "kw-pull-0", "pull")),
        ({"metadata": {"name": "x"}}, Verdict(False, "pod kw-pull-0 is Pending", pod="kw-pull-0")),
    ],
)  # fmt: skip
def test_a_pod_that_runs_the_image_once(found: Any, verdict: Verdict) -> None:
    assert ran(found, "kw-pull-0") == verdict


def test_of_several_the_worst() -> None:
    later, never = Verdict(False, "later"), Verdict(False, "never", "because")
    assert worst([]) is DONE and worst([DONE, DONE]) is DONE
    assert worst([DONE, later, Verdict(False, "later still")]) is later
    assert worst([later, DONE, never]) is never


def test_over_several_pods() -> None:
    pods = {"kw-0": pod(0), "kw-1": pod(1, ready=False)}
    assert of_pods(pods, ["kw-0", "kw-1"], running) is DONE
    assert of_pods(pods, ["kw-0", "kw-1"], ready).pod == "kw-1"
    assert of_pods(pods, ["kw-0", "kw-2"], running).why == "pod kw-2 does not exist yet"


def test_over_several_pods_it_says_how_many() -> None:
    pods = {"kw-0": pod(0), "kw-1": pod(1, ready=False), "kw-2": pod(2, phase="Pending")}
    names = ["kw-0", "kw-1", "kw-2"]
    found = of_pods(pods, names, ready)
    assert (found.progress, found.why) == ("1 of 3 pods ready", "pod kw-1 runs but is not ready")
    assert of_pods(pods, names, running).progress == "2 of 3 pods running"
    assert of_pods({}, names, running).progress == "0 of 3 pods running"
    pulling = {
        "kw-pull-0": _short_lived("Succeeded", 0, what="pull"),
        "kw-pull-1": _short_lived("Running", what="pull"),
    }
    assert of_pods(pulling, pulling, ran).progress == "1 of 2 pods ran"
    assert of_pods({}, ["kw-0"], running).progress == "", "one pod is no number"
    stuck = {**pods, "kw-2": pod(2, phase="Pending", waiting=("ErrImagePull", "x"))}
    assert (of_pods(stuck, names, ready).never, of_pods(stuck, names, ready).progress) == (
        "image_pull",
        "1 of 3 pods ready",
    )


DUE = datetime(2026, 11, 23, 10, 0, tzinfo=timezone.utc).timestamp()  # of a pod of the factory's that is ending


@pytest.mark.parametrize(("after", "late"), [(-60, False), (0, False), (29, False), (31, True), (86400, True)])
def test_a_pod_that_should_be_gone_names_its_node_and_the_way_out(after: float, late: bool) -> None:
    text = overdue([pod(0), pod(3, deleting=True)], DUE + after)
    assert bool(text) is late
    if late:
        assert "pod kw-3 " in text and "Kubernetes node w4 " in text and "bring the node back" in text
        assert "kubectl -n db delete pod --force kw-3 once the machine is certainly off" in text


def test_what_is_not_ending_is_never_overdue() -> None:
    assert overdue([pod(0), pod(1, ready=False)], DUE + 86400) == overdue([], DUE) == ""
