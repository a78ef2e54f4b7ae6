# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Volumes that become larger. PRIVATE to the collection."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import replace

from .. import gates, going, growing, verdict
from ..observe import ending
from . import members, stamp, template, volumes

if t.TYPE_CHECKING:
    from ..context import Context
    from ..plan import Step

PVC = "PersistentVolumeClaim"


def claim_template(ctx: Context, step: Step) -> None:
    """Make the StatefulSet again with larger claims in its template, while its pods run on as orphans for a moment.

    What is to be made is written into the journal before the old one goes: from there the next run sees it, wherever this one is killed.
    """
    names, size = ctx.names, ctx.spec.storage_size
    live = ctx.client.get("StatefulSet", names.name, names.namespace)
    if live is None:
        live = ctx.client.apply(dict(ctx.seen.journal.recreate))
    if growing.less(growing.template_size(live), size):
        wanted = growing.again(live, size, growing.grown_note(ctx.seen, size))
        ctx.write_journal(replace(ctx.seen.journal, recreate=wanted))
        ctx.client.delete("StatefulSet", names.name, names.namespace, propagation="Orphan", uid=live["metadata"]["uid"])
        volumes.wait_gone(ctx, "StatefulSet", [names.name], step.id)
        ctx.client.apply(wanted)
    ctx.wait(lambda: template.controller_saw(ctx), step.id, poll=0.5)
    newest = ctx.seen.running_set["status"].get("updateRevision")
    odd = [
        name
        for name in ctx.seen.expected_pods()
        if (pod := ctx.seen.pods.get(name)) is not None
        and pod["metadata"]["labels"].get("controller-revision-hash") != newest
    ]
    if not odd:  # else what differs is rolled out behind the gates, as always
        template.set_partition(ctx, 0)
    ctx.write_journal(replace(ctx.seen.journal, recreate={}))
    ctx.say(f"new claims are of {ctx.spec.storage_size}; no pod was restarted")


def expand(ctx: Context, step: Step) -> None:
    """All claims at once, by their storage class; whichever of them an earlier slice or run has asked for, or seen grow."""
    wanted = ctx.spec.storage_size
    names = []
    for ordinal in range(min(ctx.seen.replicas, ctx.spec.replicas)):
        name = ctx.names.claim(ordinal)
        live = ctx.client.get(PVC, name, ctx.names.namespace)
        if live is None or not live["spec"].get("volumeName"):
            continue  # nothing that could grow yet; the API server would refuse it
        names.append(name)
        if growing.less(growing.requested(live), wanted):
            ctx.client.patch(PVC, name, ctx.names.namespace, {"spec": {"resources": {"requests": {"storage": wanted}}}})
    seen: dict[str, growing.Object | None] = {}

    def judge() -> verdict.Verdict:
        seen.update({name: ctx.client.get(PVC, name, ctx.names.namespace) for name in names})
        judged = [growing.expanded(seen[name], wanted, functools.partial(ctx.lasting, name)) for name in names]
        grown = sum(item.done for item in judged)
        return replace(verdict.worst(judged), progress=f"{grown} of {len(names)} claims have grown")

    ctx.wait(judge, step.id, poll=1.0)
    waiting = [name for name in names if growing.less(growing.capacity(seen[name]), wanted)]
    if waiting:
        ctx.say(f"{', '.join(waiting)}: the file system grows when the pod is started again (playbook restart)")
    ctx.say(f"{len(names)} claims of {wanted}")


def _behind(ctx: Context, step: Step) -> bool:
    """Whether the claim of the step still asks for less, or is on its way out."""
    claim = ctx.seen.claims.get(ctx.names.claim(step.facts["ordinal"]))
    return growing.less(growing.requested(claim), ctx.spec.storage_size)


def rebind(ctx: Context, step: Step) -> None:
    """The claim gives way to one that asks for more; the volume, whose size is a number, says so first and goes to it with its data."""
    ordinal = step.facts["ordinal"]
    name, volume = ctx.names.claim(ordinal), ctx.names.volume(ordinal)
    if _behind(ctx, step):
        if not ending(ctx.seen.pods.get(step.pod)) and not ctx.seen.down(step.pod):
            ctx.prove_in_time(lambda: gates.common(ctx.seen, ctx.deep(), None), step)
        going.refuse(ctx.client.get("PersistentVolume", volume), step.pod, f"Pod {step.pod} was not touched")
        ctx.client.patch("PersistentVolume", volume, None, {"spec": {"capacity": {"storage": ctx.spec.storage_size}}})
        claim = ctx.client.get(PVC, name, ctx.names.namespace)
        if claim is not None and growing.less(growing.requested(claim), ctx.spec.storage_size):
            ctx.client.delete(PVC, name, ctx.names.namespace, uid=claim["metadata"].get("uid"))
    volumes.reclaim(ctx, step)


def before_renew(ctx: Context, step: Step) -> list[gates.Gate]:
    """As before a node leaves; none once its successor is on the way."""
    return members.before(ctx, step) if _behind(ctx, step) else []


def renew(ctx: Context, step: Step) -> None:
    """The node leaves with its data moved, its claim and pod go, and the pod joins again on a fresh, larger volume."""
    ordinal, pod = step.facts["ordinal"], step.pod
    name = ctx.names.claim(ordinal)
    if _behind(ctx, step):
        members.empty(ctx, step)
        _give_up(ctx, ordinal)
        ctx.disturbed()

    def renewed() -> verdict.Verdict:
        live = ctx.client.get(PVC, name, ctx.names.namespace)
        if live is None or growing.less(growing.requested(live), ctx.spec.storage_size):
            return verdict.Verdict(False, f"claim {name} has no successor yet", pod=pod)
        return members.joined(ctx, pod)

    ctx.wait(renewed, step.id)
    stamp.stamp(ctx)
    node = ctx.seen.node_of(pod)
    ctx.say(f"pod {pod} joined as node {node.id if node else '?'} on a volume of {ctx.spec.storage_size}")


def _give_up(ctx: Context, ordinal: int) -> None:
    """The emptied claim and its pod. The claim goes when its pod does; what provisioned it is kept aside where nothing is to be lost."""
    name, pod = ctx.names.claim(ordinal), ctx.seen.pods.get(ctx.names.pod(ordinal))
    claim = ctx.client.get(PVC, name, ctx.names.namespace)
    if claim is None or not growing.less(growing.requested(claim), ctx.spec.storage_size):
        return
    if ctx.spec.volumes == "archive":
        volumes.archive_volume(ctx, ordinal)
    ctx.client.delete(PVC, name, ctx.names.namespace, uid=claim["metadata"].get("uid"))
    if pod is not None:
        ctx.client.delete("Pod", pod["metadata"]["name"], ctx.names.namespace, uid=pod["metadata"]["uid"])
