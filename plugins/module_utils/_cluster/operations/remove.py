# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Taking a cluster away, whole. No drain: pods that stop together have no quorum to drain to. PRIVATE to the collection."""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace

from ..._kube.errors import KubeError
from .. import gates, verdict
from ..absent import keeps_claims
from ..context import utc
from ..errors import InputError
from ..names import COMPONENT, owned
from ..observe import KINDS
from ..placement import ordinals_of
from . import volumes

if t.TYPE_CHECKING:
    from ..context import Context
    from ..plan import Step

# Work of somebody else's that may have no pod at this moment. Secrets are not looked at: the right to list them is the right to read them
# all, and what uses one shows here by itself.
WORKLOADS = ("Deployment", "Job", "CronJob")


def refuse_unconfirmed(asked: t.Mapping[str, t.Any]) -> None:
    """InputError unless the cluster's name was typed again; costs no request."""
    gate = gates.confirmed(asked["name"], asked.get("confirm"))
    if not gate.holds:
        raise InputError("confirm", gate.sentence.removeprefix("confirm ").removesuffix("."))


def protected(ctx: Context) -> gates.Gate:
    """Whether the cluster holds tables of its users, as far as anybody can tell."""
    seen, wanted = ctx.seen, ctx.spec.deletion_protection
    if not wanted or not seen.initialized:
        return gates.protected([], wanted=wanted)
    deep = ctx.deep() if seen.nodes else None
    tables = (
        None
        if deep is None
        else sorted({item.name for item in deep.ranges if "." in item.name and not item.name.startswith("system.")})
    )
    return gates.protected(tables, wanted=wanted)


def _all(ctx: Context, kind: str, **how: t.Any) -> None:
    for name in ctx.seen.objects[kind]:
        ctx.client.delete(kind, name, ctx.names.namespace, **how)


def statefulset(ctx: Context, step: Step) -> None:
    """Orphaned, so that its pods are ours to end: once one has begun to drain, a shorter grace period comes too late for some kubelets.

    What it remembers is needed until the end, so it goes into the journal first; its revisions would outlive it.
    """
    journal = ctx.seen.journal.begin(
        "remove", ctx.who, utc(), options={**ctx.spec.remembered(), "image": ctx.spec.image}
    )
    ctx.write_journal(replace(journal, recreate={}))
    _all(ctx, "StatefulSet", propagation="Orphan")  # from now on its controller makes no pod any more
    _end_pods(ctx)
    volumes.wait_gone(ctx, "StatefulSet", [ctx.names.name], step.id)
    for revision in ctx.client.list("ControllerRevision", ctx.names.namespace, labels=ctx.names.pod_selector)[0]:
        ctx.client.delete("ControllerRevision", revision["metadata"]["name"], ctx.names.namespace)


def _end_pods(ctx: Context) -> None:
    for name in ctx.look_at_pods():
        ctx.client.delete("Pod", name, ctx.names.namespace, grace=1)


def _end_helpers(ctx: Context) -> None:
    """Short-lived pods that a killed run left."""
    for pod in ctx.client.list("Pod", ctx.names.namespace, labels=ctx.names.selector)[0]:
        if owned(pod, ctx.names) and pod["metadata"]["labels"].get(COMPONENT) != "database":
            ctx.client.delete("Pod", pod["metadata"]["name"], ctx.names.namespace, grace=0)


def pods(ctx: Context, step: Step) -> None:
    _end_pods(ctx)
    if not keeps_claims(ctx.spec) and not _needs_claims(ctx):
        _all(ctx, "PersistentVolumeClaim")  # they go when their pods are gone

    def gone() -> verdict.Verdict:
        left = ctx.look_at_pods()
        if not left:
            return verdict.DONE
        return verdict.Verdict(False, verdict.overdue(left.values(), time.time()) or f"{len(left)} pods are ending")

    ctx.wait(gone, step.id, poll=5.0)
    ctx.say("pods gone")


def objects(ctx: Context, step: Step) -> None:
    for kind in ("PodDisruptionBudget", "Service", "ServiceAccount"):
        _all(ctx, kind)


