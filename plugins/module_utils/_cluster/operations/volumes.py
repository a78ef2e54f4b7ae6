# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Local volumes: made, freed, and treated as the policy says when their node leaves. PRIVATE to the collection."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace

from .. import fingerprint, gates, going, growing, manifests, short_lived_pods, verdict
from ..context import utc
from ..errors import ClusterError, InputError
from ..fingerprint import retired, wiping
from ..names import ARCHIVED, FINGERPRINT, RETIRED, WIPING
from ..observe import ending
from ..placement import node_of
from . import create, short_lived
from .stamp import stamp

if t.TYPE_CHECKING:
    from ..context import Context
    from ..observe import Object
    from ..plan import Step

# Why a volume may not be used again: what to do about it.
_WAYS_OUT = {
    "store_missing": "Bring the store back. Only where the other nodes hold all the data: delete the PersistentVolume, and the node begins anew.",
    "store_foreign": "Move the directory away, or give this cluster another local_path.",
    "store_retired": "Set volumes to archive (keep it under another name) or wipe (erase it).",
}


@dataclass(frozen=True)
class Place:
    """Where one ordinal's data lies: a directory on a Kubernetes node. since: when it was given up, "" when nobody has noted it."""

    ordinal: int
    node: str
    path: str
    since: str = ""

    @classmethod
    def of(cls, ordinal: int, volume: Object) -> Place:
        """As the volume itself says; the options may have changed since it was made."""
        since = (volume["metadata"].get("annotations") or {}).get(RETIRED, "")
        return cls(ordinal, node_of(volume) or "", volume["spec"]["local"]["path"], since)


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
    # For pods that are there and wait.
    if ctx.seen.initialized and any(step.operation == "reconfigure" for step in steps):
        ctx.wait(lambda: _bound_in_a_moment(create.all_serving(ctx)), steps[0].id)


def reuse(ctx: Context, step: Step) -> None:
    """The store of a node that left, or of another cluster: put aside or erased, and its volume gone, so that a fresh one can be made."""
    ordinal = step.facts["ordinal"]
    volume = ctx.seen.volumes.get(ctx.names.volume(ordinal))
    if volume is not None:  # else it went since this was planned
        _prove_emptied(ctx, step)
        clear(ctx, [Place.of(ordinal, volume)], step.facts["action"], step.id, waiting=True)


def drop(ctx: Context, step: Step) -> None:
    """The claim of a node that left, where a storage class provisions: the pod to come gets a fresh one."""
    _prove_emptied(ctx, step)
    ctx.say(give_up_claims(ctx, [step.facts["ordinal"]], step.facts["action"], step.id))


def _prove_emptied(ctx: Context, step: Step) -> None:
    """A scale in marks a store when its node holds nothing any more. Of one that is not marked, the ranges must say so."""
    node_id = step.facts.get("left")
    if node_id is not None:
        ctx.prove_in_time(lambda: gates.emptied(ctx.deep(), node_id), step)


def clear(ctx: Context, places: t.Sequence[Place], action: str, step: str, *, waiting: bool = False) -> None:
    """Erase through the claims, or archive the directories once the claims are gone; then the PersistentVolumes go.

    waiting: whether pods may wait with claims of theirs for volumes to come; those stay.
    """
    if not places:
        return
    ordinals = [place.ordinal for place in places]
    if action == "wipe":
        wipe(ctx, ordinals, step)
    _delete_claims(ctx, [ordinal for ordinal in ordinals if not waiting or _reaches(ctx, ordinal)], step)
    if action == "archive":
        run_pods(ctx, places, action, step)
    names = [ctx.names.volume(ordinal) for ordinal in ordinals]
    for name in names:
        ctx.client.delete("PersistentVolume", name)
    wait_gone(ctx, "PersistentVolume", names, step)  # else a fresh one of the same name would go with it


def _reaches(ctx: Context, ordinal: int) -> bool:
    """Whether the claim is bound to the volume; one that a pod waits with stays, for its controller would only make it again."""
    claim = ctx.client.get("PersistentVolumeClaim", ctx.names.claim(ordinal), ctx.names.namespace)
    return claim is not None and claim["spec"].get("volumeName") == ctx.names.volume(ordinal)


