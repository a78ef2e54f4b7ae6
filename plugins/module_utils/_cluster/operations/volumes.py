# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Local volumes: made, freed, and treated as the policy says when their node leaves. PRIVATE to the collection."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from .. import gates, manifests, verdict
from ..context import utc
from ..errors import ClusterError, InputError
from ..names import CLUSTER_ID, RETIRED, STORE
from ..observe import ready
from ..placement import node_of
from . import create, helpers

if t.TYPE_CHECKING:
    from ..context import Context
    from ..observe import Object
    from ..plan import Step


@dataclass(frozen=True)
class Place:
    """Where one ordinal's data lies: a directory on a Kubernetes node."""

    ordinal: int
    node: str
    path: str

    @classmethod
    def of(cls, ordinal: int, volume: Object) -> Place:
        """As the volume itself says; the options may have changed since it was made."""
        return cls(ordinal, node_of(volume) or "", volume["spec"]["local"]["path"])


def make(ctx: Context, steps: t.Sequence[Step]) -> None:
    """Directories on their nodes, all at once, then the PersistentVolumes."""
    places = [
        Place(step.facts["ordinal"], step.facts["node"], manifests.directory(ctx.spec, step.facts["ordinal"]))
        for step in steps
    ]
    if ctx.spec.local_pv_prepare == "pod":
        run_pods(ctx, places, "make", steps[0].id)
    for place, step in zip(places, steps, strict=True):
        made = ctx.client.apply(
            manifests.volume(ctx.spec, place.ordinal, place.node, ctx.seen.cluster_id, step.facts.get("hostname"))
        )
        ctx.seen = replace(
            ctx.seen,
            objects={**ctx.seen.objects, "PersistentVolume": {**ctx.seen.volumes, made["metadata"]["name"]: made}},
        )
    if ctx.seen.initialized and any(
        step.operation == "reconfigure" for step in steps
    ):  # for pods that are there and wait
        ctx.wait(lambda: _bound_in_a_moment(create.all_serving(ctx)), steps[0].id)


def reuse(ctx: Context, step: Step) -> None:
    """The store of a node that left: put aside or erased, and its volume object gone, so that a fresh one can be made."""
    ordinal = step.facts["ordinal"]
    volume = ctx.seen.volumes.get(ctx.names.volume(ordinal))
    if volume is not None:  # else it went since this was planned
        clear(ctx, [Place.of(ordinal, volume)], step.facts["action"], step.id)


def drop(ctx: Context, step: Step) -> None:
    """The claim of a node that left, where a storage class provisions: the pod to come gets a fresh one."""
    claim = ctx.names.claim(step.facts["ordinal"])
    ctx.client.delete("PersistentVolumeClaim", claim, ctx.names.namespace)
    wait_gone(ctx, "PersistentVolumeClaim", [claim], step.id)


def clear(ctx: Context, places: t.Sequence[Place], action: str, step: str) -> None:
    """Archive or wipe the directories, then delete the PersistentVolumes."""
    if action in ("archive", "wipe") and places:
        run_pods(ctx, places, action, step)
    for place in places:
        ctx.client.delete("PersistentVolume", ctx.names.volume(place.ordinal))


def free(ctx: Context, step: Step) -> None:
    """A kept volume still names the uid of the claim that is gone, and would never bind to the new one."""
    name = ctx.names.volume(step.facts["ordinal"])
    ctx.client.patch("PersistentVolume", name, None, {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}})


def before(ctx: Context, step: Step) -> list[gates.Gate]:
    """The gates before the pod on the old claim is ended; one that is down, on its way, or on the new claim loses nothing."""
    pod, claim = ctx.seen.pods.get(step.pod), ctx.seen.claims.get(ctx.names.claim(step.facts["ordinal"]))
    renewed = claim is not None and not claim["metadata"].get("deletionTimestamp")
    return [] if pod is None or not ready(pod) or renewed else gates.common(ctx.seen, ctx.deep(), None)