def _needs_claims(ctx: Context) -> bool:
    """Whether something is still to be done by the claims, or to what they name."""
    return bool(ctx.spec.volumes == "wipe" or (ctx.spec.storage == "dynamic" and ctx.spec.volumes == "archive"))


def claims(ctx: Context, step: Step) -> None:
    ordinals = sorted(ordinals_of(ctx.seen.claims))
    if ctx.spec.storage == "dynamic":
        ctx.say(volumes.give_up_claims(ctx, ordinals, ctx.spec.volumes, step.id))
        return
    if ctx.spec.volumes == "wipe":
        _clear(ctx, ordinals, step)
    _all(ctx, "PersistentVolumeClaim")
    volumes.wait_gone(ctx, "PersistentVolumeClaim", ctx.seen.claims, step.id)
    ctx.say("claims gone" + ("   volumes kept (policy retain)" if ctx.spec.volumes == "retain" else ""))


def _clear(ctx: Context, ordinals: t.Iterable[int], step: Step) -> int:
    """The volumes of these ordinals, as far as they are there; how many those are."""
    there = {ordinal: ctx.seen.volumes.get(ctx.names.volume(ordinal)) for ordinal in ordinals}
    places = [volumes.Place.of(ordinal, volume) for ordinal, volume in there.items() if volume is not None]
    volumes.clear(ctx, places, ctx.spec.volumes, step.id)
    if places:
        ctx.say(f"{len(places)} volumes: {ctx.spec.volumes}")
        ctx.look_at_objects()
    return len(places)


def local_volumes(ctx: Context, step: Step) -> None:
    """Those that no claim reaches (any more)."""
    _clear(ctx, sorted(ordinals_of(ctx.seen.volumes)), step)


def journal(ctx: Context, step: Step) -> None:
    """Last of all: until here a run that was killed knows what it was doing."""
    _end_helpers(ctx)
    if ctx.seen.claims and keeps_claims(ctx.spec):
        ctx.say(f"{len(ctx.seen.claims)} claims kept (policy retain)")
    _all(ctx, "ConfigMap")


def namespace(ctx: Context, step: Step) -> None:
    """Only one that was made here, and only when nothing of anybody else's and no claim lies in it, as far as that may be seen."""
    others, hidden = [], []
    for kind in (*KINDS, *WORKLOADS):
        try:
            found = ctx.client.list(kind, ctx.names.namespace)[0]
        except KubeError as error:
            if error.status != 403:
                raise
            hidden.append(kind)
            continue
        others += [
            f"{kind} {obj['metadata']['name']}"
            for obj in found
            if (kind == "PersistentVolumeClaim" or not owned(obj, ctx.names))
            and obj["metadata"]["name"] not in ("kube-root-ca.crt", "default")
        ]
    if others or hidden:
        ctx.say(
            f"namespace {ctx.names.namespace} kept: "
            + (
                f"it holds {others[0]}" + (f" and {len(others) - 1} more" if others[1:] else "")
                if others
                else f"whether it holds any {' or '.join(hidden)} may not be seen"
            )
        )
        return
    ctx.lost = lambda: ""  # the lock goes with it
    ctx.client.delete("Namespace", ctx.names.namespace, propagation="Background")
    ctx.wait(
        lambda: (
            verdict.Verdict(False, "the namespace is still being deleted")
            if ctx.client.get("Namespace", ctx.names.namespace) is not None
            else verdict.DONE
        ),
        step.id,
        poll=0.5,
    )


def lock(ctx: Context, step: Step) -> None:
    """Every removal takes its lock away when it gives it up; where nothing but a lock was left, that is all."""


PARTS: t.Mapping[str, t.Callable[[Context, Step], None]] = {
    "statefulset": statefulset,
    "pods": pods,
    "objects": objects,
    "claims": claims,
    "volumes": local_volumes,
    "journal": journal,
    "namespace": namespace,
    "lock": lock,
}


def part(ctx: Context, step: Step) -> None:
    """That which the step names after the slash."""
    PARTS[step.id.partition("/")[2]](ctx, step)
