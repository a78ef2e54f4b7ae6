# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A database node that is lost: its disk, its Kubernetes node, or an emptied store under its old name. Every row must still be there.

The tests are one walk over a cluster of three nodes on four workers. A disk is lost by erasing its directory under the pod; a Kubernetes
node by stopping its container. Nothing here deletes a Node object, for other tests run on the same workers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kindlab import Place, Result, kubectl, node_of, on_node, start_worker, until

NAME = "kw"
REPLACE = "kaiwudb.kubernetes.kaiwudb_node_replace"
ROWS = 200

pytestmark = [
    pytest.mark.skipif(not shutil.which("docker"), reason="breaks the kind nodes through Docker, which is not here"),
    pytest.mark.skipif(
        "PYTEST_XDIST_WORKER" in os.environ, reason="takes workers away from the tests beside it: run it alone"
    ),
]


@pytest.fixture(scope="module")
def three(place: Place) -> None:
    """A cluster of three nodes that holds rows."""
    place.good(NAME, replicas="3")
    place.await_whole(NAME)
    place.sql(NAME, "CREATE DATABASE bank; CREATE TABLE bank.accounts (id INT PRIMARY KEY, balance INT)")
    values = ", ".join(f"({number}, {number * 7})" for number in range(ROWS))
    place.sql(NAME, f"INSERT INTO bank.accounts VALUES {values}")


def replace(place: Place, ordinal: int, **how: Any) -> Result:
    return place.good(NAME, module=REPLACE, node=str(ordinal), **how)


def refused(place: Place, reason: str, ordinal: int, **how: Any) -> Result:
    return place.refused(NAME, reason, module=REPLACE, node=str(ordinal), **how)


def pinned_to(place: Place, ordinal: int) -> str:
    volume = place.volume(NAME, ordinal)
    assert volume is not None
    return node_of(volume)


def rows_are_there(place: Place) -> None:
    counted = place.sql(NAME, "SELECT count(*), sum(balance) FROM bank.accounts").splitlines()[1]
    assert counted == f"{ROWS},{sum(number * 7 for number in range(ROWS))}"


def directory(place: Place, ordinal: int) -> str:
    return f"{place.local_path}/{place.namespace}.{NAME}-{ordinal}"


def lose_disk(place: Place, ordinal: int) -> None:
    """The directory is gone, and the pod finds nothing to mount any more."""
    node, pod = pinned_to(place, ordinal), f"{NAME}-{ordinal}"
    on_node(node, "mv", directory(place, ordinal), f"{directory(place, ordinal)}.lost")
    kubectl("--namespace", place.namespace, "delete", "pod", pod, "--grace-period=1", "--wait=false")
    until(f"the engine sees that {pod} is dead", lambda: is_live(place, ordinal) == "false", 60)


def is_live(place: Place, ordinal: int) -> str:
    row = place.row_of(NAME, ordinal)
    return row["is_live"] if row else ""


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


def is_new(place: Place, ordinal: int, before: int) -> None:
    """It serves under an id it never had, the old one has left, and neither run finds anything to do."""
    row = place.row_of(NAME, ordinal)
    assert row is not None and int(row["id"]) > before and row["is_decommissioning"] == "false"
    old = next(item for item in place.node_rows(NAME) if int(item["id"]) == before)
    assert old["is_decommissioning"] == "true"
    assert place.run(NAME, module=REPLACE, node=str(ordinal)).writes == []
    assert place.good(NAME).writes == []
    rows_are_there(place)


def node_id(place: Place, ordinal: int) -> int:
    row = place.row_of(NAME, ordinal)
    assert row is not None
    return int(row["id"])


def test_a_node_that_serves_is_left_alone(three: None, place: Place) -> None:
    result = replace(place, 2)
    assert result.steps == [] and result.writes == [] and "it serves as node" in result.msg
    other = refused(place, "node_dead", 2, kubernetes_node=pinned_to(place, 2) + "-other")
    assert other.writes == [] and "decommission it first" in other.msg


def test_a_lost_disk_moves_its_ordinal_to_another_worker(three: None, place: Place) -> None:
    before, where = node_id(place, 2), pinned_to(place, 2)
    lose_disk(place, 2)
    planned = place.run(NAME, module=REPLACE, node="2", check=True)
    told = "repair/ConfigMap/kw-topology"  # where the worker that is left is in another zone
    assert planned.writes == [] and [step for step in planned.steps if step != told] == [
        "leave/kw-2",
        "detach/kw-2",
        "volume/kw-2",
        "rejoin/kw-2",
        "empty/kw-2",
    ]
    result = replace(place, 2)
    assert result.steps == planned.steps and result.data["loss"]["kind"] == "store"
    assert pinned_to(place, 2) != where
    is_new(place, 2, before)


