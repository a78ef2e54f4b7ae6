# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""A lost database node gives its claim and volume up and comes back elsewhere, with an empty store. PRIVATE to the collection."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ..._kube.errors import KubeError
from .. import fingerprint, gates, manifests, placement, replacing, verdict
from ..context import utc
from ..errors import ClusterError
from ..fingerprint import retired
from ..names import RETIRED
from . import create, members, ranges, volumes
from .stamp import stamp

if t.TYPE_CHECKING:
    from ..context import Context
    from ..plan import Step
    from ..replacing import Loss, Lost

# What is done on the Kubernetes node itself: the pod that waits for its place holds the claim, so nothing can be erased through that.
_HOW = {"archive": "archive", "wipe": "erase"}
STUCK_AFTER = 30.0  # seconds beyond its grace after which a pod that its kubelet should end is stuck
SILENT_AFTER = 60.0  # seconds for a Kubernetes node that does not answer to come back and end its pod after all


def before(ctx: Context, step: Step) -> list[gates.Gate]:
    """The gates before the node is told to leave, and before its claim goes.

    Once that has begun nobody waits for a second reading; once claim and volume are gone, only a node that lives all the same is in the way.
    """
    lost: Lost = step.facts["lost"]
    begun = replacing.detaching(ctx.seen, lost)
    gone = begun and replacing.detached(ctx.seen, lost)
    if step.verb == "detach":  # whatever serves there by now would be taken away
        lost = replace(lost, before=tuple(row.id for row in ctx.seen.rows_of(lost.pod)))
    judged = gates.replaced(ctx.seen, ctx.deep(), lost, step.facts["loss"])
    if gone:
        return [gate for gate in judged if gate.name == "node_dead"]
    return [gate for gate in judged if not (begun and gate.name == "majority_steady")]


def _prove(ctx: Context, step: Step) -> None:
    ctx.prove_in_time(lambda: before(ctx, step), step)


def leave(ctx: Context, step: Step) -> None:
    """Tell the dead node to leave: what it held moves as soon as there is room, not when the engine calls it dead (30 min)."""
    _prove(ctx, step)
    ids: list[int] = step.facts["ids"]
    ctx.engine.decommission(ids)

    def told() -> verdict.Verdict:
        ctx.ask_engine()
        late = [row.id for row in ctx.seen.nodes or () if row.id in ids and not row.is_decommissioning]
        return verdict.Verdict(False, f"node {late[0]} is not marked as leaving yet") if late else verdict.DONE

    ctx.wait(told, step.id, poll=1.0)
    ctx.say(f"node {', '.join(map(str, ids))} ({step.pod}) is leaving")


def detach(ctx: Context, step: Step) -> None:
    """Claim, pod and volume object go, in this order; what protects each of them is gone with the one before.

    The volume is marked first: whatever run comes next, nobody gives the old store to the new claim. Before all that it is noted that the
    gates were passed: the objects alone could not say who took them away.
    """
    lost: Lost = step.facts["lost"]
    loss: Loss = step.facts["loss"]
    _prove(ctx, step)
    name, claim = ctx.names.volume(step.facts["ordinal"]), ctx.names.claim(step.facts["ordinal"])
    volume = ctx.client.get("PersistentVolume", name) if step.facts["local"] else None
    if volume is not None and volume["metadata"].get("uid") != lost.volume:
        volume = None
    _note(ctx, step.pod, detaching=True)
    if volume is not None and not retired(volume):
        mark = {"metadata": {"uid": lost.volume, "annotations": {RETIRED: utc()}}}
        volume = ctx.client.patch("PersistentVolume", name, None, mark)
    if not step.facts["local"] and ctx.spec.volumes == "archive" and not replacing.detached(ctx.seen, lost):
        volumes.archive_volume(ctx, step.facts["ordinal"])
    if lost.claim:
        _delete(ctx, "PersistentVolumeClaim", claim, ctx.names.namespace, lost.claim)
    ctx.wait(lambda: _released(ctx, step, claim), step.id, poll=1.0)
    ctx.disturbed()
    waiting = ctx.seen.pods.get(step.pod)
    # It waits for the claim that has gone; its successor is tried at once.
    if waiting is not None and not waiting["spec"].get("nodeName"):
        _delete(ctx, "Pod", step.pod, ctx.names.namespace, waiting["metadata"]["uid"])
    said = f"pod {step.pod} and claim {claim} gone"
    if volume is not None:
        said += "   " + _clear(ctx, step, volume, loss)
        _delete(ctx, "PersistentVolume", name, None, lost.volume)
        ctx.wait(lambda: _gone(ctx, "PersistentVolume", name, None, lost.volume), step.id, poll=0.5)
    ctx.say(said)


