# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run answers, from what was seen and done. Pure. PRIVATE to the collection."""

from __future__ import annotations

import typing as t

from . import observe
from .verbs import VERBS, in_short, verb_of

if t.TYPE_CHECKING:
    from .context import Context
    from .observe import Observed
    from .plan import Plan, Step


def answer(
    ctx: Context, first: Plan, steps: t.Sequence[str], *, check: bool, finished: bool, at: Step | None
) -> dict[str, t.Any]:
    """first: the plan of the run's beginning. steps: ids of what was done, or with C(check) would be. at: where a slice ended early."""
    did = "nothing to do" if not first.steps else ("would: " if check else "") + in_short(steps) if steps else "waiting"
    return {
        "changed": any(VERBS[verb_of(step)].writes for step in steps),
        "steps": steps,
        "plan": first.result(),
        "plan_lines": first.lines(),
        "remaining": [step.id for step in first.remaining],
        "in_progress": not finished,
        "held": finished and first.held,
        "at": at.id if at else None,
        "carry": {} if finished else ctx.carry,
        "progress": ctx.lines,
        "figures": ctx.figures,
        "did": did,
        "diff": first.diff(),
        "msg": f"{ctx.spec.name}: {did}"
        + ("" if finished else f"; still at {at.id if at else '?'}, run again to continue"),
    }


def summary(ctx: Context) -> dict[str, t.Any]:
    """The cluster in a few words; small, and without secrets."""
    seen = ctx.seen
    live = seen.live() if seen.nodes is not None else None
    ui = seen.objects["Service"].get(seen.names.ui)
    return {
        "name": ctx.spec.name,
        "namespace": ctx.spec.namespace,
        "replicas": seen.replicas,
        "image": seen.image,
        "ready": sum(observe.ready(pod) for pod in seen.pods.values()),
        "nodes_live": None if live is None else len(live),
        "version": live[0].build if live else None,
        "initialized": seen.initialized,
        "cluster_id": seen.cluster_id,
        "ui_node_port": ui["spec"]["ports"][0].get("nodePort") if ui else None,
    }


def under_way(seen: Observed) -> str:
    """The operation under way, for whoever is refused because of it."""
    operation = seen.journal.operation
    moving = operation.get("moving") or {}
    left = f", {moving['left']} of {moving['first']} replicas left" if {"left", "first"} <= set(moving) else ""
    return " ".join(str(operation[key]) for key in ("name", "step") if operation.get(key)) + left