def give_up_claims(ctx: Context, ordinals: t.Sequence[int], action: str, step: str) -> str:
    """Claims of a storage class, by policy, and what provisioned them: what was done."""
    names = ", ".join(ctx.names.claim(ordinal) for ordinal in ordinals)
    if action == "retain":
        claims = [
            ctx.client.get("PersistentVolumeClaim", ctx.names.claim(item), ctx.names.namespace) for item in ordinals
        ]
        there = [claim["metadata"]["name"] for claim in claims if claim is not None]
        for name in there:
            ctx.client.patch("PersistentVolumeClaim", name, ctx.names.namespace, _mark(RETIRED))
        return f"claim {', '.join(there)} kept (policy retain)" if there else f"claim {names} was gone already"
    kept = [volume for ordinal in ordinals if (volume := archive_volume(ctx, ordinal))] if action == "archive" else []
    if action == "wipe":
        wipe(ctx, ordinals, step)
    _delete_claims(ctx, ordinals, step)
    told = {"archive": f"deleted, volume {', '.join(kept)} kept aside", "wipe": "erased and deleted"}
    return f"claim {names} {told.get(action, 'deleted')}"


def _mark(name: str) -> dict[str, t.Any]:
    return {"metadata": {"annotations": {name: utc()}}}


def unmark(ctx: Context, ordinal: int) -> None:
    """Take the mark of a node that left off claim and volume, where they have it."""
    marked = (ctx.seen.claims.get(ctx.names.claim(ordinal)), ctx.seen.volumes.get(ctx.names.volume(ordinal)))
    for place in marked:
        if place is not None and retired(place):
            meta = place["metadata"]
            ctx.client.patch(
                place["kind"], meta["name"], meta.get("namespace"), {"metadata": {"annotations": {RETIRED: None}}}
            )


def archive_volume(ctx: Context, ordinal: int) -> str:
    """What a storage class provisioned outlives its claim from now on, and says whose store it holds; its name, "" without one."""
    claim = ctx.client.get("PersistentVolumeClaim", ctx.names.claim(ordinal), ctx.names.namespace)
    name = str((claim or {}).get("spec", {}).get("volumeName") or "")
    if name:
        mark = fingerprint.read(claim)
        notes = {ARCHIVED: utc(), **({FINGERPRINT: mark.text()} if mark else {})}
        wanted = {"metadata": {"annotations": notes}, "spec": {"persistentVolumeReclaimPolicy": "Retain"}}
        ctx.client.patch("PersistentVolume", name, None, wanted)
    return name


def _delete_claims(ctx: Context, ordinals: t.Iterable[int], step: str) -> None:
    names = [ctx.names.claim(ordinal) for ordinal in ordinals]
    for name in names:
        ctx.client.delete("PersistentVolumeClaim", name, ctx.names.namespace)
    wait_gone(ctx, "PersistentVolumeClaim", names, step)


# ---- erasing


def _refuse_mismatch(ctx: Context, ordinal: int, claim: Object | None, live: Object) -> None:
    """ClusterError unless volume and claim name each other: what is erased must be what the claim of this ordinal reaches."""
    name, volume = ctx.names.claim(ordinal), ctx.names.volume(ordinal)
    owner = live["spec"].get("claimRef") or {}
    meant = (claim or {}).get("spec", {}).get("volumeName") or volume
    if (owner.get("namespace"), owner.get("name"), meant) != (ctx.names.namespace, name, volume):
        raise ClusterError(
            f"volume {volume} and claim {name} do not name each other (any more). Nothing was erased. Look at both, then delete the odd one out.",
            "claim_mismatch",
            node=ctx.names.pod(ordinal),
            resumable=False,
        )


