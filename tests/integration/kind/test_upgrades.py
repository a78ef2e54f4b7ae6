# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Every way an upgrade can be held, undone and ended; restart and pause take the same road. The tests are one walk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest
from kindlab import CRASH_IMAGE, IMAGE, NEXT_IMAGE, STANDIN, UPGRADE_IMAGE, Place, on_node, until, worker_nodes

NAME = "ku"
PODS = [f"{NAME}-{ordinal}" for ordinal in range(3)]
UPGRADE = {"operations": ["upgrade"]}
NO_IMAGE = "localhost:1/none:3.2.9"  # nobody listens there: the pull is refused at once


def images(place: Place) -> list[str]:
    return [place.pods(NAME)[pod]["spec"]["containers"][0]["image"] for pod in PODS]


def version(place: Place) -> str:
    return place.sql(NAME, "SHOW CLUSTER SETTING version").split()[-1]


@pytest.fixture(scope="module")
def cluster(place: Place) -> None:
    place.good(NAME)


def test_an_image_that_cannot_be_pulled_restarts_nothing(cluster: None, place: Place) -> None:
    before = place.uids(NAME)
    result = place.refused(NAME, "image_pull", image=NO_IMAGE, **UPGRADE)
    assert place.uids(NAME) == before and result.data["step"] == "prepull"
    assert (
        "No pod was restarted for it" in result.msg
        and result.data["node"] in PODS
        and result.data["evidence"]["events"]
    )
    assert place.get("pods", selector="app.kubernetes.io/component=pull") == []
    assert place.get("statefulset", NAME)["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE


def test_a_canary_is_held_and_can_be_undone(cluster: None, place: Place) -> None:
    canary = {"image": UPGRADE_IMAGE, "pause_after": "1", **UPGRADE}
    held = place.good(NAME, **canary)
    assert held.steps == ["prepull", f"upgrade/{NAME}-2"] and held.data["held"] and not held.data["in_progress"]
    assert held.data["remaining"] == [f"upgrade/{NAME}-1", f"upgrade/{NAME}-0"]
    assert images(place) == [IMAGE, IMAGE, UPGRADE_IMAGE]
    again = place.good(NAME, **canary)
    assert again.writes == [] and again.data["held"] and not again.data["changed"]
    back = place.good(NAME, image=IMAGE, **UPGRADE)
    assert back.steps == ["prepull", f"upgrade/{NAME}-2"] and images(place) == [IMAGE] * 3


@pytest.mark.skipif(not STANDIN, reason="needs the stand-in's release that crashes")
def test_a_release_that_crashes_is_rolled_back_by_itself(cluster: None, place: Place) -> None:
    before = place.uids(NAME)
    result = place.refused(NAME, "container_crash", image=CRASH_IMAGE, on_failure="rollback", **UPGRADE)
    assert result.data["rolled_back"] and "rolled back" in result.msg
    after = place.uids(NAME)
    assert [pod for pod in PODS if after[pod] != before[pod]] == [f"{NAME}-2"], "only the canary was touched"
    assert images(place) == [IMAGE] * 3 and not place.journal(NAME)["operation"]
    assert place.journal(NAME)["history"][-1]["outcome"] == "rolled back"
    until("every pod is ready", lambda: place.ready(NAME, 3), 60)
    assert place.good(NAME).writes == []


PARTIAL = "kwdb-standin:3.2.2-partial"  # on every Kubernetes node but that of the second pod


@pytest.fixture
def partial(cluster: None, place: Place) -> Iterator[None]:
    """A release that the node of kw-1 does not have, and that no registry serves."""
    if not shutil.which("docker"):
        pytest.skip("looks into the kind nodes through Docker, which is not here")
    without = place.pods(NAME)[f"{NAME}-1"]["spec"]["nodeName"]
    nodes = [node for node in worker_nodes() if node != without]
    names = [f"docker.io/library/{image}" for image in (UPGRADE_IMAGE, PARTIAL)]
    for node in nodes:
        on_node(node, "ctr", "--namespace=k8s.io", "images", "tag", "--force", *names)
    yield
    for node in nodes:
        on_node(node, "ctr", "--namespace=k8s.io", "images", "rm", names[1], check=False)


@pytest.mark.thorough
@pytest.mark.skipif(not STANDIN, reason="gives a stand-in's image another name")
def test_a_release_that_fails_on_the_second_pod_can_be_left(partial: None, place: Place) -> None:
    """The first pod runs it and the gates keep it there while the second is down: so that one comes back first."""
    asked = {"image": PARTIAL, "pre_pull": "false", "image_pull_policy": "IfNotPresent", **UPGRADE}
    stopped = place.refused(NAME, "image_pull", **asked)
    assert stopped.data["step"] == f"upgrade/{NAME}-1" and images(place) == [IMAGE, PARTIAL, PARTIAL]
    back = place.good(NAME, image=IMAGE, **UPGRADE)
    assert [step for step in back.steps if step != "prepull"][:2] == [f"revert/{NAME}-1", f"upgrade/{NAME}-2"]
    assert images(place) == [IMAGE] * 3 and place.ready(NAME, 3)

    rolled_back = place.refused(NAME, "image_pull", on_failure="rollback", **asked)
    assert rolled_back.data["rolled_back"] and images(place) == [IMAGE] * 3
    until("every pod is ready", lambda: place.ready(NAME, 3), 60)
    assert place.good(NAME).writes == []


def test_two_readings_are_apart_before_a_restart(cluster: None, place: Place) -> None:
    """ranges_steady, which all other tests waive."""
    plan = place.good(NAME, check=True, restart_id="one", waive=[])
    (gate,) = [gate for gate in plan.data["plan"]["gates"] if gate["name"] == "ranges_steady"]
    assert gate["waits"] and not gate["holds"] and plan.writes == []
    before, started = place.uids(NAME), time.monotonic()
    process = place.start(NAME, restart_id="one", pause_after="1", waive=[])
    until("the first pod is restarted", lambda: place.uids(NAME) != before, 120, 0.2)
    assert time.monotonic() - started >= 15, "restarted after one reading"
    result = process.wait(180)
    assert not result.failed and result.data["held"], result.msg
    assert place.pods(NAME)[f"{NAME}-2"]["metadata"]["annotations"]["kaiwudb.kubernetes/restart-id"] == "one"


def test_a_paused_cluster_is_only_read(cluster: None, place: Place) -> None:
    before = place.uids(NAME)
    paused = place.good(NAME, paused="true", restart_id="one")
    assert paused.steps == ["pause"] and paused.data["remaining"] == [f"reconfigure/{NAME}-1", f"reconfigure/{NAME}-0"]
    refused = place.refused(NAME, "paused", restart_id="one")
    assert refused.writes == [] and place.uids(NAME) == before and "Nothing was changed" in refused.msg
    place.refused(NAME, "paused", state="absent", confirm=NAME, deletion_protection="false")
    info = place.good(NAME, module="kaiwudb.kubernetes.kaiwudb_cluster_info")
    assert info.data["cluster"]["paused"] and any("paused" in line for line in info.data["status"])
    assert place.good(NAME, paused="true", restart_id="one").writes == []
    resumed = place.good(NAME, paused="false", restart_id="one")
    assert resumed.steps == ["resume", f"reconfigure/{NAME}-1", f"reconfigure/{NAME}-0"]


@pytest.mark.skipif(not STANDIN, reason="needs the stand-in's release with another cluster version")
def test_there_is_a_way_back_until_it_is_finalised(cluster: None, place: Place) -> None:
    old = version(place)
    up = place.good(NAME, image=NEXT_IMAGE, **UPGRADE)
    assert up.steps[:2] == ["prepull", "preserve"] and up.data["remaining"] == ["finalize"]
    assert version(place) == old and place.journal(NAME)["unfinalized"]["version"] == old
    back = place.good(NAME, image=IMAGE, **UPGRADE)
    assert back.steps[-1] == "release" and images(place) == [IMAGE] * 3 and not place.journal(NAME)["unfinalized"]
    assert place.sql(NAME, "SHOW CLUSTER SETTING cluster.preserve_downgrade_option").split("\n")[1] in ("", '""')
    both = place.good(NAME, image=NEXT_IMAGE, operations=["upgrade", "finalize"])
    assert both.steps[-1] == "finalize" and version(place) != old
    before = place.uids(NAME)
    refused = place.refused(NAME, "version_path", image=IMAGE, **UPGRADE)
    assert "finalised" in refused.msg and refused.writes == [] and place.uids(NAME) == before


def test_every_step_is_told_with_its_time(cluster: None, place: Place) -> None:
    info = place.good(NAME, module="kaiwudb.kubernetes.kaiwudb_cluster_info")
    upgrades = [entry for entry in info.data["journal"]["history"] if entry["name"] == "upgrade"]
    assert upgrades and all(
        step["step"] and step["at"].endswith("Z") and step["seconds"] >= 0
        for entry in upgrades
        for step in entry["steps"]
    )
    assert {step["step"] for entry in upgrades for step in entry["steps"]} >= {
        "prepull",
        *(f"upgrade/{pod}" for pod in PODS),
    }
