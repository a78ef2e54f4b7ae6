# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Which ranges are whole, what zones require of nodes, and how long nothing may move."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.ranges import (
    STALL_FLOOR,
    Constraint,
    Range,
    by_table,
    constraints,
    named,
    needed,
    stall_seconds,
    wholeness,
)

# ---- ranges: what the allocator keeps, kvserver/allocator.go


@pytest.mark.parametrize(
    ("wanted", "nodes", "kept"),
    [
        (0, 3, 1), (1, 1, 1), (1, 5, 1),
        (2, 1, 2), (2, 2, 2), (2, 3, 2),
        (3, 1, 3), (3, 2, 3), (3, 3, 3), (3, 4, 3), (3, 9, 3),
        (4, 3, 3), (4, 4, 4), (4, 5, 4),  # even where that was asked for and can be
        (6, 3, 3), (6, 4, 3), (6, 5, 5), (6, 6, 6), (6, 7, 6),
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


def test_enough_replicas_without_their_majority_are_not_whole() -> None:
    """A zone was set to one replica while its ranges still had two."""
    found = wholeness([_range(1, 1, 2, wanted=1)], {1}, 3)
    assert (len(found.unavailable), found.underreplicated, found.whole) == (1, (), False)


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


def test_ranges_by_table_for_a_sentence() -> None:
    assert by_table([]) == ""
    mixed = [_range(15), Range(4, "", frozenset(), 3), _range(12), Range(9, "app.t", frozenset(), 3)]
    assert by_table(mixed) == "app.t: 9; bank.accounts: 12, 15; system: 4"
    many = [Range(number, f"db.t{number}", frozenset(), 3) for number in range(7)]
    assert by_table(many).endswith("db.t4: 4 and 2 more tables") and by_table(many[:5]).endswith("db.t4: 4")
    assert by_table(many, limit=1) == "db.t0: 0 and 6 more tables"
    assert by_table([_range(number) for number in range(7)]).count(",") == 6, "ranges of one table are all named"


# ---- what zones require of nodes, in the forms that SHOW ZONE prints


def zone(text: str) -> str:
    """A zone's raw_config_sql with these constraints."""
    return f"ALTER TABLE bank.accounts CONFIGURE ZONE USING\n\tnum_replicas = 3,\n\tconstraints = {text},\n\tlease_preferences = '[[+region=z]]'"


def every(*tiers: str, without: tuple[str, ...] = (), count: int = 3) -> Constraint:
    return Constraint("t", tiers, count, without, True)


def some(count: int, *tiers: str, without: tuple[str, ...] = ()) -> Constraint:
    return Constraint("t", tiers, count, without, False)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("'[]'", []), ("'{}'", []), ("''", []),
        ("'[+region=NODE1]'", [every("region=NODE1")]),
        ("'[+region=NODE1, +rack=2]'", [every("region=NODE1", "rack=2")]),
        ("'[+region=NODE1,+rack=2]'", [every("region=NODE1", "rack=2")]),
        ("'[-region=NODE1]'", [every(without=("region=NODE1",))]),
        ("'[-region=NODE2, +region=NODE1]'", [every("region=NODE1", without=("region=NODE2",))]),
        ("'{+region=NODE1: 1}'", [some(1, "region=NODE1")]),
        ("'{+region=NODE1: 1, +region=NODE2: 2}'", [some(1, "region=NODE1"), some(2, "region=NODE2")]),
        ("'{\"+region=NODE1\": 1, \"+region=NODE2\": 2}'", [some(1, "region=NODE1"), some(2, "region=NODE2")]),
        ("'{\"+region=NODE1,+rack=2\": 3}'", [some(3, "region=NODE1", "rack=2")]),
        # more than one tier for so many replicas is printed as an escaped string
        ("e'{\\'+region=NODE1,-region=NODE2\\': 3}'", [some(3, "region=NODE1", without=("region=NODE2",))]),
        ("e'{\\'+region=NODE1,+rack=2\\': 2, +region=NODE3: 1}'", [some(2, "region=NODE1", "rack=2"), some(1, "region=NODE3")]),
        ("'{+region=NODE1: 12}'", [some(12, "region=NODE1")]),
    ],
)  # fmt: skip
def test_constraints_in_both_forms(text: str, found: list[Constraint]) -> None:
    assert constraints("t", zone(text), 3) == found


