# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The plan that makes a cluster what was asked. Pure. PRIVATE to the collection."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from . import fingerprint, going, growing, missing, objects, placement, quantity, rolling, volumes
from .errors import ClusterError, InputError
from .names import CLUSTER_ID, ordinal_of
from .observe import Observed, ready
from .plan import Changes, Plan, Step, permitted
from .spec import Spec
from .verbs import VERBS

if t.TYPE_CHECKING:
    from .._engine.profiles import Profile

Object = t.Mapping[str, t.Any]
# Of kaiwudb_node_decommission and kaiwudb_node_replace, which see to their end themselves.
NODE_OPERATIONS = ("decommission", "recommission", "replace_node")


def present(
    spec: Spec,
    seen: Observed,
    profile: Profile,
    *,
    kube_nodes: t.Sequence[Object] | None,
    expands: bool = True,
    volumes_only: bool = False,
) -> Plan:
    """What leads from C(seen) to C(spec). kube_nodes: only needed when ordinals are added; None when they may not be listed.

    expands: whether the claims' storage class expands volumes; only asked where they are to become larger. volumes_only: whether nothing
    but volumes will be made of it, so that no pod is waited for.

    ClusterError or InputError when it must not be done; nothing has been touched then.
    """
    changes: Changes = {}
    fixed = _fixed_differences(spec, seen)
    if fixed:
        raise fixed
    there = seen.statefulset is not None
    # All that comes later may wait for the pods of these.
    mended = [
        *growing.template(spec, seen, changes),
        *_returning(spec, seen),
        *objects.needed(spec, seen, profile, changes),
        *(going.reclaim(spec, seen) if there else ()),
    ]
    steps = volumes.needed(spec, seen, kube_nodes, changes)
    placed = any(step.verb == "volume" for step in steps)
    rows = volumes.table(spec, seen, steps, placement.zones_of(kube_nodes))
    steps += volumes.topology(spec, seen, rows, kube_nodes, changes)
    steps += _statefulset(spec, seen, kube_nodes, changes)
    again = _interrupted(spec, seen)
    steps += _initializing(spec, seen, again)
    held: list[Step] = []
    if there:
        moving, held = _moving(spec, seen, profile, expands, changes)
        steps += moving
        # After the objects: what it waits for may need a Service that somebody deleted meanwhile.
        steps = [*mended, *_once_more(seen, again, [*mended, *steps]), *steps]
        # Whoever joins is noted with all others at its end: no step of its own, of an operation that may not be allowed.
        if any(step.verb == "scale_out" for step in steps):
            steps = [step for step in steps if step.verb != "stamp"]
        settling = [] if volumes_only else _settling(spec, seen, steps)
        steps += [*settling, *(volumes.stamp_when_settled(spec, seen) if settling else ())]
        steps += _ending(spec, seen, profile, steps, held)
    else:
        steps = [*mended, *steps]
    steps, later = _paused(spec, seen, steps, changes)
    plan = Plan(
        "",
        tuple(steps),
        (*later, *held),
        changes=changes,
        held=bool(held) and not later,
        placement=tuple(rows) if placed else (),
        waiting=tuple(missing.directories(spec, seen)),
    )
    plan = permitted(plan, spec)
    going.refuse_losing(seen, plan.steps)
    if not later and not seen.paused and not volumes_only:  # what this run may not do would have waited
        plan = replace(plan, steps=(*plan.steps, *_settling(spec, seen, plan.steps)))
    return replace(plan, headline=_headline(spec, seen, plan.steps, held if plan.held else ()))


