# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Another image or other options, pod by pod from the highest ordinal, never a step that could break the quorum. PRIVATE.

The image runs once on every node before the first restart, and the engine is kept from raising its cluster version until
somebody finalises; so every moment has a way back.
"""

from __future__ import annotations

import contextlib
import math
import time
import typing as t
from dataclasses import replace

from ..._engine import profiles
from ..._engine.errors import EngineError
from ..._engine.parse import seconds
from ..._engine.parse import version as build_of
from .. import compare, gates, manifests, rolling, short_lived_pods, verdict
from ..context import utc
from ..errors import ClusterError
from ..names import OPTIONS, ordinal_of
from ..observe import container, ending, ready
from ..progress import Falling, about
from . import create, short_lived

if t.TYPE_CHECKING:
    from ..context import Context
    from ..plan import Step

DOWN_PATIENCE = 30.0  # seconds for a pod that was down before: its own trouble must not hold up the others for ever
ITS_OWN = ("timeout", "unschedulable", "volume_mount")  # of its Kubernetes node or its volume, and not of what is new


# ---- before the first restart


def preserve(ctx: Context, step: Step) -> None:
    """Hold the cluster version, so that the old release can still open the stores; noted before and after, for a run may die between."""
    version = ctx.engine.setting("version")
    held: dict[str, t.Any] = {"version": version, "image": ctx.seen.image, "since": utc(), "who": ctx.who}
    known = ctx.seen.journal.unfinalized
    # What was noted at another version is over: it has risen since, and nothing leads back there.
    held = {**held, **(known if known.get("version") == version else {}), "set": False}
    ctx.write_journal(replace(ctx.seen.journal, unfinalized=held))
    ctx.engine.sql(f"SET CLUSTER SETTING cluster.preserve_downgrade_option = '{version}'", repeatable=True)
    ctx.write_journal(replace(ctx.seen.journal, unfinalized={**held, "set": True}))
    ctx.say(f"cluster version held at {version}: the upgrade can be undone until it is finalised")


def prepull(ctx: Context, step: Step) -> None:
    """Run the new image's C(version) once on every node that needs it; ClusterError (image_pull) with nothing restarted."""
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
            f"Kubernetes node {node or '?'}, on which {pod or 'a pod'} runs, cannot run the new image: {error.msg} Nothing was restarted.",
            error.reason,
            **{**error.facts, "node": pod or error.facts.get("node")},
        ) from error
    pulled = {"image": ctx.spec.image, "nodes": sorted(set(nodes.values())), "build": ", ".join(builds)}
    ctx.write_journal(replace(ctx.seen.journal, pulled=pulled))
    ctx.say(f"{ctx.spec.image} runs on {', '.join(pulled['nodes'])}" + (f" as {pulled['build']}" if builds else ""))


# ---- one pod


def before(ctx: Context, step: Step) -> list[gates.Gate]:
    """The gates before this pod is restarted.

    Restarting a pod that is down takes nothing away from anybody: its own failure must not block its repair. And one that was
    restarted in an earlier slice is only waited for: that the engine does not count it as live yet, or still counts it while it
    stops, is no reason to refuse.
    """
    if _new(ctx, step.pod) and not _needs_template(ctx, step):
        return []
    stops = ending(ctx.seen.pods.get(step.pod)) and not _needs_template(ctx, step)
    if stops or ctx.seen.down(step.pod):
        return [*version_path(ctx), *_pullable(ctx, step)]
    found = [*gates.common(ctx.seen, ctx.deep(), None), gates.claims_kept(ctx.seen)]
    if found[0].name == "engine_answers" and not found[0].holds:
        return found
    return [*found, *version_path(ctx), *_pullable(ctx, step), *template_expected(ctx, step)]


def _pullable(ctx: Context, step: Step) -> list[gates.Gate]:
    """Proven by the pre-pull, as the journal remembers."""
    wanted = set(step.facts.get("pre_pull") or ())
    if not wanted:
        return []
    missing = sorted(wanted - rolling.pulled_nodes(ctx.seen, ctx.spec.image))
    return [
        gates.Gate(
            "image_pullable",
            f"{len(wanted) - len(missing)} of {len(wanted)}",
            "all",
            not missing,
            f"The new image has not been run on {', '.join(missing)} yet; step prepull does it.",
        )
    ]


