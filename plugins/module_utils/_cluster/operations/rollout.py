# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Another image or other options, pod by pod from the highest ordinal, never a step that could break the quorum. PRIVATE.

The image runs once on every node before the first restart, and the engine is kept from raising its cluster version until
somebody finalises; so every moment has a way back.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace

from ..._engine import profiles
from ..._engine.parse import version as build_of
from .. import rolling, short_lived_pods, verdict
from ..errors import ClusterError
from ..names import ordinal_of
from ..observe import container, ending, ready
from ..progress import Falling
from . import create, short_lived, template, upgrade_gates

if t.TYPE_CHECKING:
    from ..context import Context
    from ..plan import Step

DOWN_PATIENCE = 30.0  # seconds for a pod that was down before: its own trouble must not hold up the others for ever
ITS_OWN = ("timeout", "unschedulable", "volume_mount")  # of its Kubernetes node or its volume, and not of what is new


# ---- before the first restart


def prepull(ctx: Context, step: Step) -> None:
    """Run the new image's C(version) once on every node that needs it; ClusterError (image_pull) with no pod restarted for it."""
    nodes: dict[str, str] = step.facts["nodes"]
    pods = {ctx.names.puller(ordinal_of(pod) or 0): (pod, node) for pod, node in nodes.items()}
    wanted = {
        name: short_lived_pods.puller(ctx.spec, ctx.profile, ordinal_of(pod) or 0, node)
        for name, (pod, node) in pods.items()
    }

    def builds_said() -> list[str]:
        said = [build_of(ctx.client.logs(ctx.names.namespace, name, "pull")) for name in pods]
        return sorted({build for build in said if build is not None})

    try:
        builds = short_lived.run(ctx, wanted, verdict.ran, step.id, builds_said)
    except ClusterError as error:
        pod, node = pods.get(str(error.facts.get("node")), ("", ""))
        raise ClusterError(
            f"Kubernetes node {node or '?'}, on which {pod or 'a pod'} runs, cannot run {ctx.spec.image}: {error.msg} No pod was restarted for it.",
            error.reason,
            **{**error.facts, "node": pod or error.facts.get("node")},
        ) from error
    pulled = {"image": ctx.spec.image, "nodes": sorted(set(nodes.values())), "build": ", ".join(builds)}
    ctx.write_journal(replace(ctx.seen.journal, pulled=pulled))
    ctx.say(f"{ctx.spec.image} runs on {', '.join(pulled['nodes'])}" + (f" as {pulled['build']}" if builds else ""))


# ---- one pod


def roll(ctx: Context, step: Step) -> None:
    """One pod: gates, partition down to it, Ready on the new template, live in the engine with the new build, ranges whole."""
    ordinal = step.facts["ordinal"]
    template.let_the_controller_see(ctx, step)
    if not template.is_new(ctx, step.pod) or template.is_needed(ctx, step):
        ctx.prove_in_time(lambda: upgrade_gates.before(ctx, step), step, changed=not template.is_needed(ctx, step))
    if template.is_needed(ctx, step):
        template.write(ctx, step)
    down = _down_before(ctx, step.pod)
    others = [pod for pod in down if pod != step.pod]  # no reason to wait for them afterwards
    if not template.is_new(ctx, step.pod):
        ctx.disturbed()
    template.set_partition(ctx, ordinal)
    if any((ordinal_of(pod) or 0) > ordinal for pod in others) and not template.is_new(ctx, step.pod):
        _replace(ctx, step)  # its controller waits for the broken one above it, for ever
    try:
        ctx.wait(lambda: _serving(ctx, step.pod), step.id, limit=_patience(ctx, step.pod) if step.pod in down else None)
    except ClusterError as error:
        if step.pod not in down or error.reason not in ITS_OWN:
            raise
        ctx.say(f"{step.pod} was down before and does not come back ({error.msg.split('.')[0]}); the others go on")
        return
    began = time.monotonic()
    falling = Falling("ranges not whole,", ctx.run_id)

    def settled() -> verdict.Verdict:
        found = create.all_serving(ctx, but=others)
        deep = ctx.deep() if found.done else None
        whole = deep.wholeness(ctx.seen) if deep else None
        lasted = ctx.lasting(step.id, whole is not None and whole.whole)
        if not found.done or whole is None:
            return found if not found.done else verdict.Verdict(False, "SQL does not answer yet")
        if not whole.whole:
            falling.now(len(whole.unavailable) + len(whole.underreplicated), time.time())
            return verdict.Verdict(
                False,
                f"{len(whole.unavailable)} ranges unavailable, {len(whole.underreplicated)} under-replicated",
                progress=falling.text,
            )
        return (
            verdict.DONE
            if lasted >= ctx.spec.soak
            else verdict.Verdict(False, f"healthy, soaking for {ctx.spec.soak} s")
        )

    ctx.wait(settled, step.id, poll=1.0, limit=ctx.spec.soak + ctx.spec.wait_timeout)
    node = ctx.seen.node_of(step.pod)
    ctx.say(
        f"{step.pod} (node {node.id if node else '?'}) runs {node.build if node else ctx.spec.image}   ranges whole after {time.monotonic() - began:.0f} s"
    )


def _patience(ctx: Context, pod: str) -> float:
    """Seconds for one that was down before; a process that hangs takes all of its grace to end."""
    found = ctx.seen.pods.get(pod)
    hangs = found is not None and (verdict.running(found, pod).done or verdict.ends_in_time(found, time.time()))
    return DOWN_PATIENCE + (ctx.spec.termination_grace_period if hangs and not template.is_new(ctx, pod) else 0)