def _statefulset(spec: Spec, seen: Observed, kube_nodes: t.Sequence[Object] | None, changes: Changes) -> list[Step]:
    """The StatefulSet where it is missing, or where its template may change at once; what may not be asked of one that serves is refused."""
    if seen.statefulset is None:
        _refuse_to_drop_pods(spec, seen)
        title = f"{spec.replicas} pods of {spec.image}" + (", pods that run are taken over" if seen.pods else "")
        changes[f"StatefulSet/{spec.name} spec.replicas"] = (None, spec.replicas)
        changes[f"StatefulSet/{spec.name} image"] = (None, spec.image)
    elif not seen.initialized and (rolling.outdated(spec, seen) or seen.image != spec.image):
        # Nothing to guard yet, and pods that crash would never come so far as to be initialised.
        title = "not initialised yet, takes the new template at once"
        changes[f"StatefulSet/{spec.name} image"] = (seen.image, spec.image)
    else:
        _refuse_pods_that_cannot_spread(spec, seen, kube_nodes)
        return []
    return [Step(f"create/StatefulSet/{spec.name}", title, "create", asked=True)]


def _initializing(spec: Spec, seen: Observed, again: str) -> list[Step]:
    """The initialisation, or that it has been; else a new StatefulSet's pods are waited for."""
    if (not seen.initialized and not spec.single_node) or again == "initialize":
        return [Step("initialize", f"once, at {seen.names.pod(0)}", "initialize")]
    if not seen.journal.initialized:
        what = (
            "of a cluster that was initialised before"
            if seen.initialized
            else "of the single node, which needs no init"
        )
        return [Step("remember", f"wait until it serves, and write down the id {what}", "initialize")]
    return [] if seen.statefulset is not None else [Step("settle", "wait until every pod is ready and live")]


def _moving(
    spec: Spec, seen: Observed, profile: Profile, expands: bool, changes: Changes
) -> tuple[list[Step], list[Step]]:
    """What grows, leaves, restarts and joins, in this order; and what is held: nobody joins half-way through a rollout."""
    steps = [
        *volumes.restamp(spec, seen),
        *growing.claims(spec, seen, expands, changes),
        *_leaving(spec, seen, changes),
    ]
    rollout, held = rolling.rollout(spec, seen, profile, changes) if seen.initialized else ([], [])
    joining = _joining(spec, seen, changes)
    return ([*steps, *rollout], [*held, *joining]) if held else ([*steps, *rollout, *joining], [])


def _once_more(seen: Observed, again: str, steps: t.Sequence[Step]) -> list[Step]:
    """The step that an earlier run did not see through, unless it is planned anyway."""
    if not again or again in [step.id for step in steps]:
        return []
    verb, _slash, rest = again.partition("/")
    whole = verb in ("create", "expand")  # of no single pod
    return [
        Step(
            again,
            "was interrupted: see that it is complete",
            str(seen.journal.operation.get("name") or verb),
            pod="" if whole else rest,
            facts={} if whole else {"ordinal": ordinal_of(rest)},
        )
    ]


def _ending(
    spec: Spec, seen: Observed, profile: Profile, steps: t.Sequence[Step], held: t.Sequence[Step]
) -> list[Step]:
    """What is left of a maintenance, of an operation that nobody ended, and of an upgrade that could still be undone."""
    ending = []
    if seen.journal.window and settled(spec, seen):
        title = f"what was raised for the maintenance of {seen.journal.window.get('node')} goes back to {seen.journal.window.get('was')}"
        ending.append(Step("restore/window", title))
    under_way = str(seen.journal.operation.get("name") or "")
    called_off = [pod for pod in seen.journal.leaving_pods if pod in seen.expected_pods()[: spec.replicas]]
    over = under_way and under_way not in NODE_OPERATIONS
    if (over or called_off) and not any(step.operation for step in steps):
        what = under_way if over else f"leaving of {', '.join(called_off)}"
        ending.append(Step("close", f"{what} of an earlier run is over, nothing of it is left to do"))
    if not held and seen.initialized:
        ending += rolling.final(spec, seen, profile, steps)
    return ending


