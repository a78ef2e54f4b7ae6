# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Local volumes become larger: the claims follow one by one behind the gates, data and directories stay; a killed run is continued by a plain one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kindlab import Place, kubectl, until

NAME = "kw"


def sizes(place: Place) -> list[tuple[str, str]]:
    """What each claim asks for, and what its volume says."""
    found = []
    for ordinal in range(3):
        claim, volume = place.get("persistentvolumeclaim", f"datadir-{NAME}-{ordinal}"), place.volume(NAME, ordinal)
        assert claim is not None and volume is not None and claim["status"]["phase"] == "Bound"
        assert volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
        found.append((claim["spec"]["resources"]["requests"]["storage"], volume["spec"]["capacity"]["storage"]))
    return found


def template_size(place: Place) -> Any:
    template = place.get("statefulset", NAME)["spec"]["volumeClaimTemplates"][0]
    return template["spec"]["resources"]["requests"]["storage"]


def rows(place: Place) -> list[str]:
    return place.sql(NAME, "SELECT id FROM bank.accounts ORDER BY id").split()[1:]


def places(place: Place) -> list[str]:
    return [(place.volume(NAME, ordinal) or {})["spec"]["local"]["path"] for ordinal in range(3)]


def test_growing_keeps_data_and_directories(place: Place) -> None:
    place.good(NAME, replicas="3")
    place.sql(
        NAME,
        "CREATE DATABASE bank; CREATE TABLE bank.accounts (id INT PRIMARY KEY); INSERT INTO bank.accounts VALUES (1), (2)",
    )
    ids, before, uids = sorted(row["id"] for row in place.node_rows(NAME)), places(place), place.uids(NAME)
    how = {"storage_size": "2Gi", "operations": ["reconfigure"]}
    foreseen = place.when_allowed(NAME, **how)
    assert foreseen.steps == [f"template/{NAME}", f"rebind/{NAME}-2", f"rebind/{NAME}-1", f"rebind/{NAME}-0"]
    assert foreseen.writes == []
    done = place.good(NAME, **how)
    # A slice that ends in the middle of one leaves a volume whose claim is gone: the next one gives that back, with its pod.
    followed = list(dict.fromkeys(step.replace("reclaim/", "rebind/") for step in done.steps))
    assert followed == foreseen.steps and template_size(place) == "2Gi"
    assert sizes(place) == [("2Gi", "2Gi")] * 3 and places(place) == before
    assert rows(place) == ["1", "2"] and sorted(row["id"] for row in place.node_rows(NAME)) == ids, (
        "the stores are the same"
    )
    assert not set(place.uids(NAME).values()) & set(uids.values())
    assert place.good(NAME, storage_size="2Gi").writes == [] and "recreate" not in json.dumps(
        place.journal(NAME).get("operation")
    )


def test_smaller_is_refused(place: Place) -> None:
    refused = place.run(NAME, storage_size="1Gi")
    assert refused.failed and "would shrink" in refused.msg and refused.writes == []


def test_killed_without_its_statefulset_a_plain_run_makes_it_again(place: Place) -> None:
    """The worst moment: the old one is gone, the new one is not there yet; the pods run on."""
    place.defaults["storage_size"] = None
    uids = place.uids(NAME)
    process = place.start(NAME, storage_size="3Gi", operations=["reconfigure"])
    try:
        until("the note is written", lambda: place.journal(NAME).get("recreate") or not process.running, 60, 0.02)
    finally:
        process.kill()
    place.free_lock(NAME)
    kubectl("--namespace", place.namespace, "delete", "statefulset", NAME, "--cascade=orphan", "--ignore-not-found")
    if not place.journal(NAME).get("recreate"):
        pytest.skip("the run was faster than its killer")
    assert {pod: uid for pod, uid in place.uids(NAME).items() if uids[pod] == uid} == uids, "nobody was restarted"
    done = place.good(NAME)
    assert done.steps[0] == f"template/{NAME}" and template_size(place) == "3Gi"
    assert sizes(place) == [("3Gi", "3Gi")] * 3 and rows(place) == ["1", "2"]
    assert not place.journal(NAME).get("recreate") and place.good(NAME).writes == []
