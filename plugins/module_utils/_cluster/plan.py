# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Ordered steps between what is there and what is wanted, as data. Pure: check mode, diff and the real run share it. PRIVATE.

Step ids are stable: C(OPERATION/WHAT). A run that is interrupted anywhere observes, plans again and finds what is left.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from .errors import ClusterError
from .gates import Gate
from .spec import Spec
from .verbs import VERBS, Verb, verb_of

Changes = dict[
    str, tuple[t.Any, t.Any]
]  # object and field to what is there and what will be; plans collect them as they go


@dataclass(frozen=True)
class Step:
    """One thing to do.

    operation: which permission of C(operations) it needs (empty: none, it only waits or tidies up).
    asked: whether the user asked for it in this run (then it is refused when not permitted; else it remains for later).
    pod: the pod it is about. facts: what the doing needs beyond the spec. What holds for all steps of its verb is C(known).
    """

    id: str
    title: str
    operation: str = ""
    asked: bool = False
    pod: str = ""
    facts: t.Mapping[str, t.Any] = field(default_factory=dict, hash=False)

    @property
    def verb(self) -> str:
        return verb_of(self.id)

    @property
    def known(self) -> Verb:
        return VERBS[self.verb]

    @property
    def disruptive(self) -> bool:
        return self.known.disruptive

    def result(self) -> dict[str, t.Any]:
        return {"id": self.id, "title": self.title, "operation": self.operation, "pod": self.pod}


@dataclass(frozen=True)
class Plan:
    """Steps in order, steps that come next but are not permitted now, and what will differ afterwards.

    changes: object and field to (before, after), the source of C(changed), diff and messages alike. held: whether C(pause_after)
    ends the plan here. placement: which Kubernetes node holds which ordinal's volume and why, when volumes are made. waiting: node and
    directory of each volume that is there, without a store, and whose pod does not serve: nobody may have made that directory yet.
    """

    headline: str
    steps: tuple[Step, ...]
    remaining: tuple[Step, ...] = ()
    changes: t.Mapping[str, tuple[t.Any, t.Any]] = field(default_factory=dict, hash=False)
    gates: tuple[Gate, ...] = ()
    held: bool = False
    placement: tuple[t.Mapping[str, t.Any], ...] = field(default=(), hash=False)
    waiting: tuple[t.Mapping[str, str], ...] = field(default=(), hash=False)

    @property
    def writes(self) -> bool:
        """Whether anything is to be done; merely waiting changes nothing."""
        return any(step.known.writes for step in self.steps)

    def result(self) -> dict[str, t.Any]:
        return {
            "headline": self.headline,
            "steps": [step.result() for step in self.steps],
            "new_volumes": self.new_volumes(),
            "waiting_volumes": [dict(row) for row in self.waiting],
            "remaining": [step.result() for step in self.remaining],
            "gates": [gate.result() for gate in self.gates],
            "held": self.held,
            "placement": [dict(row) for row in self.placement],
        }

    def new_volumes(self) -> list[dict[str, str]]:
        """Directories that must be there, empty, before this plan is run with local_pv_prepare ssh or none: node and path of each."""
        return [
            {"node": step.facts["node"], "directory": step.facts["directory"]}
            for step in self.steps
            if step.verb == "volume" and not step.facts["left"]
        ]

    def lines(self) -> list[str]:
        """The plan as a person reads it."""
        lines = [self.headline, *(f"  {index} {step.id:<28} {step.title}" for index, step in enumerate(self.steps, 1))]
        lines += [f"  {line}" for line in placement_lines(self.placement)]
        if self.gates:
            lines.append("  gates  " + " · ".join(gate.line() for gate in self.gates))
        paused = any(step.id == "pause" for step in self.steps)
        what = "held for a later run: " if self.held or paused else "not allowed in this run: "
        lines.append(f"  {what}" + (", ".join(step.id for step in self.remaining) or "nothing"))
        return lines

    def diff(self) -> dict[str, str]:
        """Ansible's diff: one line a field."""

        def text(side: int) -> str:
            return "".join(
                f"{path}: {values[side]}\n" for path, values in sorted(self.changes.items()) if values[side] is not None
            )

        return {"before": text(0), "after": text(1)}


_COLUMNS = ("ordinal", "kubernetes_node", "zone", "directory", "size", "why")


def placement_lines(rows: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """The table of placement as a person reads it; no line without a row."""
    if not rows:
        return []
    cells = [[name.replace("_", " ") for name in _COLUMNS]]
    cells += [["-" if row.get(name) is None else str(row[name]) for name in _COLUMNS] for row in rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(_COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def permitted(plan: Plan, spec: Spec) -> Plan:
    """The plan without what this run may not do; ClusterError when that was asked for."""
    refused = [step for step in plan.steps if step.operation and step.operation not in spec.operations]
    asked = [step for step in refused if step.asked]
    if asked:
        raise ClusterError(
            f"{asked[0].id} is asked for, but this run may only {', '.join(spec.operations)}. Nothing was changed. "
            f"Add {asked[0].operation} to operations, or use the playbook for it.",
            "operation_not_allowed",
            step=asked[0].id,
            resumable=False,
        )
    if not refused:
        return plan
    _refuse_what_waits_for(refused, plan, spec)
    # Nothing can come after an initialisation that may not run; the other steps do not need each other.
    end = plan.steps.index(refused[0]) if refused[0].id == "initialize" else len(plan.steps)
    cut = next((step for step in plan.steps[end:] if step.asked), None)
    if cut:
        raise ClusterError(
            f"{cut.id} is asked for, but initialize comes first, and this run may only {', '.join(spec.operations)}. Nothing was changed. "
            "Run the playbook that initialises, or add initialize to operations.",
            "operation_not_allowed",
            step=cut.id,
            resumable=False,
        )
    allowed = tuple(step for step in plan.steps[:end] if step not in refused)
    return replace(
        plan, steps=allowed, remaining=(*(step for step in plan.steps if step not in allowed), *plan.remaining)
    )


def _refuse_what_waits_for(refused: t.Sequence[Step], plan: Plan, spec: Spec) -> None:
    """ClusterError for a pod that would join before this run may do what comes first: with the store that an earlier scale in was to retire."""
    for step in plan.steps:
        first = next((item for item in refused if item.pod and item.pod == step.pod), None)
        if step.verb != "scale_out" or step in refused or first is None:
            continue
        raise ClusterError(
            f"{step.id} is asked for, but {first.id} comes first, which an earlier run began, and this run may only {', '.join(spec.operations)}. "
            f"Nothing was changed. Run the playbook scale, or add {first.operation} to operations.",
            "operation_not_allowed",
            step=step.id,
            node=step.pod,
            resumable=False,
        )