def wipe(ctx: Context, ordinals: t.Sequence[int], step: str) -> None:
    """Erase what the claims of these ordinals reach, proven empty by the pods that did it. Nothing else can be hit: Kubernetes mounts it.

    Claims and volumes are marked first: whatever happens, no pod of the database takes a half erased store for its own.
    """
    image_for(ctx, "wipe")
    busy = sorted(set(map(ctx.names.pod, ordinals)) & set(ctx.look_at_pods()))
    if busy:
        raise ClusterError(
            f"pod {busy[0]} uses the volume that is to be erased, or waits for it. Nothing in it was touched. Set volumes to archive, or scale in first.",
            "volume_in_use",
            node=busy[0],
        )
    found = _marked_claims(ctx, ordinals, step)
    places = {ordinal: Place.of(ordinal, volume) for ordinal, volume in found.items() if volume is not None}
    own = ctx.spec.local_pv_prepare == "pod"  # who made the directories takes them away
    left = list(found)
    while left:
        wanted = {}
        for ordinal in left:
            place = places.get(ordinal)
            wanted[ctx.names.preparer(ordinal)] = short_lived_pods.wiper(
                ctx.spec, ordinal, place.node if place else None, place.path if place and own else None
            )
        try:
            short_lived.run(ctx, wanted, verdict.completed, step, lambda: None)
            return
        except ClusterError as error:
            if error.reason != "volume_mount" or not (places and own):
                raise
            # The directory is gone, as after a kill right between its end and its volume's: let a pod on the node say so.
            missing = next(ordinal for ordinal in left if ctx.names.preparer(ordinal) == error.facts["node"])
            run_pods(ctx, [places[missing]], "gone", step)
            left.remove(missing)


def _marked_claims(ctx: Context, ordinals: t.Sequence[int], step: str) -> dict[int, Object | None]:
    """The ordinals that a claim reaches, which is bound and marked as being erased, with their local volumes; those get a claim where they have none."""
    kind, space, local = "PersistentVolumeClaim", ctx.names.namespace, ctx.spec.storage == "local"
    found: dict[int, Object | None] = {}
    for ordinal in ordinals:
        name, volume = ctx.names.claim(ordinal), ctx.names.volume(ordinal)
        claim = ctx.client.get(kind, name, space)
        live = ctx.client.get("PersistentVolume", volume) if local else None
        if local and live is None:
            continue
        if local:
            _refuse_mismatch(ctx, ordinal, claim, live or {})
        if claim is not None and (ending(claim) or not claim["spec"].get("volumeName")):
            # On its way out, or never bound: nothing can be reached by it.
            _delete_claims(ctx, [ordinal], step)
            claim = None
        if claim is None and live is not None:
            claim = ctx.client.create(manifests.claim(ctx.names, ordinal, live, utc()))
        if claim is None:
            continue
        if not wiping(claim):
            ctx.client.patch(kind, name, space, _mark(WIPING))
        if live is not None and not retired(live):
            ctx.client.patch("PersistentVolume", volume, None, _mark(RETIRED))
        owner = (live or {}).get("spec", {}).get("claimRef", {}).get("uid")
        if owner not in (None, claim["metadata"].get("uid")):
            free(ctx, ordinal)
        found[ordinal] = live

    def bound() -> verdict.Verdict:
        for ordinal in found:
            live = ctx.client.get(kind, ctx.names.claim(ordinal), space) or {}
            if live.get("status", {}).get("phase") != "Bound":
                return verdict.Verdict(False, f"claim {ctx.names.claim(ordinal)} is not bound yet")
        return verdict.DONE

    ctx.wait(bound, step, poll=0.5)
    return found


def take_back(ctx: Context, steps: t.Sequence[Step]) -> None:
    """Kept volumes go to new claims, once somebody has looked what really lies in their directories."""
    volumes = {step.facts["ordinal"]: ctx.seen.volumes[ctx.names.volume(step.facts["ordinal"])] for step in steps}
    # Such a claim waits for its pod, which still writes while it drains; and freed before, the volume would go back to the old claim.
    going = [name for name in map(ctx.names.claim, volumes) if ending(ctx.seen.claims.get(name))]
    wait_gone(ctx, "PersistentVolumeClaim", going, steps[0].id)
    if ctx.spec.local_pv_prepare == "pod":
        seen = {step.facts["ordinal"] for step in steps if step.facts["look"]}
        for ordinal in set(volumes) - seen:
            ctx.say(
                f"{ctx.names.volume(ordinal)}: {node_of(volumes[ordinal])} is not ready, so nobody looked into its directory"
            )
        _look_inside(ctx, {ordinal: volume for ordinal, volume in volumes.items() if ordinal in seen}, steps[0].id)
    for ordinal in volumes:
        free(ctx, ordinal)


