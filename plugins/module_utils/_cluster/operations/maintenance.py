# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes node is emptied and taken back, with the engine's patience raised meanwhile. PRIVATE to the collection."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ..._engine.parse import seconds as seconds_of
from ..._kube.errors import KubeError
from .. import gates, verdict
from ..context import utc
from ..errors import ClusterError
from ..maintenance import STORE_DEAD, marked
from ..names import CORDONED
from ..observe import ending, ready
from . import create, ranges

if t.TYPE_CHECKING:
    from ..context import Context
    from ..plan import Step


# ---- the window


def extend(ctx: Context, step: Step) -> None:
    """Have the engine wait longer before it calls a store dead, once the gates hold. What it was told is kept first; never is it told less."""
    node, wanted = step.facts["node"], float(step.facts["seconds"])
    for pod in step.facts["pods"]:  # what refuses it refuses it before anything is changed
        first = replace(step, pod=pod)
        ctx.prove_in_time(lambda one=first: before(ctx, one), step)  # type: ignore[misc]
    now = ctx.engine.setting(STORE_DEAD)
    window = ctx.seen.journal.window
    was = str(window.get("was") or now)
    known = seconds_of(was)
    if known is None:  # what cannot be read could not be restored
        raise ClusterError(
            f"the engine shows {STORE_DEAD} as {was!r}, which is no duration. Nothing was changed. Set it to one first.",
            "setting_unknown",
            step=step.id,
        )
    shown = seconds_of(now)
    # A longer one that a run has told it already stays, as ours: it must be known when it is restored.
    told = (shown or 0.0) if _ours(window, shown) else 0.0
    raised = max(known, wanted, told)
    window = {
        "node": node,
        "was": was,
        "raised": f"{raised:.0f}s",
        "told": f"{told:.0f}s",
        "since": utc(),
        "who": ctx.who,
        "set": False,
    }
    ctx.write_journal(replace(ctx.seen.journal, window=window))
    if (shown or 0.0) < raised:
        ctx.engine.sql(f"SET CLUSTER SETTING {STORE_DEAD} = '{raised:.0f}s'", repeatable=True)
        ctx.say(f"{STORE_DEAD} is {raised:.0f} s until {node} is back, was {was}")
    ctx.write_journal(replace(ctx.seen.journal, window={**window, "set": True}))


def _ours(window: t.Mapping[str, t.Any], shown: float | None) -> bool:
    """Whether that is what a run has told the engine: the last one, or the one before where the last was killed before it did."""
    return shown is not None and shown in [seconds_of(str(window.get(key) or "")) for key in ("raised", "told")]


def restore(ctx: Context, step: Step | None = None) -> None:
    """Tell the engine again what it was told before the window; what somebody else has told it meanwhile stands."""
    window = ctx.seen.journal.window
    shown = ctx.engine.setting(STORE_DEAD)
    was, now = (seconds_of(str(text or "")) for text in (window.get("was"), shown))
    if was is not None and _ours(window, now) and now != was:
        ctx.engine.sql(f"SET CLUSTER SETTING {STORE_DEAD} = '{was:.0f}s'", repeatable=True)
        ctx.say(f"{STORE_DEAD} is {window.get('was')} again")
    elif now != was:
        ctx.say(f"{STORE_DEAD} is {shown}: somebody has set it meanwhile, and it stays")
    ctx.write_journal(replace(ctx.seen.journal, window={}))
    if step is not None and step.id == "restore/window":
        _tell_of_cordon(ctx, str(window.get("node")))


def _tell_of_cordon(ctx: Context, name: str) -> None:
    """A run that was killed may have left the node cordoned; a plain run, which need not be allowed to patch nodes, only says so."""
    try:
        node = ctx.client.get("Node", name)
    except KubeError:
        return
    if node is not None and marked(node) and node["spec"].get("unschedulable"):
        ctx.say(
            f"{name} is still cordoned: take it back (playbook maintain_node, kaiwudb_kubernetes_node={name}, kaiwudb_maintenance_state=ready)"
        )