def _paused(spec: Spec, seen: Observed, steps: list[Step], changes: Changes) -> tuple[list[Step], list[Step]]:
    """The steps that a pause leaves, and those that wait for its end. ClusterError (paused) when the run knows nothing of it."""
    wanted = spec.paused if "paused" in spec.asked else None
    key = f"StatefulSet/{spec.name} paused"
    if wanted and seen.statefulset is None:
        raise InputError("paused", "there is no cluster yet that could be paused; leave it out")
    if wanted and not seen.paused:
        changes.clear()
        changes[key] = (None, "paused")
        return [Step("pause", "later runs only look", asked=True)], steps
    if wanted:
        changes.clear()
        return [], steps
    if seen.paused and wanted is None and any(step.known.writes for step in steps):
        raise ClusterError(
            f"{spec.name} is paused ({seen.paused}), and {steps[0].id}{f' and {len(steps) - 1} more steps' if steps[1:] else ''} would be to do. "
            "Nothing was changed. Set paused to false to go on.",
            "paused",
            step=steps[0].id,
            resumable=False,
        )
    if seen.paused and wanted is False:
        changes[key] = ("paused", None)
        return [Step("resume", f"paused {seen.paused}", asked=True), *steps], []
    return steps, []


def _refuse_what_others_end(seen: Observed) -> None:
    """Pods that are down because of work that only another module ends: waiting for them would be waiting for that."""
    window = seen.journal.window
    for pod in sorted(set(seen.journal.replacing).intersection(seen.expected_pods())):
        begun = seen.journal.replacing[pod]
        raise ClusterError(
            f"the replacement of {pod} by {begun.get('who')}, begun {begun.get('since')}, is not complete, and not every pod serves. "
            f"Nothing was changed. Run it again (playbook replace_node, kaiwudb_node={pod}).",
            "replace_interrupted",
            node=pod,
        )
    if window:
        raise ClusterError(
            f"Kubernetes node {window.get('node')} is in maintenance since {window.get('since')} ({window.get('who')}), and not every pod serves. Nothing was "
            f"changed. End it (playbook maintain_node, kaiwudb_kubernetes_node={window.get('node')}, kaiwudb_maintenance_state=ready).",
            "maintenance",
        )


def _refuse_to_drop_pods(spec: Spec, seen: Observed) -> None:
    """A StatefulSet made smaller than the pods that run, or than the stores that are kept, would leave replicas without a node.

    The controller deletes the pods above, and the members whose stores nobody mounts count as dead from the start.
    """
    highest = max((ordinal for name in seen.pods if (ordinal := ordinal_of(name)) is not None), default=-1)
    if highest >= spec.replicas:
        raise ClusterError(
            f"StatefulSet {spec.name} is gone, but pods up to {seen.names.pod(highest)} run; one of {spec.replicas} replicas would end the "
            f"others without moving their data. Nothing was changed. Set replicas to {highest + 1}, and scale in afterwards.",
            "orphaned_pods",
            resumable=False,
        )
    kept = [
        (ordinal, name)
        for name, place in [*seen.claims.items(), *seen.volumes.items()]
        if CLUSTER_ID in (place["metadata"].get("annotations") or {})
        and not fingerprint.retired(place)
        and (ordinal := ordinal_of(name)) is not None
    ]
    highest, name = max(kept, default=(-1, ""))
    if highest >= spec.replicas:
        raise ClusterError(
            f"{name} is kept with the store of a node that never left; {spec.replicas} replicas would leave it out, and its replicas with it. "
            f"Nothing was changed. Set replicas to {highest + 1}, and scale in afterwards; or remove what is kept, if its data may go.",
            "orphaned_volumes",
            resumable=False,
        )


def _interrupted(spec: Spec, seen: Observed) -> str:
    """Id of the step under way when the last run ended early, as far as it still leads where this run goes.

    Its effect may be there already (the pod exists, the template is written), but nobody has seen it through.
    """
    step = str(seen.journal.operation.get("step") or "")
    verb, _slash, rest = step.partition("/")
    if step in ("initialize", f"expand/{spec.name}") or (
        verb == "create" and seen.statefulset is not None and rest == f"StatefulSet/{spec.name}"
    ):
        return step
    ordinal, known = ordinal_of(rest), VERBS.get(verb)
    if ordinal is None or known is None:  # another version of the collection may have had other verbs
        return ""
    leads_on = {
        "stays": ordinal < min(spec.replicas, seen.replicas),
        "gone": ordinal >= seen.replicas,
        "template": ordinal < spec.replicas and seen.journal.operation.get("image") == spec.image,
    }
    return step if leads_on.get(known.resumes) else ""