def test_constraints_of_every_replica_count_as_many_as_the_zone_keeps() -> None:
    assert constraints("t", zone("'[+region=NODE1]'"), 5) == [every("region=NODE1", count=5)]
    assert constraints("t", zone("'{+region=NODE1: 1}'"), 5) == [some(1, "region=NODE1")], (
        "the other form says it itself"
    )


@pytest.mark.parametrize(
    "config", ["", "ALTER …", "ALTER …\n\tnum_replicas = 3", zone("NULL"), zone("'[region=NODE1]'"), zone("'{region: x}'"), zone("'[\"")]
)  # fmt: skip
def test_what_is_no_constraint(config: str) -> None:
    """Lease preferences are wishes, whatever they look like."""
    assert constraints("t", config, 3) == []


@pytest.mark.parametrize(
    ("one", "locality", "fits"),
    [
        (every("region=a"), "region=a", True), (every("region=a"), "cloud=x,region=a,rack=1", True), (every("region=a"), "region=a , rack=1", True),
        (every("region=a"), "region=ab", False), (every("region=a"), "rack=a", False), (every("region=a"), None, False), (every("region=a"), "", False),
        (every("region=a", "rack=1"), "region=a", False), (every("region=a", "rack=1"), "rack=1,region=a", True),
        (every(without=("region=a",)), "region=a", False), (every(without=("region=a",)), "region=b", True), (every(without=("region=a",)), None, True),
        (every("rack=1", without=("region=a",)), "region=a,rack=1", False), (every("rack=1", without=("region=a",)), "region=b,rack=1", True),
    ],
)  # fmt: skip
def test_which_nodes_fit(one: Constraint, locality: str | None, fits: bool) -> None:
    assert one.fits(locality) is fits


def test_a_constraint_as_the_product_writes_it() -> None:
    assert every("region=a", "rack=1", without=("disk=hdd",)).text == "+region=a,+rack=1,-disk=hdd"
    assert some(1, without=("region=a",)).text == "-region=a"


# ---- how long nothing may move

MIB = 1024**2
HALF_GIB = 512 * MIB  # range_max_bytes of the default zone


@pytest.mark.parametrize(
    ("largest", "rates", "seconds"),
    [
        (HALF_GIB, ["16 MiB", "16 MiB"], STALL_FLOOR),  # the defaults: 3 x 32 s
        (HALF_GIB, ["1 MiB", "1 MiB"], 1536.0),
        (HALF_GIB, ["16 MiB", "1.0 MiB"], 1536.0),  # the slower one counts
        (HALF_GIB, ["1.0 MiB", "16 MiB"], 1536.0),
        (HALF_GIB, ["512 KiB"], 3072.0), (HALF_GIB, ["1 GiB"], STALL_FLOOR), (1024 * HALF_GIB, ["1.0 GiB"], 1536.0),
        (HALF_GIB, ["1048576 B"], 1536.0), (HALF_GIB, ["1048576"], 1536.0), (HALF_GIB, ["1.5 MiB"], 1024.0),
        (6 * 10**9, ["1 MB"], 18000.0), (6 * 10**8, ["500 kB"], 3600.0),
        (16 * HALF_GIB, ["16 MiB"], 1536.0),
        (HALF_GIB * 100 // 32, ["16 MiB"], 300.0),  # exactly the floor
        (HALF_GIB, [], STALL_FLOOR), (HALF_GIB, [""], STALL_FLOOR), (HALF_GIB, ["0 B"], STALL_FLOOR), (HALF_GIB, ["fast"], STALL_FLOOR),
        (HALF_GIB, ["fast", "1 MiB", "0 B", ""], 1536.0),
        (0, ["1 MiB"], STALL_FLOOR),  # the zones could not be read
    ],
)  # fmt: skip
def test_how_long_nothing_may_move(largest: int, rates: list[str], seconds: float) -> None:
    assert stall_seconds(largest, rates) == pytest.approx(seconds)


def test_the_floor_is_far_above_the_pauses_that_were_seen() -> None:
    assert STALL_FLOOR == 300.0
    anything: Any = iter(["16 MiB"])
    assert stall_seconds(HALF_GIB, anything) == STALL_FLOOR, "rates may be read once only"