def _down_before(ctx: Context, turn: str) -> list[str]:
    """Pods that were down before this operation came to them, by its journal or as they are; not those it restarts itself.

    One that lives when its turn comes is none of them, whatever it was before: the others must not go on while it is away.
    turn: the pod whose turn it is. While it is old, its gates have just held: whoever is down then was so before, of whichever template.
    """
    noted, pods = list(ctx.seen.journal.operation.get("down") or ()), ctx.seen.pods
    restarted = template.is_new(ctx, turn)
    down = [
        pod
        for pod in ctx.seen.expected_pods()
        if (
            pod in noted
            and (pod not in pods or (not ready(pods[pod]) and (template.is_new(ctx, pod) or ctx.seen.down(pod))))
        )
        or (
            pod in pods
            and ctx.seen.down(pod)
            and not (restarted and template.is_new(ctx, pod))
            and not verdict.ends_in_time(pods[pod], time.time())
        )
    ]
    if set(down) != set(noted):
        journal = ctx.seen.journal
        ctx.write_journal(replace(journal, operation={**journal.operation, "down": sorted(down)}))
    return down


def revert(ctx: Context, step: Step) -> None:
    """A pod that is down on a template that is left again comes back on the one before it, so that those above it may be restarted.

    Its controller makes pods below the partition from the revision before (StatefulSet status.currentRevision), so it is only ended,
    once the template is the one asked for and the partition keeps everybody else as they are.
    """
    template.let_the_controller_see(ctx, step)
    if template.is_needed(ctx, step):
        ctx.prove_in_time(lambda: upgrade_gates.before(ctx, step), step)
        template.write(ctx, step)
    elif rolling.partition_of(ctx.seen.running_set) <= step.facts["ordinal"]:
        template.set_partition(ctx, ctx.seen.replicas)
        ctx.wait(lambda: template.controller_saw(ctx), step.id, poll=0.5)
    wanted = ctx.seen.running_set["status"].get("currentRevision")

    def back() -> verdict.Verdict:
        found = ctx.look_at_pods().get(step.pod)
        meta = (found or {}).get("metadata", {})
        if found is not None and meta["labels"].get("controller-revision-hash") != wanted:
            if not meta.get("deletionTimestamp"):
                ctx.client.delete("Pod", step.pod, ctx.names.namespace, uid=meta["uid"])
            return verdict.Verdict(False, f"pod {step.pod} is ending", pod=step.pod)
        judged = verdict.ready(found, step.pod)
        if not judged.done:
            return judged
        ctx.ask_engine()
        node = ctx.seen.node_of(step.pod)
        if node is None or not (node.is_live and node.is_available):
            return verdict.Verdict(
                False, f"pod {step.pod} is ready, but the engine does not count it as live yet", pod=step.pod
            )
        return verdict.DONE

    ctx.wait(back, step.id)
    ctx.say(f"{step.pod} runs {container(ctx.seen.pods[step.pod])['image']} again")


def _replace(ctx: Context, step: Step) -> None:
    """End the pod of the old template ourselves, once the controller knows what to make in its place."""
    ctx.wait(lambda: template.controller_saw(ctx), step.id, poll=0.5)
    found = ctx.seen.pods.get(step.pod)
    if found is not None and not template.is_new(ctx, step.pod):
        ctx.client.delete("Pod", step.pod, ctx.names.namespace, uid=found["metadata"]["uid"])


def still_down(ctx: Context) -> list[str]:
    """The pods that were passed over, or that went down since."""
    return [pod for pod in ctx.seen.expected_pods() if pod not in ctx.seen.pods or not ready(ctx.seen.pods[pod])]


def refuse_down(ctx: Context, **facts: t.Any) -> None:
    """ClusterError, with these facts, for pods that were passed over because they were down before; the others have what is new."""
    down = still_down(ctx)
    if down:
        raise ClusterError(
            f"{', '.join(down)} was down before and still is; every other pod has what was asked. Mend it (its Kubernetes node, its volume) "
            "and run again.",
            "pod_down",
            node=down[0],
            **facts,
        )


def _serving(ctx: Context, pod: str) -> verdict.Verdict:
    """Ready on the new template, live in the engine, and of the build that the image promises."""
    live = ctx.seen.running_set
    found = ctx.look_at_pods().get(pod)
    judged = verdict.ready(found, pod, live["status"].get("updateRevision"))
    if found is not None and not template.is_new(ctx, pod):
        revision, uid = live["status"].get("updateRevision"), found["metadata"].get("uid")
        edited = found["metadata"]["labels"].get("controller-revision-hash") == revision
        # Where the one made in its place looks the same, that is how pods are made here.
        again = edited and ctx.carry.setdefault("replaced", {}).setdefault(f"{pod}/{revision}", uid) != uid
        if not again and (edited or (judged.never and judged.never != "unschedulable")):
            # The old pod's own trouble is no reason to stop its replacement; the controller waits for a broken pod for ever, and does
            # not see that somebody edited the pod itself.
            if not ending(found):
                ctx.client.delete("Pod", pod, ctx.names.namespace, uid=uid)
            return verdict.Verdict(False, f"pod {pod} is not what the template makes, and is replaced", pod=pod)
    if not judged.done:
        return judged
    ctx.ask_engine()
    node = ctx.seen.node_of(pod)
    if node is None or not (node.is_live and node.is_available):
        return verdict.Verdict(False, f"pod {pod} is ready, but the engine does not count it as live yet", pod=pod)
    wanted, built = profiles.version_from_image(ctx.spec.image), profiles.version_of(node.build)
    if wanted and built and not profiles.same_release(wanted, built):
        return verdict.Verdict(
            False,
            f"{pod} reports build {node.build}, the image says {ctx.spec.image}",
            "build",
            ctx.profile.liveness_seconds,
            pod,
        )
    return verdict.DONE
