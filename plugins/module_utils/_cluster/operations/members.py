# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Nodes that join, leave and come back. PRIVATE to the collection."""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace

from .. import fingerprint, gates, observe, verdict
from ..context import POLL, utc
from ..errors import ClusterError
from ..names import ordinal_of
from ..progress import Falling, about
from ..ranges import by_table, stall_seconds
from . import create, stamp, volumes

if t.TYPE_CHECKING:
    from ..._engine.parse import NodeRow
    from ..context import Context
    from ..plan import Step


def scale_out(ctx: Context, step: Step) -> None:
    """One pod more: Ready, and counted as live by the engine."""
    ordinal = step.facts["ordinal"]
    if ctx.seen.replicas <= ordinal:
        set_replicas(ctx, step.facts.get("replicas", ordinal + 1))
    pod = ctx.names.pod(ordinal)
    ctx.wait(lambda: joined(ctx, pod), step.id)
    stamp.stamp(ctx)
    node = ctx.seen.node_of(pod)
    ctx.say(f"pod {pod} joined as node {node.id if node else '?'}")


def joined(ctx: Context, pod: str) -> verdict.Verdict:
    found = create.all_serving(ctx)
    if not found.done and found.pod not in ("", pod):
        return found
    node = ctx.seen.node_of(pod)
    if found.done and node is not None and node.is_decommissioning:
        return verdict.Verdict(
            False,
            f"pod {pod} came back with the store of node {node.id}, which was decommissioned; it will never take data",
            "store_retired",
            10.0,
            pod,
        )
    return found


def set_replicas(ctx: Context, count: int) -> None:
    """The StatefulSet's size, only if it is still the object that was observed."""
    live = ctx.seen.running_set
    ctx.client.patch(
        "StatefulSet",
        ctx.names.name,
        ctx.names.namespace,
        [
            {"op": "test", "path": "/metadata/uid", "value": live["metadata"]["uid"]},
            {"op": "test", "path": "/spec/replicas", "value": ctx.seen.replicas},
            {"op": "replace", "path": "/spec/replicas", "value": count},
        ],
        type="json",
    )
    ctx.look()


def recommission(ctx: Context, step: Step) -> None:
    """Active again. Its store is no longer one of a node that left; unmarked first, for the engine's own word is enough to keep it away."""
    ordinal = ordinal_of(step.pod)
    if ordinal is not None and step.pod not in ctx.seen.journal.replacing:
        volumes.unmark(ctx, ordinal)
    ctx.engine.recommission([step.facts["id"]])
    ctx.say(f"node {step.facts['id']}{f' ({step.pod})' if step.pod else ''} is active again")


def before(ctx: Context, step: Step) -> list[gates.Gate]:
    """The gates before a node is decommissioned."""
    node_id = step.facts.get("id")
    if node_id is None:
        node = ctx.seen.node_of(step.pod)
        node_id = node.id if node else None
    return _judged(ctx, step, node_id)


def _judged(ctx: Context, step: Step, node_id: int | None) -> list[gates.Gate]:
    """The gates on what was last seen, with those that leave after this one."""
    others = ctx.seen.expected_pods()[ctx.spec.replicas :] if step.verb == "scale_in" else []
    later = {node.id for pod in others if pod != step.pod and (node := ctx.seen.node_of(pod)) is not None}
    return gates.scale_in(ctx.seen, ctx.deep(), node_id, step.pod, later)


def scale_in(ctx: Context, step: Step) -> None:
    """The highest ordinal leaves: decommissioned, its replicas moved, then the pod, then its volume by policy."""
    pod, ordinal = step.pod, step.facts["ordinal"]
    refuse_silence(ctx, step)
    _refuse_grown(ctx, step)
    if ctx.seen.replicas > ordinal:
        node = empty(ctx, step)
        ctx.look_at_objects()
        _refuse_grown(ctx, step, node)
        if ctx.seen.replicas > ordinal:  # else somebody was faster
            set_replicas(ctx, ordinal)
        ctx.disturbed()
    elif (row := ctx.seen.node_of(pod)) is not None:
        # The pod went first, by hand or before this run was killed: its volume is only touched when the node holds nothing.
        decommission(ctx, step, row.id)
    elif ctx.seen.initialized:
        # After a full restart the engine no longer knows the address of one that left: then the ranges must be whole without it.
        ctx.prove_in_time(lambda: gates.common(ctx.seen, ctx.deep(), None), step)
    ctx.wait(lambda: _gone(ctx, pod), step.id, poll=5.0)
    ctx.say(f"pod {pod} gone   {volumes.retire(ctx, ordinal, step.id)}")


