# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Once, at one fixed pod, and never again: a second C(init) on an emptied pod 0 would make a second cluster. PRIVATE."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .. import gates, verdict
from ..context import utc
from ..errors import ClusterError
from . import create, stamp

if t.TYPE_CHECKING:
    from ..context import Context
    from ..plan import Step


def before(ctx: Context, step: Step) -> list[gates.Gate]:
    """The gate before C(init); what was begun and not seen through is no new initialisation."""
    return gates.initialize(ctx.seen) if not ctx.seen.initialized else []


def initialize(ctx: Context, step: Step) -> None:
    """Write the intent, init at ordinal 0, wait until every pod serves, then write the cluster's id where it lasts."""
    first = ctx.names.pod(0)
    ctx.wait(lambda: verdict.of_pods(ctx.look_at_pods(), ctx.seen.expected_pods(), verdict.running), step.id)
    if ctx.seen.initialized:
        # An earlier run was killed between init and its note; pod 0 may have lost its store since: never again.
        remember(ctx, step)
        return
    ctx.prove(before(ctx, step), step)
    if not ctx.seen.journal.initializing:
        ctx.write_journal(replace(ctx.seen.journal, initializing={"since": utc(), "who": ctx.who}))
    outcomes: list[str] = []

    def judge() -> verdict.Verdict:
        outcome, text = ctx.engine.init(first)
        outcomes.append(outcome)
        if outcome in ("initialized", "already"):
            return verdict.DONE
        if outcome == "refused":
            return verdict.Verdict(False, f"init was refused by {first}: {text}", "init_refused", 0.0, first, "kaiwudb")
        return verdict.Verdict(False, f"{first} does not take init yet: {text}", pod=first)

    ctx.wait(judge, step.id, poll=0.5)
    if outcomes[-1] == "initialized":
        ctx.say(f"initialised at {first}")
    remember(ctx, step)


def remember(ctx: Context, step: Step) -> None:
    """Until every pod serves; then one cluster id from all of them, kept in the journal and on claims and volumes."""
    create.settle(ctx, step)
    ids = {pod: ctx.engine.cluster_id(pod) for pod in ctx.seen.expected_pods()}
    if len(set(ids.values())) > 1:
        raise ClusterError(
            "the pods belong to different clusters: "
            + ", ".join(f"{pod} to {value}" for pod, value in ids.items())
            + ". Nothing more was changed. Empty the store of the odd one out after saving what it holds.",
            "two_clusters",
            step=step.id,
            resumable=False,
        )
    cluster_id = next(iter(ids.values()))
    known = ctx.seen.cluster_id
    if known and known != cluster_id:
        raise ClusterError(
            f"the pods say they are cluster {cluster_id}, the volumes say {known}. Nothing more was changed.",
            "cluster_id",
            step=step.id,
            resumable=False,
        )
    _refuse_retired(ctx, step)
    # Before the journal says that all is done: a kill between the two leaves nothing unmarked.
    stamp.stamp(ctx, cluster_id)
    ctx.write_journal(
        replace(ctx.seen.journal, cluster_id=cluster_id, initialized={"at": utc(), "who": ctx.who}, initializing={})
    )
    ctx.say(f"cluster {cluster_id}: {len(ids)} nodes live")


def _refuse_retired(ctx: Context, step: Step) -> None:
    """ClusterError (store_retired) for a pod that came up with the store of a node that had left: it looks healthy and never takes data."""
    for pod in ctx.seen.expected_pods():
        node = ctx.seen.node_of(pod)
        if node is not None and node.is_decommissioning and pod not in ctx.seen.journal.leaving_pods:
            raise ClusterError(
                f"pod {pod} came up with the store of node {node.id}, which was decommissioned; it would never take data. Nothing more was "
                f"changed. Put it back (kaiwudb_node_decommission with node {pod} and state active), then run again.",
                "store_retired",
                step=step.id,
                node=pod,
                resumable=False,
            )
