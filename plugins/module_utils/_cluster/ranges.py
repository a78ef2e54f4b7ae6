# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Are all ranges whole? Computed from replica lists and live nodes, never from the engine's metric. PRIVATE to the collection.

The engine's C(ranges.underreplicated) is refreshed every 10 s and was seen at 0 while 16 ranges lacked replicas, and its
replica lists still look complete when a node is down; so both views are joined here.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from . import quantity


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

    C(wanted) where there are as many nodes; else C(nodes), made odd, never below 3 (GetNeededReplicas, kvserver/allocator.go);
    1 stays 1 (a single node, or a zone so set).
    """
    if wanted <= 1:
        return 1
    if nodes >= wanted:
        return wanted
    return max(nodes - (nodes + 1) % 2, min(wanted, 3))


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


def by_table(ranges: t.Sequence[Range], limit: int = 5) -> str:
    """The ranges by table, for a sentence: C(bank.accounts: 12, 15; system: 4)."""
    tables: dict[str, list[int]] = {}
    for item in ranges:
        tables.setdefault(item.name or "system", []).append(item.id)
    parts = [f"{name}: {', '.join(map(str, sorted(found)))}" for name, found in sorted(tables.items())]
    return "; ".join(parts[:limit]) + (f" and {len(parts) - limit} more tables" if len(parts) > limit else "")


@dataclass(frozen=True)
class Constraint:
    """What a zone requires of nodes that hold its replicas.

    target: the zone as the engine names it. tiers, without: C(key=value) that such a node's locality must, must not hold. count:
    replicas; every: it is all of them, as many as the zone keeps.
    """

    target: str
    tiers: tuple[str, ...]
    count: int
    without: tuple[str, ...] = ()
    every: bool = False

    @property
    def text(self) -> str:
        return ",".join([*(f"+{tier}" for tier in self.tiers), *(f"-{tier}" for tier in self.without)])

    def fits(self, locality: str | None) -> bool:
        there = {part.strip() for part in (locality or "").split(",")}
        return set(self.tiers) <= there and not set(self.without) & there


# What holds quotes itself is printed as an escaped string: e'{\\'+region=NODE1,+rack=2\\': 2}'.
_CONSTRAINTS = re.compile(r"^\s*constraints = e?'((?:[^'\\]|\\.)*)'", re.MULTILINE)


def constraints(target: str, config: str, wanted: int) -> list[Constraint]:
    """The constraints in a zone's C(raw_config_sql). wanted: replicas the zone keeps.

    Both forms of the product (engine transcripts 24): C([+region=NODE1]) for every replica, C({"+region=NODE1": 2}) for so many.
    """
    found = _CONSTRAINTS.search(config)
    text = found.group(1).replace("\\'", "'").strip() if found else ""
    every = not text.startswith("{")
    if every:
        groups = [(text.strip("[]"), wanted)]
    else:
        groups = [(words, int(count)) for words, count in re.findall(r"""["']?([^"'{}:]+?)["']?\s*:\s*(\d+)""", text)]
    made = []
    for words, count in groups:
        parts = [word.strip(" \"'") for word in words.split(",")]
        must, must_not = (tuple(part[1:] for part in parts if part.startswith(sign)) for sign in "+-")
        if must or must_not:
            made.append(Constraint(target, must, count, must_not, every))
    return made


STALL_FLOOR = 300.0  # seconds; pauses of up to 8 s were seen on small ranges, and one snapshot moves at a time


def stall_seconds(largest: int, rates: t.Iterable[str]) -> float:
    """Seconds without a replica moving that are no pause any more.

    Three times what the largest range may take at the slower of the engine's snapshot rates (C(kv.snapshot_rebalance.max_rate),
    C(kv.snapshot_recovery.max_rate), such as C(16 MiB) a second), never below the floor. largest: bytes (range_max_bytes).
    """
    known = []
    for rate in rates:
        try:
            known.append(float(quantity.parse(rate.replace(" ", "").replace("iB", "i").removesuffix("B") or "0")))
        except ValueError:
            continue
    slowest = min((rate for rate in known if rate > 0), default=0.0)
    return max(STALL_FLOOR, 3 * largest / slowest) if slowest else STALL_FLOOR