def refuse_silence(ctx: Context, step: Step) -> None:
    """ClusterError when no database node answers: an unknown member looks like one that never was."""
    if ctx.seen.initialized and ctx.seen.nodes is None:
        raise ClusterError(
            f"no database node answers ({ctx.seen.engine_silence}), so nobody can move the replicas of {step.pod}. Nothing was changed.",
            "engine_answers",
            step=step.id,
            node=step.pod,
        )


def empty(ctx: Context, step: Step) -> NodeRow | None:
    """The node of the step's pod, once it holds nothing any more; None for a pod that never had one. ClusterError where that is not known."""
    refuse_silence(ctx, step)
    node = ctx.seen.node_of(step.pod)
    if node is None and ctx.seen.initialized:
        _prove_never_joined(ctx, step)
    if node is not None:
        node_id = node.id
        decommission(ctx, step, node_id)
        # The counter said 0 twice; the ranges' own lists must say the same before the pod goes.
        ctx.prove_in_time(lambda: gates.emptied(ctx.deep(), node_id), step, changed=True)
    return node


def _refuse_grown(ctx: Context, step: Step, emptied: NodeRow | None = None) -> None:
    """ClusterError when pods above this one have appeared since the steps were planned: its size would end them with their data.

    emptied: the node that was decommissioned for this step already.
    """
    size, ordinal = ctx.seen.replicas, step.facts["ordinal"]
    if size <= ordinal + 1:
        return
    names = ", ".join(ctx.names.pod(number) for number in range(ordinal + 1, size))
    raise ClusterError(
        f"somebody scaled StatefulSet {ctx.names.name} to {size} meanwhile; without {step.pod} it would be {ordinal}, and {names} would go "
        "with their data. "
        + (
            f"No pod was taken away; node {emptied.id} ({step.pod}) is empty and still leaving: put it back (kaiwudb_node_decommission, node "
            f"id={emptied.id}, state active), then run again."
            if emptied is not None
            else f"{step.id} changed nothing. Run again: it takes away whom it should, from the highest down."
        ),
        "scaled_meanwhile",
        step=step.id,
        node=step.pod,
        resumable=True,
    )


def _prove_never_joined(ctx: Context, step: Step) -> None:
    """A pod that never came so far as to have a store (unschedulable, crashing) may go as it is; ClusterError (node_unknown) for any other.

    Claims and volumes are stamped with the node whose store lies there once it has joined.
    """
    pod, ordinal = step.pod, step.facts["ordinal"]

    def unborn() -> bool:
        places = (ctx.seen.claims.get(ctx.names.claim(ordinal)), ctx.seen.volumes.get(ctx.names.volume(ordinal)))
        stamped = any((mark := fingerprint.read(place)) is not None and mark.node_id is not None for place in places)
        there = ctx.seen.pods.get(pod)
        return not stamped and ctx.seen.node_of(pod) is None and not (there and observe.ready(there))

    if unborn():
        ctx.prove_in_time(lambda: gates.common(ctx.seen, ctx.deep(), None, pod), step)
    if not unborn():  # or it has joined meanwhile
        raise ClusterError(
            f"no node has the address of {pod} ({ctx.names.address(ordinal, ctx.spec.sql_port)}); whose replicas would move is not "
            "known. Nothing was changed. Wait until it has joined.",
            "node_unknown",
            step=step.id,
            node=pod,
        )


def _gone(ctx: Context, pod: str) -> verdict.Verdict:
    there = ctx.look_at_pods().get(pod)
    if there is None:
        return verdict.DONE
    return verdict.Verdict(False, verdict.overdue([there], time.time()) or f"pod {pod} is draining", pod=pod)


