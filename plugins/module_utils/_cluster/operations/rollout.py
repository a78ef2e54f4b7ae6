# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Another image or other options, pod by pod from the highest ordinal, never a step that could break the quorum. PRIVATE."""

from __future__ import annotations

import time
import typing as t

from .. import gates, manifests, verdict
from ..names import OPTIONS
from ..observe import container, ready
from . import create

if t.TYPE_CHECKING:
    from ..context import Context
    from ..plan import Step


def roll(ctx: Context, step: Step) -> None:
    """One pod: gates, partition down to it, Ready on the new template, live in the engine with the new build, ranges whole."""
    ordinal = step.facts["ordinal"]
    # Restarting a pod that is down takes nothing away from anybody: its own failure must not block its repair.
    down = step.pod not in ctx.seen.pods or not ready(ctx.seen.pods[step.pod])
    if not _new(ctx, step.pod) or _needs_template(ctx, step):
        ctx.prove_in_time(
            lambda: version_path(ctx) if down else before(ctx), step, changed=not _needs_template(ctx, step)
        )
    if _needs_template(ctx, step):
        write_template(ctx, step)
    set_partition(ctx, ordinal)
    ctx.wait(lambda: _serving(ctx, step.pod), step.id)
    began = time.monotonic()
    whole_since: list[float] = []

    def settled() -> verdict.Verdict:
        found = create.all_serving(ctx)
        deep = ctx.deep() if found.done else None
        if not found.done or deep is None:
            whole_since.clear()
            return found if not found.done else verdict.Verdict(False, "SQL does not answer yet")
        whole = deep.wholeness(ctx.seen)
        if not whole.whole:
            whole_since.clear()
            return verdict.Verdict(
                False, f"{len(whole.unavailable)} ranges unavailable, {len(whole.underreplicated)} under-replicated"
            )
        whole_since.append(time.monotonic())
        if time.monotonic() - whole_since[0] < ctx.spec.soak:
            return verdict.Verdict(False, f"healthy, soaking for {ctx.spec.soak} s")
        return verdict.DONE

    ctx.wait(settled, step.id, poll=1.0)
    node = ctx.seen.node_of(step.pod)
    ctx.say(
        f"{step.pod} (node {node.id if node else '?'}) runs {node.build if node else ctx.spec.image}   ranges whole after {time.monotonic() - began:.0f} s"
    )


def before(ctx: Context) -> list[gates.Gate]:
    """The gates before a healthy pod is restarted."""
    return gates.common(ctx.ask_engine(), ctx.deep(), None) + version_path(ctx)


def version_path(ctx: Context) -> list[gates.Gate]:
    """Whether the database may go from the version it runs to the one asked for."""
    from ..._engine import profiles

    source = next(
        (found for pod in ctx.seen.pods.values() if (found := profiles.version_from_image(container(pod)["image"]))),
        None,
    )
    target = profiles.version_from_image(ctx.spec.image)
    path = profiles.version_path(source, target)
    shown = "→".join(".".join(map(str, version)) if version else "unknown" for version in (source, target))
    judged = [gates.Gate("version_path", shown, path.why, path.allowed, f"{shown}: {path.why}.")]
    for need in path.needs:
        rows = ctx.engine.sql_rows(f"SHOW CLUSTER SETTING {need.setting}")
        value = next(iter(rows[0].values())) if rows else None
        judged.append(
            gates.Gate(
                "version_path",
                f"{need.setting} = {value}",
                f"= {need.value}",
                value in (need.value, "00:00:00"),
                f"Run SET CLUSTER SETTING {need.setting} = '{need.value}' and wait {need.seconds} s first.",
            )
        )
    return judged


def _needs_template(ctx: Context, step: Step) -> bool:
    live = ctx.seen.running_set
    return container(live["spec"]["template"])["image"] != ctx.spec.image or (
        bool(step.facts.get("options"))
        and (live["metadata"].get("annotations") or {}).get(OPTIONS) != manifests.annotation(ctx.spec)
    )


def write_template(ctx: Context, step: Step) -> None:
    """New template and a partition that restarts nothing, in one write; otherwise the controller would roll at once."""
    live = ctx.seen.running_set
    if step.facts.get("options"):
        wanted = manifests.statefulset(
            ctx.spec, ctx.profile, sleep_action=create.knows_sleep(ctx.client.server_version())
        )
        wanted["spec"]["replicas"] = ctx.seen.replicas
        wanted["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = ctx.seen.replicas
        wanted["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]  # a precondition
        ctx.client.apply(wanted)
    else:
        index = live["spec"]["template"]["spec"]["containers"].index(container(live["spec"]["template"]))
        ctx.client.patch(
            "StatefulSet",
            ctx.names.name,
            ctx.names.namespace,
            [
                {"op": "test", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
                {
                    "op": "add",
                    "path": "/spec/updateStrategy",
                    "value": {"type": "RollingUpdate", "rollingUpdate": {"partition": ctx.seen.replicas}},
                },
                {"op": "replace", "path": f"/spec/template/spec/containers/{index}/image", "value": ctx.spec.image},
            ],
            type="json",
        )
    ctx.wait(lambda: _controller_saw(ctx), step.id, poll=0.5)


def _controller_saw(ctx: Context) -> verdict.Verdict:
    ctx.look()
    live = ctx.seen.running_set
    seen = live.get("status", {}).get("observedGeneration") == live["metadata"]["generation"]
    return (
        verdict.DONE if seen else verdict.Verdict(False, "the StatefulSet controller has not seen the new template yet")
    )


def set_partition(ctx: Context, ordinal: int) -> None:
    live = ctx.seen.running_set
    if (live["spec"].get("updateStrategy", {}).get("rollingUpdate") or {}).get("partition", 0) != ordinal:
        ctx.client.patch(
            "StatefulSet",
            ctx.names.name,
            ctx.names.namespace,
            {"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": ordinal}}}},
        )


def _new(ctx: Context, pod: str) -> bool:
    live = ctx.seen.statefulset
    found = ctx.seen.pods.get(pod)
    return bool(
        live
        and found
        and found["metadata"]["labels"].get("controller-revision-hash") == live["status"].get("updateRevision")
    )


def _serving(ctx: Context, pod: str) -> verdict.Verdict:
    """Ready on the new template, live in the engine, and of the build that the image promises."""
    from ..._engine.profiles import version_from_image, version_of

    live = ctx.seen.running_set
    found = ctx.look_at_pods().get(pod)
    judged = verdict.ready(found, pod, live["status"].get("updateRevision"))
    if judged.never and judged.never != "unschedulable" and found is not None and not _new(ctx, pod):
        # The old pod's own trouble is no reason to stop its replacement; the controller waits for a broken pod for ever.
        ctx.client.delete("Pod", pod, ctx.names.namespace, uid=found["metadata"]["uid"])
        return verdict.Verdict(False, f"pod {pod} of the old template is broken and is replaced", pod=pod)
    if not judged.done:
        return judged
    ctx.ask_engine()
    node = ctx.seen.node_of(pod)
    if node is None or not (node.is_live and node.is_available):
        return verdict.Verdict(False, f"pod {pod} is ready, but the engine does not count it as live yet", pod=pod)
    wanted, built = version_from_image(ctx.spec.image), version_of(node.build)
    if wanted and built and wanted[:3] != built[:3]:
        return verdict.Verdict(
            False,
            f"{pod} reports build {node.build}, the image says {ctx.spec.image}",
            "build",
            ctx.profile.liveness_seconds,
            pod,
        )
    return verdict.DONE
