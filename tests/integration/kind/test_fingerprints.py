# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A kept volume goes back to its own cluster, whatever uid its old claim had, and to no other; and what lies in the directory is looked at.

One walk: a cluster is removed with its volumes kept, comes back, and meets directories that were changed meanwhile.
"""

from __future__ import annotations

import shutil

import pytest
from kindlab import FINGERPRINT, Place, kubectl, node_of, on_node, store_of

NAME = "kw"
FILE = "kaiwudb.kubernetes.json"
OTHER = "00000000-0000-4000-8000-000000000000"

pytestmark = pytest.mark.skipif(
    not shutil.which("docker"), reason="looks into the kind nodes through Docker, which is not here"
)


def remove(place: Place, **how: str) -> None:
    place.good(NAME, state="absent", confirm=NAME, deletion_protection="false", **how)


def where(place: Place, ordinal: int) -> tuple[str, str]:
    """Kubernetes node and directory of a volume."""
    volume = place.volume(NAME, ordinal)
    assert volume is not None
    return node_of(volume), volume["spec"]["local"]["path"]


@pytest.fixture(scope="module")
def known(place: Place) -> str:
    """The id of a cluster that holds a row and was removed with its volumes kept."""
    place.good(NAME, replicas="3")
    place.sql(
        NAME,
        "CREATE DATABASE bank; CREATE TABLE bank.accounts (id INT PRIMARY KEY); INSERT INTO bank.accounts VALUES (7)",
    )
    cluster_id = str(place.journal(NAME)["cluster_id"])
    remove(place, volumes="retain")
    for ordinal in range(3):
        volume = place.volume(NAME, ordinal)
        assert volume is not None and store_of(volume)["cluster_id"] == cluster_id
    return cluster_id


def test_a_volume_of_another_cluster_is_refused_with_its_origin(known: str, place: Place) -> None:
    name = f"{place.namespace}.{NAME}-1"
    volume = place.volume(NAME, 1)
    assert volume is not None
    mine = volume["metadata"]["annotations"][FINGERPRINT]
    kubectl("annotate", "--overwrite", "persistentvolume", name, f"{FINGERPRINT}={mine.replace(known, OTHER)}")
    refused = place.refused(NAME, "store_foreign", replicas="3")
    assert refused.writes == [] and OTHER in refused.msg and known in refused.msg
    kubectl("annotate", "--overwrite", "persistentvolume", name, f"{FINGERPRINT}={mine}")


def test_a_directory_that_holds_another_store_than_its_volume_says_is_refused(known: str, place: Place) -> None:
    node, path = where(place, 2)
    mine = on_node(node, "cat", f"{path}/{FILE}")
    inside = on_node(node, "ls", "-A", path)
    on_node(node, "sed", "-i", f"s/{known}/{OTHER}/", f"{path}/{FILE}")
    refused = place.refused(NAME, "store_foreign", replicas="3")
    assert path in refused.msg and node in refused.msg and OTHER in refused.msg
    assert place.get("statefulset", NAME) is None and on_node(node, "ls", "-A", path) == inside
    on_node(node, "sed", "-i", f"s/{OTHER}/{known}/", f"{path}/{FILE}")
    assert on_node(node, "cat", f"{path}/{FILE}") == mine


def test_an_emptied_directory_is_refused(known: str, place: Place) -> None:
    node, path = where(place, 2)
    on_node(node, "mv", path, f"{path}-aside")
    on_node(node, "mkdir", path)
    refused = place.refused(NAME, "store_missing", replicas="3")
    assert path in refused.msg and "is empty, but should hold" in refused.msg
    on_node(node, "rmdir", path)
    assert "is missing, but should hold" in place.refused(NAME, "store_missing", replicas="3").msg
    on_node(node, "mv", f"{path}-aside", path)


def test_the_cluster_comes_back_with_its_rows(known: str, place: Place) -> None:
    place.good(NAME, replicas="3")
    assert place.journal(NAME)["cluster_id"] == known
    assert place.sql(NAME, "SELECT id FROM bank.accounts").split() == ["id", "7"]
    assert place.good(NAME, replicas="3").writes == []
    assert place.get("pods", selector="app.kubernetes.io/component=volume") == []
