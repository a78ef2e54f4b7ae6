# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Every gate: holding, failing with its figures, waived, and those that nobody can waive."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import gates
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.gates import Gate
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.observe import Deep, Job, Observed
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    deep,
    gone,
    live,
    pod,
    ranges,
    row,
    silent,
    spec,
    statefulset,
    store,
)

COMMON = [
    "engine_answers",
    "nodes_live",
    "nodes_settled",
    "ranges_unavailable",
    "ranges_underreplicated",
    "jobs_running",
]


def gate(found: list[Gate], name: str) -> tuple[str, str, bool]:
    one = next(item for item in found if item.name == name)
    return one.value, one.limit, one.holds


def sentence(found: list[Gate], name: str) -> str:
    return next(item.sentence for item in found if item.name == name)


def four(**fields: Any) -> Observed:
    """Four nodes, of which the third has other fields."""
    return live(4, nodes=[row(1, 0), row(2, 1), row(3, 2, **fields), row(4, 3)])


def test_a_settled_cluster_holds_them_all() -> None:
    found = gates.common(live(), deep(), None)
    assert [item.name for item in found] == COMMON and all(item.holds and not item.waived for item in found)
    assert gate(found, "nodes_live") == ("3 of 3", "all", True)
    leaving = gates.scale_in(live(4), deep(stores=[store(number) for number in range(1, 5)]), 4, "kw-3")
    assert [item.name for item in leaving] == [*COMMON, "nodes_needed", "one_node", "rollout_idle", "space"] and all(
        item.holds for item in leaving
    )
    assert gate(leaving, "nodes_live") == ("3 of 3", "all", True), "the node that leaves is not judged"


@pytest.mark.parametrize(
    ("seen", "known", "why"),
    [
        (silent(live(), "timed out"), deep(), "timed out"),
        (live(), None, "its SQL does not answer"),
        (silent(live(), "no pod"), None, "no pod"),
    ],
)
def test_without_an_answer_nothing_is_judged(seen: Observed, known: Deep | None, why: str) -> None:
    expected = Gate(
        "engine_answers",
        "no",
        "yes",
        False,
        f"No database node answers ({why}); nothing can be judged. Look at the pods' logs first.",
    )
    assert gates.common(seen, known, None) == gates.scale_in(seen, known, 4, "kw-3") == [expected]


@pytest.mark.parametrize(
    "fields",
    [{"is_live": False}, {"is_available": False}, {"is_live": False, "is_available": False}, {"is_live": None}],
)
def test_nodes_live(fields: dict[str, Any]) -> None:
    found = gates.common(four(**fields), deep(), None)
    assert gate(found, "nodes_live") == ("3 of 4", "all", False)
    assert sentence(found, "nodes_live").startswith("Node 3 is not live. Bring it back, or decommission it as dead")
    assert gate(gates.common(four(**fields), deep(), 3), "nodes_live") == ("3 of 3", "all", True)


def test_history_is_no_member() -> None:
    seen = live(nodes=[row(1, 0), row(2, 1), row(3, 2), gone(4, 3), gone(5)])
    assert gate(gates.common(seen, deep(), None), "nodes_live") == ("3 of 3", "all", True)


@pytest.mark.parametrize("field", ["is_decommissioning", "is_draining"])
def test_nodes_settled(field: str) -> None:
    found = gates.common(four(**{field: True}), deep(), None)
    assert gate(found, "nodes_settled") == ("1", "≤ 0", False)
    assert sentence(found, "nodes_settled") == "Still leaving or starting: node 3. Wait for it, or undo it."
    assert gate(gates.common(four(**{field: True}), deep(), 3), "nodes_settled") == ("0", "≤ 0", True)


def test_a_pod_that_is_missing_is_not_settled() -> None:
    seen = live(4, pods=[pod(0), pod(1), pod(3)])
    found = gates.common(seen, deep(), None)
    assert gate(found, "nodes_settled") == ("1", "≤ 0", False)
    assert sentence(found, "nodes_settled") == "Still leaving or starting: kw-2. Wait for it, or undo it."


def test_ranges_without_a_majority() -> None:
    seen = live(nodes=[row(1, 0), row(2, 1, is_live=False), row(3, 2, is_live=False)])
    found = gates.common(seen, deep(ranges(count=6)), None)
    assert gate(found, "ranges_unavailable") == ("6", "≤ 0", False)
    shown = ", ".join(f"{number} (bank.accounts)" for number in range(1, 6))
    assert (
        sentence(found, "ranges_unavailable")
        == f"No live majority: range {shown} and 1 more. Bring the stopped nodes back first."
    )


