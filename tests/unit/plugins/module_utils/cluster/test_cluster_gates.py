# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Every gate: holding, failing with its figures, waived, and those that nobody can waive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import gates, rules
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.gates import Gate
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.observe import Deep, Job, Observed
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.ranges import constraints
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.replacing import Loss, Lost
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    FAR,
    ID,
    JOURNAL,
    OLD,
    claim,
    deep,
    gone,
    live,
    observed,
    pod,
    ranges,
    row,
    silent,
    spec,
    statefulset,
    store,
    volume,
)

COMMON = [
    "engine_answers",
    "nodes_live",
    "nodes_settled",
    "ranges_unavailable",
    "ranges_underreplicated",
    "ranges_steady",
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
    assert [item.name for item in leaving] == [
        *COMMON,
        "nodes_needed",
        "zone_constraints",
        "one_node",
        "rollout_idle",
        "space",
    ]
    assert all(item.holds for item in leaving)
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
    ("whole_for", "value", "holds"),
    [(0.0, "0 s", False), (14.4, "14 s", False), (15.0, "15 s", True), (40.2, "40 s", True)],
)
def test_whole_once_is_not_whole_for_long(whole_for: float, value: str, holds: bool) -> None:
    """One reading may be from before a node died that still counts as live."""
    found = gates.common(live(), deep(whole_for=whole_for, apart=15.0), None)
    assert gate(found, "ranges_steady") == (value, "≥ 15 s", holds)
    assert sentence(found, "ranges_steady") == (
        "One reading says that all ranges are whole; another one 15 s later must say the same."
    )
    lacking = gates.common(live(), deep(ranges((1, 2)), apart=15.0), None)
    assert gate(lacking, "ranges_steady") == ("0 s", "≥ 15 s", False)
    assert sentence(lacking, "ranges_steady") == "The ranges are not whole yet."


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
    assert "(they keep 3 replicas now)" in sentence(
        gates.scale_in(live(4), deep(ranges(wanted=5)), 4, "kw-3"), "nodes_needed"
    )
    without = gates.scale_in(live(3), deep([]), 3, "kw-2")
    assert gate(without, "nodes_needed") == ("2", "≥ 3", False), "without any range too"
    assert "the ranges need 3 (they keep 3 replicas now)" in sentence(without, "nodes_needed")


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


@pytest.mark.parametrize(("used", "holds"), [(225, True), (226, False)])
def test_room_for_what_moves(used: int, holds: bool) -> None:
    stores = [store(number, available=90) for number in range(1, 4)] + [store(4, used=used)]
    found = gates.scale_in(live(4), deep(stores=stores), 4, "kw-3")
    assert gate(found, "space") == (f"{used} B", "≤ 225 B", holds)
    assert (
        sentence(found, "space")
        == f"{used} B would move, the other nodes can take 225 B before they are 85 % full. Free or add space."
    )


@pytest.mark.parametrize(
    ("available", "room"),
    [
        ((20, 20, 20), 15),  # full to 80 %: five more each, however much is still free
        ((15, 15, 15), 0), ((15, 15, 16), 1),
        ((3, 45, 45), 60),  # the full one takes nothing, and what it has too much of is not taken from the others
        ((0, 0, 100), 85),
    ],
)  # fmt: skip
def test_a_disk_is_filled_to_85_per_cent_and_no_further(available: tuple[int, ...], room: int) -> None:
    """Whoever fills it: the stores themselves hold ten bytes each."""
    assert f" {gates.MOST} % " in rules.BY_NAME["space"].text, "which is read from the source, and so holds no variable"
    stores = [store(number, available=free) for number, free in enumerate(available, 1)]
    for used, holds in ((room, True), (room + 1, False)):
        found = gates.scale_in(live(4), deep(stores=[*stores, store(4, used=used)]), 4, "kw-3")
        assert gate(found, "space") == (f"{used} B", f"≤ {room} B", holds)