def _delete(ctx: Context, kind: str, name: str, namespace: str | None, uid: str, *, grace: int | None = None) -> None:
    """That very object; one of the same name that took its place is left alone."""
    try:
        ctx.client.delete(kind, name, namespace, grace=grace, uid=uid)
    except KubeError as error:
        if error.status != 409:
            raise


def _gone(ctx: Context, kind: str, name: str, namespace: str | None, uid: str) -> verdict.Verdict:
    found = ctx.client.get(kind, name, namespace)
    if found is None or found["metadata"].get("uid") != uid:
        return verdict.DONE
    kept = ", ".join(found["metadata"].get("finalizers") or ())
    return verdict.Verdict(False, f"{kind} {name} is still being deleted" + (f" (finalizers {kept})" if kept else ""))


def _released(ctx: Context, step: Step, claim: str) -> verdict.Verdict:
    """The claim is gone. What keeps it is the pod: its finalizer goes with the last pod that mounts it."""
    lost: Lost = step.facts["lost"]
    found = _gone(ctx, "PersistentVolumeClaim", claim, ctx.names.namespace, lost.claim) if lost.claim else verdict.DONE
    pod = ctx.look_at_pods().get(step.pod)
    return found if found.done or pod is None else _end(ctx, step, pod, found)


def _end(ctx: Context, step: Step, pod: t.Mapping[str, t.Any], claim: verdict.Verdict) -> verdict.Verdict:
    """End the pod: by its kubelet, or by force where the process can never come back."""
    loss: Loss = step.facts["loss"]
    meta, on = pod["metadata"], pod["spec"].get("nodeName")
    node = ctx.client.get("Node", on) if on and loss.kind != "unknown" else None
    going = ctx.under_way(f"stopping/{meta['uid']}") if meta.get("deletionTimestamp") else 0.0
    stuck = going > float(meta.get("deletionGracePeriodSeconds") or 0) + STUCK_AFTER
    nobody = loss.kind != "unknown" and node is None  # there is no kubelet any more that could end it
    by_force = bool(on) and (nobody or (loss.by_force and on == loss.on) or (loss.given_up and stuck))
    if by_force or not meta.get("deletionTimestamp"):
        _delete(ctx, "Pod", meta["name"], ctx.names.namespace, meta["uid"], grace=0 if by_force else None)
        if by_force:
            ctx.say(f"pod {meta['name']} on {on} is ended by force")
        return verdict.Verdict(False, f"pod {meta['name']} is ended", pod=meta["name"])
    silent = node is not None and not placement.is_ready(node)
    if silent or stuck:
        why = (
            "its Kubernetes node does not answer"
            if silent
            else "its kubelet does not get it ended, as when a disk hangs"
        )
        return verdict.Verdict(
            False,
            f"pod {meta['name']} on {on} stays: {why}. If it will never run again, say lost=true",
            "pod_stays",
            SILENT_AFTER if silent else 0.0,
            meta["name"],
        )
    return verdict.Verdict(False, f"{claim.why}; pod {meta['name']} is stopping", pod=meta["name"])


def _clear(ctx: Context, step: Step, volume: t.Mapping[str, t.Any], loss: Loss) -> str:
    """What becomes of the old directory; only where pods can run can anybody touch it."""
    place = volumes.Place.of(step.facts["ordinal"], volume)
    if ctx.spec.volumes not in ("archive", "wipe"):
        return f"{place.path} on {place.node} is left as it is"
    if not loss.answers or place.node != loss.on:
        return f"{place.path} on {place.node} is left as it is: that node does not answer"
    volumes.run_pods(ctx, [place], _HOW[ctx.spec.volumes], step.id)
    return f"{place.path} on {place.node}: {ctx.spec.volumes}"