def decommission(ctx: Context, step: Step, node_id: int) -> None:
    """Mark the node as leaving and wait until it holds nothing, read twice. Pauses are normal; a stall is not.

    ClusterError (stalled) names the ranges that do not move; the node stays marked, so that the next run continues, or is
    put back with C(on_failure=rollback).
    """
    others = [name for name, pod in ctx.seen.pods.items() if name != step.pod and observe.ready(pod)]
    row = next((node for node in ctx.seen.nodes or () if node.id == node_id), None)
    if row is None or not row.is_decommissioning:
        ctx.prove_in_time(
            lambda: _judged(ctx, step, node_id),
            step,
            changed=step.facts.get("moved", False),
        )
    who = f"node {node_id} ({step.pod or 'no pod'})"
    name = ctx.seen.journal.operation.get("name")
    known = ctx.seen.journal.operation.get("moving") or {}
    falling = Falling("replicas", ctx.run_id, known if known.get("node") == node_id else None)
    limit, quiet, confirmed = _stall_limit(ctx), 40.0, 0
    ctx.check_lock()  # the engine was asked for several things since
    try:
        while True:
            report = ctx.engine.decommission([node_id], pods=others or None)
            line = falling.now(report.replicas, time.time())
            if line:
                quiet = 40.0
                if report.replicas:  # 0 is said once it is confirmed
                    ctx.say(f"{who}   {line}")
            ctx.figures = {"node": node_id, **falling.figures}
            confirmed = confirmed + 1 if report.done and not report.replicas else 0
            if confirmed == 2:
                ctx.say(f"{who}   0 replicas, confirmed twice")
                return
            still = falling.still_for(time.time())
            if still > limit:
                falling.begin_anew()
                raise _stalled(ctx, step, node_id, report.replicas, limit)
            if still > quiet:
                ctx.say(f"{who}   {falling.text}   no change for {about(still)} (normal below {about(limit)})")
                quiet *= 2
            ctx.pause(0.5 if confirmed else POLL)
    finally:
        journal = ctx.seen.journal
        if name and journal.operation.get("name") == name:  # not when a stalled node was put back
            ctx.write_journal(
                replace(journal, operation={**journal.operation, "moving": {"node": node_id, **falling.kept()}})
            )


def _stall_limit(ctx: Context) -> float:
    """Seconds without movement that are a stall: as asked, else from the engine's own snapshot settings."""
    if ctx.spec.stall_timeout:
        return float(ctx.spec.stall_timeout)
    deep = ctx.deep()
    rates = [
        str(row["value"] or "")
        for row in ctx.engine.sql_rows(
            f"SELECT value FROM {ctx.profile.virtual_schema}.cluster_settings "  # noqa: S608 - our own words
            "WHERE variable IN ('kv.snapshot_rebalance.max_rate', 'kv.snapshot_recovery.max_rate')"
        )
    ]
    return stall_seconds(deep.largest if deep else 0, rates)


def _stalled(ctx: Context, step: Step, node_id: int, left: int, limit: float) -> ClusterError:
    deep = ctx.deep()
    blocking = [item for item in deep.ranges if node_id in item.replicas] if deep else []
    back = ctx.spec.on_failure == "rollback"
    if back:
        ctx.engine.recommission([node_id])
        ctx.write_journal(ctx.seen.journal.stays(step.pod).end(utc(), "undone"))
        ctx.say(f"node {node_id} is active again: it had stalled")
    what_now = (
        "It was put back and takes replicas again. Mend what blocks, then ask again."
        if back
        else "It is still leaving: mend what blocks and run again"
        + ("." if step.operation != "scale_in" else ", or set replicas back to put it back.")
    )
    return ClusterError(
        f"node {node_id} ({step.pod or 'no pod'}) keeps {left} replicas; none has moved for {about(limit)}. Blocking ranges: {by_table(blocking)}. {what_now}",
        "stalled",
        step=step.id,
        node=step.pod,
        waited=round(limit),
        ranges=[item.id for item in blocking],
        undone=back,
    )
