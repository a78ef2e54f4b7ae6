# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Volumes that a storage class provisions: the claim is what the policies treat, and an old store never comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kindlab import Place, Result, default_class, kubectl, store_of

NAME = "kw"
CLAIM = f"datadir-{NAME}-3"
RETIRED = "kaiwudb.kubernetes/retired"


@pytest.fixture(scope="module")
def four(place: Place) -> None:
    """A cluster of four nodes on the cluster's default storage class."""
    if default_class() is None:
        pytest.skip("this Kubernetes cluster has no default storage class")
    place.defaults["storage"] = "dynamic"
    del place.defaults["local_path"]
    made = place.good(NAME, replicas="4")
    assert not [step for step in made.steps if step.startswith("volume/")]


def scale_in(place: Place, **how: Any) -> Result:
    place.when_allowed(NAME, replicas="3", operations=["scale_in"], **how)
    result = place.good(NAME, replicas="3", operations=["scale_in"], **how)
    assert result.steps == [f"scale_in/{NAME}-3"]
    return result


def node_id(place: Place) -> int:
    row = place.row_of(NAME, 3)
    assert row is not None
    return int(row["id"])


def test_a_settled_cluster_is_left_alone(four: None, place: Place) -> None:
    assert place.good(NAME).writes == []


def test_retain_keeps_the_claim_and_refuses_its_return(four: None, place: Place) -> None:
    scale_in(place, volumes="retain")
    claim = place.get("persistentvolumeclaim", CLAIM)
    assert claim["metadata"]["annotations"][RETIRED]
    assert store_of(claim)["node_id"] == node_id(place)
    refused = place.refused(NAME, "store_retired", replicas="4", operations=["scale_out"])
    assert refused.writes == []


def test_a_retained_claim_is_dropped_when_told(four: None, place: Place) -> None:
    old = node_id(place)
    before = place.get("persistentvolumeclaim", CLAIM)["metadata"]["uid"]
    result = place.good(NAME, replicas="4", operations=["scale_out"], volumes="wipe")
    assert result.steps == [f"drop/{NAME}-3", f"scale_out/{NAME}-3"]
    assert place.get("persistentvolumeclaim", CLAIM)["metadata"]["uid"] != before
    assert node_id(place) > old


def test_wipe_deletes_the_claim(four: None, place: Place) -> None:
    scale_in(place, volumes="wipe")
    assert place.get("persistentvolumeclaim", CLAIM) is None


@pytest.mark.thorough
def test_archive_keeps_the_volume_aside(four: None, place: Place) -> None:
    place.good(NAME, replicas="4", operations=["scale_out"])
    volume, old = place.get("persistentvolumeclaim", CLAIM)["spec"]["volumeName"], node_id(place)
    try:
        scale_in(place, volumes="archive")
        assert place.get("persistentvolumeclaim", CLAIM) is None
        kept = json.loads(kubectl("get", "persistentvolume", volume, "--output=json"))
        assert kept["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
        assert store_of(kept)["node_id"] == old
        assert kept["metadata"]["annotations"]["kaiwudb.kubernetes/archived"]
        place.good(NAME, replicas="4", operations=["scale_out"])
        assert place.get("persistentvolumeclaim", CLAIM)["spec"]["volumeName"] != volume and node_id(place) > old
    finally:
        # The test's own volume again: let its class take it away.
        kubectl(
            "patch",
            "persistentvolume",
            volume,
            '--patch={"spec": {"persistentVolumeReclaimPolicy": "Delete"}}',
            check=False,
        )


@pytest.mark.thorough
def test_growing_by_fresh_volumes_where_the_class_does_not_expand(four: None, place: Place) -> None:
    """Each node leaves with its data moved and comes back empty on a larger volume; three nodes alone could not."""
    name = place.get("persistentvolumeclaim", f"datadir-{NAME}-0")["spec"]["storageClassName"]
    if json.loads(kubectl("get", "storageclass", name, "--output=json")).get("allowVolumeExpansion"):
        pytest.skip(f"storage class {name} expands volumes")
    place.good(NAME, replicas="4", operations=["scale_out"])
    place.sql(
        NAME,
        "CREATE DATABASE bank; CREATE TABLE bank.accounts (id INT PRIMARY KEY); INSERT INTO bank.accounts VALUES (7)",
    )
    how = {"storage_size": "2Gi", "operations": ["reconfigure"]}
    assert place.when_allowed(NAME, **how).steps == [
        f"template/{NAME}",
        *(f"renew/{NAME}-{ordinal}" for ordinal in (3, 2, 1, 0)),
    ]
    place.good(NAME, seconds=900, **how)
    for ordinal in range(4):
        claim = place.get("persistentvolumeclaim", f"datadir-{NAME}-{ordinal}")
        assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi" and claim["status"]["phase"] == "Bound"
    assert place.sql(NAME, "SELECT id FROM bank.accounts").split() == ["id", "7"]
    assert place.good(NAME, storage_size="2Gi").writes == []