def test_ranges_with_a_replica_too_few() -> None:
    found = gates.common(live(), deep([*ranges(count=2)[1:], *ranges((1, 2), count=1, name="")]), None)
    assert gate(found, "ranges_unavailable") == ("0", "≤ 0", True)
    assert gate(found, "ranges_underreplicated") == ("1", "≤ 0", False)
    assert (
        sentence(found, "ranges_underreplicated")
        == "Fewer live replicas than needed: range 1 (system). Wait until they are whole."
    )


@pytest.mark.parametrize(
    ("kind", "blocks"),
    [("SCHEMA CHANGE", True), ("IMPORT", True), ("RESTORE", True), ("BACKUP", True), ("CREATE INDEX", True), ("TYPEDESC SCHEMA CHANGE", True),
     ("TS TXN", False), ("RESTART HISTORY", False), ("SCHEMA CHANGE GC", False), ("AUTO CREATE STATS", False)],
)  # fmt: skip
def test_only_some_jobs_block(kind: str, blocks: bool) -> None:
    found = gates.common(live(), deep(jobs=[Job("77", kind), Job("1", "TS TXN")]), None)
    assert gate(found, "jobs_running") == ("1" if blocks else "0", "≤ 0", not blocks)
    if blocks:
        assert sentence(found, "jobs_running") == f"Running: {kind} 77. Wait for it, or cancel it."


@pytest.mark.parametrize(
    ("replicas", "wanted", "value", "limit", "holds"),
    [
        (4, 3, "3", "≥ 3", True), (3, 3, "2", "≥ 3", False), (4, 5, "3", "≥ 3", True), (6, 5, "5", "≥ 5", True),
        (5, 5, "4", "≥ 3", True), (3, 1, "2", "≥ 3", False), (4, 1, "3", "≥ 3", True),
    ],
)  # fmt: skip
def test_enough_nodes_stay(replicas: int, wanted: int, value: str, limit: str, holds: bool) -> None:
    found = gates.scale_in(live(replicas), deep(ranges(wanted=wanted)), replicas, f"kw-{replicas - 1}")
    assert gate(found, "nodes_needed") == (value, limit, holds)


def test_what_is_said_when_too_few_would_stay() -> None:
    found = gates.scale_in(live(3), deep(), 3, "kw-2")
    assert sentence(found, "nodes_needed") == (
        "2 nodes would remain, the ranges need 3 (they keep 3 replicas now). Lower num_replicas of the zones first "
        "(ALTER RANGE default CONFIGURE ZONE …), or keep the nodes; never below 3."
    )
    assert "the ranges need 3 (they keep 5 replicas now)" in sentence(
        gates.scale_in(live(5), deep(ranges(wanted=5)), 5, "kw-4"), "nodes_needed"
    )
    assert gate(gates.scale_in(live(3), deep([]), 3, "kw-2"), "nodes_needed") == ("2", "≥ 3", False), (
        "without any range too"
    )


def test_a_node_that_already_leaves_does_not_stay() -> None:
    seen = live(5, nodes=[row(1, 0), row(2, 1), row(3, 2), row(4, 3, is_decommissioning=True), row(5, 4)])
    assert gate(gates.scale_in(seen, deep(), 5, "kw-4"), "nodes_needed") == ("3", "≥ 3", True)
    seen = live(4, nodes=[row(1, 0), row(2, 1), row(3, 2, is_decommissioning=True), row(4, 3)])
    assert gate(gates.scale_in(seen, deep(), 4, "kw-3"), "nodes_needed") == ("2", "≥ 3", False)


def test_two_live_nodes_with_one_address() -> None:
    seen = live(4, nodes=[*(row(number, number - 1) for number in range(1, 5)), row(9, 3)])
    found = gates.scale_in(seen, deep(), 9, "kw-3")
    assert gate(found, "one_node") == ("2", "≤ 1", False)
    assert (
        sentence(found, "one_node")
        == "Nodes 4, 9 all have the address of kw-3. Wait until the dead one's liveness expires."
    )
    seen = live(4, nodes=[*(row(number, number - 1) for number in range(1, 4)), gone(4, 3), row(9, 3)])
    assert gate(gates.scale_in(seen, deep(), 9, "kw-3"), "one_node") == ("1", "≤ 1", True)


