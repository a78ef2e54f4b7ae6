# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Namespace, Services, budget, account and StatefulSet: making them, and mending what somebody changed. PRIVATE."""

from __future__ import annotations

import typing as t

from ..._kube.errors import KubeError
from .. import manifests, rolling, verdict
from ..context import utc
from ..errors import ClusterError
from ..names import OPTIONS, PAUSED, owned

if t.TYPE_CHECKING:
    from ..context import Context
    from ..plan import Step


def refuse_foreign(ctx: Context, obj: t.Mapping[str, t.Any]) -> None:
    """ClusterError when an object of our name exists that is not this cluster's: apply would silently take it over."""
    kind, meta = obj["kind"], obj["metadata"]
    live = ctx.client.get(kind, meta["name"], meta.get("namespace"))
    if live is not None and not owned(live, ctx.names):
        raise ClusterError(
            f"{kind} {meta['name']} exists in {meta.get('namespace') or 'the Kubernetes cluster'} and is not part of KaiwuDB cluster {ctx.spec.name} "
            "(its labels say so). Nothing was changed. Choose another name, or remove it.",
            "foreign_object",
            resumable=False,
        )


def create(ctx: Context, step: Step) -> None:
    """One object that is missing."""
    _verb, kind, _name = step.id.split("/")
    if kind == "Namespace":
        # Created, not applied: an apply would need the right to patch every namespace there is.
        try:
            ctx.client.create(manifests.namespace(ctx.spec))
        except KubeError as error:
            if error.status != 409:  # somebody was faster
                raise
    elif kind == "StatefulSet":
        _statefulset(ctx, step)
    else:
        ctx.client.apply(step.facts["object"])


def _statefulset(ctx: Context, step: Step) -> None:
    version = ctx.client.server_version()
    wanted = manifests.statefulset(ctx.spec, ctx.profile, sleep_action=knows_sleep(version))
    if ctx.seen.statefulset is None and ctx.seen.pods:
        # Pods that lost their StatefulSet are taken over as they run; what differs is rolled out behind the gates.
        wanted["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = ctx.spec.replicas
    old = rolling.outdated(ctx.spec, ctx.seen)
    if ctx.seen.statefulset is None or (not ctx.seen.initialized and (old or ctx.seen.image != ctx.spec.image)):
        ctx.client.apply(wanted)
    for pod in old if not ctx.seen.initialized else ():
        ctx.client.delete("Pod", pod, ctx.names.namespace, grace=1)
    names = [ctx.names.pod(ordinal) for ordinal in range(ctx.spec.replicas)]
    ctx.wait(lambda: verdict.of_pods(ctx.look_at_pods(), names, verdict.running), step.id, poll=5.0)
    ctx.say(f"{len(names)} pods running")


def knows_sleep(version: t.Mapping[str, t.Any]) -> bool:
    """Whether the server knows the preStop action C(sleep): Kubernetes 1.30 and later."""
    return (int(version["major"]), int("".join(filter(str.isdigit, version["minor"])))) >= (1, 30)


def mend(ctx: Context, step: Step) -> None:
    """What somebody changed by hand, or the user's changed wish for an object that restarts nothing."""
    if step.facts.get("note"):
        ctx.client.patch(
            "StatefulSet",
            ctx.names.name,
            ctx.names.namespace,
            {"metadata": {"annotations": {OPTIONS: manifests.annotation(ctx.spec)}}},
        )
        return
    _verb, kind, name = step.id.split("/")
    ctx.client.patch(kind, name, ctx.names.namespace, step.facts["patch"])


def delete(ctx: Context, step: Step) -> None:
    _verb, kind, name = step.id.split("/")
    ctx.client.delete(kind, name, ctx.names.namespace, uid=step.facts.get("uid"))


def pause(ctx: Context, step: Step) -> None:
    """Mark the cluster, or take the mark away."""
    mark = f"{utc()} by {ctx.who}" if step.id == "pause" else None
    ctx.client.patch("StatefulSet", ctx.names.name, ctx.names.namespace, {"metadata": {"annotations": {PAUSED: mark}}})
    ctx.say("paused: later runs only look" if mark else "goes on: no longer paused")


def settle(ctx: Context, step: Step) -> None:
    """Until every pod is Ready and live in the engine's own view."""
    ctx.wait(lambda: all_serving(ctx), step.id)


def all_serving(ctx: Context, but: t.Collection[str] = ()) -> verdict.Verdict:
    """Every pod that should be there is Ready, and the engine counts its node as live. but: pods that do not count."""
    pods = ctx.look_at_pods()
    wanted = [pod for pod in ctx.seen.expected_pods() if pod not in but]
    found = verdict.of_pods(pods, wanted, verdict.ready)
    if not found.done:
        return found
    ctx.ask_engine()
    if ctx.seen.nodes is None:
        return verdict.Verdict(False, f"no node answers yet: {ctx.seen.engine_silence}")
    missing = [
        pod for pod in wanted if (node := ctx.seen.node_of(pod)) is None or not (node.is_live and node.is_available)
    ]
    return (
        verdict.Verdict(
            False, f"pod {missing[0]} is ready, but the engine does not count it as live yet", pod=missing[0]
        )
        if missing
        else verdict.DONE
    )
