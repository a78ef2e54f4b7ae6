# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Kubernetes nodes are drained and taken back: gates and budget hold, and what was raised for the window never stays so.

The tests are one walk over a cluster of three nodes. Whatever fails, every worker is uncordoned at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from kindlab import Place, Result, kubectl, until, worker_nodes

NAME = "kw"
MAINTENANCE = "kaiwudb.kubernetes.kaiwudb_node_maintenance"
REPLACE = "kaiwudb.kubernetes.kaiwudb_node_replace"
SETTING = "server.time_until_store_dead"
QUICK = {"waive": ["ranges_steady"]}

pytestmark = pytest.mark.skipif(
    "PYTEST_XDIST_WORKER" in os.environ, reason="takes workers away from the tests beside it: run it alone"
)


@pytest.fixture(scope="module")
def three(place: Place) -> Iterator[None]:
    place.good(NAME, replicas="3")
    place.await_whole(NAME)
    yield
    for worker in worker_nodes():
        kubectl("uncordon", worker, check=False)


def drain(place: Place, worker: str, **how: Any) -> Result:
    return place.good(NAME, module=MAINTENANCE, kubernetes_node=worker, state="drained", **{**QUICK, **how})


def did(result: Result) -> list[str]:
    """The steps of a drain. Where the pod has gone when a slice looks again, its look at the ranges is a step of its own."""
    return [step for step in result.steps if not step.startswith("kept/")]


def take_back(place: Place, worker: str) -> Result:
    return place.good(NAME, module=MAINTENANCE, kubernetes_node=worker, state="ready")


def cordoned(worker: str) -> bool:
    return bool(json.loads(kubectl("get", "node", worker, "--output=json"))["spec"].get("unschedulable"))


def setting(place: Place, ordinal: int = 0) -> str:
    return place.sql(NAME, f"SHOW CLUSTER SETTING {SETTING}", ordinal).split()[-1]


def pods_on(place: Place, worker: str) -> list[str]:
    return [name for name, pod in place.pods(NAME).items() if pod["spec"].get("nodeName") == worker]


def as_before(place: Place) -> None:
    """Everything serves, nothing is raised or cordoned, and a plain run finds nothing to do."""
    assert place.ready(NAME, 3) and setting(place) == "00:30:00"
    assert not [worker for worker in worker_nodes() if cordoned(worker)]
    assert place.journal(NAME)["window"] == {} and place.journal(NAME)["operation"] == {}
    assert place.good(NAME).writes == []


def test_a_node_out_and_back(three: None, place: Place) -> None:
    worker = place.pinned_to(NAME, 2)
    planned = place.run(NAME, module=MAINTENANCE, kubernetes_node=worker, state="drained", check=True, **QUICK)
    assert planned.writes == [] and planned.steps == [f"extend/{worker}", f"cordon/{worker}", f"evict/{NAME}-2"]
    result = drain(place, worker, window="90m")
    assert did(result) == planned.steps and any("eviction" in write for write in result.writes)
    assert cordoned(worker) and pods_on(place, worker) == [] and setting(place) == "01:30:00"
    assert place.journal(NAME)["window"]["was"] == "00:30:00"
    assert drain(place, worker, window="90m").writes == [], "the second run finds it drained"
    told = place.refused(NAME, "maintenance")
    assert told.writes == [] and worker in told.msg
    cordoned_is_not_lost = place.refused(NAME, "process_ended", module=REPLACE, node="2")
    assert cordoned_is_not_lost.writes == []
    assert take_back(place, worker).steps == [
        f"uncordon/{worker}",
        f"return/{worker}",
        f"restore/{worker}",
        f"whole/{worker}",
    ]
    assert take_back(place, worker).writes == []
    as_before(place)


@pytest.mark.thorough
def test_all_workers_in_turn(three: None, place: Place) -> None:
    before = [node_id["id"] for node_id in place.node_rows(NAME)]
    for worker in worker_nodes():
        drain(place, worker)
        assert pods_on(place, worker) == []
        take_back(place, worker)
    assert [node_id["id"] for node_id in place.node_rows(NAME)] == before, "every pod came back with its store"
    as_before(place)


def test_a_second_node_is_refused_while_one_is_away(three: None, place: Place) -> None:
    first, second = place.pinned_to(NAME, 2), place.pinned_to(NAME, 1)
    drain(place, first)
    until("the engine sees that it is away", lambda: (place.row_of(NAME, 2) or {}).get("is_live") == "false", 60)
    found = place.refused(NAME, "nodes_live", module=MAINTENANCE, kubernetes_node=second, state="drained", **QUICK)
    assert found.writes == [] and not cordoned(second)
    take_back(place, first)
    as_before(place)


def test_the_budget_is_waited_for(three: None, place: Place) -> None:
    """Another budget over the same pods would be an error; so the cluster's own lets nobody go for a while."""
    worker, budget = place.pinned_to(NAME, 2), f"{NAME}-budget"

    def allow(count: int) -> None:
        patch = json.dumps({"spec": {"maxUnavailable": count}})
        kubectl(
            "--namespace", place.namespace, "patch", "poddisruptionbudget", budget, "--type=merge", f"--patch={patch}"
        )

    def allowed() -> int:
        return int(place.get("poddisruptionbudget", budget)["status"]["disruptionsAllowed"])

    allow(0)
    until("the budget lets nobody go", lambda: allowed() == 0, 30)
    running = place.start(NAME, module=MAINTENANCE, kubernetes_node=worker, state="drained", **QUICK)
    until("the run says for whom it waits", lambda: f"the budget {budget} lets no pod go" in running.output, 90)
    assert pods_on(place, worker) == [f"{NAME}-2"]
    allow(1)
    result = running.wait(120)
    assert not result.failed, result.msg
    take_back(place, worker)
    as_before(place)


def test_what_somebody_else_has_cordoned_stays_so(three: None, place: Place) -> None:
    worker = place.pinned_to(NAME, 2)
    kubectl("cordon", worker)
    assert did(drain(place, worker)) == [f"extend/{worker}", f"evict/{NAME}-2"]
    told = place.refused(NAME, "cordoned_by_others", module=MAINTENANCE, kubernetes_node=worker, state="ready")
    assert told.writes == [] and cordoned(worker)
    kubectl("uncordon", worker)
    take_back(place, worker)
    as_before(place)


def test_a_killed_run_leaves_nothing_raised(three: None, place: Place) -> None:
    worker = place.pinned_to(NAME, 2)
    running = place.start(NAME, module=MAINTENANCE, kubernetes_node=worker, state="drained", **QUICK)
    until("the window is open", lambda: place.journal(NAME).get("window") or not running.running, 60, 0.1)
    running.kill()
    place.free_lock(NAME)
    take_back(place, worker)
    as_before(place)


def test_what_was_left_raised_is_restored_by_a_plain_run(three: None, place: Place) -> None:
    """Killed after the pod came back and before the value was restored: here the node is uncordoned by hand."""
    worker = place.pinned_to(NAME, 2)
    drain(place, worker)
    kubectl("uncordon", worker)
    until("the pod is back", lambda: place.ready(NAME, 3), 90)
    assert setting(place) == "03:00:00"
    result = place.good(NAME)
    assert result.steps == ["restore/window"]
    take_back(place, worker)  # takes the mark away, of which kubectl knows nothing
    as_before(place)
