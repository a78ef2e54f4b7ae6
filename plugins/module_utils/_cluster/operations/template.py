# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The StatefulSet's template: whether it has to be written, how it is without restarting anybody, and which pods have it already. PRIVATE to the collection."""

from __future__ import annotations

import typing as t

from .. import manifests, rolling, verdict
from ..names import OPTIONS
from ..observe import container
from . import create

if t.TYPE_CHECKING:
    from ..context import Context
    from ..plan import Step


def whole_set(ctx: Context, spec: t.Any = None) -> dict[str, t.Any]:
    """The StatefulSet as the options want it, but with the replicas it has and a partition that restarts nothing."""
    wanted = manifests.statefulset(
        spec or ctx.spec, ctx.profile, sleep_action=create.knows_sleep(ctx.client.server_version())
    )
    wanted["spec"]["replicas"] = ctx.seen.replicas
    wanted["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = ctx.seen.replicas
    # Claim templates are immutable; they stay what they are.
    wanted["spec"]["volumeClaimTemplates"] = ctx.seen.running_set["spec"].get("volumeClaimTemplates") or []
    return wanted


def is_needed(ctx: Context, step: Step) -> bool:
    live = ctx.seen.running_set
    return container(live["spec"]["template"])["image"] != ctx.spec.image or (
        bool(step.facts.get("options"))
        and (live["metadata"].get("annotations") or {}).get(OPTIONS) != manifests.annotation(ctx.spec)
    )


def write(ctx: Context, step: Step) -> None:
    """New template and a partition that restarts nothing, in one write; otherwise the controller would roll at once."""
    live = ctx.seen.running_set
    if step.facts.get("options"):
        wanted = whole_set(ctx)
        wanted["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]  # a precondition
        ctx.client.apply(wanted)
    else:
        index = live["spec"]["template"]["spec"]["containers"].index(container(live["spec"]["template"]))
        ctx.client.patch(
            "StatefulSet",
            ctx.names.name,
            ctx.names.namespace,
            [
                # Not the resourceVersion, which every change of its status moves: a rollout by somebody else changes that all the time.
                {"op": "test", "path": "/metadata/uid", "value": live["metadata"]["uid"]},
                {"op": "test", "path": "/metadata/generation", "value": live["metadata"]["generation"]},
                {
                    "op": "add",
                    "path": "/spec/updateStrategy",
                    "value": {"type": "RollingUpdate", "rollingUpdate": {"partition": ctx.seen.replicas}},
                },
                {"op": "replace", "path": f"/spec/template/spec/containers/{index}/image", "value": ctx.spec.image},
            ],
            type="json",
        )
    ctx.wait(lambda: controller_saw(ctx), step.id, poll=0.5)


def let_the_controller_see(ctx: Context, step: Step) -> None:
    """Which pods are new is known once the controller has seen the newest template; a run before may just have written it."""
    if not rolling.seen_by_controller(ctx.seen.running_set):
        ctx.wait(lambda: controller_saw(ctx), step.id, poll=0.5)


def controller_saw(ctx: Context) -> verdict.Verdict:
    ctx.look()
    return (
        verdict.DONE
        if rolling.seen_by_controller(ctx.seen.running_set)
        else verdict.Verdict(False, "the StatefulSet controller has not seen the new template yet")
    )


def set_partition(ctx: Context, ordinal: int) -> None:
    if rolling.partition_of(ctx.seen.running_set) != ordinal:
        ctx.client.patch(
            "StatefulSet",
            ctx.names.name,
            ctx.names.namespace,
            {"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": ordinal}}}},
        )


def is_new(ctx: Context, pod: str) -> bool:
    """Whether the pod is what the newest template makes; somebody may have edited the image of the pod itself."""
    live = ctx.seen.statefulset
    found = ctx.seen.pods.get(pod)
    return bool(
        live
        and found
        and found["metadata"]["labels"].get("controller-revision-hash") == live["status"].get("updateRevision")
        and rolling.image_of(ctx.seen, found) == ctx.seen.image
    )