def reclaim(ctx: Context, step: Step) -> None:
    """Bring a deleted claim's volume to its successor: the pod that still holds the old claim ends, then the volume is freed."""
    pod, claim, volume = step.pod, ctx.names.claim(step.facts["ordinal"]), ctx.names.volume(step.facts["ordinal"])

    def owner() -> str | None:
        live = ctx.client.get("PersistentVolume", volume) or {}
        uid = live.get("spec", {}).get("claimRef", {}).get("uid")
        return None if uid is None else str(uid)

    def successor() -> verdict.Verdict:
        live = ctx.client.get("PersistentVolumeClaim", claim, ctx.names.namespace)
        if live is None or live["metadata"].get("deletionTimestamp"):
            return verdict.Verdict(False, f"claim {claim} has no successor yet", pod=pod)
        return verdict.DONE

    if not successor().done and (found := ctx.seen.pods.get(pod)) is not None:
        if ready(found):
            ctx.prove_in_time(lambda: gates.common(ctx.ask_engine(), ctx.deep(), None), step)
        ctx.client.delete("Pod", pod, ctx.names.namespace, uid=found["metadata"]["uid"])
        ctx.disturbed()
    ctx.wait(successor, step.id, poll=0.5)
    live = ctx.client.get("PersistentVolumeClaim", claim, ctx.names.namespace) or {"metadata": {}}
    if owner() not in (None, live["metadata"].get("uid")):
        free(ctx, step)
    if ctx.seen.initialized:  # else no pod serves before what comes next
        ctx.wait(lambda: _bound_in_a_moment(create.all_serving(ctx)), step.id)
        stamp(ctx)
    ctx.say(
        f"{pod} {'serves again with its store' if ctx.seen.initialized else 'starts again'}   volume {volume} belongs to its new claim"
    )


def _bound_in_a_moment(found: verdict.Verdict) -> verdict.Verdict:
    """A claim that is not bound, or not there, is no hopeless cause while its volume is on the way to it."""
    return (
        replace(found, never="") if found.never == "unschedulable" and "PersistentVolumeClaim" in found.why else found
    )


def run_pods(ctx: Context, places: t.Sequence[Place], action: str, step: str) -> None:
    """Short-lived pods, one a place, all at once; they are gone again afterwards, whatever happens."""
    if ctx.spec.image is None:
        raise InputError(
            "image", f"must be given: the pods that {action} the directories run it; allowed is any image with /bin/sh"
        )
    suffix = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    pods = {ctx.names.preparer(place.ordinal): place for place in places}
    wanted = {
        name: manifests.preparer(ctx.spec, place.ordinal, place.node, place.path, action, suffix)
        for name, place in pods.items()
    }
    try:
        helpers.run(ctx, wanted, verdict.completed, step, lambda: None)
    except ClusterError as error:
        if error.reason != "volume_not_empty":
            raise
        place = pods[error.facts["node"]]
        raise ClusterError(
            f"directory {place.path} on {place.node} is not empty: {error.facts['evidence']['log']}. Nothing in it was touched. "
            "Move the data away, or choose another local_path.",
            error.reason,
            **error.facts,
        ) from error


def stamp(ctx: Context) -> None:
    """The cluster's id, and whose store it is, on claims and volumes: they outlive the journal."""
    for ordinal, pod in enumerate(ctx.seen.expected_pods()):
        node = ctx.seen.node_of(pod)
        notes = {CLUSTER_ID: ctx.seen.journal.cluster_id, **({STORE: f"node {node.id}"} if node else {})}
        for kind, name, namespace in (
            ("PersistentVolumeClaim", ctx.names.claim(ordinal), ctx.names.namespace),
            ("PersistentVolume", ctx.names.volume(ordinal), None),
        ):
            if kind == "PersistentVolume" and ctx.spec.storage != "local":
                continue
            live = ctx.client.get(kind, name, namespace)
            if live is not None and any(
                (live["metadata"].get("annotations") or {}).get(key) != value for key, value in notes.items()
            ):
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
    wait_gone(ctx, "PersistentVolumeClaim", [names.claim(ordinal)], step)
    if volume is None or policy == "retain":
        return f"volume {names.volume(ordinal)} kept (policy retain)"
    clear(ctx, [Place.of(ordinal, volume)], policy, step)
    return f"volume {names.volume(ordinal)}: {policy}"


def wait_gone(ctx: Context, kind: str, names: t.Iterable[str], step: str) -> None:
    """Until none of them exists any more."""

    def judge() -> verdict.Verdict:
        left = [name for name in names if ctx.client.get(kind, name, ctx.names.namespace) is not None]
        return verdict.Verdict(False, f"{kind} {left[0]} is still being deleted") if left else verdict.DONE

    ctx.wait(judge, step, poll=0.5)
