# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Local volumes: made, freed, and treated as the policy says when their node leaves. PRIVATE to the collection."""
from __future__ import annotations

import typing as t
from dataclasses import replace
from datetime import datetime, timezone

from .. import manifests, verdict
from ..context import utc
from ..errors import ClusterError
from ..names import CLUSTER_ID, RETIRED, STORE
from ..placement import node_of

if t.TYPE_CHECKING:
    from ..context import Context
    from ..plan import Step


def make(ctx: Context, steps: t.Sequence[Step]) -> None:
    """Directories on their nodes, all at once, then the PersistentVolumes."""
    if ctx.spec.local_pv_prepare == "pod":
        run_pods(ctx, [(step.facts["ordinal"], step.facts["node"], "make") for step in steps], steps[0].id)
    for step in steps:
        made = ctx.client.apply(manifests.volume(ctx.spec, step.facts["ordinal"], step.facts["node"], ctx.seen.cluster_id))
        ctx.seen = replace(ctx.seen, objects={**ctx.seen.objects, "PersistentVolume": {**ctx.seen.volumes, made["metadata"]["name"]: made}})


def reuse(ctx: Context, step: Step) -> None:
    """The store of a node that left: put aside or erased, and its volume object gone, so that a fresh one can be made."""
    clear(ctx, [(step.facts["ordinal"], step.facts["node"])], step.facts["action"], step.id)


def clear(ctx: Context, places: t.Sequence[tuple[int, str]], action: str, step: str) -> None:
    """Archive or wipe the directories, then delete the PersistentVolumes."""
    if action in ("archive", "wipe"):
        run_pods(ctx, [(ordinal, node, action) for ordinal, node in places], step)
    for ordinal, _node in places:
        ctx.client.delete("PersistentVolume", ctx.names.volume(ordinal))


def free(ctx: Context, step: Step) -> None:
    """A kept volume still names the uid of the claim that is gone, and would never bind to the new one."""
    name = ctx.names.volume(step.facts["ordinal"])
    ctx.client.patch("PersistentVolume", name, None, {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}})


def run_pods(ctx: Context, work: t.Sequence[tuple[int, str, str]], step: str) -> None:
    """Short-lived pods, one a volume, all at once; they are gone again afterwards, whatever happens."""
    suffix = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    names = [ctx.names.preparer(ordinal) for ordinal, _node, _action in work]
    for ordinal, node, action in work:
        wanted = manifests.preparer(ctx.spec, ordinal, node, action, suffix)
        # One left by a run that was killed may do something else: it goes first.
        if ctx.client.delete("Pod", ctx.names.preparer(ordinal), ctx.names.namespace, grace=0):
            ctx.say(f"removed pod {ctx.names.preparer(ordinal)} of an interrupted run")
        ctx.client.create(wanted)
    try:
        ctx.wait(lambda: verdict.worst(verdict.completed(ctx.client.get("Pod", name, ctx.names.namespace), name) for name in names), step)
    except ClusterError as error:
        if error.reason == "volume_not_empty":
            ordinal, node, _action = next(item for item in work if ctx.names.preparer(item[0]) == error.facts["node"])
            raise ClusterError(
                f"directory {manifests.directory(ctx.spec, ordinal)} on {node} is not empty: {error.msg.split(' (', 1)[0]}. Nothing in it was touched. "
                "Move the data away, or choose another local_path.", error.reason, **error.facts) from error
        raise
    finally:
        for name in names:
            ctx.client.delete("Pod", name, ctx.names.namespace, grace=0)


def stamp(ctx: Context) -> None:
    """The cluster's id, and whose store it is, on claims and volumes: they outlive the journal."""
    for pod in ctx.seen.expected_pods():
        node = ctx.seen.node_of(pod)
        ordinal = int(pod.rsplit("-", 1)[1])
        notes = {CLUSTER_ID: ctx.seen.journal.cluster_id, **({STORE: f"node {node.id}"} if node else {})}
        for kind, name, namespace in (("PersistentVolumeClaim", ctx.names.claim(ordinal), ctx.names.namespace),
                                      ("PersistentVolume", ctx.names.volume(ordinal), None)):
            if kind == "PersistentVolume" and ctx.spec.storage != "local":
                continue
            live = ctx.client.get(kind, name, namespace)
            if live is not None and any((live["metadata"].get("annotations") or {}).get(key) != value for key, value in notes.items()):
                ctx.client.patch(kind, name, namespace, {"metadata": {"annotations": notes}})


def retire(ctx: Context, ordinal: int, step: str) -> str:
    """What becomes of the volume of a node that has left; says what it did. Marked first: a kill must not leave it usable."""
    policy, names = ctx.spec.volumes, ctx.names
    mark = {"metadata": {"annotations": {RETIRED: utc()}}}
    if ctx.spec.storage != "local":
        if policy == "retain":
            ctx.client.patch("PersistentVolumeClaim", names.claim(ordinal), names.namespace, mark)
            return f"claim {names.claim(ordinal)} kept (policy retain)"
        ctx.client.delete("PersistentVolumeClaim", names.claim(ordinal), names.namespace)
        return f"claim {names.claim(ordinal)} deleted"
    volume = ctx.client.get("PersistentVolume", names.volume(ordinal))
    if volume is not None:
        ctx.client.patch("PersistentVolume", names.volume(ordinal), None, mark)
    ctx.client.delete("PersistentVolumeClaim", names.claim(ordinal), names.namespace)
    wait_gone(ctx, "PersistentVolumeClaim", names.claim(ordinal), step)
    if volume is None or policy == "retain":
        return f"volume {names.volume(ordinal)} kept (policy retain)"
    clear(ctx, [(ordinal, node_of(volume) or "")], policy, step)
    return f"volume {names.volume(ordinal)}: {policy}"


def wait_gone(ctx: Context, kind: str, name: str, step: str) -> None:
    def judge() -> verdict.Verdict:
        gone = ctx.client.get(kind, name, ctx.names.namespace if kind != "PersistentVolume" else None) is None
        return verdict.DONE if gone else verdict.Verdict(False, f"{kind} {name} is still being deleted")
    ctx.wait(judge, step, poll=0.5)