def free(ctx: Context, ordinal: int) -> None:
    """A kept volume still names the uid of the claim that is gone, and would never bind to the new one; nor would a smaller one."""
    name, wanted = ctx.names.volume(ordinal), ctx.spec.storage_size
    size = ctx.seen.volumes.get(name, {}).get("spec", {}).get("capacity", {}).get("storage")
    freed: dict[str, t.Any] = {"claimRef": {"uid": None, "resourceVersion": None}}
    grown = {"capacity": {"storage": wanted}} if growing.less(size, wanted) else {}
    ctx.client.patch("PersistentVolume", name, None, {"spec": {**freed, **grown}})


def _look_inside(ctx: Context, volumes: t.Mapping[int, Object], step: str) -> None:
    """ClusterError for a directory whose store must not be used again, whatever its volume says."""
    places = {ctx.names.preparer(ordinal): Place.of(ordinal, volume) for ordinal, volume in volumes.items()}
    found = run_pods(ctx, list(places.values()), "look", step) if places else {}
    left = {node.id for node in ctx.seen.nodes or () if node.is_decommissioning}
    for name, place in places.items():
        reason, sentence = fingerprint.objection(
            found[name], fingerprint.read(volumes[place.ordinal]), ctx.seen.cluster_id, left
        )
        if reason:
            raise ClusterError(
                f"directory {place.path} on {place.node} {sentence}. Nothing in it was touched. {_WAYS_OUT[reason]}",
                reason,
                node=ctx.names.pod(place.ordinal),
                resumable=False,
            )


def before(ctx: Context, step: Step) -> list[gates.Gate]:
    """The gates before the pod on a claim that gives way to another is ended; one that is down, on its way, or on the new claim loses nothing."""
    pod, claim = ctx.seen.pods.get(step.pod), ctx.seen.claims.get(ctx.names.claim(step.facts["ordinal"]))
    goes = claim is None or ending(claim) or growing.less(growing.requested(claim), ctx.spec.storage_size)
    stays = goes and not ending(pod) and not ctx.seen.down(step.pod)
    return gates.common(ctx.seen, ctx.deep(), None) if stays else []


def reclaim(ctx: Context, step: Step) -> None:
    """Bring a deleted claim's volume to its successor: the pod that still holds the old claim ends, then the volume is freed."""
    pod, claim, volume = step.pod, ctx.names.claim(step.facts["ordinal"]), ctx.names.volume(step.facts["ordinal"])

    def owner() -> str | None:
        live = ctx.client.get("PersistentVolume", volume) or {}
        uid = live.get("spec", {}).get("claimRef", {}).get("uid")
        return None if uid is None else str(uid)

    def successor() -> verdict.Verdict:
        live = ctx.client.get("PersistentVolumeClaim", claim, ctx.names.namespace)
        if live is None or ending(live):
            return verdict.Verdict(False, f"claim {claim} has no successor yet", pod=pod)
        return verdict.DONE

    if not successor().done and (found := ctx.seen.pods.get(pod)) is not None:
        if not ending(found) and not ctx.seen.down(pod):
            ctx.prove_in_time(lambda: gates.common(ctx.seen, ctx.deep(), None), step)
        going.refuse(ctx.client.get("PersistentVolume", volume), pod, f"Pod {pod} was not touched")
        ctx.client.delete("Pod", pod, ctx.names.namespace, uid=found["metadata"]["uid"])
        ctx.disturbed()
    ctx.wait(successor, step.id, poll=0.5)
    live = ctx.client.get("PersistentVolumeClaim", claim, ctx.names.namespace) or {"metadata": {}}
    if owner() not in (None, live["metadata"].get("uid")):
        free(ctx, step.facts["ordinal"])
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


