# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Quantities, names, errors: small and pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import quantity
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError, InputError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.names import Names, ordinal_of, owned
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import LABELS

# ---- quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", "0"), ("1", "1"), ("+1", "1"), ("-1", "-1"), ("1.", "1"), (".5", "0.5"), ("1.5", "1.5"), (3, "3"), (0.5, "0.5"),
        ("7n", "7e-9"), ("7u", "7e-6"), ("500m", "0.5"), ("2k", "2000"), ("2M", "2000000"), ("2G", "2e9"), ("2T", "2e12"),
        ("2P", "2e15"), ("2E", "2e18"), ("1Ki", "1024"), ("1Mi", "1048576"), ("1Gi", "1073741824"), ("1Ti", "1099511627776"),
        ("1Pi", "1125899906842624"), ("1Ei", "1152921504606846976"), ("1e3", "1000"), ("1E3", "1000"), ("12e-1", "1.2"),
    ],
)  # fmt: skip
def test_quantity_as_a_number(text: object, number: str) -> None:
    assert quantity.parse(text) == Decimal(number)


@pytest.mark.parametrize(
    "text", ["", " ", "1 Gi", "Gi", "1gi", "1K", "1KI", "1GiB", "0x1", "1e", "1e3Gi", "--1", "1,5", "1\n", None, "1mi"]
)
def test_no_quantity(text: object) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        quantity.parse(text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0.5", "500m", True), ("1024Mi", "1Gi", True), ("1000m", 1, True), ("1e3", "1k", True), ("1Gi", "1G", False),
        ("1", "1m", False), ("x", "x", False), ("1", "x", False), ("x", "1", False),
    ],
)  # fmt: skip
def test_same_quantity(one: object, other: object, same: bool) -> None:
    assert quantity.same(one, other) is same


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1024**2, "1.0 MiB"), (5 * 1024**3, "5.0 GiB"),
        (1024**4, "1.0 TiB"), (3000 * 1024**4, "3000.0 TiB"),
    ],
)  # fmt: skip
def test_bytes_for_a_person(count: float, text: str) -> None:
    assert quantity.bytes_text(count) == text


# ---- names

KW = Names("kw", "db")


def test_every_name() -> None:
    assert (KW.public, KW.ui, KW.budget, KW.journal, KW.lock) == (
        "kw-public",
        "kw-ui",
        "kw-budget",
        "kw-journal",
        "kw-lock",
    )
    assert (KW.pod(3), KW.claim(3), KW.volume(3), KW.preparer(3)) == ("kw-3", "datadir-kw-3", "db.kw-3", "kw-volume-3")
    assert KW.puller(3) == "kw-pull-3"
    assert KW.host(10) == "kw-10.kw.db.svc.cluster.local"
    assert Names("kw", "db", "corp.example").address(1, 26258) == "kw-1.kw.db.svc.corp.example:26258"


def test_labels_and_selectors() -> None:
    assert KW.labels == LABELS
    assert KW.selector == {key: LABELS[key] for key in ("app.kubernetes.io/name", "app.kubernetes.io/instance")}
    assert KW.pod_selector == {**KW.selector, "app.kubernetes.io/component": "database"}
    assert KW.volume_selector == {**KW.selector, "kaiwudb.kubernetes/namespace": "db"}


def test_clusters_of_one_name_in_two_namespaces_have_volumes_of_their_own() -> None:
    # a-b/c and a/b-c joined by dashes would be the same
    pairs = [("db", "kw"), ("other", "kw"), ("a-b", "c"), ("a", "b-c")]
    assert len({Names(name, namespace).volume(0) for namespace, name in pairs}) == len(pairs)


@pytest.mark.parametrize(
    ("name", "ordinal"),
    [
        ("kw-0", 0),
        ("kw-12", 12),
        ("datadir-a-b-3", 3),
        ("db.kw-4", 4),
        ("kw", None),
        ("kw-x", None),
        ("kw-", None),
        ("7", 7),
    ],
)
def test_ordinal(name: str, ordinal: int | None) -> None:
    assert ordinal_of(name) == ordinal


@pytest.mark.parametrize(
    ("labels", "ours"),
    [(LABELS, True), ({**LABELS, "more": "x"}, True), (None, False), ({}, False)]
    + [({key: value for key, value in LABELS.items() if key != left_out}, False) for left_out in LABELS]
    + [({**LABELS, "app.kubernetes.io/instance": "other"}, False)],
)
def test_owned_by_all_three_labels(labels: dict[str, str] | None, ours: bool) -> None:
    assert owned({"metadata": {"name": "x", "labels": labels}}, KW) is ours


def test_owned_without_labels() -> None:
    assert not owned({"metadata": {"name": "x"}}, KW)


# ---- errors


def test_every_failure_has_the_same_fields() -> None:
    assert ClusterError("no", "because").result() == {
        "msg": "no",
        "reason": "because",
        "step": None,
        "node": None,
        "resumable": True,
    }
    facts: dict[str, Any] = {"step": "upgrade/kw-2", "node": "kw-2", "waited": 3, "resumable": False}
    assert ClusterError("no", "because", **facts).result() == {"msg": "no", "reason": "because", **facts}
    wrong = InputError("replicas", "2 is not allowed")
    assert str(wrong) == "replicas: 2 is not allowed"
    assert wrong.result() == {
        "msg": "replicas: 2 is not allowed", "reason": "invalid_option", "option": "replicas", "step": None, "node": None, "resumable": False,
    }  # fmt: skip