def test_one_is_not_ten() -> None:
    seen = live(11)
    assert gate(gates.scale_in(seen, deep(), 2, "kw-1"), "one_node") == ("1", "≤ 1", True)


@pytest.mark.parametrize(("used", "holds"), [(216, True), (217, False)])
def test_room_for_what_moves(used: int, holds: bool) -> None:
    stores = [store(number, available=90) for number in range(1, 4)] + [store(4, used=used)]
    found = gates.scale_in(live(4), deep(stores=stores), 4, "kw-3")
    assert gate(found, "space") == (f"{used} B", "≤ 216 B", holds)
    assert (
        sentence(found, "space")
        == f"{used} B would move, the other nodes can take 216 B below 85 % use. Free or add space."
    )


@pytest.mark.parametrize(
    ("stores", "node"),
    [([], 4), ([store(4)], 4), ([store(1, capacity=0), store(4)], 4), ([store(1), store(4)], None)],
)
def test_room_is_not_judged_before_stores_report(stores: list[Any], node: int | None) -> None:
    assert deep(stores=stores).room_without(node) is None
    assert "space" not in [item.name for item in gates.scale_in(live(4), deep(stores=stores), node, "kw-3")]


# ---- waiving


def test_waiving_by_name_and_only_what_may_be() -> None:
    found = [Gate(rule.name, "0", "1", False, "no") for rule in gates.RULES]
    judged = gates.judge(found, [rule.name for rule in gates.RULES])
    assert [item.name for item in judged if item.waived] == list(gates.WAIVABLE)
    assert [item.name for item in gates.failed(judged)] == [rule.name for rule in gates.RULES if rule.why_not]
    one = gates.judge(found, ["space"])
    assert [item.name for item in one if item.waived] == ["space"] and "space" not in [
        item.name for item in gates.failed(one)
    ]


def test_what_holds_is_never_called_waived() -> None:
    held = Gate("space", "0", "1", True, "fine")
    assert gates.judge([held], ["space"]) == [held] and gates.failed([held]) == []


def test_a_gate_in_one_line_and_as_data() -> None:
    one = Gate("space", "3", "≤ 2", False, "too little")
    assert one.line() == "space 3 (≤ 2) REFUSES"
    assert Gate("space", "3", "≤ 2", False, waived=True).line() == "space 3 (≤ 2) (waived)"
    assert Gate("space", "1", "≤ 2", True).line() == "space 1 (≤ 2)"
    assert one.result() == {
        "name": "space",
        "value": "3",
        "limit": "≤ 2",
        "holds": False,
        "sentence": "too little",
        "waived": False,
    }


def test_the_table_names_every_gate_there_is() -> None:
    named = {item.name for item in gates.scale_in(live(4), deep(stores=[store(1), store(4)]), 4, "kw-3")}
    assert named | {"version_path"} == {rule.name for rule in gates.RULES}


# ---- a rollout under way


@pytest.mark.parametrize(
    ("revisions", "old"),
    [
        ("1111", ["kw-0", "kw-1", "kw-2", "kw-3"]),
        ("1122", ["kw-0", "kw-1"]),
        ("2221", ["kw-3"]),
        ("2222", []),
        ("222", []),
    ],
)
def test_scale_in_waits_for_a_rollout(revisions: str, old: list[str]) -> None:
    halfway = statefulset(spec(replicas=4), partition=2)
    halfway["status"]["updateRevision"] = "r2"
    pods = [pod(ordinal, revision=f"r{number}") for ordinal, number in enumerate(revisions)]
    found = gates.scale_in(live(4, pods=pods, sts=halfway), deep(), 4, "kw-3")
    assert gate(found, "rollout_idle") == ("no" if old else "yes", "yes", not old)
    if old:
        assert sentence(found, "rollout_idle").startswith(
            f"{', '.join(old)} still wait for the new template. Finish the upgrade first"
        )


def test_a_controller_that_has_said_nothing_yet_rolls_nothing() -> None:
    silent_one = statefulset(spec(replicas=4))
    silent_one.pop("status")
    assert gate(gates.scale_in(live(4, sts=silent_one), deep(), 4, "kw-3"), "rollout_idle") == ("yes", "yes", True)