def run_pods(ctx: Context, places: t.Sequence[Place], action: str, step: str) -> dict[str, str]:
    """Short-lived pods, one a place, all at once; they are gone again afterwards, whatever happens. What each of them said, by its name."""
    image_for(ctx, action)
    pods = {ctx.names.preparer(place.ordinal): place for place in places}
    wanted = {
        name: short_lived_pods.preparer(ctx.spec, place.ordinal, place.node, place.path, action, _suffix(ctx, place))
        for name, place in pods.items()
    }
    try:
        found = short_lived.run(
            ctx, wanted, verdict.completed, step, lambda: {name: _said(ctx, name) for name in wanted}
        )
    except ClusterError as error:
        if error.reason != "volume_not_empty":
            raise
        place, lines = pods[error.facts["node"]], error.facts["evidence"]["log"]
        whose = fingerprint.in_output(lines)
        raise ClusterError(
            f"directory {place.path} on {place.node} is not empty: {f'it holds {whose}' if whose else lines}. Nothing in it was touched. "
            "Move the data away, or choose another local_path.",
            error.reason,
            **error.facts,
        ) from error
    silent = [place for name, place in pods.items() if action == "look" and not found[name]]
    if silent:
        raise ClusterError(
            f"what lies in directory {silent[0].path} on {silent[0].node} is not known: the pod that looked was taken away before it could be "
            "read. Nothing in it was touched. Run again.",
            "look_lost",
            node=ctx.names.pod(silent[0].ordinal),
        )
    return found


def _suffix(ctx: Context, place: Place) -> str:
    """Of an archive's name: the moment it was given up, so that a run that goes on with a killed one's work names it the same."""
    since = place.since or str(ctx.seen.journal.operation.get("since") or utc())
    return re.sub("[-:Z]", "", since).replace("T", "-")


def image_for(ctx: Context, action: str) -> None:
    """InputError when there is no image for short-lived pods."""
    if ctx.spec.image is None:
        raise InputError(
            "image", f"must be given: the pods that {action} the directories run it; allowed is any image with /bin/sh"
        )


def _said(ctx: Context, pod: str) -> str:
    """The message that a short-lived pod left when it ended."""
    found = ctx.client.get("Pod", pod, ctx.names.namespace) or {}
    states = [
        (item.get("state") or {}).get("terminated") or {}
        for item in found.get("status", {}).get("containerStatuses") or ()
    ]
    return next((str(state["message"]).strip() for state in states if state.get("message")), "")


def retire(ctx: Context, ordinal: int, step: str) -> str:
    """What becomes of the volume of a node that has left; says what it did. Marked first: a kill must not leave it usable."""
    policy, names = ctx.spec.volumes, ctx.names
    if ctx.spec.storage != "local":
        return give_up_claims(ctx, [ordinal], policy, step)
    volume = ctx.client.get("PersistentVolume", names.volume(ordinal))
    if volume is not None and not retired(volume):
        volume = ctx.client.patch("PersistentVolume", names.volume(ordinal), None, _mark(RETIRED))
    if volume is None or policy == "retain":
        _delete_claims(ctx, [ordinal], step)
        return (
            f"volume {names.volume(ordinal)} kept (policy retain)"
            if volume
            else f"volume {names.volume(ordinal)} was gone already"
        )
    clear(ctx, [Place.of(ordinal, volume)], policy, step)
    return f"volume {names.volume(ordinal)}: {policy}"


def wait_gone(ctx: Context, kind: str, names: t.Iterable[str], step: str) -> None:
    """Until none of them exists any more."""

    def judge() -> verdict.Verdict:
        left = [name for name in names if ctx.client.get(kind, name, ctx.names.namespace) is not None]
        return verdict.Verdict(False, f"{kind} {left[0]} is still being deleted") if left else verdict.DONE

    ctx.wait(judge, step, poll=0.5)