def clear(ctx: Context, step: Step) -> None:
    """What an earlier life of the ordinal left in the directory it gets now; never what another cluster left there.

    What was judged is noted: erasing may take longer than a slice, and takes away the very file by which it was judged.
    """
    begun = ctx.seen.journal.replacing.get(step.pod, {})
    ordinal, node = step.facts["ordinal"], step.facts["node"]
    place = volumes.Place(ordinal, node, manifests.directory(ctx.spec, ordinal), str(begun.get("since") or ""))
    here = replacing.clearing(place.node, place.path)
    goes = begun.get("clearing") == here or _may_go(ctx, step, place)
    if goes:
        _note(ctx, step.pod, clearing=here)
        volumes.run_pods(ctx, [place], _HOW[ctx.spec.volumes], step.id)
    _note(ctx, step.pod, clearing=replacing.clearing(place.node, place.path, done=True))


def _note(ctx: Context, pod: str, **noted: t.Any) -> None:
    """How far it has come, beside what is given up."""
    journal = ctx.seen.journal
    entry = {**journal.replacing.get(pod, {}), **noted}
    ctx.write_journal(replace(journal, replacing={**journal.replacing, pod: entry}))


def _may_go(ctx: Context, step: Step, place: volumes.Place) -> bool:
    """Whether anything lies there that is to go; ClusterError when it is not this cluster's, or nothing says whose it is."""
    found = volumes.run_pods(ctx, [place], "look", step.id)[ctx.names.preparer(place.ordinal)]
    inside = fingerprint.parse(found)
    if inside is not None and inside.cluster_id != ctx.seen.cluster_id:
        raise ClusterError(
            f"directory {place.path} on {place.node} holds {inside}, which is not this cluster. Nothing in it was touched. "
            "Move the directory away, or name another kubernetes_node.",
            "store_foreign",
            step=step.id,
            node=step.pod,
        )
    holds = found not in (fingerprint.MISSING, fingerprint.EMPTY)
    if holds and inside is None and ctx.spec.volumes == "wipe":
        raise ClusterError(
            f"directory {place.path} on {place.node} is not empty, and nothing in it says whose store it is. Nothing in it was touched. "
            "Set volumes to archive (it keeps it under another name), move it away, or name another kubernetes_node.",
            "store_foreign",
            step=step.id,
            node=step.pod,
        )
    return holds


def rejoin(ctx: Context, step: Step) -> None:
    """The pod is back with an empty store: live, as a node that its address never was, and that is not leaving."""
    lost: Lost = step.facts["lost"]
    others = [pod for pod in ctx.seen.expected_pods() if pod != step.pod]

    def joined() -> verdict.Verdict:
        found = create.all_serving(ctx, but=others)
        if found.never == "unschedulable":  # the scheduler comes back to it within ten seconds of its volume
            return replace(found, patience=30.0)
        node = ctx.seen.node_of(step.pod) if found.done else None
        # Of an earlier life the address may be forgotten, so not all of them are known beforehand.
        if node is not None and (node.id in lost.before or node.is_decommissioning):
            left = "is leaving" if node.id in lost.before else "was decommissioned; it will never take data"
            why = f"pod {step.pod} came back with the store of node {node.id}, which {left}"
            return verdict.Verdict(False, why, "store_returned", 20.0, step.pod)
        return found

    try:
        ctx.wait(joined, step.id)
    except ClusterError as error:
        if not step.facts["local"] or error.reason == "lock_lost":
            raise
        way = "Should its new place be lost too, name another Kubernetes node as kubernetes_node."
        raise ClusterError(f"{error.msg.rstrip('.')}. {way}", error.reason, **error.facts) from error
    stamp(ctx)
    node, pod = ctx.seen.node_of(step.pod), ctx.seen.pods.get(step.pod, {})
    ctx.say(f"pod {step.pod} joined as node {node.id if node else '?'} on {pod.get('spec', {}).get('nodeName')}")


def empty(ctx: Context, step: Step) -> None:
    """Until what it was holds nothing, by the counter twice and by the ranges' own lists, and all ranges are whole."""
    lost: Lost = step.facts["lost"]
    stamp(ctx)  # nobody has, where a run was killed right after the pod joined, or the store was emptied by hand
    for node_id in lost.ids:
        if any(row.id == node_id for row in ctx.seen.nodes or ()):
            members.decommission(ctx, step, node_id)
            ctx.prove_in_time(lambda number=node_id: gates.emptied(ctx.deep(), number), step, changed=True)  # type: ignore[misc]
    ranges.until_whole(ctx, step.id, others_too=False)