# ---- the node


def cordon(ctx: Context, step: Step) -> None:
    mark = {"annotations": {CORDONED: f"{utc()} by {ctx.who}"}}
    ctx.client.patch("Node", step.facts["node"], None, {"metadata": mark, "spec": {"unschedulable": True}})
    ctx.say(f"{step.facts['node']} is cordoned")


def uncordon(ctx: Context, step: Step) -> None:
    mark = {"annotations": {CORDONED: None}}
    ctx.client.patch("Node", step.facts["node"], None, {"metadata": mark, "spec": {"unschedulable": None}})
    ctx.say(f"{step.facts['node']} is uncordoned")


# ---- the pods


def before(ctx: Context, step: Step) -> list[gates.Gate]:
    """The gates before a pod is evicted; one that is down or on its way takes nothing away from anybody."""
    if ending(ctx.seen.pods.get(step.pod)) or ctx.seen.down(step.pod):
        return []
    deep, row = ctx.deep(), ctx.seen.node_of(step.pod)
    judged = [*gates.common(ctx.seen, deep, None), gates.claims_kept(ctx.seen)]
    if deep is None or row is None or ctx.spec.single_node:
        return judged
    return [*judged, gates.majority_kept(ctx.seen, deep, row.id, ctx.spec.waive)]


def evict(ctx: Context, step: Step) -> None:
    """One pod leaves, when gates and budget let it; afterwards every range still has its majority."""
    ctx.prove_in_time(lambda: before(ctx, step), step, changed=True)
    ctx.disturbed()
    ctx.wait(lambda: _evicted(ctx, step), step.id)
    ctx.say(f"pod {step.pod} has left {step.facts['node']}")
    if not ctx.spec.single_node:
        kept(ctx, step)


def _evicted(ctx: Context, step: Step) -> verdict.Verdict:
    pod = ctx.look_at_pods().get(step.pod)
    if pod is None or pod["metadata"]["uid"] != step.facts["uid"]:
        return verdict.DONE
    draining = verdict.Verdict(False, f"pod {step.pod} is draining", pod=step.pod)
    if ending(pod):
        return draining
    try:
        ctx.client.evict(step.pod, ctx.names.namespace, uid=step.facts["uid"])
    except KubeError as error:
        if error.status in (404, 409):
            return draining
        if error.status != 429:
            raise
        down = [
            name for name in ctx.seen.expected_pods() if name not in ctx.seen.pods or not ready(ctx.seen.pods[name])
        ]
        why = f"down: {', '.join(down)}" if down else error.message
        return verdict.Verdict(False, f"the budget {ctx.names.budget} lets no pod go now ({why})", pod=step.pod)
    return draining


def kept(ctx: Context, step: Step) -> None:
    """Until every range has a live majority without what has left."""
    ctx.wait(lambda: _others_serve(ctx), step.id)


def _others_serve(ctx: Context) -> verdict.Verdict:
    ctx.ask_engine()
    deep = ctx.deep()
    if deep is None or ctx.seen.nodes is None:
        return verdict.Verdict(False, ctx.seen.engine_silence or "SQL does not answer")
    lost = deep.wholeness(ctx.seen).unavailable
    return verdict.Verdict(False, f"{len(lost)} ranges have no live majority") if lost else verdict.DONE


def come_back(ctx: Context, step: Step) -> None:
    """Until every pod is ready and live; the scheduler and the node's taint take some seconds."""

    def judge() -> verdict.Verdict:
        found = create.all_serving(ctx, but=step.facts["but"])
        return replace(found, patience=60.0) if found.never == "unschedulable" else found

    ctx.wait(judge, step.id)
    ctx.say(f"{len(ctx.seen.expected_pods()) - len(step.facts['but'])} pods serve")


def whole(ctx: Context, step: Step) -> None:
    ranges.until_whole(ctx, step.id)