@pytest.mark.parametrize(
    "stores",
    [
        [],
        [store(4)],
        [store(number) for number in (1, 2, 3)],  # what would move is not known
        [store(number) for number in (1, 2, 4)],
        [store(1, capacity=0), store(2), store(3), store(4)],
        [*[store(number) for number in (1, 2, 3, 4)], store(2, capacity=0)],  # the second store of node 2
    ],
)
def test_room_that_is_not_known_yet_is_waited_for(stores: list[Any]) -> None:
    assert deep(stores=stores).room_without(live(4), {4}, 85) is None
    found = gates.scale_in(live(4), deep(stores=stores), 4, "kw-3")
    assert gate(found, "space") == ("unknown", "known", False)
    assert next(item for item in found if item.name == "space").waits


def test_only_live_nodes_that_stay_have_room() -> None:
    """Stores of nodes that left, died or are leaving are listed for a long time, with all their room or none."""
    rows = [row(1, 0), row(2, 1), row(3, 2), row(4, 3, is_decommissioning=True), row(5, 4), gone(6), gone(7)]
    others = [store(4, available=10**6), store(6, available=10**6), store(7, capacity=0)]
    known = deep(stores=[*[store(number, available=90) for number in (1, 2, 3)], store(5, used=217), *others])
    assert known.room_without(live(5, nodes=rows), {5}, 85) == (217, 225)


def test_a_dead_node_need_not_have_reported() -> None:
    rows = [row(1, 0), row(2, 1), row(3, 2), row(4, 3, is_live=False, is_available=False)]
    known = deep(stores=[store(number, available=90) for number in (1, 2, 3)])
    assert known.room_without(live(4, nodes=rows), {4}, 85) == (0, 225)


def test_of_a_node_that_is_not_known_nothing_moves() -> None:
    assert "space" not in [item.name for item in gates.scale_in(live(4), deep(), None, "kw-3")]


# ---- several that leave in one run


def test_nodes_that_leave_together_are_judged_together() -> None:
    """Alone node 5 could go, but the run would have to stop at node 4."""
    stores = [*(store(number, available=30) for number in range(1, 4)), store(4, 40, 60), store(5, 20, 80)]
    known = zoned("'{+region=d: 1}'", stores=stores)
    seen = placed("region=a", "region=b", "region=c", "region=d", "region=e")
    alone = gates.scale_in(seen, known, 5, "kw-4")
    assert gate(alone, "space") == ("20 B", "≤ 90 B", True)
    assert gate(alone, "nodes_needed")[2] and gate(alone, "zone_constraints")[2]
    both = gates.scale_in(seen, known, 5, "kw-4", {4})
    assert gate(both, "space") == ("60 B", "≤ 45 B", False)
    assert gate(both, "nodes_needed") == ("3", "≥ 3", True)
    assert gate(both, "zone_constraints") == ("1", "≤ 0", False)
    assert "requires 1 on +region=d, 0 such nodes would remain" in sentence(both, "zone_constraints")
    three = gates.scale_in(seen, known, 5, "kw-4", {4, 3})
    assert gate(three, "nodes_needed") == ("2", "≥ 3", False)
    wide = gates.scale_in(live(5), deep(ranges(wanted=5)), 5, "kw-4", {4, 3})
    assert "the ranges need 3 (they keep 5 replicas now)" in sentence(wide, "nodes_needed")


def test_of_one_that_never_joined_only_those_after_it_count() -> None:
    rows = [row(number, number - 1) for number in range(1, 5)]
    known = deep(stores=[*(store(number) for number in range(1, 4)), store(4, used=226)])
    found = gates.scale_in(live(5, nodes=rows), known, None, "kw-4", {4})
    assert gate(found, "space") == ("226 B", "≤ 225 B", False)
    assert gate(found, "nodes_needed") == ("3", "≥ 3", True)


# ---- away for long