def _settling(spec: Spec, seen: Observed, steps: t.Sequence[Step]) -> list[Step]:
    """A step of its own for what no other one waits for: a run does not end well while a pod is down."""
    waits = any(step.known.waits for step in steps)
    if seen.statefulset is None or not seen.initialized or settled(spec, seen):
        return []
    # Growing waits for every pod too, and would have begun by then.
    if not waits or any(step.verb == "scale_out" for step in steps):
        _refuse_what_others_end(seen)
    return [] if waits else [Step("settle", "wait until every pod is ready and live")]


def settled(spec: Spec, seen: Observed) -> bool:
    """Whether every pod that should be there is Ready and live in the engine's own view."""
    if not all(pod in seen.pods and ready(seen.pods[pod]) for pod in seen.expected_pods()):
        return False
    if not seen.initialized:
        return True
    return all(
        (node := seen.node_of(pod)) is not None and node.is_live and node.is_available for pod in seen.expected_pods()
    )


def _fixed_differences(spec: Spec, seen: Observed) -> InputError | None:
    """Differences that no operation may make on a live cluster."""
    live = seen.statefulset
    if live is None:
        return None
    size = growing.template_size(live)
    if size and "storage_size" in spec.asked and quantity.parse(spec.storage_size) < quantity.parse(size):
        return InputError(
            "storage_size", f"{spec.storage_size} would shrink the volumes from {size}; allowed are {size} and more"
        )
    alone = spec.single_node  # fixed for the cluster's life: the start mode of a store is for ever
    if not alone and spec.replicas < 3 and "replicas" not in spec.asked:
        return InputError(
            "replicas",
            f"somebody else made the StatefulSet {spec.replicas} pods large; say how many nodes it should have: allowed are 3 and more",
        )
    if alone is not (spec.replicas == 1):
        return InputError(
            "replicas",
            f"{seen.replicas} can never become {spec.replicas}: the start mode of a store is for ever; "
            f"allowed is {'1' if alone else '3 and more'}",
        )
    return None


def _refuse_pods_that_cannot_spread(spec: Spec, seen: Observed, kube_nodes: t.Sequence[Object] | None) -> None:
    """More pods than nodes under required anti-affinity would wait for ever (local volumes are refused by placement)."""
    if kube_nodes is None or spec.anti_affinity != "required" or spec.replicas <= seen.replicas:
        return
    refuse_few_nodes(spec, kube_nodes)


def refuse_few_nodes(spec: Spec, kube_nodes: t.Sequence[Object]) -> None:
    """ClusterError (no_node) when required anti-affinity needs more Kubernetes nodes than can be used."""
    fit = [node for node in kube_nodes if not placement.unfit(node, spec)]
    if spec.anti_affinity == "required" and len(fit) < spec.replicas:
        reasons = "; ".join(
            f"{node['metadata']['name']} {placement.unfit(node, spec)}"
            for node in kube_nodes
            if placement.unfit(node, spec)
        )
        raise ClusterError(
            f"{spec.replicas} replicas need as many Kubernetes nodes under anti_affinity=required, {len(fit)} can be used"
            + (f" ({reasons})" if reasons else "")
            + ". Nothing was changed. Add nodes, or set anti_affinity to preferred.",
            "no_node",
        )


def _returning(spec: Spec, seen: Observed) -> list[Step]:
    """Nodes that were leaving by our order and are wanted again."""
    return [
        Step(
            f"recommission/{pod}",
            f"node {node.id} was leaving and stays",
            "scale_in",
            asked="replicas" in spec.asked,
            pod=pod,
            facts={"id": node.id},
        )
        for pod in seen.expected_pods()[: spec.replicas]
        if pod in seen.journal.leaving_pods and (node := seen.node_of(pod)) is not None and node.is_decommissioning
    ]


