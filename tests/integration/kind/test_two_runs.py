# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""One run at a time works on a cluster: the other is refused and told who works; a dead one's lock is taken over."""

from __future__ import annotations

import time

import pytest
from kindlab import Place, until

NAME = "kw"
JOB = {"AWX_JOB_ID": "4711"}
TAKEOVER = 30  # seconds; the lock's own duration is 20


@pytest.fixture(scope="module")
def cluster(place: Place) -> None:
    place.good(NAME)


def holder(place: Place) -> str:
    lease = place.get("lease", f"{NAME}-lock")
    return str((lease or {}).get("spec", {}).get("holderIdentity") or "")


def test_the_second_run_is_refused_and_told_who_works(cluster: None, place: Place) -> None:
    other = place.account("second")
    working = place.start(NAME, environment=JOB, pod_annotations={"round": "1"})
    until("the first run holds the lock", lambda: holder(place).startswith("awx-job-4711"), 60, 0.1)
    mark = place.audit.mark()
    refused = place.start(NAME, kubeconfig=str(other), replicas="4", operations=["scale_out"]).wait(60)
    writes = [
        str(request)
        for request in place.audit.since(mark, user=place.user.replace(":kaiwudb-ansible", ":second"))
        if request.kind == "write"
    ]
    assert refused.failed and refused.data["reason"] == "locked", refused.msg
    assert refused.data["holder"].startswith("awx-job-4711 on ") and refused.data["holder"] in refused.msg
    assert writes == []
    done = working.wait(180)
    assert not done.failed, done.msg
    assert done.steps == [f"reconfigure/{NAME}-{ordinal}" for ordinal in (2, 1, 0)]
    assert holder(place) == ""
    assert {pod["metadata"]["annotations"]["round"] for pod in place.pods(NAME).values()} == {"1"}


def test_a_run_whose_machine_slept_gives_way(cluster: None, place: Place) -> None:
    """Another one took over and asked for something else meanwhile; what the sleeper wanted then is called off."""
    asleep = {"pod_annotations": {"round": "asleep"}}
    place.when_allowed(NAME, **asleep)
    before = place.uids(NAME)
    slept = place.start(NAME, environment=JOB, **asleep)
    until("its first pod is restarted", lambda: place.uids(NAME) != before, 120, 0.2)
    slept.sleep()
    place.good(NAME, pod_annotations={"round": "1"})
    known, pods = place.journal(NAME), place.uids(NAME)
    slept.wake()
    result = slept.wait(120)
    assert result.failed and result.data["reason"] == "lock_lost", result.msg
    assert (place.journal(NAME), place.uids(NAME)) == (known, pods)
    assert place.good(NAME, pod_annotations={"round": "1"}).writes == []


def test_a_killed_run_s_lock_is_taken_over_and_said(cluster: None, place: Place) -> None:
    before = place.uids(NAME)
    place.when_allowed(NAME, pod_annotations={"round": "2"})
    killed = place.start(NAME, environment=JOB, pod_annotations={"round": "2"})
    until("its first pod is restarted", lambda: place.uids(NAME) != before, 120, 0.2)
    killed.kill()
    dead = holder(place)
    assert dead.startswith("awx-job-4711")
    started = time.monotonic()
    process = place.start(NAME, pod_annotations={"round": "2"})
    until("the lock changes hands", lambda: holder(place) not in (dead, ""), 90, 0.2)
    took = time.monotonic() - started
    result = process.wait(180)
    assert not result.failed, result.msg
    assert took <= TAKEOVER + 5, f"taken over after {took:.0f} s"  # the start of ansible is no part of the wait
    assert any(f"took over the lock of {dead}" in line for line in result.data["progress"]), result.data["progress"]
    assert "took over the lock of" in result.output.split("localhost |")[0], "not said aloud while it worked"
    assert {pod["metadata"]["annotations"]["round"] for pod in place.pods(NAME).values()} == {"2"}
    assert place.good(NAME).writes == []