@pytest.mark.parametrize(
    ("replicas", "waive", "short"),
    [
        ((1, 2, 3), (), "0"),  # lacks one, which another gate waits for
        ((1, 2, 3), ("nodes_live", "ranges_steady"), "0"),
        ((1, 2, 3), ("nodes_live", "ranges_steady", "ranges_underreplicated"), "4"),
        ((1, 2, 4), ("ranges_underreplicated",), "0"),
        ((2,), (), "4"), ((2,), ("ranges_underreplicated",), "4"),
    ],
)  # fmt: skip
def test_no_waiver_of_others_voids_the_majority(replicas: tuple[int, ...], waive: tuple[str, ...], short: str) -> None:
    """One of four is dead; node 2 is to be away as well."""
    rows = [row(1, 0), row(2, 1), row(3, 2, is_live=False, is_available=False), row(4, 3)]
    found = gates.majority_kept(live(4, nodes=rows), deep(ranges(replicas, wanted=len(replicas))), 2, waive)
    assert (found.value, found.holds) == (short, short == "0")
    assert found.name not in rules.WAIVABLE


# ---- a claim that goes away under its pod


def test_every_claim_is_there() -> None:
    assert gates.claims_kept(live()) == Gate(
        "claims_kept",
        "0",
        "≤ 0",
        True,
        "Claim  is missing or being deleted. A run that may reconfigure gives the volume to a new claim first.",
    )
    assert gates.claims_kept(live(extra=[claim(3)])).holds, "one more is somebody else's"


def test_a_claim_that_is_missing_or_going() -> None:
    going = claim(2)
    going["metadata"]["deletionTimestamp"] = "2026-11-24T10:00:00Z"
    found = gates.claims_kept(live(without=["PersistentVolumeClaim/datadir-kw-0"], extra=[going]))
    assert (found.value, found.limit, found.holds) == ("2", "≤ 0", False)
    assert found.sentence.startswith("Claim datadir-kw-0, datadir-kw-2 is missing or being deleted. A run that may ")


# ---- constraints of zones


def placed(*localities: str) -> Observed:
    """One node for each locality."""
    count = len(localities)
    return live(count, nodes=[row(number + 1, number, locality=text) for number, text in enumerate(localities)])


def zoned(config: str, wanted: int = 3, **more: Any) -> Deep:
    """Ranges of a zone with these constraints."""
    known = constraints("TABLE bank.accounts", f"ALTER …\n\tconstraints = {config},\n\tx = 1", wanted)
    return deep(ranges(wanted=wanted), constraints=tuple(known), **more)


EU4 = ("region=eu",) * 4


@pytest.mark.parametrize(
    ("localities", "config", "wanted", "leaves", "says"),
    [
        # all replicas: only on nodes that fit
        (("region=a", "region=a", "region=a", "region=b"), "'[+region=b]'", 3, 4, "requires 3 on +region=b, 0 such nodes would remain"),
        (("region=a", "region=a", "region=a", "region=b"), "'[+region=a]'", 3, 1, "requires 3 on +region=a, 2 such nodes would remain"),
        (("region=a", "region=a", "region=a", "region=b"), "'[+region=a]'", 3, 4, ""),
        (("region=a", "region=a", "region=a", "region=a"), "'[+region=a]'", 3, 4, ""),
        (("region=n1", "region=n2", "region=n3", "region=n4"), "'[-region=n1]'", 3, 4, "requires 3 on -region=n1, 2 such nodes would remain"),
        (("region=n1", "region=n2", "region=n3", "region=n4"), "'[-region=n1]'", 3, 1, ""),
        # as many as the allocator keeps then, not as many as were wished for
        (EU4, "'[+region=eu]'", 5, 4, ""), (EU4, "'[+region=eu]'", 3, 4, ""), ((*EU4, "region=eu"), "'[+region=eu]'", 5, 5, ""),
        ((*EU4, "region=eu", "region=us"), "'[+region=eu]'", 5, 5, "requires 5 on +region=eu, 4 such nodes would remain"),
        # so many replicas
        (("region=a", "region=a", "region=b", "region=b"), "'{+region=a: 1}'", 3, 1, ""),
        (("region=a", "region=b", "region=b", "region=b"), "'{+region=a: 1}'", 3, 1, "requires 1 on +region=a, 0 such nodes would remain"),
        (("region=a", "region=a", "region=b", "region=b"), "'{+region=a: 2, +region=b: 1}'", 3, 2, "requires 2 on +region=a, 1 such nodes would remain"),
        (("region=a", "region=a", "region=b", "region=b"), "'{+region=a: 2, +region=b: 1}'", 3, 4, ""),
        # too few already: the allocator does what it can, but one fewer holds a replica for ever
        (("region=a", "region=a", "region=b", "region=b"), "'{+region=a: 3}'", 3, 1, "requires 3 on +region=a, 1 such nodes would remain"),
        # every tier must fit
        (("region=a,rack=1", "region=a,rack=2", "region=a", "region=b"), "'[+region=a, +rack=1]'", 3, 1, "0 such nodes would remain"),
        (("region=a,rack=1", "region=a,rack=2", "region=a", "region=b"), "'[+region=a, +rack=1]'", 3, 2, ""),
        (("region=ab", "region=ab", "region=ab", "region=a"), "'[+region=a]'", 3, 1, ""),
        (EU4, "'[]'", 3, 4, ""),
    ],
)  # fmt: skip
def test_a_constraint_that_holds_replicas_where_they_are(
    localities: tuple[str, ...], config: str, wanted: int, leaves: int, says: str
) -> None:
    found = gates.scale_in(placed(*localities), zoned(config, wanted), leaves, f"kw-{leaves - 1}")
    assert gate(found, "zone_constraints") == ("1" if says else "0", "≤ 0", not says)
    if says:
        assert says in sentence(found, "zone_constraints")
        assert sentence(found, "zone_constraints").startswith("TABLE bank.accounts requires ")
        assert sentence(found, "zone_constraints").endswith(
            ". Change the constraint first (… CONFIGURE ZONE = 'constraints: …'), or keep the node."
        )


