# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Quantities, names, errors, ranges, journal: small and pure."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import quantity
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError, InputError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import KEPT, Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.names import Names, ordinal_of, owned
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.ranges import Range, named, needed, wholeness
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


# ---- ranges: what the allocator keeps, kvserver/allocator.go


@pytest.mark.parametrize(
    ("wanted", "nodes", "kept"),
    [
        (0, 3, 1), (1, 1, 1), (1, 5, 1),
        (2, 1, 2), (2, 2, 2), (2, 3, 2),
        (3, 1, 3), (3, 2, 3), (3, 3, 3), (3, 4, 3), (3, 9, 3),
        (4, 3, 3), (4, 4, 3), (4, 5, 3),
        (5, 1, 3), (5, 2, 3), (5, 3, 3), (5, 4, 3), (5, 5, 5), (5, 6, 5), (5, 9, 5),
        (7, 3, 3), (7, 4, 3), (7, 5, 5), (7, 6, 5), (7, 7, 7), (7, 8, 7),
    ],
)  # fmt: skip
def test_needed(wanted: int, nodes: int, kept: int) -> None:
    assert needed(wanted, nodes) == kept


def _range(number: int, *replicas: int, wanted: int = 3) -> Range:
    return Range(number, "bank.accounts", frozenset(replicas), wanted)


def test_whole() -> None:
    found = wholeness([_range(1, 1, 2, 3), _range(2, 2, 3, 4)], {1, 2, 3, 4}, 4)
    assert (found.total, found.unavailable, found.underreplicated, found.whole) == (2, (), (), True)


def test_a_dead_node_makes_ranges_under_replicated_and_two_make_them_unavailable() -> None:
    one, other = _range(1, 1, 2, 3), _range(2, 2, 3, 4)
    without_one = wholeness([one, other], {2, 3, 4}, 4)
    assert (without_one.unavailable, without_one.underreplicated, without_one.whole) == ((), (one,), False)
    without_two = wholeness([one, other], {3, 4}, 4)
    assert (without_two.unavailable, without_two.underreplicated) == ((one,), (one, other))


def test_half_of_an_even_number_is_no_majority() -> None:
    even = _range(1, 1, 2, 3, 4)
    assert wholeness([even], {1, 2}, 4).unavailable == (even,)
    assert wholeness([even], {1, 2, 3}, 4).unavailable == ()


def test_a_range_without_replicas_is_unavailable() -> None:
    lost = _range(1)
    assert wholeness([lost], {1, 2, 3}, 3).unavailable == (lost,)


def test_a_zone_for_five_is_whole_with_three_on_three_nodes_but_not_on_five() -> None:
    item = _range(1, 1, 2, 3, wanted=5)
    assert wholeness([item], {1, 2, 3}, 3).whole
    assert wholeness([item], {1, 2, 3, 4}, 4).whole
    assert wholeness([item], {1, 2, 3, 4, 5}, 5).underreplicated == (item,)


def test_ranges_for_a_sentence() -> None:
    assert named([]) == ""
    assert named([_range(12), Range(14, "", frozenset(), 3)]) == "12 (bank.accounts), 14 (system)"
    many = [_range(number) for number in range(7)]
    assert named(many).endswith("4 (bank.accounts) and 2 more")
    assert named(many[:5]).endswith("4 (bank.accounts)")
    assert named(many, limit=1) == "0 (bank.accounts) and 6 more"


# ---- journal


def test_what_is_written_is_read_again() -> None:
    journal = Journal(
        "id", {"who": "a"}, {"at": "t"}, {"name": "upgrade", "step": "upgrade/kw-2"}, ({"name": "create"},), True
    )
    assert Journal.read({"data": journal.data()}) == journal
    assert list(journal.data()) == ["journal"]


@pytest.mark.parametrize(
    "configmap",
    [
        None, {}, {"data": {}}, {"data": None}, {"data": {"other": "x"}}, {"data": {"journal": ""}}, {"data": {"journal": "{not json"}},
        {"data": {"journal": "null"}}, {"data": {"journal": "[]"}}, {"data": {"journal": "3"}}, {"data": {"journal": '"text"'}},
        {"data": {"journal": '{"unknown": 1}'}}, {"data": {"journal": '{"operation": [], "history": null, "initialized": 7}'}},
        {"data": {"journal": '{"operation": "scale_in", "history": {"a": 1}, "cluster_id": 7, "made_namespace": "yes"}'}},
        {"data": {"journal": '{"history": [1, "x", null, {"step": "x"}], "operation": {"step": "scale_in/kw-2"}}'}},
    ],
)  # fmt: skip
def test_nonsense_is_an_empty_journal(configmap: Any) -> None:
    assert Journal.read(configmap) == Journal()


def test_one_good_field_survives_the_nonsense_beside_it() -> None:
    text = json.dumps({"cluster_id": "id", "operation": 5, "history": [{"name": "create"}, 7]})
    assert Journal.read({"data": {"journal": text}}) == Journal(cluster_id="id", history=({"name": "create"},))


def test_an_operation_keeps_its_beginning_over_runs_and_takes_the_new_facts() -> None:
    first = Journal().begin("scale_in", "ann", "10:00", step="a", pods=["kw-3"])
    assert first.operation == {"name": "scale_in", "who": "ann", "since": "10:00", "step": "a", "pods": ["kw-3"]}
    again = first.begin("scale_in", "bob", "11:00", step="b")
    assert again.operation == {"name": "scale_in", "who": "bob", "since": "10:00", "step": "b", "pods": ["kw-3"]}
    other = again.begin("upgrade", "bob", "12:00", step="c")
    assert other.operation == {"name": "upgrade", "who": "bob", "since": "12:00", "step": "c"}


def test_an_operation_that_ends_becomes_history_and_only_the_last_are_kept() -> None:
    journal = Journal(cluster_id="id")
    assert journal.end("10:00", "done") is journal
    for number in range(KEPT + 3):
        journal = journal.begin(f"op{number}", "ann", "10:00").end("10:05", "done", took=5.0)
    assert journal.operation == {} and journal.cluster_id == "id" and len(journal.history) == KEPT == 20
    assert journal.history[0]["name"] == "op3"
    assert journal.history[-1] == {
        "name": "op22",
        "who": "ann",
        "since": "10:00",
        "until": "10:05",
        "outcome": "done",
        "took": 5.0,
    }
