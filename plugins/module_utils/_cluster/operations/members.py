# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Nodes that join, leave and come back. PRIVATE to the collection."""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace

from .. import gates, observe, verdict
from ..context import POLL, utc
from ..errors import ClusterError
from ..ranges import named
from . import create, volumes

if t.TYPE_CHECKING:
    from ..context import Context
    from ..plan import Step


def scale_out(ctx: Context, step: Step) -> None:
    """One pod more: Ready, and counted as live by the engine."""
    ordinal = step.facts["ordinal"]
    if ctx.seen.replicas <= ordinal:
        set_replicas(ctx, ordinal + 1)
    pod = ctx.names.pod(ordinal)
    ctx.wait(lambda: joined(ctx, pod), step.id)
    volumes.stamp(ctx)
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
    ctx.engine.recommission([step.facts["id"]])
    ctx.say(f"node {step.facts['id']}{f' ({step.pod})' if step.pod else ''} is active again")
    ctx.write_journal(ctx.seen.journal.end(utc(), "undone"))


def scale_in(ctx: Context, step: Step) -> None:
    """The highest ordinal leaves: decommissioned, its replicas moved, then the pod, then its volume by policy."""
    pod, ordinal = step.pod, step.facts["ordinal"]
    if ctx.seen.initialized and ctx.seen.nodes is None:
        raise ClusterError(
            f"no database node answers ({ctx.seen.engine_silence}), so nobody can move the replicas of {pod}. Nothing was changed.",
            "engine_answers",
            step=step.id,
            node=pod,
        )
    if ctx.seen.replicas > ordinal:
        node = ctx.seen.node_of(pod)
        if node is None and ctx.seen.initialized:
            raise ClusterError(
                f"no node has the address of {pod} ({ctx.names.address(ordinal, ctx.spec.sql_port)}); whose replicas would move is not "
                "known. Nothing was changed. Wait until it has joined.",
                "node_unknown",
                step=step.id,
                node=pod,
            )
        if node is not None:
            decommission(ctx, step, node.id)
        set_replicas(ctx, ordinal)
    elif (row := ctx.seen.node_of(pod)) is not None:
        # The pod went first, by hand or before this run was killed: its volume is only touched when the node holds nothing.
        decommission(ctx, step, row.id)
    elif ctx.seen.initialized:
        # After a full restart the engine no longer knows the address of one that left: then the ranges must be whole without it.
        ctx.prove_in_time(lambda: gates.common(ctx.ask_engine(), ctx.deep(), None), step)
    ctx.wait(lambda: _gone(ctx, pod), step.id, poll=5.0)
    ctx.say(f"pod {pod} gone   {volumes.retire(ctx, ordinal, step.id)}")


def _gone(ctx: Context, pod: str) -> verdict.Verdict:
    return verdict.Verdict(False, f"pod {pod} is draining", pod=pod) if pod in ctx.look_at_pods() else verdict.DONE


def decommission(ctx: Context, step: Step, node_id: int) -> None:
    """Mark the node as leaving and wait until it holds nothing, read twice. Pauses are normal; a stall is not.

    ClusterError (stalled) names the ranges that do not move; the node stays marked, so that the next run continues.
    """
    others = [name for name, pod in ctx.seen.pods.items() if name != step.pod and observe.ready(pod)]
    row = next((node for node in ctx.seen.nodes or () if node.id == node_id), None)
    if row is None or not row.is_decommissioning:
        ctx.prove_in_time(lambda: gates.scale_in(ctx.ask_engine(), ctx.deep(), node_id, step.pod), step)
    moving = _Moving(ctx, node_id)
    confirmed = 0
    try:
        while True:
            report = ctx.engine.decommission([node_id], pods=others or None)
            moving.now(report.replicas, step.pod)
            confirmed = confirmed + 1 if report.done and not report.replicas else 0
            if confirmed == 2:
                ctx.say(f"node {node_id} ({step.pod or 'no pod'})   0 replicas, confirmed twice")
                return
            if moving.still_for() > ctx.spec.stall_timeout:
                raise _stalled(ctx, step, node_id, report.replicas)
            ctx.pause(0.5 if confirmed else POLL)
    finally:
        moving.keep()


class _Moving:
    """How far a node is empty. Kept in the journal, so that rate, time left and stall go on over slices and runs."""

    def __init__(self, ctx: Context, node_id: int) -> None:
        known = ctx.seen.journal.operation.get("moving") or {}
        self.ctx = ctx
        self.known: dict[str, t.Any] = dict(known) if known.get("node") == node_id else {"node": node_id}

    def now(self, left: int, pod: str) -> None:
        """Note a reading, and say it when something moved."""
        if left == self.known.get("left"):
            return
        clock = time.time()
        self.known = {"at_start": left, "since": clock, **self.known, "left": left, "moved": clock}
        first, rate = self.known["at_start"], (self.known["at_start"] - left) / max(clock - self.known["since"], 0.1)
        self.ctx.figures = {
            "node": self.known["node"],
            "replicas_left": left,
            "replicas_at_start": first,
            "per_second": round(rate, 2),
        }
        self.ctx.say(
            f"node {self.known['node']} ({pod or 'no pod'})   {left} of {first} replicas left"
            + (f"   {rate:.1f}/s   about {left / rate:.0f} s left" if 0 < left < first else "")
        )

    def still_for(self) -> float:
        """Seconds since a replica moved."""
        return time.time() - float(self.known["moved"])

    def keep(self) -> None:
        journal = self.ctx.seen.journal
        self.ctx.write_journal(replace(journal, operation={**journal.operation, "moving": self.known}))


def _stalled(ctx: Context, step: Step, node_id: int, left: int) -> ClusterError:
    deep = ctx.deep()
    blocking = [item for item in deep.ranges if node_id in item.replicas] if deep else []
    return ClusterError(
        f"node {node_id} ({step.pod}) keeps {left} replicas; none has moved for {ctx.spec.stall_timeout} s. Blocking: range {named(blocking)}. "
        "It is still leaving: mend what blocks and run again, or set replicas back to put it back.",
        "stalled",
        step=step.id,
        node=step.pod,
        waited=ctx.spec.stall_timeout,
        ranges=[item.id for item in blocking],
    )