def version_path(ctx: Context) -> list[gates.Gate]:
    """Whether the database may go from every version it runs to the one asked for. What only the engine can tell does not hold while it is silent."""
    pulled = ctx.seen.journal.pulled
    target = profiles.version_from_image(ctx.spec.image) or (
        profiles.version_of(pulled.get("build")) if pulled.get("image") == ctx.spec.image else None
    )
    images = {container(pod)["image"] for pod in ctx.seen.pods.values()}
    running = {profiles.version_of(node.build) for node in ctx.seen.live()} if ctx.seen.nodes else set()
    sources = running - {None} or {profiles.version_from_image(image) for image in images}
    verdicts = {source: profiles.version_path(ctx.profile, source, target) for source in sources or {None}}
    source, path = next(
        ((source, path) for source, path in verdicts.items() if not path.allowed),
        next(((source, path) for source, path in verdicts.items() if path.needs or path.downgrade), None)
        or next(iter(verdicts.items())),
    )
    shown = "→".join(".".join(map(str, version)) if version else "unknown" for version in (source, target))
    judged = [gates.Gate("version_path", shown, path.why, path.allowed, f"{shown}: {path.why}.")]
    for need in path.needs:
        value = ctx.engine.setting(need.setting) if ctx.seen.nodes else "unknown, no node answers"
        judged.append(
            gates.Gate(
                "version_path",
                f"{need.setting} = {value}",
                f"= {need.value}",
                value in (need.value, "00:00:00"),
                f"Run SET CLUSTER SETTING {need.setting} = '{need.value}' first; the next run waits until that is {need.seconds} s ago.",
            )
        )
        if judged[-1].holds:
            judged.append(_lasts(ctx, need))
    brings = profiles.cluster_version(ctx.profile, target)
    if path.allowed and path.downgrade and brings:
        active = ctx.engine.setting("version") if ctx.seen.nodes else ""
        judged.append(
            gates.Gate(
                "version_path",
                f"cluster version {active or 'unknown, no node answers'}",
                f"≤ {brings}",
                bool(active) and not profiles.older(brings, active),
                f"The cluster was finalised at {active}; {ctx.spec.image} only reads up to {brings}. Go forward, or export and import."
                if active
                else f"{ctx.spec.image} only reads up to {brings}. Bring back enough nodes for one to answer, then ask again.",
            )
        )
    return judged


def _lasts(ctx: Context, need: profiles.Needs) -> gates.Gate:
    """How long the setting has had its value: since it was written; where the engine does not tell, since this run saw it first."""
    past = ctx.under_way(need.setting)
    with contextlib.suppress(EngineError, KeyError, TypeError, ValueError):
        since = 'extract(epoch FROM now()) - extract(epoch FROM "lastUpdated")'
        statement = f"SELECT {since} AS past FROM system.settings WHERE name = '{need.setting}'"  # noqa: S608 - our own words
        rows = ctx.engine.sql_rows(statement)
        past = max([past, *(float(str(row["past"])) for row in rows)])
    left = max(0, math.ceil((need.seconds - past) / 30) * 30)  # in steps, for each is a line to a person
    return gates.Gate(
        "setting_lasts",
        f"{left} s left" if left else "long enough",
        f"{need.seconds} s",
        not left,
        f"{need.setting} has not been {need.value} for {need.seconds} s yet, about {left} s are left.",
    )


def template_expected(ctx: Context, step: Step) -> list[gates.Gate]:
    """A dry run of the new template against what the options stand for: both rendered here, the rest is somebody else's or ours of yore."""
    options = step.facts.get("options")
    if not options or not _needs_template(ctx, step):
        return []
    wanted, live = _whole_set(ctx), ctx.seen.running_set
    # What options that did not change stand for, rendered by this very version of the collection.
    values = {**ctx.spec.values, **{name: _old(ctx, name) for name in options}, "image": ctx.seen.image}
    known = _whole_set(ctx, replace(ctx.spec, values=values))
    expected = compare.paths(known["spec"]["template"], wanted["spec"]["template"])
    dry = ctx.client.apply(wanted, dry_run=True)
    changed = compare.paths(live["spec"]["template"], dry["spec"]["template"])
    odd = sorted(path for path in changed if not any(_covers(item, path) for item in expected))
    return [
        gates.Gate(
            "template_expected",
            f"{len(odd)} of {len(changed)}",
            "0 others",
            not odd,
            f"Not asked for, but it would change too: {', '.join(odd[:5])}{' …' if len(odd) > 5 else ''} (changed by hand, or rendered "
            "otherwise by this version of the collection). Look at it, then waive template_expected to take it.",
        )
    ]


