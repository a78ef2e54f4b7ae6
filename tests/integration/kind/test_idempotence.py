# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A second run writes nothing, by the API server's own count; a third mends just what somebody broke."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from kindlab import Place, Result, kubectl

NAME = "kw"


@pytest.fixture(scope="module")
def first(place: Place) -> Result:
    """The first run: the cluster is made."""
    return place.good(NAME)


def test_the_first_run_writes(first: Result, place: Place) -> None:
    assert len(first.writes) > 0
    assert first.data["changed"] is True
    assert first.data["cluster"]["nodes_live"] == 3
    assert place.ready(NAME, 3)


def test_the_second_run_writes_nothing(first: Result, place: Place) -> None:
    again = place.good(NAME)
    assert again.writes == []
    assert again.count("dry_run") == 0
    assert again.steps == [] and again.data["changed"] is False
    reads = [str(request) for request in again.requests if request.kind == "read"]
    assert len(reads) <= 10, reads
    assert again.count("exec") == 1
    told = again.data["requests"]
    counted = {
        "reads": again.count("read"),
        "writes": again.count("write"),
        "execs": again.count("exec"),
        "dry_runs": again.count("dry_run"),
    }
    assert told == counted, "the module's own figures are not what the API server saw"


def test_options_not_given_stay_as_they_are(first: Result, place: Place) -> None:
    bare = dict.fromkeys(set(place.defaults) - {"namespace"})
    again = place.good(NAME, **bare)
    assert again.steps == [] and again.writes == []


def test_what_was_broken_by_hand_is_mended_and_no_more(first: Result, place: Place) -> None:
    before = place.uids(NAME)
    kubectl("--namespace", place.namespace, "delete", "poddisruptionbudget", f"{NAME}-budget")
    kubectl("--namespace", place.namespace, "patch", "service", f"{NAME}-public", "--type=merge", "--patch",
            json.dumps({"spec": {"selector": {"somebody": "was-here"}, "ports": None}, "metadata": {"labels": {"theirs": "stays"}}})
            .replace('"ports": null', '"ports": [{"name": "sql", "port": 9999, "targetPort": "sql"}]'))  # fmt: skip
    third = place.good(NAME)
    assert sorted(third.steps) == sorted([f"create/PodDisruptionBudget/{NAME}-budget", f"repair/Service/{NAME}-public"])
    touched = {(request.resource, request.name) for request in third.requests if request.kind == "write"}
    # Beside the two only the lock and the journal of the run itself.
    assert touched - {("leases", f"{NAME}-lock"), ("configmaps", f"{NAME}-journal")} == {
        ("poddisruptionbudgets", f"{NAME}-budget"), ("services", f"{NAME}-public")}  # fmt: skip
    service = place.get("service", f"{NAME}-public")
    assert "somebody" not in service["spec"]["selector"]
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == {"sql": 26257, "http": 8080}
    assert service["metadata"]["labels"]["theirs"] == "stays"
    assert place.get("poddisruptionbudget", f"{NAME}-budget")["spec"]["maxUnavailable"] == 1
    assert place.uids(NAME) == before
    fourth = place.good(NAME)
    assert fourth.writes == [] and fourth.steps == []


def test_a_new_version_of_the_collection_restarts_nothing(first: Result, place: Place, tmp_path: Path) -> None:
    """The next version renders the pods differently; the inventory is the same."""
    new = tmp_path / "ansible_collections" / "kaiwudb" / "kubernetes"
    new.mkdir(parents=True)
    for part in ("plugins", "meta"):
        shutil.copytree(
            place.collections / "ansible_collections" / "kaiwudb" / "kubernetes" / part,
            new / part,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    manifests = new / "plugins" / "module_utils" / "_cluster" / "manifests.py"
    text = manifests.read_text()
    changed = text.replace('"periodSeconds": 10,', '"periodSeconds": 17,')
    assert '"periodSeconds": 17,' in changed, (
        "the template is not rendered differently, so the test would prove nothing"
    )
    manifests.write_text(changed)
    before, generation = place.uids(NAME), place.get("statefulset", NAME)["metadata"]["generation"]
    result = place.good(NAME, collections=tmp_path)
    assert result.steps == [] and result.writes == []
    assert place.uids(NAME) == before
    assert place.get("statefulset", NAME)["metadata"]["generation"] == generation
    # The copy is what ran: it renders what it says when a pod is really to be made anew.
    other = place.good("other", collections=tmp_path, operations=["create"])
    assert "create/StatefulSet/other" in other.steps
    probe = place.get("statefulset", "other")["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]
    assert probe["periodSeconds"] == 17