def test_a_new_disk_in_the_same_worker(three: None, place: Place) -> None:
    before, where = node_id(place, 1), pinned_to(place, 1)
    lose_disk(place, 1)
    replace(place, 1, kubernetes_node=where)
    assert pinned_to(place, 1) == where
    is_new(place, 1, before)


def test_a_store_emptied_under_its_old_name(three: None, place: Place) -> None:
    """Two rows, one address: only the old one has to leave."""
    before, pod = node_id(place, 1), f"{NAME}-1"
    on_node(pinned_to(place, 1), "sh", "-c", f"rm -rf {directory(place, 1)}/*")
    kubectl("--namespace", place.namespace, "delete", "pod", pod, "--grace-period=1", "--wait=false")
    until("the empty store has joined", lambda: node_id(place, 1) > before and is_live(place, 1) == "true", 60)
    result = replace(place, 1)
    assert result.steps == ["leave/kw-1", "empty/kw-1"]
    is_new(place, 1, before)


def test_a_stopped_worker_needs_a_word_and_then_another_one_takes_over(three: None, place: Place) -> None:
    before, where = node_id(place, 2), pinned_to(place, 2)
    with stopped(where):
        word = refused(place, "process_ended", 2)
        assert word.writes == [] and where in word.msg and "lost=true" in word.msg
        result = replace(place, 2, lost="true")
        assert result.data["loss"]["kind"] == "node_silent" and pinned_to(place, 2) != where
        rows_are_there(place)
    on_node(where, "rm", "-rf", directory(place, 2))  # it came back with the disk that was said to be lost
    is_new(place, 2, before)


def test_a_pod_that_its_volume_lets_run_nowhere(three: None, place: Place) -> None:
    before, where, pod = node_id(place, 2), pinned_to(place, 2), f"{NAME}-2"
    with renamed(where):
        kubectl("--namespace", place.namespace, "delete", "pod", pod, "--grace-period=1")
        until(f"the engine sees that {pod} is dead", lambda: is_live(place, 2) == "false", 60)
        assert not place.pods(NAME)[pod]["spec"].get("nodeName")
        result = replace(place, 2)
        assert result.data["loss"]["kind"] == "unschedulable" and "affinity" in result.data["loss"]["text"]
        assert pinned_to(place, 2) != where
    on_node(where, "rm", "-rf", directory(place, 2))  # its old store was left as it was
    is_new(place, 2, before)


def test_killed_in_the_middle_it_goes_on(three: None, place: Place) -> None:
    before = node_id(place, 2)
    lose_disk(place, 2)
    running = place.start(NAME, module=REPLACE, node="2")
    until("its volume is given up", lambda: claim_uid_goes(place) or not running.running, 90, 0.1)
    assert running.running, running.output
    running.kill()
    plain = place.run(NAME)
    assert not plain.failed or plain.data["reason"] in ("replace_interrupted", "locked"), plain.msg
    replace(place, 2)
    is_new(place, 2, before)


def claim_uid_goes(place: Place) -> bool:
    volume = place.volume(NAME, 2)
    return volume is None or "kaiwudb.kubernetes/retired" in (volume["metadata"].get("annotations") or {})


def test_without_a_majority_nothing_is_touched(three: None, place: Place) -> None:
    """Two of three are down: whatever can still be said, no claim and no volume goes; nor when somebody has begun to delete the claim."""
    lose_disk(place, 2)
    node, path = pinned_to(place, 1), directory(place, 1)
    on_node(node, "mv", path, f"{path}.away")
    kubectl("--namespace", place.namespace, "delete", "pod", f"{NAME}-1", "--grace-period=1", "--wait=false")
    until("only one pod is ready, or none", lambda: place.ready_count(NAME) <= 1, 60)
    try:
        for deleted in (False, True):
            if deleted:
                kubectl("--namespace", place.namespace, "delete", "pvc", f"datadir-{NAME}-2", "--wait=false")
            result = place.run(NAME, module=REPLACE, node="2", volumes="wipe")
            assert result.failed and result.data["reason"] in ("ranges_unavailable", "engine_answers"), result.msg
            assert result.writes == []
    finally:
        on_node(node, "mv", f"{path}.away", path)
    until("the second one is back", lambda: place.ready_count(NAME) == 2, 240)
    before = node_id(place, 2)
    replace(place, 2)
    is_new(place, 2, before)