def _old(ctx: Context, name: str) -> t.Any:
    """The value of an option before: as noted, else its default."""
    from ..options import BY_NAME
    from ..spec import COERCE

    option, noted = BY_NAME[name], ctx.seen.noted
    return COERCE[option.kind](option, noted[name]) if name in noted else option.default


def _covers(expected: str, path: str) -> bool:
    """Whether one path is the other or lies in it."""
    return any(
        part == whole or part.startswith((f"{whole}.", f"{whole}["))
        for part, whole in ((path, expected), (expected, path))
    )


def _whole_set(ctx: Context, spec: t.Any = None) -> dict[str, t.Any]:
    """The StatefulSet as the options want it, but with the replicas it has and a partition that restarts nothing."""
    wanted = manifests.statefulset(
        spec or ctx.spec, ctx.profile, sleep_action=create.knows_sleep(ctx.client.server_version())
    )
    wanted["spec"]["replicas"] = ctx.seen.replicas
    wanted["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = ctx.seen.replicas
    # Claim templates are immutable; they stay what they are.
    wanted["spec"]["volumeClaimTemplates"] = ctx.seen.running_set["spec"].get("volumeClaimTemplates") or []
    return wanted


def roll(ctx: Context, step: Step) -> None:
    """One pod: gates, partition down to it, Ready on the new template, live in the engine with the new build, ranges whole."""
    ordinal = step.facts["ordinal"]
    _let_the_controller_see(ctx, step)
    if not _new(ctx, step.pod) or _needs_template(ctx, step):
        ctx.prove_in_time(lambda: before(ctx, step), step, changed=not _needs_template(ctx, step))
    if _needs_template(ctx, step):
        write_template(ctx, step)
    down = _down_before(ctx, step.pod)
    others = [pod for pod in down if pod != step.pod]  # no reason to wait for them afterwards
    if not _new(ctx, step.pod):
        ctx.disturbed()
    set_partition(ctx, ordinal)
    if any((ordinal_of(pod) or 0) > ordinal for pod in others) and not _new(ctx, step.pod):
        _replace(ctx, step)  # its controller waits for the broken one above it, for ever
    try:
        ctx.wait(lambda: _serving(ctx, step.pod), step.id, limit=DOWN_PATIENCE if step.pod in down else None)
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


def _down_before(ctx: Context, turn: str) -> list[str]:
    """Pods that were down before this operation came to them, by its journal or as they are; not those it restarts itself.

    One that lives when its turn comes is none of them, whatever it was before: the others must not go on while it is away.
    turn: the pod whose turn it is. While it is old, its gates have just held: whoever is down then was so before, of whichever template.
    """
    noted, pods = list(ctx.seen.journal.operation.get("down") or ()), ctx.seen.pods
    restarted = _new(ctx, turn)
    down = [
        pod
        for pod in ctx.seen.expected_pods()
        if (pod in noted and (pod not in pods or (not ready(pods[pod]) and (_new(ctx, pod) or ctx.seen.down(pod)))))
        or (
            pod in pods
            and ctx.seen.down(pod)
            and not (restarted and _new(ctx, pod))
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
    _let_the_controller_see(ctx, step)
    if _needs_template(ctx, step):
        ctx.prove_in_time(lambda: before(ctx, step), step)
        write_template(ctx, step)
    elif rolling.partition_of(ctx.seen.running_set) <= step.facts["ordinal"]:
        set_partition(ctx, ctx.seen.replicas)
        ctx.wait(lambda: controller_saw(ctx), step.id, poll=0.5)
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
    ctx.wait(lambda: controller_saw(ctx), step.id, poll=0.5)
    found = ctx.seen.pods.get(step.pod)
    if found is not None and not _new(ctx, step.pod):
        ctx.client.delete("Pod", step.pod, ctx.names.namespace, uid=found["metadata"]["uid"])


def refuse_down(ctx: Context, **facts: t.Any) -> None:
    """ClusterError, with these facts, for pods that were passed over because they were down before; the others have what is new."""
    down = [pod for pod in ctx.seen.expected_pods() if pod not in ctx.seen.pods or not ready(ctx.seen.pods[pod])]
    if down:
        raise ClusterError(
            f"{', '.join(down)} was down before and still is; every other pod has what was asked. Mend it (its Kubernetes node, its volume) "
            "and run again.",
            "pod_down",
            node=down[0],
            **facts,
        )


# ---- after the last one


def before_final(ctx: Context, step: Step) -> list[gates.Gate]:
    return gates.finalize(ctx.seen, ctx.deep(), profiles.version_from_image(ctx.spec.image))


def finalize(ctx: Context, step: Step) -> None:
    """Let the cluster version rise: from here on there is no way back. After an undo, it only forgets what was held."""
    held = str(ctx.seen.journal.unfinalized.get("version") or "")
    if not step.facts.get("undone"):
        ctx.prove_in_time(lambda: before_final(ctx, step), step)
    if ctx.seen.journal.unfinalized:  # a run that dies after the next line leaves no hold behind
        ctx.write_journal(replace(ctx.seen.journal, unfinalized={**ctx.seen.journal.unfinalized, "set": False}))
    ctx.engine.sql("RESET CLUSTER SETTING cluster.preserve_downgrade_option", repeatable=True)

    # The engine asks every node for its release but those it counts as decommissioned, which takes as long as it takes to call one dead.
    gone = [str(node.id) for node in ctx.seen.nodes or () if node not in ctx.seen.members()]
    patience = (seconds(ctx.engine.setting("server.time_until_store_dead")) or 0) + 120 if gone else 0
    why = f"; node {', '.join(gone)} has left, but counts for up to {about(patience)} after its end" if gone else ""

    def risen() -> verdict.Verdict:
        rows = ctx.engine.sql_rows(f"SELECT {ctx.profile.virtual_schema}.node_executable_version() AS v")
        brings, active = str(rows[0]["v"]) if rows else "", ctx.engine.setting("version")
        if active == brings or step.facts.get("undone"):
            return verdict.DONE
        return verdict.Verdict(False, f"cluster version is still {active}, the release brings {brings}{why}")

    ctx.wait(risen, step.id, poll=5.0 if gone else 1.0, limit=max(patience, ctx.spec.wait_timeout))
    ctx.write_journal(replace(ctx.seen.journal, unfinalized={}))
    now = ctx.engine.setting("version")
    ctx.say(f"cluster version {now}" + (f", was {held}" if held != now else ", as before"))


# ---- the StatefulSet's template


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
        wanted = _whole_set(ctx)
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


def _let_the_controller_see(ctx: Context, step: Step) -> None:
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


def _new(ctx: Context, pod: str) -> bool:
    """Whether the pod is what the newest template makes; somebody may have edited the image of the pod itself."""
    live = ctx.seen.statefulset
    found = ctx.seen.pods.get(pod)
    return bool(
        live
        and found
        and found["metadata"]["labels"].get("controller-revision-hash") == live["status"].get("updateRevision")
        and rolling.image_of(ctx.seen, found) == ctx.seen.image
    )


def _serving(ctx: Context, pod: str) -> verdict.Verdict:
    """Ready on the new template, live in the engine, and of the build that the image promises."""
    live = ctx.seen.running_set
    found = ctx.look_at_pods().get(pod)
    judged = verdict.ready(found, pod, live["status"].get("updateRevision"))
    if found is not None and not _new(ctx, pod):
        revision, uid = live["status"].get("updateRevision"), found["metadata"].get("uid")
        edited = found["metadata"]["labels"].get("controller-revision-hash") == revision
        # Where the one made in its place looks the same, that is how pods are made here.
        again = edited and ctx.carry.setdefault("replaced", {}).setdefault(f"{pod}/{revision}", uid) != uid
        if not again and (edited or (judged.never and judged.never != "unschedulable")):
            # The old pod's own trouble is no reason to stop its replacement; the controller waits for a broken pod for ever, and does
            # not see that somebody edited the pod itself.
            if not found["metadata"].get("deletionTimestamp"):
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
