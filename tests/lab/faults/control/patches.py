# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Guards taken out of a copy of the collection, each by replacing one small text. For tests only; a text that is not found is an error."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CORE = Path("ansible_collections/kaiwudb/kubernetes/plugins/module_utils/_cluster")


@dataclass(frozen=True)
class Patch:
    """One guard. what: for a person. edits: file below the collection's core, the text there, and what takes its place."""

    what: str
    edits: tuple[tuple[str, str, str], ...]


PATCHES = {
    "gates": Patch("no gate refuses", (
        ("gates.py", "    return [gate for gate in gates if not gate.holds and not gate.waived]", "    return []"),
    )),
    "decommission": Patch("a node that leaves is not decommissioned", (
        ("operations/members.py", "def decommission(ctx: Context, step: Step, node_id: int) -> None:\n",
         "def decommission(ctx: Context, step: Step, node_id: int) -> None:\n    return\n"),
    )),
    "lock": Patch("nobody takes the lock", (
        ("lock.py", "        lease = self._get() or self._create()\n        seen = time.monotonic()\n", "        return\n"),
        ("lock.py", "        while not self.lost and self._overdue():\n", "        while False:\n"),
    )),
    "memory": Patch("journal, claims and volumes are not asked whether the cluster existed before", (
        ("observe.py", "self.journal.initialized or self.cluster_id or self.nodes or any(", "any("),
    )),
    "count": Patch("any number of nodes is allowed", (
        ("spec.py", "    if number < 1 or number == 2:\n", "    if number < 0:\n"),
        ("spec.py", "    if replicas == 1 and not single:\n", "    if False:\n"),
        ("present.py", "    if alone is not (spec.replicas == 1):\n", "    if False:\n"),
    )),
    "retired": Patch("a volume of a node that left is taken as it is", (
        ("fingerprint.py", "def retired(volume: Object) -> bool:\n", "def retired(volume: Object) -> bool:\n    return False\n"),
        ("volumes.py", "    return row if row is not None and row.is_decommissioning else None\n", "    return None\n"),
        ("operations/members.py", "    if found.done and node is not None and node.is_decommissioning:\n", "    if False:\n"),
    )),
    "confirm": Patch("a removal needs no confirmation", (
        ("operations/remove.py", "    if not gate.holds:\n", "    if False:\n"),
        ("operations/remove.py", "    if not wanted or not seen.initialized:\n", "    if True:\n"),
    )),
    "whole": Patch("an upgrade does not wait for the ranges", (
        ("operations/rollout.py", "        if not whole.whole:\n", "        if False:\n"),
    )),
    "foreign": Patch("an object of somebody else's is taken over", (
        ("operations/create.py", "    if live is not None and not owned(live, ctx.names):\n", "    if False:\n"),
    )),
}  # fmt: skip


def without(guards: Iterable[str], source: Path, place: Path) -> Path:
    """A collections path below ``place`` whose copy of the collection lacks these guards. LookupError when a text is not there once."""
    shutil.copytree(source / "ansible_collections", place / "ansible_collections", symlinks=False)
    for name in guards:
        for file, old, new in PATCHES[name].edits:
            path = place / CORE / file
            text = path.read_text(encoding="utf-8")
            if text.count(old) != 1:
                raise LookupError(f"patch {name}: {file} holds {text.count(old)} times, not once: {old.strip()!r}")
            path.write_text(text.replace(old, new), encoding="utf-8")
    return place