def test_every_constraint_that_blocks_is_named() -> None:
    known = (
        *constraints("TABLE a", "constraints = '[+region=d]'", 3),
        *constraints("TABLE b", "constraints = '{+region=d: 1}'", 3),
    )
    seen = placed("region=a", "region=b", "region=c", "region=d")
    found = gates.scale_in(seen, deep(constraints=tuple(known)), 4, "kw-3")
    assert gate(found, "zone_constraints") == ("2", "≤ 0", False)
    assert sentence(found, "zone_constraints").startswith(
        "TABLE a requires 3 on +region=d, 0 such nodes would remain; TABLE b requires 1 on +region=d, 0 such nodes would remain. "
    )


def test_who_meets_a_constraint() -> None:
    rows = [row(1, 0, locality="region=a"), row(2, 1, locality="region=b"), row(3, 2, locality=None)]
    leaving = row(4, 3, locality="region=a", is_decommissioning=True)
    known = zoned("'{+region=a: 1}'")
    seen = live(5, nodes=[*rows, leaving, row(5, 4, locality="region=a")])
    assert gate(gates.scale_in(seen, known, 5, "kw-4"), "zone_constraints")[2]
    assert gate(gates.scale_in(seen, known, 1, "kw-0"), "zone_constraints")[2], "node 5 stays"
    seen = live(5, nodes=[*rows, leaving, row(5, 4, locality="region=c")])
    assert not gate(gates.scale_in(seen, known, 1, "kw-0"), "zone_constraints")[2], "node 4 is leaving itself"
    assert gate(gates.scale_in(seen, known, None, "kw-9"), "zone_constraints")[2], "nobody leaves"
    going = live(4, nodes=[*rows, replace(leaving, locality="region=d")])
    assert not gate(gates.scale_in(going, zoned("'{+region=d: 1}'"), 4, "kw-3"), "zone_constraints")[2], (
        "on its way already"
    )


# ---- a dead node leaves


def dead_four(**fields: Any) -> Observed:
    """Four nodes, the last one dead."""
    gone_for_now = {"is_live": False, "is_available": False, **fields}
    return live(4, nodes=[row(1, 0), row(2, 1), row(3, 2), row(4, 3, **gone_for_now)])


def test_what_only_a_dead_node_lacks_is_mended_by_its_leaving() -> None:
    """Its replicas count as if it lived; waiting for whole ranges would wait for ever."""
    stores = [store(number) for number in (1, 2, 3)]
    known = deep([*ranges((1, 2, 4), 2), *ranges((1, 2, 3), 3)[2:]], apart=15.0, stores=stores)
    found = gates.scale_in(dead_four(), known, 4, "kw-3")
    assert gate(found, "ranges_underreplicated") == ("0", "≤ 0", True)
    assert "ranges_steady" not in [item.name for item in found] and gates.failed(found) == []
    assert [item.name for item in found].count("ranges_underreplicated") == 1


