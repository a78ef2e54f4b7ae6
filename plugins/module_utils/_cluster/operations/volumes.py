# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Local volumes: made, freed, and treated as the policy says when their node leaves. PRIVATE to the collection."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from ..._engine.errors import EngineError
from ..._kube.client import runner
from ..._kube.errors import KubeError
from .. import fingerprint, gates, manifests, verdict
from ..context import utc
from ..errors import ClusterError, InputError
from ..fingerprint import Fingerprint
from ..names import CLUSTER_ID, CONTAINER, FINGERPRINT, RETIRED, STORE
from ..observe import ready
from ..placement import node_of
from . import create, helpers

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


def reuse(ctx: Context, step: Step) -> None:
    """The store of a node that left, or of another cluster: put aside or erased, and its volume gone, so that a fresh one can be made."""
    ordinal = step.facts["ordinal"]
    clear(ctx, [Place.of(ordinal, ctx.seen.volumes[ctx.names.volume(ordinal)])], step.facts["action"], step.id)


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


def take_back(ctx: Context, steps: t.Sequence[Step]) -> None:
    """Kept volumes go to new claims, once somebody has looked what really lies in their directories."""
    volumes = {step.facts["ordinal"]: ctx.seen.volumes[ctx.names.volume(step.facts["ordinal"])] for step in steps}
    if ctx.spec.local_pv_prepare == "pod":
        _look_inside(ctx, volumes, steps[0].id)
    for ordinal in volumes:
        free(ctx, ordinal)


def free(ctx: Context, ordinal: int) -> None:
    """A kept volume still names the uid of the claim that is gone, and would never bind to the new one."""
    name = ctx.names.volume(ordinal)
    ctx.client.patch("PersistentVolume", name, None, {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}})


def _look_inside(ctx: Context, volumes: t.Mapping[int, Object], step: str) -> None:
    """ClusterError for a directory whose store must not be used again, whatever its volume says."""
    places = {ctx.names.preparer(ordinal): Place.of(ordinal, volume) for ordinal, volume in volumes.items()}
    found = run_pods(ctx, list(places.values()), "look", step)
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
        free(ctx, step.facts["ordinal"])
    ctx.wait(lambda: _bound_in_a_moment(create.all_serving(ctx)), step.id)
    stamp(ctx)
    ctx.say(f"{pod} serves again with its store   volume {volume} belongs to its new claim")


def _bound_in_a_moment(found: verdict.Verdict) -> verdict.Verdict:
    """A claim that is not bound, or not there, is no hopeless cause while its volume is on the way to it."""
    return (
        replace(found, never="") if found.never == "unschedulable" and "PersistentVolumeClaim" in found.why else found
    )


def run_pods(ctx: Context, places: t.Sequence[Place], action: str, step: str) -> dict[str, str]:
    """Short-lived pods, one a place, all at once; they are gone again afterwards, whatever happens. What each of them said, by its name."""
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
        return helpers.run(ctx, wanted, verdict.completed, step, lambda: {name: _said(ctx, name) for name in wanted})
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


def _said(ctx: Context, pod: str) -> str:
    """The message that a short-lived pod left when it ended."""
    found = ctx.client.get("Pod", pod, ctx.names.namespace) or {}
    states = [
        (item.get("state") or {}).get("terminated") or {}
        for item in found.get("status", {}).get("containerStatuses") or ()
    ]
    return next((str(state["message"]).strip() for state in states if state.get("message")), "")


def stamp(ctx: Context, cluster_id: str | None = None) -> None:
    """Whose store it is: beside the store itself, then on claim and volume, which outlive the journal. cluster_id: None for the journal's."""
    cluster = cluster_id or ctx.seen.journal.cluster_id
    if cluster is None:
        return
    stores: dict[int, int] | None = None
    for ordinal, pod in enumerate(ctx.seen.expected_pods()):
        node = ctx.seen.node_of(pod)
        kinds = [("PersistentVolumeClaim", ctx.names.claim(ordinal), ctx.names.namespace)]
        kinds += [("PersistentVolume", ctx.names.volume(ordinal), None)] if ctx.spec.storage == "local" else []  # type: ignore[list-item]
        live = {kind: ctx.client.get(kind, name, namespace) for kind, name, namespace in kinds}
        noted = [found for obj in live.values() if (found := fingerprint.read(obj)) is not None]
        if node is None and noted:
            continue  # the engine does not know the pod just now; what is noted says more
        stores = _stores(ctx) if stores is None else stores
        mark = Fingerprint(
            cluster,
            node.id if node else None,
            stores.get(node.id) if node else None,
            ordinal,
            f"{ctx.names.namespace}/{ctx.names.name}",
        )
        mark = mark.completed(next(filter(mark.same, noted), None), utc())
        notes = {CLUSTER_ID: cluster, FINGERPRINT: mark.text(), STORE: None}
        stale = [
            (kind, name, namespace)
            for kind, name, namespace in kinds
            if (obj := live[kind]) is not None
            and any((obj["metadata"].get("annotations") or {}).get(key) != value for key, value in notes.items())
        ]
        if stale and mark.node_id is not None:
            _write_beside(ctx, pod, mark)
        for kind, name, namespace in stale:
            ctx.client.patch(kind, name, namespace, {"metadata": {"annotations": notes}})


def _stores(ctx: Context) -> dict[int, int]:
    """Store id by node id, as far as the engine tells."""
    table = f"{ctx.profile.virtual_schema}.kv_store_status"
    try:
        rows = ctx.engine.sql_rows(f"SELECT node_id, store_id FROM {table}")  # noqa: S608 - our own words
    except EngineError:
        return {}
    return {int(row["node_id"] or 0): int(row["store_id"] or 0) for row in rows}


# Arguments, never text put into the script: $1 the text, $2 the file. Renamed, so that nobody ever reads half of it.
_WRITE = 'printf "%s\\n" "$1" > "$2.new" && mv -- "$2.new" "$2"'


def _write_beside(ctx: Context, pod: str, mark: Fingerprint) -> None:
    """The same beside the store, for whoever finds the directory without its volume. The annotations count; so a failure is only said."""
    path = f"{ctx.profile.store}/{fingerprint.FILE}"
    words = ["timeout", "-s", "KILL", "10", "/bin/sh", "-c", _WRITE, "sh", mark.text(), path]
    try:
        result = runner(ctx.client, ctx.names.namespace, CONTAINER)(pod, words, 15.0)
        why = "" if result.rc == 0 else (result.stderr or result.stdout).strip() or f"exit code {result.rc}"
    except KubeError as error:
        why = str(error)
    if why:
        ctx.say(f"{pod}: {path} could not be written ({why}); the volume's annotations say the same")


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
