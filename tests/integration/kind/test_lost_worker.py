# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A Kubernetes node that is lost, or was set up anew under another name: its database node goes to another one. Every row must still be there.

A Kubernetes node is lost by stopping its container. Nothing here deletes a Node object: the Molecule scenario `replace_node` does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kindlab import Place, kubectl, on_node, start_worker, until
from lostnodes import NAME, directory, fill, is_live, is_new, node_id, refused, replace, rows_are_there

pytestmark = [
    pytest.mark.skipif(not shutil.which("docker"), reason="breaks the kind nodes through Docker, which is not here"),
    pytest.mark.skipif(
        "PYTEST_XDIST_WORKER" in os.environ, reason="takes workers away from the tests beside it: run it alone"
    ),
]


@pytest.fixture(scope="module")
def three(place: Place) -> None:
    fill(place)


@contextmanager
def stopped(worker: str) -> Iterator[None]:
    """The worker is off, and Kubernetes knows; afterwards it is there again."""

    def ready() -> str:
        path = '{.status.conditions[?(@.type=="Ready")].status}'
        return kubectl("get", "node", worker, f"--output=jsonpath={path}")

    subprocess.run(["docker", "stop", "-t", "1", worker], check=True, capture_output=True, timeout=60)
    try:
        until(f"{worker} is NotReady", lambda: ready() != "True", 120, 1)
        yield
    finally:
        start_worker(worker)


@contextmanager
def renamed(worker: str) -> Iterator[None]:
    """The worker has another hostname label, as one that was set up anew: it runs pods, but none that a volume ties to the old one."""
    label = "kubernetes.io/hostname"
    kubectl("label", "node", worker, f"{label}={worker}-anew", "--overwrite")
    try:
        yield
    finally:
        kubectl("label", "node", worker, f"{label}={worker}", "--overwrite")


@pytest.mark.thorough
def test_a_stopped_worker_needs_a_word_and_then_another_one_takes_over(three: None, place: Place) -> None:
    before, where = node_id(place, 2), place.pinned_to(NAME, 2)
    with stopped(where):
        word = refused(place, "process_ended", 2)
        assert word.writes == [] and where in word.msg and "lost=true" in word.msg
        result = replace(place, 2, lost="true")
        assert result.data["loss"]["kind"] == "node_silent" and place.pinned_to(NAME, 2) != where
        rows_are_there(place)
    on_node(where, "rm", "-rf", directory(place, 2))  # it came back with the disk that was said to be lost
    is_new(place, 2, before)


def test_a_pod_that_its_volume_lets_run_nowhere(three: None, place: Place) -> None:
    before, where, pod = node_id(place, 2), place.pinned_to(NAME, 2), f"{NAME}-2"
    with renamed(where):
        kubectl("--namespace", place.namespace, "delete", "pod", pod, "--grace-period=1")
        until(f"the engine sees that {pod} is dead", lambda: is_live(place, 2) == "false", 60)
        assert not place.pods(NAME)[pod]["spec"].get("nodeName")
        result = replace(place, 2)
        assert result.data["loss"]["kind"] == "unschedulable" and "affinity" in result.data["loss"]["text"]
        assert place.pinned_to(NAME, 2) != where
    on_node(where, "rm", "-rf", directory(place, 2))  # its old store was left as it was
    is_new(place, 2, before)