def test_what_others_lack_is_not() -> None:
    known = deep([*ranges((1, 2, 4), 2), *ranges((2, 3), 3)[2:]])
    found = gates.scale_in(dead_four(), known, 4, "kw-3")
    assert gate(found, "ranges_underreplicated") == ("1", "≤ 0", False)
    assert sentence(found, "ranges_underreplicated") == (
        "Fewer live replicas than needed: range 3 (bank.accounts). Wait until they are whole."
    )
    unavailable = gates.scale_in(dead_four(), deep(ranges((3, 4), 1)), 4, "kw-3")
    assert gate(unavailable, "ranges_unavailable") == ("1", "≤ 0", False), "a dead replica is no majority"


def test_a_node_that_runs_is_judged_by_what_lives() -> None:
    found = gates.scale_in(dead_four(), deep(ranges((1, 2, 4)), apart=15.0), 3, "kw-2")
    assert gate(found, "ranges_underreplicated") == ("4", "≤ 0", False)
    assert not gate(found, "ranges_steady")[2] and not gate(found, "nodes_live")[2]


def test_a_half_done_rollout_may_wait_for_the_dead_node() -> None:
    halfway = statefulset(spec(replicas=4), partition=2)
    halfway["status"]["updateRevision"] = "r2"
    seen = replace(dead_four(), objects=live(4, sts=halfway).objects)
    assert "rollout_idle" not in [item.name for item in gates.scale_in(seen, deep(), 4, "kw-3")]
    assert not gate(gates.scale_in(seen, deep(), 3, "kw-2"), "rollout_idle")[2]


# ---- when the pod goes


def test_the_lists_must_say_the_same_as_the_counter() -> None:
    assert gates.emptied(deep(), 4) == [
        Gate("emptied", "0", "≤ 0", True, "Node 4 is still listed for range . Wait until the engine has moved them.")
    ]
    found = gates.emptied(deep([*ranges((1, 2, 4), 2), *ranges((1, 2, 14), 1), *ranges((4,), 1, name="")]), 4)
    assert gate(found, "emptied") == ("3", "≤ 0", False), "14 is not 4"
    assert sentence(found, "emptied") == (
        "Node 4 is still listed for range 1 (bank.accounts), 2 (bank.accounts), 1 (system). Wait until the engine has moved them."
    )
    silence = gates.emptied(None, 4)
    assert [(item.name, item.holds) for item in silence] == [("engine_answers", False)] and gates.failed(silence)


# ---- before init


@pytest.mark.parametrize(
    ("seen", "trace"),
    [
        (observed(), ""),
        (observed(pod(0, ready=False)), ""),
        (observed(journal=Journal(initializing={"since": "t"})), ""),
        (observed(journal=JOURNAL), f"cluster id {ID}"),
        (observed(journal=Journal(initialized={"at": "t"})), "journal"),
        (observed(claim(1, **{"kaiwudb.kubernetes/cluster-id": "id"})), "cluster id id"),
        (observed(volume(2, **{"kaiwudb.kubernetes/cluster-id": "id"})), "cluster id id"),
        (observed(pod(0)), "a pod that serves"),
        (observed(nodes=[row(1, 0)]), "a pod that serves"),
    ],
)
def test_initialise_only_what_was_never_initialised(seen: Observed, trace: str) -> None:
    found = gates.initialize(seen)
    assert gate(found, "never_initialised") == (trace or "no trace", "no trace", not trace)
    if trace:
        assert sentence(found, "never_initialised") == (
            f"It was initialised before ({trace}); a second init would make a second cluster. Bring its stores back."
        )


# ---- before the cluster version rises

FINAL = ["engine_answers", "nodes_live", "nodes_settled", "ranges_unavailable", "one_build"]


