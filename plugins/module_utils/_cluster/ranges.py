# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Are all ranges whole? Computed from replica lists and live nodes, never from the engine's metric. PRIVATE to the collection.

The engine's C(ranges.underreplicated) is refreshed every 10 s and was seen at 0 while 16 ranges lacked replicas, and its
replica lists still look complete when a node is down; so both views are joined here.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """One range. replicas: node ids; wanted: C(num_replicas) of its zone; name: C(database.table), or C(system)."""

    id: int
    name: str
    replicas: frozenset[int]
    wanted: int


@dataclass(frozen=True)
class Wholeness:
    """Ranges without a live majority, and ranges with fewer live replicas than the allocator would keep."""

    total: int
    unavailable: tuple[Range, ...]
    underreplicated: tuple[Range, ...]

    @property
    def whole(self) -> bool:
        return not self.unavailable and not self.underreplicated


def needed(wanted: int, nodes: int) -> int:
    """Replicas the allocator keeps for a zone that wants C(wanted) on C(nodes) nodes that are not leaving.

    C(min(wanted, nodes)), made odd, never below 3 (kvserver/allocator.go); 1 stays 1 (a single node, or a zone so set).
    """
    if wanted <= 1:
        return 1
    count = min(wanted, nodes)
    return max(count - (count + 1) % 2, min(wanted, 3))


def wholeness(ranges: t.Iterable[Range], live: t.Collection[int], nodes: int) -> Wholeness:
    """Judge every range. live: ids of nodes that answer; nodes: how many are neither leaving nor gone."""
    ranges = tuple(ranges)
    alive = {item.id: len(item.replicas & frozenset(live)) for item in ranges}
    return Wholeness(
        len(ranges),
        tuple(item for item in ranges if not item.replicas or alive[item.id] * 2 <= len(item.replicas)),
        tuple(item for item in ranges if alive[item.id] < needed(item.wanted, nodes)),
    )


def named(ranges: t.Sequence[Range], limit: int = 5) -> str:
    """The ranges for a sentence: C(12 (bank.accounts), 14 (system) and 3 more)."""
    text = ", ".join(f"{item.id} ({item.name or 'system'})" for item in ranges[:limit])
    return text + (f" and {len(ranges) - limit} more" if len(ranges) > limit else "")