def _leaving(spec: Spec, seen: Observed, changes: Changes) -> list[Step]:
    """Ordinals to take away from the highest down, and claims left by pods that are gone."""
    steps = []
    wanted = spec.replicas
    left = sorted(
        (
            ordinal
            for name, claim in seen.claims.items()
            if (ordinal := ordinal_of(name)) is not None and ordinal >= seen.replicas and not fingerprint.retired(claim)
        ),
        reverse=True,
    )
    ordinals = [ordinal for ordinal in left if ordinal >= max(wanted, seen.replicas)] + list(
        range(seen.replicas - 1, wanted - 1, -1)
    )
    for ordinal in ordinals:
        pod = seen.names.pod(ordinal)
        node = seen.node_of(pod)
        steps.append(
            Step(
                f"scale_in/{pod}",
                f"node {node.id if node else 'unknown'} leaves, volume {seen.names.volume(ordinal)}: {spec.volumes}"
                if spec.storage == "local"
                else f"node {node.id if node else 'unknown'} leaves, claim: {spec.volumes}",
                "scale_in",
                asked="replicas" in spec.asked,  # else it only goes on, or tidies up
                pod=pod,
                facts={"ordinal": ordinal, "local": spec.storage == "local", "policy": spec.volumes},
            )
        )
    if wanted < seen.replicas:
        changes[f"StatefulSet/{spec.name} spec.replicas"] = (seen.replicas, wanted)
    return steps


def _joining(spec: Spec, seen: Observed, changes: Changes) -> list[Step]:
    """Ordinals to add, one at a time: only one node joins at a time, the others would wait.

    Those whose claims are still there are members that somebody sent away (kubectl scale): without enough of them none serves, so they
    come back together.
    """
    adding = volumes.ordinals_to_add(spec, seen)
    claims = {ordinal: volumes.claim_that_stays(seen, ordinal) for ordinal in adding}
    back = [
        ordinal
        for ordinal, claim in claims.items()
        if claim is not None and not fingerprint.retired(claim) and volumes.decommissioned(spec, seen, ordinal) is None
    ]
    steps = [
        Step(
            f"scale_out/{seen.names.pod(ordinal)}",
            f"replicas {ordinal} → {max(back) + 1}: its store is there"
            if ordinal in back
            else f"replicas {ordinal} → {ordinal + 1}",
            "scale_out",
            asked=True,
            pod=seen.names.pod(ordinal),
            facts={"ordinal": ordinal, "replicas": max(back if ordinal in back else [ordinal]) + 1},
        )
        for ordinal in adding
    ]
    if steps:
        changes[f"StatefulSet/{spec.name} spec.replicas"] = (seen.replicas, spec.replicas)
    return steps


def _headline(spec: Spec, seen: Observed, steps: t.Sequence[Step], held: t.Sequence[Step]) -> str:
    if not steps and held:
        return f"{spec.name}: held, {len(held)} pods still to come"
    if not steps:
        return f"{spec.name}: nothing to do"
    if seen.statefulset is None:
        return f"{spec.name}: create {spec.replicas} nodes of {spec.image} in {spec.namespace}"
    kinds = list(dict.fromkeys(step.operation or step.id for step in steps))
    parts = {
        "upgrade": f"upgrade {seen.image} → {spec.image}",
        "scale_in": f"scale in {seen.replicas}→{spec.replicas}",
        "scale_out": f"scale out {seen.replicas}→{spec.replicas}",
    }
    return (
        f"{spec.name}: "
        + ", ".join(parts.get(kind, kind) for kind in kinds)
        + f", {len(steps)} step{'s' if steps[1:] else ''}"
        + (f", then held with {len(held)} pods to come" if held else "")
    )