def running(*builds: str | None, image: str = FAR, **more: Any) -> Observed:
    """Nodes of these builds, on pods of the image."""
    rows = [row(number + 1, number, build=build) for number, build in enumerate(builds)]
    return live(len(builds), of=spec(image=image, replicas=len(builds)), nodes=rows, **more)


def test_finalise_what_every_node_runs() -> None:
    found = gates.finalize(running("V3.3.0", "V3.3.0", "V3.3.0"), deep(), (3, 3, 0))
    assert [item.name for item in found] == FINAL and gates.failed(found) == []
    assert gate(found, "one_build") == ("V3.3.0", "one", True)


@pytest.mark.parametrize(
    ("builds", "version", "value", "holds"),
    [
        (("V3.3.0", "V3.3.0", "V3.2.2"), (3, 3, 0), "V3.2.2, V3.3.0", False),
        (("V3.2.2", "V3.2.2", "V3.2.2"), (3, 3, 0), "V3.2.2", False),
        (("V3.3.0-28-gabc", "V3.3.0-28-gabc", "V3.3.0-28-gabc"), (3, 3, 0), "V3.3.0-28-gabc", True),
        (("V3.3.0", "V3.3.0", "V3.3.0"), (3, 3), "V3.3.0", True),  # a tag of two parts
        (("V3.3.1", "V3.3.1", "V3.3.1"), (3, 3, 0), "V3.3.1", False),
        (("V3.3.0", "V3.3.0", "V3.3.0"), None, "V3.3.0", True),  # a tag that does not say
        (("V3.3.0", "V3.3.0", None), (3, 3, 0), "V3.3.0, unknown", False),
        ((None, None, None), None, "unknown", False),
        ((None, None, None), (3, 3, 0), "unknown", False),
    ],
)
def test_one_build(builds: tuple[str | None, ...], version: tuple[int, ...] | None, value: str, holds: bool) -> None:
    found = gates.finalize(running(*builds), deep(), version)
    assert gate(found, "one_build") == (value, "one", holds)
    assert (
        sentence(found, "one_build")
        == "Nodes run different releases, or not the one asked for. Finish the upgrade first."
    )


def test_pods_that_wait_for_the_image_are_no_end_of_an_upgrade() -> None:
    """An image without a version says nothing; the pods still do."""
    image = f"kwdb/kwdb@sha256:{'a' * 64}"
    seen = running("V3.2.1", "V3.2.1", "V3.2.1", image=image, pods=[pod(number, image=OLD) for number in range(3)])
    assert not gate(gates.finalize(seen, deep(), None), "one_build")[2]


def test_finalising_needs_healthy_nodes_but_no_quiet() -> None:
    rows = [row(1, 0, build="V3.3.0"), row(2, 1, build="V3.3.0"), row(3, 2, build="V3.3.0", is_live=False)]
    dead = live(of=spec(image=FAR), nodes=rows)
    assert [item.name for item in gates.failed(gates.finalize(dead, deep(apart=15.0), (3, 3, 0)))] == ["nodes_live"]
    busy = deep(ranges((1, 2)), jobs=[Job("7", "IMPORT")], apart=15.0)
    assert gates.failed(gates.finalize(running("V3.3.0", "V3.3.0", "V3.3.0"), busy, (3, 3, 0))) == []


def test_without_an_answer_nothing_is_finalised() -> None:
    found = gates.finalize(silent(live()), None, (3, 3, 0))
    assert [item.name for item in found] == ["engine_answers", "one_build"] and len(gates.failed(found)) == 2
    assert gate(found, "one_build") == ("unknown", "one", False)


# ---- before a removal


@pytest.mark.parametrize(
    ("confirm", "value", "holds"), [("kw", "kw", True), (None, "nothing", False), ("", "nothing", False), ("kw-1", "kw-1", False), ("KW", "KW", False)]
)  # fmt: skip
def test_the_name_must_be_typed_again(confirm: str | None, value: str, holds: bool) -> None:
    sentence_ = "confirm must repeat the cluster's name to remove it; allowed is 'kw'."
    assert gates.confirmed("kw", confirm) == Gate("confirmed", value, "kw", holds, sentence_)


@pytest.mark.parametrize(
    ("tables", "value", "holds", "says"),
    [
        ([], "0 tables", True, "it holds 0 tables"),
        (["bank.accounts"], "1 tables", False, "it holds 1 tables (bank.accounts). Set deletion_protection to false"),
        (["a.a", "a.b", "a.c"], "3 tables", False, "it holds 3 tables (a.a, a.b, a.c). Set"),
        (["a.a", "a.b", "a.c", "a.d"], "4 tables", False, "it holds 4 tables (a.a, a.b, a.c …). Set"),
        (
            None,
            "unknown",
            False,
            "nobody can tell whether it holds tables, for no node answers. Set deletion_protection",
        ),
    ],
)
def test_tables_protect_their_cluster(tables: list[str] | None, value: str, holds: bool, says: str) -> None:
    found = gates.protected(tables, wanted=True)
    assert (found.name, found.value, found.limit, found.holds) == ("protected", value, "no tables, or off", holds)
    assert found.sentence.startswith(says)
    assert gates.protected(tables, wanted=False) == Gate("protected", "off", "no tables, or off", True)


# ---- waiving


def test_waiving_by_name_and_only_what_may_be() -> None:
    found = [Gate(rule.name, "0", "1", False, "no") for rule in rules.RULES]
    judged = gates.judge(found, [rule.name for rule in rules.RULES])
    assert [item.name for item in judged if item.waived] == list(rules.WAIVABLE)
    assert [item.name for item in gates.failed(judged)] == [rule.name for rule in rules.RULES if rule.why_not]
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
    assert Gate("jobs_running", "1", "≤ 0", False).line() == "jobs_running 1 (≤ 0) waited for"
    assert Gate("jobs_running", "1", "≤ 0", False, waived=True).line() == "jobs_running 1 (≤ 0) (waived)"
    assert one.result() == {
        "name": "space",
        "value": "3",
        "limit": "≤ 2",
        "holds": False,
        "sentence": "too little",
        "waived": False,
        "waits": False,
    }
    assert Gate("jobs_running", "1", "≤ 0", False).result()["waits"] is True


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.name)
def test_only_what_mends_itself_and_fails_is_waited_for(rule: rules.Rule) -> None:
    assert Gate(rule.name, "", "", False).waits is rule.mends
    assert not Gate(rule.name, "", "", True).waits and not Gate(rule.name, "", "", False, waived=True).waits


def test_what_mends_itself() -> None:
    assert tuple(rule.name for rule in rules.RULES if rule.mends) == (
        "nodes_settled",
        "ranges_underreplicated",
        "ranges_steady",
        "majority_steady",
        "jobs_running",
        "setting_lasts",
        "image_pullable",
    )


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.name)
def test_only_room_is_waited_for_because_it_is_unknown(rule: rules.Rule) -> None:
    """Whether a cluster holds tables may be unknown, too; nobody waits for that."""
    assert Gate(rule.name, "unknown", "", False).waits is (rule.mends or rule.name in ("space", "node_dead"))


def test_the_table_names_every_gate_there_is() -> None:
    found = [
        *gates.scale_in(live(4), deep(stores=[store(1), store(4)]), 4, "kw-3"),
        *gates.emptied(deep(), 4),
        *gates.replaced(live(), deep(), Lost("kw-2"), Loss("store", "x")),
        *gates.initialize(observed()),
        *gates.finalize(live(), deep(), None),
        gates.claims_kept(live()),
        gates.majority_kept(live(), deep(), 1),
        gates.confirmed("kw", "kw"),
        gates.protected([], wanted=True),
    ]
    elsewhere = {
        "version_path",
        "setting_lasts",
        "image_pullable",
        "template_expected",
    }  # they ask the API server or the engine
    assert {item.name for item in found} | elsewhere == set(rules.BY_NAME)
    assert len(rules.BY_NAME) == len(rules.RULES), "each once"


def test_every_rule_says_when_and_what() -> None:
    for rule in rules.RULES:
        assert rule.before and rule.text and not rule.text.endswith("."), rule.name
        assert rule.name.replace("_", "").isalpha(), rule.name


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
